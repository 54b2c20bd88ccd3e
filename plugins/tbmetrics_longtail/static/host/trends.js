// @ts-check
/** Trend lines of the visible classes, requested together when scrolling stops and kept by class. */

/** @import { Data } from './data.js' */
/** @import { Maybe, Row, RunView, View } from '../model/types.js' */

/** @typedef {{x: number, y: Maybe}[]} Line */
/** @typedef {{run: RunView, attribute: string, column: string, places: number[], scope: string}} Asked */

const REST_MS = 90;
const MOST_POINTS = 60;
const MOST_AT_ONCE = 100; // as the server takes them
const MOST_KEPT = 4000;

export class Trends {
  /** @param {Data} data */
  constructor(data) {
    this._data = data;
    /** @type {View | null} */
    this._view = null;
    /** @type {readonly Row[]} */
    this._visible = [];
    /** @type {Map<string, Line>} */
    this._lines = new Map();
    /** @type {Asked[]} */
    this._asked = [];
  }

  /** Store the lines that have arrived. @param {View} view */
  update(view) {
    const changed = this._view && scopeOf(this._view, view.a) !== scopeOf(view, view.a);
    this._view = view;
    if (changed || this._needsB(view)) this._later();
    this._asked = this._asked.filter((asked) => !this._collect(asked));
  }

  /** @param {readonly Row[]} rows those in sight */
  want(rows) {
    this._visible = rows;
    this._later();
  }

  /**
   * The lines of A and B that have arrived, or null.
   * @param {Row} row @returns {{key: string, lines: (Line | null)[]} | null}
   */
  of(row) {
    const view = this._view;
    if (!view) return null;
    const keys = [keyOf(view, view.a, row.indexA), keyOf(view, view.b, row.indexB)];
    const lines = keys.map((key) => (key === null ? null : (this._lines.get(key) ?? null)));
    if (lines.every((line) => line === null)) return null;
    return { key: keys.map((key, i) => (lines[i] ? key : '')).join('|'), lines };
  }

  /** @param {View} view */
  _needsB(view) {
    return this._visible.some((row) => {
      const key = keyOf(view, view.b, row.indexB);
      return key !== null && !this._lines.has(key) && !this._asked.some((a) => a.scope === scopeOf(view, view.b));
    });
  }

  _later() {
    window.clearTimeout(this._timer);
    this._timer = window.setTimeout(() => this._ask(), REST_MS);
  }

  _ask() {
    const view = this._view;
    if (!view || view.moving) return;
    for (const [run, side] of /** @type {const} */ ([
      [view.a, 'indexA'],
      [view.b, 'indexB'],
    ])) {
      if (!run?.info.columns.includes(view.classMetric)) continue;
      const scope = scopeOf(view, run);
      const waiting = new Set(this._asked.flatMap((a) => (a.scope === scope ? a.places : [])));
      const places = this._visible.map((row) => row[side]).filter((place) => place >= 0 && !waiting.has(place));
      const missing = places.filter((place) => !this._lines.has(`${scope}|${place}`)).slice(0, MOST_AT_ONCE);
      if (!missing.length) continue;
      const asked = { run, attribute: view.attribute, column: view.classMetric, places: missing, scope };
      if (!this._collect(asked)) this._asked.push(asked);
    }
  }

  /** Store the answer if there is one. Returns whether the request is finished. @param {Asked} asked */
  _collect({ run, attribute, column, places, scope }) {
    const { value, status } = this._data.histories(run, attribute, places, column);
    if (!value) return status === 'error'; // a trend line is not worth a message
    places.forEach((place, i) => {
      this._lines.set(`${scope}|${place}`, lineOf(value.steps, value.values.subarray(i * value.steps.length)));
    });
    for (const key of this._lines.keys()) {
      if (this._lines.size <= MOST_KEPT) break;
      this._lines.delete(key);
    }
    return true;
  }
}

/** @param {View} view @param {RunView | null} run */
function scopeOf(view, run) {
  return run ? JSON.stringify([run.run, run.version, view.attribute, view.classMetric]) : '';
}

/** @param {View} view @param {RunView | null} run @param {number} place */
function keyOf(view, run, place) {
  return run && place >= 0 ? `${scopeOf(view, run)}|${place}` : null;
}

/** About `MOST_POINTS` values at most, always with the last one. @param {number[]} steps @param {Float32Array} values @returns {Line} */
function lineOf(steps, values) {
  const every = Math.max(1, Math.ceil(steps.length / MOST_POINTS));
  return steps.flatMap((x, i) => {
    if (i % every && i !== steps.length - 1) return [];
    return [{ x, y: Number.isNaN(values[i]) ? null : values[i] }];
  });
}
