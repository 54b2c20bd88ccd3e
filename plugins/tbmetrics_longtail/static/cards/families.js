// @ts-check
/** Families, a second grouping of the classes by names: A and B, their difference, and what can be said of it. */

import { Card } from './card.js';
import { judged } from './summary-difference.js';
import { barOf } from '../charts/board-bar.js';
import { el, fill, nameOf, sideBadge } from '../charts/dom.js';
import { familyRows, sortedFamilies } from '../model/families.js';
import { count, metricText, number, signed } from '../model/format.js';
import { extent, niceDomain } from '../model/scale.js';

/** @import { Page } from './card.js' */
/** @import { FamilyRow, FamilySort } from '../model/families.js' */
/** @import { CompareAnswer, GroupComparison } from '../model/answers.js' */
/** @import { Interval, Table, View } from '../model/types.js' */

/** @type {readonly {key: FamilySort['key'], side?: 'A' | 'B', text: string, ofTwo?: boolean}[]} */
const COLUMNS = Object.freeze([
  { key: 'name', text: 'Family' },
  { key: 'n_classes', text: 'Classes' },
  { key: 'mean_a', side: 'A', text: '' },
  { key: 'mean_b', side: 'B', text: '', ofTwo: true },
  { key: 'difference', text: 'B − A', ofTwo: true },
]);

export class FamiliesCard {
  /** @param {Page} page */
  constructor(page) {
    this._page = page;
    this._card = this.frame = new Card({
      id: 'families',
      title: 'Families',
      className: 'families-card',
      page,
      table: () => this._table(),
      metric: 'class_metric',
    });
    this.element = this._card.element;
    this.element.hidden = true; // until a run has families
    /** @type {FamilySort | null} null = the worst of A first */
    this._sort = null;
    /** @type {FamilyRow[]} */
    this._rows = [];
  }

  /** @param {View} view */
  update(view) {
    if (view.moving) return;
    const sides = [view.a, view.b].filter((run) => run?.info.kinds.includes('families') && run.step !== null);
    const metric = [view.metric, view.classMetric].find((m) => view.means.includes(m)) ?? view.means[0];
    this.element.hidden = !sides.length || !metric;
    const [a, b = a] = sides;
    if (this.element.hidden || !a || !b) return;
    const resource = this._page.data.compare(a, b, view.attribute, metric, null, 'family');
    const letters = /** @type {('A' | 'B')[]} */ (sides.map((run) => (run === view.a ? 'A' : 'B')));
    this._card.title.textContent = `${metricText(metric).label} by family`;
    if (!this._card.ready([{ name: '', resource }]) || !resource.value) return;
    this._card.caption(captionOf(resource.value, letters));
    this._rows = familyRows(resource.value.groups);
    const sort = this._sort ?? { key: 'mean_a', descending: Boolean(metricText(metric).lowerIsBetter) };
    if (this._card.isNew(JSON.stringify([resource.value.groups, letters, sort]))) this._draw(letters, sort);
  }

  /** @param {('A' | 'B')[]} letters of the runs with families @param {FamilySort} sort */
  _draw(letters, sort) {
    const focused = /** @type {HTMLElement | null} */ (this._card.body.querySelector(':focus'))?.dataset.focus;
    const ofTwo = letters.length > 1;
    const values = this._rows.flatMap((row) => [
      row.lower_a,
      row.mean_a,
      row.upper_a,
      row.lower_b,
      row.mean_b,
      row.upper_b,
    ]);
    const domain = niceDomain(extent(values), { bounds: [0, 1] });
    const heads = COLUMNS.filter((column) => ofTwo || !column.ofTwo).map((column) =>
      this._heading({ ...column, ...(ofTwo || !column.side ? {} : { side: letters[0] }) }, sort),
    );
    const rows = sortedFamilies(this._rows, sort).map((row) => rowOf(row, domain, ofTwo));
    fill(
      this._card.body,
      el(
        'div',
        { class: 'table-scroll plain board-scroll', tabindex: 0, role: 'region', 'aria-label': 'Families, scrollable' },
        el('table', { class: 'board families' }, el('thead', {}, el('tr', {}, ...heads)), el('tbody', {}, ...rows)),
      ),
    );
    const again = [...this._card.body.querySelectorAll('button')].find((b) => b.dataset.focus === focused);
    if (focused !== undefined) again?.focus();
  }

  /** @param {typeof COLUMNS[number]} column @param {FamilySort} sort */
  _heading({ key, side, text }, sort) {
    const isChosen = key === sort.key;
    const choose = () => {
      this._sort = { key, descending: isChosen ? !sort.descending : key === 'n_classes' || key === 'difference' };
      this._page.redraw();
    };
    return el(
      'th',
      {
        scope: 'col',
        class: key === 'name' ? '' : 'number',
        'aria-sort': isChosen ? (sort.descending ? 'descending' : 'ascending') : null,
      },
      el(
        'button',
        { type: 'button', class: 'sort', 'data-focus': key, onclick: choose },
        side ? sideBadge(side) : text,
        el('span', { class: 'arrow', 'aria-hidden': 'true' }, isChosen ? (sort.descending ? ' ↓' : ' ↑') : ''),
      ),
    );
  }

  /** @returns {Table} */
  _table() {
    const columns = /** @type {const} */ ([
      ...['n_classes', 'n_defined', 'mean_a', 'lower_a', 'upper_a', 'mean_b', 'lower_b', 'upper_b'],
      ...['difference', 'lower', 'upper', 'verdict', 'n_higher', 'n_lower', 'sign_flip_p'],
    ]);
    const rows = this._rows.map((row) => [row.name, ...columns.map((column) => Object(row)[column] ?? null)]);
    return { columns: ['family', ...columns], rows };
  }
}

/** @param {CompareAnswer} answer @param {string[]} letters */
function captionOf({ basis }, letters) {
  return letters.length > 1
    ? `Means over the classes of each family, with 95 % intervals. ${basis}`
    : 'Means with 95 % intervals.';
}

/** @param {FamilyRow} row @param {Interval} domain @param {boolean} ofTwo */
function rowOf(row, domain, ofTwo) {
  const { n_classes: n, n_defined: defined } = row;
  return el(
    'tr',
    {},
    el('th', { scope: 'row' }, nameOf(row.name)),
    el('td', { class: 'number' }, defined < n ? `${count(defined)} of ${count(n)}` : count(n)),
    meanOf(row.mean_a, row.lower_a, row.upper_a, domain),
    ofTwo && meanOf(row.mean_b, row.lower_b, row.upper_b, domain),
    ofTwo && differenceOf(row),
  );
}

/** @param {number | null} mean @param {number | null} lower @param {number | null} upper @param {Interval} domain */
function meanOf(mean, lower, upper, domain) {
  const cell = { mean, lower, upper, deviation: null, n_classes: 0, mark: '' };
  return el(
    'td',
    { class: 'number' },
    el('span', { class: 'board-number' }, number(mean)),
    barOf(cell, '', domain, false),
  );
}

/** @param {GroupComparison} comparison */
function differenceOf(comparison) {
  const { difference, lower, upper } = comparison;
  const { className, words } = judged(comparison);
  const ends = lower === null || upper === null ? '' : `${signed(lower)} to ${signed(upper)}`;
  return el(
    'td',
    { class: `number family-difference ${className}` },
    el('span', { class: 'value' }, signed(difference)),
    el('span', { class: 'muted' }, ` ${ends} `),
    el('span', { class: 'verdict' }, words),
  );
}
