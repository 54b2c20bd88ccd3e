// @ts-check
/** Means over neighbouring classes, the permutation test, and the Pareto front. */

/** @import { Maybe } from './types.js' */

/** The normal quantile of 95 %, two-sided. */
export const Z95 = 1.959963984540054;

const MOST_ARRANGEMENTS = 200_000;

/** @param {readonly number[]} values */
export function mean(values) {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}

/**
 * Exact two-sided permutation test: how often a difference of means at least this large arises when the same values
 * are dealt to A and B at random. Assumes equal spreads; with few seeds it cannot come out small.
 * @param {readonly number[]} a @param {readonly number[]} b
 * @returns {{p: number, least: number} | null} null without values, or with too many arrangements to enumerate
 */
export function permutationTest(a, b) {
  const all = [...a, ...b];
  const arrangements = choose(all.length, a.length);
  if (!a.length || !b.length || arrangements > MOST_ARRANGEMENTS) return null;
  const total = all.reduce((sum, value) => sum + value, 0);
  const distance = (/** @type {number} */ sum) => Math.abs((total - sum) / b.length - sum / a.length);
  const observed = distance(a.reduce((sum, value) => sum + value, 0)) - 1e-12;
  let extreme = 0;
  /** @param {number} from @param {number} left @param {number} sum */
  const deal = (from, left, sum) => {
    if (left === 0) extreme += Number(distance(sum) >= observed);
    else for (let i = from; i <= all.length - left; i += 1) deal(i + 1, left - 1, sum + all[i]);
  };
  deal(0, a.length, 0);
  return { p: extreme / arrangements, least: (a.length === b.length ? 2 : 1) / arrangements };
}

/** @param {number} n @param {number} k */
function choose(n, k) {
  let ways = 1;
  for (let i = 1; i <= k; i += 1) ways = (ways * (n - k + i)) / i;
  return Math.round(ways);
}

/**
 * Means over bins of equal size; bins without values are left out.
 * @param {readonly {x: number, y: Maybe}[]} points by x ascending @param {number} [bins]
 * @returns {{x: number, y: number, n: number}[]}
 */
export function binnedTrend(points, bins = 24) {
  const size = Math.max(1, Math.ceil(points.length / bins));
  const means = [];
  for (let first = 0; first < points.length; first += size) {
    const members = points.slice(first, first + size);
    const known = members.flatMap(({ y }) => (y === null ? [] : [y]));
    if (!known.length) continue;
    const x = (members[0].x + members[members.length - 1].x) / 2;
    means.push({ x, y: known.reduce((sum, y) => sum + y, 0) / known.length, n: known.length });
  }
  return means;
}

/** @typedef {{x: number, y: number}} Place */

/**
 * The Pareto front of each evaluation: a test set is not compared with a validation.
 * @template {Place & {evaluation: string}} P
 * @param {readonly P[]} points @param {boolean} lowerIsBetter @returns {P[][]}
 */
export function frontsByEvaluation(points, lowerIsBetter) {
  const evaluations = [...new Set(points.map(({ evaluation }) => evaluation))];
  return evaluations.map((name) =>
    paretoFront(
      points.filter(({ evaluation }) => evaluation === name),
      lowerIsBetter,
    ),
  );
}

/**
 * Pareto front: points that no other point dominates, by ascending x.
 * @template {Place} T
 * @param {readonly T[]} points @param {boolean} [lowerIsBetter] @returns {T[]}
 */
export function paretoFront(points, lowerIsBetter = false) {
  const sign = lowerIsBetter ? -1 : 1;
  const beats = (/** @type {Place} */ p, /** @type {Place} */ q) =>
    sign * p.x >= sign * q.x && sign * p.y >= sign * q.y && (p.x !== q.x || p.y !== q.y);
  return points.filter((point) => !points.some((other) => beats(other, point))).sort((p, q) => p.x - q.x || q.y - p.y);
}
