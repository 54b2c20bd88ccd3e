// @ts-check
/** The card around the table of all classes: search, groups, order, trend lines, and what A and B have in common. */

import { Card, NO_VALIDATION, nothing, skeleton } from './card.js';
import { ClassTable } from './class-table.js';
import { el, fill, groupBadge, set as setAttributes } from '../charts/dom.js';
import { MoreMetrics } from '../host/more-metrics.js';
import { Trends } from '../host/trends.js';
import { filterRows, groupCounts, largestDifference, onlyInOne, sideOf, sortRows } from '../model/class-list.js';
import { count, metricText, plural } from '../model/format.js';
import { INITIAL, MOST_COLUMNS } from '../model/state.js';
import { GROUPS } from '../model/view.js';

/** @import { Page } from './card.js' */
/** @import { ClassRows } from '../host/class-rows.js' */
/** @import { State } from '../model/state.js' */
/** @import { Row, Table, View } from '../model/types.js' */

const NO_ROWS = /** @type {readonly Row[]} */ (Object.freeze([]));

export class TableCard {
  /** @param {Page} page @param {ClassRows} rows */
  constructor(page, rows) {
    this._page = page;
    this._source = rows;
    this._card = this.frame = new Card({
      id: 'classes',
      title: 'Classes',
      className: 'table-card',
      page,
      table: () => this._numbers(),
      metric: 'class_metric',
    });
    this.element = this._card.element;
    this.search = el('input', {
      type: 'search',
      placeholder: 'Search classes (press /)',
      'aria-label': 'Search classes by name',
      autocomplete: 'off',
      spellcheck: 'false',
      dir: 'auto',
      oninput: () => page.set({ search: this.search.value }, { replace: true }),
    });
    this._chips = el('div', { class: 'chips', role: 'group', 'aria-label': 'Groups in the table' });
    this._shown = el('span', { class: 'muted', role: 'status' });
    fill(this._card.title, 'Classes', this._shown);
    this._choices = el('div', { class: 'choices', role: 'group', 'aria-label': 'More columns' });
    this._chooser = el(
      'details',
      {
        class: 'chooser',
        onkeydown: (/** @type {KeyboardEvent} */ event) => this._closeChooser(event),
        onfocusout: (/** @type {FocusEvent} */ event) => {
          if (event.relatedTarget instanceof Node && !this._chooser.contains(event.relatedTarget))
            this._chooser.open = false;
        },
      },
      el('summary', { class: 'button' }, 'Metrics'),
      this._choices,
    );
    fill(this._card.tools, this._chips, this._chooser, this.search);
    this._more = new MoreMetrics(page.data);
    this._trends = new Trends(page.data);
    this._table = new ClassTable({
      onSort: (sort, descending) => page.set({ sort, descending }),
      onOpen: (name) => page.set({ open: name }),
      trendOf: (visible) => this._trends.want(visible),
      furtherOf: (row, metric) => this._more.of(row, metric),
    });
    /** Metrics with columns of their own. @type {string[]} */
    this._further = [];
    /** @type {readonly Row[]} */
    this._list = [];
    this._orderedOf = '';
  }

  /** Puts the focus back on the row of a class. @param {string} name */
  focus(name) {
    this._table.focus(name);
  }

  /** @param {View} view @param {State} state */
  update(view, state) {
    const offered = offeredMetrics(view);
    this._further = state.columns.filter((metric) => offered.includes(metric));
    this._more.update(view, this._further);
    if (!this._card.ready([...this._source.parts, ...this._more.parts])) return;
    if (!this._source.rows) {
      this._card.put(this._source.expected ? skeleton() : nothing(NO_VALIDATION));
      return;
    }
    this._offer(offered);
    const sort = this._sortOf(state);
    const rows = this._ordered(this._source.rows, { ...state, ...sort });
    this._describe(view, state, rows.length);
    if (this._table.element.parentElement !== this._card.body) fill(this._card.body, this._table.element);
    const metric = metricText(view.classMetric).label;
    this._trends.update(view);
    this._table.update(rows, {
      metric,
      classMetric: view.classMetric,
      further: this._further.map((name) => ({ metric: name, label: metricText(name).label })),
      furtherKey: this._more.key,
      hasB: view.b !== null,
      joined: this._source.joined,
      scale: largestDifference(this._source.rows),
      ...sort,
      open: state.open,
      high: this._card.height(14 * 36, 44),
      sides: [view.a, view.b].flatMap((run) => (run ? [run.style] : [])),
    });
    this._table.drawTrends(this._trends);
  }

  /** The rows to list, recomputed only after a change. @param {readonly Row[]} rows @param {State} state */
  _ordered(rows, { search, groups, sort, descending, brush }) {
    const key = JSON.stringify([this._source.key, search, groups, sort, descending, brush, this._more.key]);
    const further = this._more.of.bind(this._more);
    if (key !== this._orderedOf)
      this._list = sortRows(filterRows(rows, search, groups, brush), sort, descending, further);
    this._orderedOf = key;
    return this._list;
  }

  /** The order of the state, or by training examples if its metric is not shown. @param {State} state */
  _sortOf({ sort, descending }) {
    const [, metric] = sideOf(sort);
    if (metric === null || this._further.includes(metric)) return { sort, descending };
    return { sort: INITIAL.sort, descending: INITIAL.descending };
  }

  /** Checkboxes of the metrics that can be added. @param {readonly string[]} offered */
  _offer(offered) {
    this._chooser.hidden = !offered.length;
    const key = JSON.stringify([offered, this._further]);
    if (this._choices.dataset.key === key) return;
    this._choices.dataset.key = key;
    const focused = /** @type {HTMLInputElement | null} */ (this._choices.querySelector('input:focus'))?.value;
    const boxes = offered.map((metric) => {
      const isShown = this._further.includes(metric);
      return el('input', {
        type: 'checkbox',
        value: metric,
        checked: isShown,
        disabled: !isShown && this._further.length >= MOST_COLUMNS,
        onchange: () =>
          this._page.set({
            columns: isShown ? this._further.filter((other) => other !== metric) : [...this._further, metric],
          }),
      });
    });
    fill(this._choices, ...boxes.map((box) => el('label', {}, box, metricText(box.value).label)));
    boxes.find((box) => box.value === focused)?.focus();
  }

  /** @param {KeyboardEvent} event */
  _closeChooser(event) {
    if (event.key !== 'Escape' || !this._chooser.open) return;
    event.stopPropagation();
    this._chooser.open = false;
    /** @type {HTMLElement} */ (this._chooser.firstElementChild).focus();
  }

  /** @param {View} view @param {State} state @param {number} n */
  _describe(view, state, n) {
    const rows = this._source.rows ?? NO_ROWS;
    if (this.search.value !== state.search) this.search.value = state.search;
    this._shown.textContent = n === rows.length ? count(n) : `${count(n)} of ${count(rows.length)}`;
    this._card.caption(captionOf(view, rows, state, this._source.joined));
    const counts = groupCounts(rows);
    const present = GROUPS.filter((group) => counts.get(group));
    const key = JSON.stringify([present.map((group) => counts.get(group)), state.groups]);
    if (this._chips.dataset.key === key) return;
    this._chips.dataset.key = key;
    const focused = /** @type {HTMLElement | null} */ (this._chips.querySelector(':focus'))?.dataset.chip;
    fill(this._chips, ...present.map((group) => this._chip(group, counts.get(group) ?? 0, state.groups)));
    if (focused) /** @type {HTMLElement | null} */ (this._chips.querySelector(`[data-chip="${focused}"]`))?.focus();
  }

  /** @param {string} group @param {number} n @param {string[]} leftOut */
  _chip(group, n, leftOut) {
    const on = !leftOut.includes(group);
    const groups = on ? [...leftOut, group] : leftOut.filter((other) => other !== group);
    const chip = el(
      'button',
      { type: 'button', class: 'chip', 'data-chip': group, onclick: () => this._page.set({ groups }) },
      groupBadge(group),
      el('span', { class: 'muted' }, count(n)),
    );
    setAttributes(chip, { 'aria-pressed': String(on) });
    return chip;
  }

  /** @returns {Table} */
  _numbers() {
    const rows = this._list.map((row) => [
      row.name,
      row.group,
      row.count,
      row.rank || null,
      row.support,
      row.a,
      row.b,
      row.difference,
      ...this._further.flatMap((metric) => {
        const { a, b, difference } = this._more.of(row, metric);
        return [a, b, difference];
      }),
    ]);
    const further = this._further.flatMap((metric) => ['a', 'b', 'difference'].map((side) => `${metric}_${side}`));
    const columns = ['class', 'group', 'training_count', 'rank', 'support', 'a', 'b', 'difference'];
    return { columns: [...columns, ...further], rows };
  }
}

/** The metrics of single classes besides the one shown. @param {View} view */
function offeredMetrics({ a, b, means, classMetric }) {
  const has = (/** @type {string} */ metric) => [a, b].some((run) => run?.info.columns.includes(metric));
  return means.filter((metric) => metric !== classMetric && has(metric));
}

/** @param {View} view @param {readonly Row[]} rows @param {State} state @param {boolean} joined */
function captionOf(view, rows, state, joined) {
  const texts = [];
  if (view.classMetric !== view.metric)
    texts.unshift(
      `${metricText(view.metric).label} has no value per class; shown is ${metricText(view.classMetric).label}.`,
    );
  if (joined) {
    const only = onlyInOne(rows);
    const alone = only.a || only.b ? `: ${count(only.a)} only in A, ${count(only.b)} only in B` : '';
    const regrouped = rows.reduce((n, row) => n + Number(row.regrouped !== null), 0);
    if (alone) texts.push(`A and B are joined by class name${alone}.`);
    if (regrouped)
      texts.push(`${plural(regrouped, 'class is', 'classes are')} in another group in B; grouped as in A.`);
  }
  if (state.brush) texts.push(`Only frequency ranks ${count(state.brush[0])} to ${count(state.brush[1])} are listed.`);
  return texts.join(' ');
}
