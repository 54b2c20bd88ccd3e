// @ts-check
/** The card around the table of all classes: search, groups, order, trend lines, and what A and B have in common. */

import { Card, NO_VALIDATION, nothing, skeleton } from './card.js';
import { ClassTable } from './class-table.js';
import { el, fill, groupBadge, set as setAttributes } from '../charts/dom.js';
import { Trends } from '../host/trends.js';
import { filterRows, groupCounts, largestDifference, onlyInOne, sortRows } from '../model/class-list.js';
import { count, metricText, plural } from '../model/format.js';
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
    fill(this._card.tools, this._chips, this.search);
    this._trends = new Trends(page.data);
    this._table = new ClassTable({
      onSort: (sort, descending) => page.set({ sort, descending }),
      onOpen: (name) => page.set({ open: name }),
      trendOf: (visible) => this._trends.want(visible),
    });
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
    if (!this._card.ready(this._source.parts)) return;
    if (!this._source.rows) {
      this._card.put(this._source.expected ? skeleton() : nothing(NO_VALIDATION));
      return;
    }
    const rows = this._ordered(this._source.rows, state);
    this._describe(view, state, rows.length);
    if (this._table.element.parentElement !== this._card.body) fill(this._card.body, this._table.element);
    const metric = metricText(view.classMetric).label;
    this._trends.update(view);
    this._table.update(rows, {
      metric,
      classMetric: view.classMetric,
      hasB: view.b !== null,
      joined: this._source.joined,
      scale: largestDifference(this._source.rows),
      sort: state.sort,
      descending: state.descending,
      open: state.open,
      high: this._card.height(14 * 36, 44),
      sides: [view.a, view.b].flatMap((run) => (run ? [run.style] : [])),
    });
    this._table.drawTrends(this._trends);
  }

  /** The rows to list, recomputed only after a change. @param {readonly Row[]} rows @param {State} state */
  _ordered(rows, { search, groups, sort, descending, brush }) {
    const key = JSON.stringify([this._source.key, search, groups, sort, descending, brush]);
    if (key !== this._orderedOf) this._list = sortRows(filterRows(rows, search, groups, brush), sort, descending);
    this._orderedOf = key;
    return this._list;
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
    ]);
    return { columns: ['class', 'group', 'training_count', 'rank', 'support', 'a', 'b', 'difference'], rows };
  }
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
