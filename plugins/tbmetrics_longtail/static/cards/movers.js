// @ts-check
/** The classes that changed most from A to B, and the worst classes. */

import { Card } from './card.js';
import { el, fill, groupBadge, nameOf, sideBadge } from '../charts/dom.js';
import { meanOfClasses, movers } from '../model/class-list.js';
import { chanceText, movedByChance } from '../model/evidence.js';
import { count, metricText, number, signed } from '../model/format.js';

/** @import { Page } from './card.js' */
/** @import { ClassRows } from '../host/class-rows.js' */
/** @import { Row, Table, View } from '../model/types.js' */

const LISTED = 8;
/** Which number each list is about. */
const SHOWN = /** @type {const} */ ({ gains: 'difference', losses: 'difference', worstA: 'a', worstB: 'b' });

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
    /** Whether what a list shows of a class could be chance. @type {Record<'a' | 'b' | 'difference', (row: Row) => boolean> | null} */
    this._isChance = null;
  }

  /** @param {View} view */
  update(view) {
    const rows = this._card.rowsOf(this._rows);
    if (!rows) return;
    const label = metricText(view.classMetric).label;
    this._card.title.textContent = view.b ? 'Gains, losses, worst classes' : 'Worst classes';
    this._card.caption(captionOf(rows, label, Boolean(view.b)));
    const key = `${this._rows.key}|${view.b?.run}|${view.classMetric}`;
    if (!this._card.isNew(key)) return;
    const lowerIsBetter = Boolean(metricText(view.classMetric).lowerIsBetter);
    const lists = movers(rows, lowerIsBetter, LISTED);
    this._lists = lists;
    this._isChance = {
      difference: movedByChance,
      a: ordinary(rows, 'a', 'intervalA', lowerIsBetter),
      b: ordinary(rows, 'b', 'intervalB', lowerIsBetter),
    };
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
    const ends = { difference: row.interval, a: row.intervalA, b: row.intervalB }[shown];
    const isChance = Boolean(this._isChance?.[shown](row));
    const title = ends
      ? `95 %: ${[ends[0], ends[1]].map((end) => (shown === 'difference' ? signed(end) : number(end))).join(' to ')}`
      : null;
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
      el('span', { class: 'muted small' }, `n ${count(row.support)}`),
      el(
        'span',
        { class: 'number' },
        el('span', { class: 'mark', 'aria-hidden': 'true' }, isChance ? '○' : '●'),
        text,
        isChance && el('span', { class: 'for-readers' }, ', could be chance'),
      ),
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
        row.interval?.[0] ?? null,
        row.interval?.[1] ?? null,
        this._isChance?.[SHOWN[list]](row) ? 'yes' : 'no',
      ]),
    );
    const columns = ['list', 'class', 'group', 'training_count', 'support', 'a', 'b', 'difference'];
    return { columns: [...columns, 'lower', 'upper', 'could_be_chance'], rows };
  }
}

/** @param {readonly Row[]} rows @param {string} label @param {boolean} hasB */
function captionOf(rows, label, hasB) {
  const by = 'Ranked by evidence: by the end of the 95 % interval that is nearest to saying nothing.';
  const worst = '○ grey: could be chance';
  if (!hasB)
    return `${label} of single classes at the chosen step. ${by} ${worst} (the interval reaches the mean of all classes).`;
  const compared = rows.filter((row) => row.difference !== null);
  const clear = compared.filter((row) => !movedByChance(row)).length;
  return (
    `${label} of single classes at the chosen step; gains and losses from A to B. ${by} ${worst}: the interval contains ` +
    `no change, or, of the worst, the mean of all classes. ${count(clear)} stand out; ${chanceText(compared.length)}.`
  );
}

/**
 * Whether a class's interval reaches the mean over all classes, or is unknown.
 * @param {readonly Row[]} rows @param {'a' | 'b'} side @param {'intervalA' | 'intervalB'} ends @param {boolean} lowerIsBetter
 * @returns {(row: Row) => boolean}
 */
function ordinary(rows, side, ends, lowerIsBetter) {
  const mean = Number(meanOfClasses(rows, side));
  return (row) => {
    const interval = row[ends];
    return !interval || (lowerIsBetter ? interval[0] <= mean : interval[1] >= mean);
  };
}
