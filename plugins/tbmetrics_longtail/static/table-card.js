// @ts-check
/** The table of all classes: search, groups, and which classes only one of the runs has. */

import { Card, nothing } from './card.js';
import { ClassTable } from './class-table.js';
import { el, fill, groupBadge, set as setAttributes } from './dom.js';
import { count, metricText, plural } from './format.js';
import { GROUPS } from './model.js';
import { Latest } from './resources.js';
import { filterRows, groupCounts, joinClasses, largestDifference, onlyInOne, sortRows } from './table-model.js';

/** @import { Part } from './card.js' */
/** @import { Data } from './data.js' */
/** @import { Side } from './table-model.js' */
/** @import { ClassesAnswer, Row, RunView, State, View } from './types.js' */

export class TableCard {
  /** @param {{data: Data, set: (patch: Partial<State>) => void, retry: () => void}} page */
  constructor({ data, set, retry }) {
    this._data = data;
    this._set = set;
    this._card = new Card({ title: 'Classes', className: 'table-card', onRetry: retry });
    this.element = this._card.element;
    this.search = el('input', {
      type: 'search',
      placeholder: 'Search classes (press /)',
      'aria-label': 'Search classes by name',
      autocomplete: 'off',
      spellcheck: 'false',
      dir: 'auto',
      oninput: () => set({ search: this.search.value }),
    });
    this._chips = el('div', { class: 'chips', role: 'group', 'aria-label': 'Groups in the table' });
    this._shown = el('span', { class: 'muted', role: 'status' });
    fill(this._card.title, 'Classes', this._shown);
    fill(this._card.tools, this._chips, this.search);
    this._table = new ClassTable({
      onSort: (sort, descending) => set({ sort, descending }),
      onOpen: (name) => set({ open: name }),
    });
    this._latest = { a: latestSide(), b: latestSide() };
    /** @type {Row[]} */
    this._rows = [];
    this._joinedOf = '';
    /** @type {readonly Row[]} */
    this._list = [];
    this._orderedOf = '';
  }

  /** Puts the focus back on the row of a class. @param {string} name */
  focus(name) {
    this._table.focus(name);
  }

  /** All classes, joined. @returns {readonly Row[]} */
  get rows() {
    return this._rows;
  }

  /** @param {View} view @param {State} state */
  update(view, state) {
    const sides = { a: this._side('a', view), b: this._side('b', view) };
    if (!this._card.ready([...sides.a.parts, ...sides.b.parts])) return;
    if (!sides.a.side && !sides.b.side) {
      const waits = sides.a.parts.length + sides.b.parts.length > 0;
      fill(
        this._card.body,
        waits
          ? el('div', { class: 'skeleton', 'aria-label': 'Loading' })
          : nothing('No validation at or before this step.'),
      );
      return;
    }
    this._join(sides.a.side, sides.b.side);
    const rows = this._ordered(state);
    this._describe(view, state, rows.length);
    if (this._table.element.parentElement !== this._card.body) fill(this._card.body, this._table.element);
    const metric = metricText(view.classMetric).label;
    const scale = largestDifference(this._rows);
    this._table.update(rows, {
      metric,
      classMetric: view.classMetric,
      hasB: view.b !== null,
      scale,
      sort: state.sort,
      descending: state.descending,
      open: state.open,
    });
  }

  /**
   * One run's class list and values; `side` is null until both are there.
   * @param {'a' | 'b'} letter @param {View} view @returns {{parts: Part[], side: (Side & {key: string}) | null}}
   */
  _side(letter, view) {
    const run = view[letter];
    if (!run || run.step === null) return { parts: [], side: null };
    const scope = JSON.stringify([run.run, view.attribute, view.classMetric]);
    const latest = this._latest[letter];
    const classes = latest.classes.take(this._data.classes(run, view.attribute), scope);
    const values = latest.values.take(this._data.values(run, view.attribute, columnsOf(run, view)), scope);
    const parts = [
      { name: run.run, resource: classes },
      { name: run.run, resource: values },
    ];
    if (!classes.value || !values.value || values.value.length < 2 * classes.value.names.length)
      return { parts, side: null };
    const n = classes.value.names.length;
    const [support, metric] = [values.value.subarray(0, n), values.value.subarray(n, 2 * n)];
    return {
      parts,
      side: { classes: classes.value, support, values: metric, key: identity(classes.value, values.value) },
    };
  }

  /**
   * Joins anew only when one of the sides is another.
   * @param {(Side & {key: string}) | null} a @param {(Side & {key: string}) | null} b
   */
  _join(a, b) {
    const key = `${a?.key}|${b?.key}`;
    if (key === this._joinedOf) return;
    this._joinedOf = key;
    this._rows = joinClasses(a, b);
  }

  /** The rows to list, worked out anew only when something has changed. @param {State} state */
  _ordered({ search, groups, sort, descending }) {
    const key = JSON.stringify([this._joinedOf, search, groups, sort, descending]);
    if (key !== this._orderedOf) this._list = sortRows(filterRows(this._rows, search, groups), sort, descending);
    this._orderedOf = key;
    return this._list;
  }

  /** @param {View} view @param {State} state @param {number} n */
  _describe(view, state, n) {
    if (this.search.value !== state.search) this.search.value = state.search;
    this._shown.textContent = n === this._rows.length ? count(n) : `${count(n)} of ${count(this._rows.length)}`;
    this._card.caption(captionOf(view, this._rows));
    const counts = groupCounts(this._rows);
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
      { type: 'button', class: 'chip', 'data-chip': group, onclick: () => this._set({ groups }) },
      groupBadge(group),
      el('span', { class: 'muted' }, count(n)),
    );
    setAttributes(chip, { 'aria-pressed': String(on) });
    return chip;
  }
}

function latestSide() {
  return {
    classes: /** @type {Latest<ClassesAnswer>} */ (new Latest()),
    values: /** @type {Latest<Float32Array>} */ (new Latest()),
  };
}

/** @param {RunView} run @param {View} view */
function columnsOf(run, view) {
  return ['support', view.classMetric].filter((column) => run.info.columns.includes(column));
}

/** @type {WeakMap<object, number>} */
const numbers = new WeakMap();
let last = 0;

/** A text that is the same for the same objects only. @param {...object} objects */
function identity(...objects) {
  return objects
    .map((object) => {
      if (!numbers.has(object)) numbers.set(object, (last += 1));
      return numbers.get(object);
    })
    .join('.');
}

/** @param {View} view @param {readonly Row[]} rows */
function captionOf(view, rows) {
  const texts = ['Open a class for its curves.'];
  if (view.classMetric !== view.metric)
    texts.unshift(
      `${metricText(view.metric).label} has no value per class; shown is ${metricText(view.classMetric).label}.`,
    );
  if (view.b) {
    const only = onlyInOne(rows);
    const alone = only.a || only.b ? `: ${count(only.a)} only in A, ${count(only.b)} only in B` : '';
    const regrouped = rows.reduce((n, row) => n + Number(row.regrouped !== null), 0);
    texts.push(`A and B are joined by class name${alone}.`);
    if (regrouped)
      texts.push(`${plural(regrouped, 'class is', 'classes are')} in another group in B; grouped as in A.`);
  }
  return texts.join(' ');
}
