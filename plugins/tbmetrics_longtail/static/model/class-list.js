// @ts-check
/** The list of all classes: joining two runs, sorting, filtering, and which rows to draw. */

import { differenceInterval } from './evidence.js';
import { GROUPS } from './view.js';

/** @import { SideKey, SortKey } from './state.js' */
/** @import { ClassesAnswer } from './answers.js' */
/** @import { Group, Interval, Maybe, Row } from './types.js' */

/**
 * @typedef {object} Side one run's classes with columns of its per-class table
 * @property {ClassesAnswer} classes
 * @property {Float32Array | null} support
 * @property {Float32Array | null} values
 * @property {Float32Array | null} [lower] ends of the values' 95 % intervals, if recorded
 * @property {Float32Array | null} [upper]
 */

/** Puts rows without an interval behind all others: ends of intervals lie between −2 and 2. */
const UNKNOWN = 4;
/** Smaller differences are shown as 0.000, and are neither gains nor losses. */
const LEAST_SHOWN = 0.0005;

/**
 * All classes of A, then those only in B, joined by name.
 * @param {Side | null} a @param {Side | null} b @returns {Row[]}
 */
export function joinClasses(a, b) {
  const placeInB = new Map(b?.classes.names.map((name, index) => [name, index]));
  const rows = (a?.classes.names ?? []).map((name, indexA) => joined(name, a, indexA, b, placeInB.get(name) ?? -1));
  const knownInA = new Set(a?.classes.names);
  b?.classes.names.forEach((name, indexB) => {
    if (!knownInA.has(name)) rows.push(joined(name, a, -1, b, indexB));
  });
  return rows;
}

/**
 * @param {string} name @param {Side | null} a @param {number} indexA @param {Side | null} b @param {number} indexB
 * @returns {Row}
 */
function joined(name, a, indexA, b, indexB) {
  const groupB = b && indexB >= 0 ? asGroup(b.classes.groups[indexB]) : null;
  const group = a && indexA >= 0 ? asGroup(a.classes.groups[indexA]) : (groupB ?? 'unknown');
  const valueA = valueAt(a?.values, indexA);
  const valueB = valueAt(b?.values, indexB);
  const [intervalA, intervalB] = [intervalAt(a, indexA), intervalAt(b, indexB)];
  const isDefinedInBoth = valueA !== null && valueB !== null;
  const countOf = (/** @type {Side | null} */ side, /** @type {number} */ i) =>
    i >= 0 ? (side?.classes.counts[i] ?? null) : null;
  return {
    name,
    group,
    regrouped: groupB !== null && groupB !== group ? groupB : null,
    count: countOf(a, indexA) ?? countOf(b, indexB),
    support: valueAt(a?.support, indexA) ?? valueAt(b?.support, indexB),
    a: valueA,
    b: valueB,
    difference: isDefinedInBoth ? valueB - valueA : null,
    intervalA,
    intervalB,
    interval: isDefinedInBoth ? differenceInterval(valueA, intervalA, valueB, intervalB) : null,
    rank: 0,
    indexA,
    indexB,
  };
}

/**
 * The rows with their rank by training count: 1 = the most frequent, 0 = unknown; ties in the order given.
 * @param {Row[]} rows
 */
export function ranked(rows) {
  const known = rows.filter((row) => row.count !== null).sort((p, q) => Number(q.count) - Number(p.count));
  known.forEach((row, i) => {
    row.rank = i + 1;
  });
  return rows;
}

/**
 * Classes that gained and lost most from A to B, by evidence: by the end of the interval that is nearest to saying
 * nothing. Rows without an interval come last, by their values.
 * @param {readonly Row[]} rows @param {boolean} lowerIsBetter @param {number} most in each list
 */
export function movers(rows, lowerIsBetter, most) {
  const sign = lowerIsBetter ? -1 : 1;
  const moved = (/** @type {Row} */ row, /** @type {1 | -1} */ direction) =>
    direction * Number(row.difference) >= LEAST_SHOWN ? worthOf(row.difference, row.interval, direction) : null;
  const worse = sign === 1 ? -1 : 1;
  return {
    gains: topOf(rows, (row) => moved(row, sign), most),
    losses: topOf(rows, (row) => moved(row, worse), most),
  };
}

/**
 * How far a value lies in a direction for certain: its interval's end against that direction.
 * @param {Maybe} value @param {Interval | null} interval @param {1 | -1} direction
 */
function worthOf(value, interval, direction) {
  if (value === null) return null;
  if (!interval) return direction * value - UNKNOWN;
  return direction === 1 ? interval[0] : -interval[1];
}

/**
 * The `most` rows of largest worth in one pass; ties go to rows with more positives, then to earlier rows.
 * @param {readonly Row[]} rows @param {(row: Row) => Maybe} rankBy @param {number} most @returns {Row[]}
 */
function topOf(rows, rankBy, most) {
  /** @type {{row: Row, worth: number}[]} */
  const top = [];
  for (const row of rows) {
    const worth = rankBy(row);
    if (worth === null) continue;
    const beats = (/** @type {{row: Row, worth: number}} */ other) =>
      worth > other.worth || (worth === other.worth && (row.support ?? 0) > (other.row.support ?? 0));
    if (top.length === most && !beats(top[most - 1])) continue;
    const place = top.findIndex(beats);
    top.splice(place < 0 ? top.length : place, 0, { row, worth });
    if (top.length > most) top.pop();
  }
  return top.map(({ row }) => row);
}

/** @param {string} group @returns {Group} */
function asGroup(group) {
  return GROUPS.find((known) => known === group) ?? 'unknown';
}

/** @param {Float32Array | null | undefined} values @param {number} index @returns {Maybe} */
function valueAt(values, index) {
  const value = index >= 0 ? values?.[index] : undefined;
  return value === undefined || Number.isNaN(value) ? null : value;
}

/** @param {Side | null} side @param {number} index @returns {Interval | null} */
function intervalAt(side, index) {
  const [lower, upper] = [valueAt(side?.lower, index), valueAt(side?.upper, index)];
  return lower === null || upper === null ? null : [lower, upper];
}

/**
 * Rows whose name contains `search`, whose group is not left out, and whose frequency rank is within `brush`.
 * @param {readonly Row[]} rows @param {string} search @param {readonly string[]} leftOut
 * @param {readonly [number, number] | null} [brush]
 */
export function filterRows(rows, search, leftOut, brush = null) {
  const wanted = search.trim().toLocaleLowerCase('en');
  return rows.filter(
    (row) =>
      !leftOut.includes(row.group) &&
      (!wanted || row.name.toLocaleLowerCase('en').includes(wanted)) &&
      (!brush || (row.rank >= brush[0] && row.rank <= brush[1])),
  );
}

/**
 * Sorted rows; undefined values come last in either direction, ties keep their order.
 * @param {readonly Row[]} rows @param {SortKey} key @param {boolean} descending
 * @param {(row: Row, metric: string) => Record<SideKey, Maybe>} [further] a further metric, for its keys
 */
export function sortRows(rows, key, descending, further = (row) => row) {
  const [side, metric] = sideOf(key);
  const sign = descending ? -1 : 1;
  const collator = key === 'name' ? new Intl.Collator('en', { numeric: true, sensitivity: 'base' }) : null;
  return [...rows].sort((p, q) => {
    if (collator) return sign * collator.compare(p.name, q.name);
    const [x, y] = [p, q].map((row) =>
      metric === null ? sortValue(row, side) : further(row, metric)[/** @type {SideKey} */ (side)],
    );
    if (x === null || y === null) return Number(x === null) - Number(y === null);
    return sign * (x - y);
  });
}

/** @param {Row} row @param {string} key */
function sortValue(row, key) {
  return key === 'group' ? GROUPS.indexOf(row.group) : row[/** @type {SideKey | 'count' | 'support'} */ (key)];
}

/** What a key sorts by, and the further metric that it is of. @param {SortKey} key @returns {[string, string | null]} */
export function sideOf(key) {
  const colon = key.indexOf(':');
  return colon < 0 ? [key, null] : [key.slice(0, colon), key.slice(colon + 1)];
}

/** Initial direction of a column: names ascending, numbers descending. @param {SortKey} key */
export function firstDirection(key) {
  return key !== 'name' && key !== 'group';
}

/** Number of rows by group. @param {readonly Row[]} rows @returns {Map<Group, number>} */
export function groupCounts(rows) {
  const counts = new Map(GROUPS.map((group) => [group, 0]));
  for (const row of rows) counts.set(row.group, (counts.get(row.group) ?? 0) + 1);
  return counts;
}

/** Largest absolute difference, at least `least`: the full width of a bar. @param {readonly Row[]} rows */
export function largestDifference(rows, least = 0.05) {
  return rows.reduce((largest, row) => Math.max(largest, Math.abs(row.difference ?? 0)), least);
}

/** Number of classes that only one of the runs has. @param {readonly Row[]} rows */
export function onlyInOne(rows) {
  return {
    a: rows.reduce((n, row) => n + Number(row.indexB < 0), 0),
    b: rows.reduce((n, row) => n + Number(row.indexA < 0), 0),
  };
}

/**
 * Which of `n` rows to draw: those in sight and `spare` more on either side.
 * @param {number} scrollTop @param {number} height @param {number} rowHeight @param {number} n @param {number} [spare]
 */
export function visibleRows(scrollTop, height, rowHeight, n, spare = 8) {
  const first = Math.max(0, Math.min(n, Math.floor(scrollTop / rowHeight)) - spare);
  const last = Math.min(n, Math.ceil((scrollTop + height) / rowHeight) + spare);
  return { first: Math.min(first, last), last };
}

/** Classes with a rank, the most frequent first. @param {readonly Row[]} rows */
export function byFrequency(rows) {
  return rows.filter((row) => row.rank > 0).sort((p, q) => p.rank - q.rank);
}
