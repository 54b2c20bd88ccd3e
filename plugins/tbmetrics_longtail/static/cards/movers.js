// @ts-check
/** The classes that changed most from A to B, and the worst classes. */

import { Card } from './card.js';
import { el, fill, groupBadge, nameOf, sideBadge } from '../charts/dom.js';
import { movers } from '../model/class-list.js';
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
      title: 'Gains, losses, worst classes',
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
    const rows = this._card.rowsOf(this._rows);
    if (!rows) return;
    const label = metricText(view.classMetric).label;
    this._card.title.textContent = view.b ? 'Gains, losses, worst classes' : 'Worst classes';
    this._card.caption(
      `${label} of single classes at the chosen step${view.b ? '; gains and losses from A to B' : ''}. ` +
        'With few positives a class moves much by chance: see the number of positives (n).',
    );
    const key = `${this._rows.key}|${view.b?.run}|${view.classMetric}`;
    if (!this._card.isNew(key)) return;
    const lists = movers(rows, Boolean(metricText(view.classMetric).lowerIsBetter), LISTED);
    this._lists = lists;
    fill(
      this._card.body,
      el(
        'div',
        { class: 'mover-lists' },
        view.b && this._list('▲ Gains of B', lists.gains, 'difference', 'No class gained.'),
        view.b && this._list('▼ Losses of B', lists.losses, 'difference', 'No class lost.'),
        this._list(view.b ? 'Worst in A' : 'Worst', lists.worstA, 'a', 'No class has a value.'),
        view.b && this._list('Worst in B', lists.worstB, 'b', 'No class has a value.'),
      ),
    );
  }

  /** @param {string} title @param {readonly Row[]} rows @param {'a' | 'b' | 'difference'} shown @param {string} none */
  _list(title, rows, shown, none) {
    const heading = title.endsWith(' A')
      ? [title.slice(0, -1), sideBadge('A')]
      : title.endsWith(' B') && shown === 'b'
        ? [title.slice(0, -1), sideBadge('B')]
        : [title];
    return el(
      'section',
      { class: 'mover-list', 'data-list': shown },
      el('h3', {}, ...heading),
      rows.length ? el('ol', {}, ...rows.map((row) => this._row(row, shown))) : el('p', { class: 'hint' }, none),
    );
  }

  /** @param {Row} row @param {'a' | 'b' | 'difference'} shown */
  _row(row, shown) {
    const text = shown === 'difference' ? signed(row.difference) : number(row[shown]);
    return el(
      'li',
      {},
      el(
        'button',
        { type: 'button', class: 'class-link', onclick: () => this._page.set({ open: row.name }) },
        groupBadge(row.group, ''),
        nameOf(row.name),
        el('span', { class: 'for-readers' }, `, ${row.group}`),
      ),
      el('span', { class: 'muted small' }, `n ${count(row.support)}`),
      el('span', { class: 'number' }, text),
    );
  }

  /** @returns {Table} */
  _table() {
    const names = /** @type {const} */ (['gains', 'losses', 'worstA', 'worstB']);
    const rows = names.flatMap((list) =>
      (this._lists?.[list] ?? []).map((row) => [
        list,
        row.name,
        row.group,
        row.count,
        row.support,
        row.a,
        row.b,
        row.difference,
      ]),
    );
    return { columns: ['list', 'class', 'group', 'training_count', 'support', 'a', 'b', 'difference'], rows };
  }
}
