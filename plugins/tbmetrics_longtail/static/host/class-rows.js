// @ts-check
/** All classes of A and B, joined by name, grouped and ranked, for every card that lists classes. */

import { Latest } from './resources.js';
import { joinClasses, ranked } from '../model/class-list.js';
import { groupsOfClasses } from '../model/grouping.js';

/** @import { Data } from './data.js' */
/** @import { Part } from './resources.js' */
/** @import { Side } from '../model/class-list.js' */
/** @import { ClassesAnswer } from '../model/answers.js' */
/** @import { Grouping, Row, RunView, View } from '../model/types.js' */

/** @typedef {Side & {key: string}} KeyedSide */

export class ClassRows {
  /** @param {Data} data */
  constructor(data) {
    this._data = data;
    this._latest = { a: latestSide(), b: latestSide() };
    /** What it waits for. @type {Part[]} */
    this.parts = [];
    /** Whether a side has a step to show at all. */
    this.expected = false;
    /** Whether the classes of both have arrived; until then, no class is known to be in one run only. */
    this.joined = false;
    /** Changes with the rows. */
    this.key = '';
    /** The key without the groups. */
    this.valuesKey = '';
    /** @type {(() => readonly Row[]) | null} */
    this._make = null;
    /** @type {readonly Row[] | null} */
    this._rows = null;
    this._joinedOf = '';
    /** @type {Row[]} */
    this._joined = [];
  }

  /** Null until a side has arrived; computed on first access. */
  get rows() {
    if (!this._rows && this._make) this._rows = this._make();
    return this._rows;
  }

  /** @param {View} view */
  update(view) {
    const [a, b] = [this._side('a', view), this._side('b', view)];
    this.parts = [...a.parts, ...b.parts];
    this.expected = this.parts.length > 0;
    this.joined = a.side !== null && b.side !== null;
    if (!a.side && !b.side) {
      this._make = this._rows = null;
      return;
    }
    const joinedOf = `${a.side?.key}|${b.side?.key}`;
    const key = `${joinedOf}|${view.grouping?.key ?? ''}`;
    if (key === this.key && this._make) return;
    this.key = key;
    this.valuesKey = joinedOf;
    this._rows = null;
    const { grouping } = view;
    this._make = () => {
      if (joinedOf !== this._joinedOf) this._joined = ranked(joinClasses(a.side, b.side));
      this._joinedOf = joinedOf;
      return grouping ? regrouped(this._joined, grouping) : this._joined;
    };
  }

  /** The class called `name`. @param {string | null} name @returns {Row | undefined} */
  find(name) {
    return name === null ? undefined : this.rows?.find((row) => row.name === name);
  }

  /**
   * One run's class list and values; `side` is null until both are there.
   * @param {'a' | 'b'} letter @param {View} view @returns {{parts: Part[], side: KeyedSide | null}}
   */
  _side(letter, view) {
    const run = view[letter];
    if (!run || run.step === null) return { parts: [], side: null };
    const scope = JSON.stringify([run.run, view.attribute, view.classMetric]);
    const latest = this._latest[letter];
    const classes = latest.classes.take(this._data.classes(run, view.attribute), scope);
    const columns = columnsOf(run, view);
    const values = latest.values.take(this._data.values(run, view.attribute, columns), scope);
    const parts = [
      { name: run.run, resource: classes },
      { name: run.run, resource: values },
    ];
    if (!classes.value || !values.value || values.value.length < columns.length * classes.value.names.length)
      return { parts, side: null };
    const n = classes.value.names.length;
    const numbers = values.value;
    const [support, metric, lower, upper] = columns.map((_, i) => numbers.subarray(i * n, (i + 1) * n));
    const unknown = new Float32Array(n).fill(NaN); // a run without the metric
    const key = identity(classes.value, numbers);
    return { parts, side: { classes: classes.value, support, values: metric ?? unknown, lower, upper, key } };
  }
}

/** @param {readonly Row[]} rows @param {Grouping} bounds @returns {Row[]} */
function regrouped(rows, bounds) {
  const groups = groupsOfClasses({ groups: [], counts: rows.map((row) => row.count) }, bounds);
  return rows.map((row, i) => ({ ...row, group: groups[i], regrouped: null }));
}

function latestSide() {
  return {
    classes: /** @type {Latest<ClassesAnswer>} */ (new Latest()),
    values: /** @type {Latest<Float32Array>} */ (new Latest()),
  };
}

/** The columns asked for, `support` first, then the metric. @param {RunView} run @param {View} view */
export function columnsOf(run, view) {
  const ends = ['_lower', '_upper'].map((end) => view.classMetric + end);
  return ['support', view.classMetric, ...ends].filter((column) => run.info.columns.includes(column));
}

/** @type {WeakMap<object, number>} */
const identities = new WeakMap();
let last = 0;

/** A text that identifies the given objects. @param {...object} objects */
function identity(...objects) {
  return objects
    .map((object) => {
      if (!identities.has(object)) identities.set(object, (last += 1));
      return identities.get(object);
    })
    .join('.');
}
