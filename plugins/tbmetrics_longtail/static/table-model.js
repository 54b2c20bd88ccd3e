// @ts-check
/** The table of all classes without a page: joining two runs, sorting, filtering, and which rows to draw. */

import { GROUPS } from './model.js';

/** @import { ClassesAnswer, Group, Maybe, Row, SortKey } from './types.js' */

/**
 * @typedef {object} Side one run's classes with two columns of its per-class table
 * @property {ClassesAnswer} classes
 * @property {Float32Array | null} support
 * @property {Float32Array | null} values
 */

const COLLATOR = new Intl.Collator('en', { numeric: true, sensitivity: 'base' });

/**
 * All classes of A, then those that only B has, joined by name.
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
  const valueA = at(a?.values, indexA);
  const valueB = at(b?.values, indexB);
  const countOf = (/** @type {Side | null} */ side, /** @type {number} */ i) =>
    i >= 0 ? (side?.classes.counts[i] ?? null) : null;
  return {
    name,
    group,
    regrouped: groupB !== null && groupB !== group ? groupB : null,
    count: countOf(a, indexA) ?? countOf(b, indexB),
    support: at(a?.support, indexA) ?? at(b?.support, indexB),
    a: valueA,
    b: valueB,
    difference: valueA !== null && valueB !== null ? valueB - valueA : null,
    indexA,
    indexB,
  };
}

/** @param {string} group @returns {Group} */
function asGroup(group) {
  return GROUPS.find((known) => known === group) ?? 'unknown';
}

/** @param {Float32Array | null | undefined} values @param {number} index @returns {Maybe} */
function at(values, index) {
  const value = index >= 0 ? values?.[index] : undefined;
  return value === undefined || Number.isNaN(value) ? null : value;
}

/**
 * The rows whose name holds `search` and whose group is not left out.
 * @param {readonly Row[]} rows @param {string} search @param {readonly string[]} leftOut
 */
export function filterRows(rows, search, leftOut) {
  const wanted = search.trim().toLocaleLowerCase('en');
  return rows.filter(
    (row) => !leftOut.includes(row.group) && (!wanted || row.name.toLocaleLowerCase('en').includes(wanted)),
  );
}

/**
 * The rows in order; undefined values last in either direction, ties in the order given.
 * @param {readonly Row[]} rows @param {SortKey} key @param {boolean} descending
 */
export function sortRows(rows, key, descending) {
  const sign = descending ? -1 : 1;
  return [...rows].sort((p, q) => {
    if (key === 'name') return sign * COLLATOR.compare(p.name, q.name);
    const [x, y] = [sortValue(p, key), sortValue(q, key)];
    if (x === null || y === null) return Number(x === null) - Number(y === null);
    return sign * (x - y);
  });
}

/** @param {Row} row @param {Exclude<SortKey, 'name'>} key */
function sortValue(row, key) {
  return key === 'group' ? GROUPS.indexOf(row.group) : row[key];
}

/** The direction a column starts with: names from A, everything else from the largest. @param {SortKey} key */
export function firstDirection(key) {
  return key !== 'name' && key !== 'group';
}

/** Number of rows by group. @param {readonly Row[]} rows @returns {Map<Group, number>} */
export function groupCounts(rows) {
  const counts = new Map(GROUPS.map((group) => [group, 0]));
  for (const row of rows) counts.set(row.group, (counts.get(row.group) ?? 0) + 1);
  return counts;
}

/** The largest difference in size, at least `least`: the full width of a bar. @param {readonly Row[]} rows */
export function largestDifference(rows, least = 0.05) {
  return rows.reduce((largest, row) => Math.max(largest, Math.abs(row.difference ?? 0)), least);
}

/** How many classes only one of the runs has. @param {readonly Row[]} rows */
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
