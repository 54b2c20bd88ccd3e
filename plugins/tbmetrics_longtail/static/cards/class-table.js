// @ts-check
/** The table of classes; only the visible rows are in the page. */

import { el, fill, groupBadge, nameOf } from '../charts/dom.js';
import { sparkline } from '../charts/line-chart.js';
import { firstDirection, visibleRows } from '../model/class-list.js';
import { couldBeChance, movedByChance } from '../model/evidence.js';
import { count, number, signed } from '../model/format.js';
import { verdict } from '../model/view.js';

/** @import { Trends } from '../host/trends.js' */
/** @import { Pair } from '../host/more-metrics.js' */
/** @import { SortKey } from '../model/state.js' */
/** @import { Interval, Row, RunStyle } from '../model/types.js' */

const ROW_HEIGHT = 36;
const HEADER_HEIGHT = 40;

/**
 * @typedef {object} TableOptions
 * @property {string} metric the label of the metric
 * @property {string} classMetric its column
 * @property {{metric: string, label: string}[]} further metrics, in columns of their own
 * @property {string} furtherKey changes with their values
 * @property {boolean} hasB
 * @property {boolean} joined whether the classes of both are there
 * @property {number} scale the difference that fills a bar
 * @property {SortKey} sort
 * @property {boolean} descending
 * @property {string | null} open the class whose drawer is open
 * @property {number} high pixels for rows at most
 * @property {RunStyle[]} sides how the trend lines of A and B look
 */

/** @typedef {{cell: HTMLElement, label: HTMLElement, arrow: HTMLElement}} HeaderCell */

export class ClassTable {
  /**
   * `trendOf` is told which rows are in sight.
   * @param {{onSort: (key: SortKey, descending: boolean) => void, onOpen: (name: string) => void,
   *   trendOf: (rows: readonly Row[]) => void, furtherOf: (row: Row, metric: string) => Pair}} actions
   */
  constructor({ onSort, onOpen, trendOf, furtherOf }) {
    this._onSort = onSort;
    this._onOpen = onOpen;
    this._trendOf = trendOf;
    this._furtherOf = furtherOf;
    /** @type {readonly Row[]} */
    this._rows = [];
    /** @type {TableOptions | null} */
    this._options = null;
    /** @type {Map<number, HTMLTableRowElement>} */
    this._drawn = new Map();
    this._head = el('tr', { 'aria-rowindex': 1 });
    /** @type {Map<SortKey, HeaderCell>} */
    this._headers = new Map();
    this._above = el('tbody', { class: 'spacer', 'aria-hidden': 'true' }, el('tr', {}, el('td', {})));
    this._below = el('tbody', { class: 'spacer', 'aria-hidden': 'true' }, el('tr', {}, el('td', {})));
    this._body = el('tbody', {
      onkeydown: (/** @type {KeyboardEvent} */ event) => this._move(event),
      onfocusin: (/** @type {FocusEvent} */ event) => this._stopAt(event.target),
    });
    this._table = el('table', { class: 'classes' }, el('thead', {}, this._head), this._above, this._body, this._below);
    /** @type {string | undefined} */
    this._stop = undefined;
    this._empty = el('p', { class: 'nothing', hidden: true }, 'No class matches the search and the groups chosen.');
    this.element = el(
      'div',
      {
        class: 'table-scroll',
        tabindex: 0,
        role: 'region',
        'aria-label': 'All classes, scrollable',
        onscroll: () => this._drawRows(false),
      },
      this._table,
      this._empty,
    );
    new ResizeObserver(() => this._drawRows(false)).observe(this.element);
  }

  /** @param {readonly Row[]} rows @param {TableOptions} options */
  update(rows, options) {
    const sameOptions = JSON.stringify(options) === JSON.stringify(this._options);
    if (sameOptions && rows === this._rows) return;
    const resorted = options.sort !== this._options?.sort || options.descending !== this._options.descending;
    Object.assign(this, { _rows: rows, _options: options });
    if (!sameOptions) this._drawHead(options);
    if (resorted) this.element.scrollTop = 0;
    this._table.setAttribute('aria-rowcount', String(rows.length + 1));
    this._empty.hidden = rows.length > 0;
    const high = Math.min(options.high, ROW_HEIGHT * Math.max(2, rows.length));
    this.element.style.height = `${HEADER_HEIGHT + 2 + high}px`;
    this._drawRows(true);
  }

  /** Header cells stay in the page, so that a click during a redraw is not lost. @param {TableOptions} options */
  _drawHead(options) {
    /** @type {[SortKey, string, string][]} */
    const columns = [
      ['name', 'Class', 'Name of the class'],
      ['group', 'Group', 'By training examples'],
      ['count', 'Training', 'Training examples'],
      ['support', 'Support', 'Positives in the validation set'],
      ['a', options.hasB ? `${options.metric} A` : options.metric, 'At the chosen step'],
      ['b', `${options.metric} B`, 'At the chosen step'],
      ['difference', 'B − A', 'Difference'],
      ...options.further.flatMap(({ metric, label }) => furtherColumns(metric, label, options.hasB)),
    ];
    if (columns.length !== this._headers.size || columns.some(([key]) => !this._headers.has(key)))
      this._headers.clear();
    if (!this._headers.size) {
      for (const [key, , title] of columns) this._headers.set(key, this._header(key, title));
      const trend = el('th', { scope: 'col', class: 'column-trend', title: 'Over all steps' }, el('span', {}, 'Trend'));
      fill(this._head, ...[...this._headers.values()].map(({ cell }) => cell), trend);
    }
    for (const [key, label] of columns) this._updateHeader(key, label, options);
    this._table.classList.toggle('has-b', options.hasB);
    this._table.style.minWidth = options.further.length ? `${leastWidth(options)}px` : '';
  }

  /** @param {SortKey} key @param {string} title @returns {HeaderCell} */
  _header(key, title) {
    const label = el('span', {});
    const arrow = el('span', { class: 'arrow', 'aria-hidden': 'true' });
    const button = el(
      'button',
      { type: 'button', title, 'data-sort': key, onclick: () => this._sortBy(key) },
      label,
      arrow,
    );
    return {
      cell: el(
        'th',
        { scope: 'col', class: `column-${key.split(':')[0]}${key.includes(':') ? ' further' : ''}` },
        button,
      ),
      label,
      arrow,
    };
  }

  /** @param {SortKey} key @param {string} text @param {TableOptions} options */
  _updateHeader(key, text, { hasB, sort, descending }) {
    const { cell, label, arrow } = /** @type {HeaderCell} */ (this._headers.get(key));
    const isSorted = sort === key;
    cell.hidden = !hasB && /^(b|difference)(:|$)/.test(key);
    cell.setAttribute('aria-sort', isSorted ? (descending ? 'descending' : 'ascending') : 'none');
    label.textContent = text;
    arrow.textContent = isSorted ? (descending ? '↓' : '↑') : '';
  }

  /** @param {SortKey} key */
  _sortBy(key) {
    const { sort, descending } = /** @type {TableOptions} */ (this._options);
    this._onSort(key, sort === key ? !descending : firstDirection(key));
  }

  /** @param {boolean} anew whether rows already in the page may have changed */
  _drawRows(anew) {
    const { first, last } = visibleRows(
      this.element.scrollTop,
      this.element.clientHeight - HEADER_HEIGHT,
      ROW_HEIGHT,
      this._rows.length,
    );
    const focused = anew ? this._focusedName() : undefined;
    for (const [index, row] of this._drawn) {
      if (anew || index < first || index >= last) {
        row.remove();
        this._drawn.delete(index);
      }
    }
    // Rows that stay are not moved: moving would take the focus from them.
    for (let index = last - 1, after = null; index >= first; index -= 1) {
      const row = this._drawn.get(index) ?? this._row(this._rows[index], index);
      if (!row.parentElement) this._body.insertBefore(row, after);
      this._drawn.set(index, row);
      after = row;
    }
    this._trendOf(this._rows.slice(first, last));
    this._stopAt(null);
    spacer(this._above, first);
    spacer(this._below, this._rows.length - last);
    if (focused !== undefined) this._button(focused)?.focus({ preventScroll: true });
  }

  /** @param {Row} row @param {number} index */
  _row(row, index) {
    const { hasB, joined, scale, classMetric, open } = /** @type {TableOptions} */ (this._options);
    const button = el(
      'button',
      { type: 'button', class: 'class-name', 'data-name': row.name, 'data-index': index, 'aria-haspopup': 'dialog' },
      nameOf(row.name),
    );
    const where = joined && (row.indexA < 0 ? 'only in B' : row.indexB < 0 ? 'only in A' : null);
    return el(
      'tr',
      { 'aria-rowindex': index + 2, class: row.name === open ? 'open' : '', onclick: () => this._onOpen(row.name) },
      el('td', { class: 'column-name' }, button, where && el('span', { class: 'tag' }, where)),
      el(
        'td',
        { class: 'column-group' },
        groupBadge(row.group),
        row.regrouped &&
          el(
            'span',
            { class: 'tag', title: `In B this class is in the group ${row.regrouped}` },
            `B: ${row.regrouped}`,
          ),
      ),
      el('td', { class: 'number' }, count(row.count)),
      el('td', { class: 'number' }, count(row.support)),
      el('td', { class: 'number' }, number(row.a)),
      hasB && el('td', { class: 'number' }, number(row.b)),
      hasB &&
        el(
          'td',
          { class: `number difference${movedByChance(row) ? ' chance' : ''}`, title: differenceTitle(row.interval) },
          bar(row, scale, classMetric),
          el('span', {}, signed(row.difference)),
        ),
      ...this._furtherCells(row),
      el('td', { class: 'column-trend' }),
    );
  }

  /** @param {Row} row */
  _furtherCells(row) {
    const { hasB, further } = /** @type {TableOptions} */ (this._options);
    return further.flatMap(({ metric }) => {
      const pair = this._furtherOf(row, metric);
      const isChance = couldBeChance(pair.interval);
      return [
        el('td', { class: 'number further' }, number(pair.a)),
        hasB && el('td', { class: 'number' }, number(pair.b)),
        hasB &&
          el(
            'td',
            { class: `number${isChance ? ' chance' : ''}`, title: differenceTitle(pair.interval) },
            signed(pair.difference),
          ),
      ];
    });
  }

  /** Draw the trend lines that have arrived in the visible rows. @param {Trends} trends */
  drawTrends(trends) {
    const styles = this._options?.sides ?? [];
    for (const [index, element] of this._drawn) {
      const row = this._rows[index];
      const lines = row ? trends.of(row) : null;
      const cell = /** @type {HTMLElement} */ (element.lastElementChild);
      if (!lines || cell.dataset.of === lines.key) continue;
      cell.dataset.of = lines.key;
      fill(cell, sparkline(lines.lines, styles));
    }
  }

  /** The arrow keys go from row to row. @param {KeyboardEvent} event */
  _move(event) {
    const by = event.key === 'ArrowDown' ? 1 : event.key === 'ArrowUp' ? -1 : 0;
    const from = Number(/** @type {HTMLElement} */ (event.target).dataset.index);
    const to = from + by;
    if (!by || !this._rows[to]) return;
    event.preventDefault();
    const [top, bottom] = [to * ROW_HEIGHT, (to + 1) * ROW_HEIGHT + HEADER_HEIGHT];
    if (top < this.element.scrollTop) this.element.scrollTop = top;
    else if (bottom > this.element.scrollTop + this.element.clientHeight)
      this.element.scrollTop = bottom - this.element.clientHeight;
    this._drawRows(false);
    this._button(this._rows[to].name)?.focus({ preventScroll: true });
  }

  /** Focus the row of a class if it is visible. @param {string} name */
  focus(name) {
    this._button(name)?.focus({ preventScroll: true });
  }

  /** One row is a stop of the Tab key: the one that had the focus last, or else the first. @param {EventTarget | null} focused */
  _stopAt(focused) {
    const buttons = [...this._body.querySelectorAll('button')];
    if (focused instanceof HTMLButtonElement) this._stop = focused.dataset.name;
    const stop = buttons.find((button) => button.dataset.name === this._stop) ?? buttons[0];
    for (const button of buttons) button.tabIndex = button === stop ? 0 : -1;
  }

  _focusedName() {
    return /** @type {HTMLElement | null} */ (this._body.querySelector('button:focus'))?.dataset.name;
  }

  /** @param {string} name */
  _button(name) {
    return [...this._body.querySelectorAll('button')].find((button) => button.dataset.name === name);
  }
}

/** @param {HTMLElement} element @param {number} rows */
function spacer(element, rows) {
  element.style.display = rows ? '' : 'none';
  const cell = /** @type {HTMLElement} */ (element.querySelector('td'));
  cell.style.height = `${rows * ROW_HEIGHT}px`;
}

/** @param {Interval | null} interval */
function differenceTitle(interval) {
  if (!interval) return null;
  return `95 %: ${signed(interval[0])} to ${signed(interval[1])}${couldBeChance(interval) ? '; could be chance' : ''}`;
}

/** @param {string} metric @param {string} label @param {boolean} hasB @returns {[SortKey, string, string][]} */
function furtherColumns(metric, label, hasB) {
  return [
    [`a:${metric}`, hasB ? `${label} A` : label, `${label} at the chosen step`],
    [`b:${metric}`, `${label} B`, `${label} at the chosen step`],
    [`difference:${metric}`, 'B − A', `Difference of ${label}`],
  ];
}

/** Pixels in which all columns can be read. @param {TableOptions} options */
function leastWidth({ hasB, further }) {
  return hasB ? 900 + 300 * further.length : 640 + 106 * further.length;
}

/**
 * The difference as a bar to the right or left of zero, hollow if it could be chance.
 * @param {Row} row @param {number} scale @param {string} metric
 */
function bar(row, scale, metric) {
  const share = Math.min(1, Math.abs(row.difference ?? 0) / scale) * 50;
  const good = verdict(row.difference, metric);
  const fillElement = el('i', { class: movedByChance(row) ? 'chance' : good > 0 ? 'better' : 'worse' });
  fillElement.style.width = `${share}%`;
  fillElement.style[(row.difference ?? 0) < 0 ? 'right' : 'left'] = '50%';
  return el('span', { class: 'bar-track', 'aria-hidden': 'true' }, fillElement);
}
