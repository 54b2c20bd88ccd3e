// @ts-check
/** The classes that gained and lost most from A to B. */

import { Card } from './card.js';
import { el, fill, groupBadge, nameOf } from '../charts/dom.js';
import { movers } from '../model/class-list.js';
import { chanceText, movedByChance } from '../model/evidence.js';
import { count, metricText, number, signed } from '../model/format.js';

/** @import { Page } from './card.js' */
/** @import { ClassRows } from '../host/class-rows.js' */
/** @import { Row, Table, View } from '../model/types.js' */

const LISTED = 8;

export class MoversCard {
  /** @param {Page} page @param {ClassRows} rows */
  constructor(page, rows) {
    this._page = page;
    this._rows = rows;
    this._card = this.frame = new Card({
      id: 'movers',
      title: 'Gains and losses',
      className: 'movers-card',
      page,
      table: () => this._table(),
      metric: 'class_metric',
    });
    this.element = this._card.element;
    /** @type {ReturnType<typeof movers> | null} */
    this._lists = null;
  }

  /** @param {View} view */
  update(view) {
    this.element.hidden = view.b === null;
    if (this.element.hidden) return;
    const rows = this._card.rowsOf(this._rows);
    if (!rows) return;
    this._card.title.textContent = `${metricText(view.classMetric).label}: gains and losses`;
    this._card.caption(captionOf(rows));
    if (!this._card.isNew(`${this._rows.key}|${view.classMetric}`)) return;
    this._lists = movers(rows, Boolean(metricText(view.classMetric).lowerIsBetter), LISTED);
    const { gains, losses } = this._lists;
    fill(
      this._card.body,
      el(
        'div',
        { class: 'mover-lists' },
        this._list('▲ Gains of B', gains, 'No class gained.'),
        this._list('▼ Losses of B', losses, 'No class lost.'),
      ),
    );
  }

  /** @param {string} title @param {readonly Row[]} rows @param {string} none */
  _list(title, rows, none) {
    return el(
      'section',
      { class: 'mover-list' },
      el('h3', {}, title),
      rows.length ? el('ol', {}, ...rows.map((row) => this._row(row))) : el('p', { class: 'hint' }, none),
    );
  }

  /** @param {Row} row */
  _row(row) {
    const isChance = movedByChance(row);
    const title = row.interval ? `95 %: ${row.interval.map((end) => signed(end)).join(' to ')}` : null;
    return el(
      'li',
      { class: isChance ? 'chance' : '', title },
      el(
        'button',
        { type: 'button', class: 'class-link', onclick: () => this._page.set({ open: row.name }) },
        groupBadge(row.group, ''),
        nameOf(row.name),
        el('span', { class: 'for-readers' }, `, ${row.group}`),
      ),
      el('span', { class: 'muted', title: 'Positives in the validation set' }, `n ${count(row.support)}`),
      el('span', { class: 'muted number' }, `${number(row.a)} → ${number(row.b)}`),
      el(
        'span',
        { class: 'number moved' },
        el('span', { class: 'mark', 'aria-hidden': 'true' }, isChance ? '○' : '●'),
        signed(row.difference),
        isChance && el('span', { class: 'for-readers' }, ', could be chance'),
      ),
    );
  }

  /** @returns {Table} */
  _table() {
    const rows = /** @type {const} */ (['gains', 'losses']).flatMap((list) =>
      (this._lists?.[list] ?? []).map((row) => [
        list,
        row.name,
        row.group,
        row.count,
        row.support,
        row.a,
        row.b,
        row.difference,
        row.interval?.[0] ?? null,
        row.interval?.[1] ?? null,
        movedByChance(row) ? 'yes' : 'no',
      ]),
    );
    const columns = ['list', 'class', 'group', 'training_count', 'support', 'a', 'b', 'difference'];
    return { columns: [...columns, 'lower', 'upper', 'could_be_chance'], rows };
  }
}

/** @param {readonly Row[]} rows */
function captionOf(rows) {
  const compared = rows.filter((row) => row.difference !== null);
  const clear = compared.filter((row) => !movedByChance(row)).length;
  return `The clearest first; ○ grey: could be chance. ${count(clear)} stand out; ${chanceText(compared.length)}.`;
}
