// @ts-check
/** Two runs along the training count: the tail below every boundary, and what moved from A to B, by class or bin. */

import { couldBeChance, movedByChance } from './evidence.js';
import { RULES, terciles } from './grouping.js';

/** @import { Group, Grouping, Interval, Maybe, Row } from './types.js' */

/**
 * @typedef {object} TailDifferences B minus A over the tail below each boundary
 * @property {number[]} tail_max largest training count in the tail, ascending
 * @property {number[]} n_defined
 * @property {Maybe[]} mean_a
 * @property {Maybe[]} mean_b
 * @property {Maybe[]} difference
 * @property {Maybe[]} lower of the difference
 * @property {Maybe[]} upper
 */

/**
 * @typedef {object} CountBin classes of like training count
 * @property {number} lowest
 * @property {number} highest
 * @property {number} n_defined
 * @property {number} mean_a
 * @property {number} mean_b
 * @property {Maybe} lower of the difference
 * @property {Maybe} upper
 */

/**
 * @typedef {object} ByCountAnswer
 * @property {boolean} is_paired
 * @property {boolean} is_withheld
 * @property {string} basis
 * @property {TailDifferences} tails
 * @property {CountBin[]} bins
 */

/**
 * @typedef {object} Move one class, or the mean of a bin, from A to B
 * @property {string | null} name of the class; null = a bin
 * @property {Group} group
 * @property {number} lowest training count
 * @property {number} highest
 * @property {number} n classes
 * @property {number} a
 * @property {number} b
 * @property {Interval | null} interval of the difference
 * @property {boolean} isChance whether that could be chance
 */

/** Whether a tail has more than one place to end. @param {readonly Maybe[]} counts */
export function hasBoundaries(counts) {
  return new Set(counts.filter((n) => n !== null)).size > 1;
}

/** The boundary whose tail is the one up to a count, or −1. @param {TailDifferences} tails @param {number} tailMax */
export function boundaryAt({ tail_max }, tailMax) {
  return tail_max.findLastIndex((n) => n <= tailMax);
}

/** At how many boundaries there is an interval, and at how many it leaves out 0. @param {TailDifferences} tails */
export function toldBoundaries({ lower, upper }) {
  const intervals = lower.flatMap((low, i) =>
    low === null || upper[i] === null ? [] : [/** @type {Interval} */ ([low, upper[i]])],
  );
  return { known: intervals.length, clear: intervals.filter((interval) => !couldBeChance(interval)).length };
}

/**
 * The boundaries of the named rules, those with the same tail together.
 * @param {TailDifferences} tails @param {readonly number[]} counts known training counts
 * @returns {{index: number, label: string}[]}
 */
export function ruleBoundaries(tails, counts) {
  /** @type {[string, number][]} */
  const rules = Object.values(RULES).map(({ label, tailMax }) => [label.split(':')[0], tailMax]);
  rules.push(['Thirds', terciles([...counts]).tailMax]);
  /** @type {Map<number, string[]>} */
  const labels = new Map();
  for (const [label, tailMax] of rules) {
    const index = boundaryAt(tails, tailMax);
    if (index >= 0) labels.set(index, [...(labels.get(index) ?? []), label]);
  }
  return [...labels].sort(([i], [j]) => i - j).map(([index, names]) => ({ index, label: names.join(', ') }));
}

/**
 * Every class of known count that both runs define.
 * @param {readonly Row[]} rows @returns {Move[]}
 */
export function movesOfClasses(rows) {
  return rows.flatMap((row) => {
    const { name, group, count, a, b, interval } = row;
    if (count === null || a === null || b === null) return [];
    return [{ name, group, lowest: count, highest: count, n: 1, a, b, interval, isChance: movedByChance(row) }];
  });
}

/**
 * The means of bins; a bin has the group of most of its classes.
 * @param {readonly CountBin[]} bins @param {readonly Row[]} rows @returns {Move[]}
 */
export function movesOfBins(bins, rows) {
  return bins.map(({ lowest, highest, n_defined: n, mean_a: a, mean_b: b, lower, upper }) => {
    const interval = lower === null || upper === null ? null : /** @type {Interval} */ ([lower, upper]);
    const group = usualGroup(rows.filter(({ count }) => count !== null && lowest <= count && count <= highest));
    return { name: null, group, lowest, highest, n, a, b, interval, isChance: couldBeChance(interval) };
  });
}

/** @param {readonly Row[]} rows @returns {Group} */
function usualGroup(rows) {
  /** @type {Map<Group, number>} */
  const sizes = new Map();
  for (const { group } of rows) sizes.set(group, (sizes.get(group) ?? 0) + 1);
  return [...sizes].reduce(
    (most, size) => (size[1] > most[1] ? size : most),
    /** @type {[Group, number]} */ (['unknown', 0]),
  )[0];
}

/** The largest count in the tail as it is drawn, or null. @param {readonly Row[]} rows @param {Grouping | null} grouping */
export function tailEnd(rows, grouping) {
  if (grouping) return grouping.tailMax;
  return rows.reduce(
    (most, { group, count }) => (group === 'tail' && count !== null ? Math.max(most ?? count, count) : most),
    /** @type {Maybe} */ (null),
  );
}
