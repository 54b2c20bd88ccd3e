// @ts-check
/** Runs that differ in their seed only: their mean with its t-interval, and what tells two experiments apart. */

import { mean, permutationTest } from './statistics.js';

/** @import { Interval, Maybe, Point } from './types.js' */

const LEVEL = 0.05;
/** With fewer seeds on a side a difference cannot be told. */
export const LEAST_SEEDS = 3;

/** Standard deviation between seeds (n − 1), null for fewer than two. @param {readonly number[]} values @returns {Maybe} */
export function deviation(values) {
  if (values.length < 2) return null;
  const centre = mean(values);
  return Math.sqrt(values.reduce((sum, value) => sum + (value - centre) ** 2, 0) / (values.length - 1));
}

/**
 * The 95 % interval of the mean over seeds, null for fewer than two: where the mean over all seeds of this experiment
 * lies, if they are normal.
 * @param {readonly number[]} values @param {Interval} range of the metric, which the interval does not leave
 * @returns {Interval | null}
 */
export function seedInterval(values, range) {
  const spread = deviation(values);
  if (spread === null) return null;
  const half = (studentQuantile(LEVEL, values.length - 1) * spread) / Math.sqrt(values.length);
  return [Math.max(range[0], mean(values) - half), Math.min(range[1], mean(values) + half)];
}

/** What a group's metric can be. @param {string} group @returns {Interval} */
export function rangeOfGroup(group) {
  return group === 'gap' ? [-1, 1] : [0, 1];
}

/**
 * Mean over seeds with its 95 % interval at every step of any seed; `n` counts the seeds there. Where a seed lacks the
 * step there is no mean: the others alone would make the line jump.
 * @param {readonly (readonly Point[])[]} lines @param {Interval} range of the metric @returns {Point[]}
 */
export function meanLine(lines, range) {
  /** @type {Map<number, number[]>} */
  const byStep = new Map();
  for (const line of lines) {
    for (const { x, y } of line) if (y !== null) byStep.set(x, [...(byStep.get(x) ?? []), y]);
  }
  return [...byStep]
    .sort(([p], [q]) => p - q)
    .map(([x, values]) => {
      const isWhole = values.length === lines.length;
      const [lower, upper] = (isWhole && seedInterval(values, range)) || [null, null];
      return { x, y: isWhole ? mean(values) : null, lower, upper, n: values.length };
    });
}

/**
 * @typedef {object} SeedDifference of the means of two experiments, B minus A
 * @property {number} difference
 * @property {Interval | null} interval 95 %, of Welch's test; null = it cannot be told
 * @property {Maybe} p of Welch's test, with the degrees of freedom of the smaller side; null = it cannot be told
 * @property {Maybe} permutation p of the exact permutation test; null if there are too many arrangements
 * @property {-1 | 0 | 1} sign 1 = B is higher, −1 = lower, 0 = not told apart at 5 %
 */

/**
 * Whether two experiments differ, by Welch's test (1947) with the degrees of freedom of the smaller side, which never
 * has more false alarms than it says if seeds are normal, whatever their numbers and spreads (Mickey and Brown, 1966).
 * The permutation test stands beside it: it assumes equal spreads, and has false alarms where they differ.
 * @param {readonly number[]} a @param {readonly number[]} b @returns {SeedDifference}
 */
export function seedDifference(a, b) {
  const difference = mean(b) - mean(a);
  const permutation = permutationTest(a, b)?.p ?? null;
  const fewest = Math.min(a.length, b.length);
  if (fewest < LEAST_SEEDS) return { difference, interval: null, p: null, permutation, sign: 0 };
  const error = Math.sqrt(Number(deviation(a)) ** 2 / a.length + Number(deviation(b)) ** 2 / b.length);
  const p = error ? studentTails(difference / error, fewest - 1) : Number(difference === 0);
  const half = studentQuantile(LEVEL, fewest - 1) * error;
  const sign = p < LEVEL ? Math.sign(difference) : 0;
  return {
    difference,
    interval: [difference - half, difference + half],
    p,
    permutation,
    sign: /** @type {-1 | 0 | 1} */ (sign),
  };
}

/**
 * Probability that Student's t lies further from 0 than `t` on either side (Abramowitz and Stegun, 26.7.3 and 4).
 * @param {number} t @param {number} freedom degrees, a whole number
 */
export function studentTails(t, freedom) {
  const angle = Math.atan(Math.abs(t) / Math.sqrt(freedom));
  const [sine, cosine] = [Math.sin(angle), Math.cos(angle)];
  const isOdd = freedom % 2 === 1;
  let [term, sum] = [isOdd ? cosine : 1, 0];
  for (let k = isOdd ? 1 : 0; k <= freedom - 2; k += 2) {
    sum += term;
    term *= (cosine ** 2 * (k + 1)) / (k + 2);
  }
  const inside = isOdd ? (2 / Math.PI) * (angle + sine * sum) : sine * sum;
  return Math.min(1, Math.max(0, 1 - inside));
}

/** The t beyond which, on both sides, lies `share`. @param {number} share @param {number} freedom */
export function studentQuantile(share, freedom) {
  let [low, high] = [0, 1];
  while (studentTails(high, freedom) > share) high *= 2;
  for (let i = 0; i < 60; i += 1) {
    const middle = (low + high) / 2;
    if (studentTails(middle, freedom) > share) low = middle;
    else high = middle;
  }
  return high;
}
