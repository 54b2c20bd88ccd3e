// @ts-check
/** Lifts: how much more often labels of one group are wrongly predicted where those of another are missed. */

import { groupOfBucket } from './grouping.js';
import { Z95 } from './statistics.js';

/** @import { LiftSumsAnswer } from './answers.js' */
/** @import { Grouping, Maybe } from './types.js' */

/** With less expected, a single coincidence would be a large lift. */
const LEAST_EXPECTED = 1;
const NAMES = Object.freeze(['head', 'medium', 'tail', 'unknown']);

/**
 * @typedef {object} Lift
 * @property {number} observed false positives in examples with a miss
 * @property {number} expected if they were as frequent as in examples without the class
 * @property {Maybe} lift observed ÷ expected; null where too few are expected to tell
 * @property {Maybe} lower 95 % interval
 * @property {Maybe} upper
 */

/**
 * @typedef {object} LiftRow of the group of the class missed
 * @property {string} group
 * @property {number} positives
 * @property {number} missed
 * @property {Record<string, Lift>} lifts by group of the class wrongly predicted
 */

/**
 * Lifts between groups, or null where the log does not tell them.
 * @param {LiftSumsAnswer} answer @param {Grouping | null} bounds @returns {LiftRow[] | null}
 */
export function liftsByGroup(answer, bounds) {
  if (!answer.missed.some((n) => n !== null)) return null;
  const groups = answer.buckets.map((bucket) => groupOfBucket(bucket, bounds));
  return NAMES.map((group) => {
    const rows = groups.flatMap((own, i) => (own === group ? [i] : []));
    const missed = sumOf(answer.missed, rows);
    const share = missed ? sumOf(answer.absent_share, rows) / missed : 0;
    const lifts = Object.fromEntries(
      NAMES.map((other) => {
        const columns = groups.flatMap((own, j) => (own === other ? [j] : []));
        const sum = (/** @type {Maybe[][]} */ table) => rows.reduce((total, i) => total + sumOf(table[i], columns), 0);
        const reference = share * sumOf(answer.false_positives, columns);
        return [other, liftOf(sum(answer.observed), sum(answer.expected), sum(answer.variance), reference)];
      }),
    );
    return { group, positives: sumOf(answer.positives, rows), missed, lifts };
  });
}

/** @param {Maybe[]} values @param {number[]} places */
function sumOf(values, places) {
  return places.reduce((sum, i) => sum + (values[i] ?? 0), 0);
}

/**
 * A lift with its interval; the same as `lift_interval` in tbmetrics.
 * @param {number} observed @param {number} expected @param {number} variance of `observed`
 * @param {number} reference events behind `expected` @returns {Lift}
 */
export function liftOf(observed, expected, variance, reference) {
  const clump = Z95 ** 2 * (observed > 0 ? Math.max(variance / observed, 1) : 1);
  const quadratic = 1 - clump / reference;
  if (expected < LEAST_EXPECTED || !(quadratic > 0))
    return { observed, expected, lift: null, lower: null, upper: null };
  const linear = 2 * observed + clump;
  const root = Math.sqrt(linear ** 2 - 4 * observed ** 2 * quadratic);
  const bound = (/** @type {number} */ sign) => (linear + sign * root) / (2 * quadratic) / expected;
  return { observed, expected, lift: observed / expected, lower: Math.max(0, bound(-1)), upper: bound(1) };
}

/** Whether the interval leaves out 1: 1 = more often than by chance, −1 = less often. @param {Lift} lift */
export function told({ lower, upper }) {
  if (lower === null || upper === null) return 0;
  return lower > 1 ? 1 : upper < 1 ? -1 : 0;
}
