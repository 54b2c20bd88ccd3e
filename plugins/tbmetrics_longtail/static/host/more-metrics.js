// @ts-check
/** Further metrics of every class of A and B, beside the one that all cards show. */

import { Latest } from './resources.js';
import { differenceInterval } from '../model/evidence.js';

/** @import { Data } from './data.js' */
/** @import { Part } from './resources.js' */
/** @import { Interval, Maybe, Row, RunView, View } from '../model/types.js' */

/** @typedef {{a: Maybe, b: Maybe, difference: Maybe, interval: Interval | null}} Pair */
/** @typedef {Map<string, Float32Array>} Columns by name, those that have arrived */

export class MoreMetrics {
  /** @param {Data} data */
  constructor(data) {
    this._data = data;
    this._latest = {
      a: /** @type {Latest<Float32Array>} */ (new Latest()),
      b: /** @type {Latest<Float32Array>} */ (new Latest()),
    };
    /** @type {{a: Columns, b: Columns}} */
    this._columns = { a: new Map(), b: new Map() };
    /** What it waits for. @type {Part[]} */
    this.parts = [];
    /** Changes with the values. */
    this.key = '';
  }

  /** @param {View} view @param {readonly string[]} metrics */
  update(view, metrics) {
    const sides = /** @type {const} */ (['a', 'b']).map((letter) => this._side(letter, view, metrics));
    this.parts = sides.flatMap(({ parts }) => parts);
    this.key = sides.map(({ key }) => key).join('|');
  }

  /** @param {'a' | 'b'} letter @param {View} view @param {readonly string[]} metrics */
  _side(letter, view, metrics) {
    const run = view[letter];
    const names = run ? columnsOf(run, metrics) : [];
    this._columns[letter] = new Map();
    if (!run || run.step === null || !names.length) return { parts: [], key: '' };
    const scope = JSON.stringify([run.run, view.attribute, names]);
    const resource = this._latest[letter].take(this._data.values(run, view.attribute, names), scope);
    const values = resource.value ?? new Float32Array();
    const n = values.length / names.length;
    names.forEach((name, i) => this._columns[letter].set(name, values.subarray(i * n, (i + 1) * n)));
    return { parts: [{ name: run.run, resource }], key: `${scope}${run.step}${run.version}${n}${resource.stale}` };
  }

  /** A metric of a class in both runs. @param {Row} row @param {string} metric @returns {Pair} */
  of(row, metric) {
    const [a, ofA] = this._valueOf('a', row.indexA, metric);
    const [b, ofB] = this._valueOf('b', row.indexB, metric);
    if (a === null || b === null) return { a, b, difference: null, interval: null };
    return { a, b, difference: b - a, interval: differenceInterval(a, ofA, b, ofB) };
  }

  /** @param {'a' | 'b'} letter @param {number} index @param {string} metric @returns {[Maybe, Interval | null]} */
  _valueOf(letter, index, metric) {
    const at = (/** @type {string} */ end) => {
      const value = index < 0 ? undefined : this._columns[letter].get(metric + end)?.[index];
      return value === undefined || Number.isNaN(value) ? null : value;
    };
    const [lower, upper] = [at('_lower'), at('_upper')];
    return [at(''), lower === null || upper === null ? null : [lower, upper]];
  }
}

/** @param {RunView} run @param {readonly string[]} metrics */
function columnsOf(run, metrics) {
  const wanted = metrics.flatMap((metric) => ['', '_lower', '_upper'].map((end) => metric + end));
  return wanted.filter((column) => run.info.columns.includes(column));
}
