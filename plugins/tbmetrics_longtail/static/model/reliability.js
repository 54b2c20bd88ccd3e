// @ts-check
/** How far confidence is from accuracy: the reliability of a group, from sums by bucket and bin. */

import { groupOfBucket } from './grouping.js';
import { Z95 } from './statistics.js';

/** @import { CalibrationAnswer } from './answers.js' */
/** @import { Grouping, Maybe } from './types.js' */

/**
 * @typedef {object} Reliability
 * @property {number[]} n examples in each bin
 * @property {Maybe[]} confidence their mean confidence
 * @property {Maybe[]} accuracy how many of them are right
 * @property {Maybe[]} lower Wilson’s interval of the accuracy
 * @property {Maybe[]} upper
 * @property {number} total
 * @property {Maybe} ece expected calibration error, its bias taken off; of older logs as in Guo et al. (2017)
 */

const EXAMPLES_PER_BIN = 20;

/**
 * The reliability of one group ("all" = every class).
 * @param {CalibrationAnswer} answer @param {Grouping | null} bounds @param {string} group @returns {Reliability}
 */
export function reliabilityOf({ buckets, by, n, confidence, right }, bounds, group) {
  const inside = buckets.flatMap((b, i) => (group === 'all' || groupOfBucket(b, bounds) === group ? [i] : []));
  const bins = n[0]?.length ?? 0;
  const summed = (/** @type {Maybe[][]} */ table) =>
    Array.from({ length: bins }, (_, bin) => inside.reduce((sum, i) => sum + (table[i][bin] ?? 0), 0));
  const [counts, confidences, rights] = [summed(n), summed(confidence), summed(right)];
  const total = counts.reduce((sum, value) => sum + value, 0);
  const share = (/** @type {number[]} */ sums) => sums.map((sum, bin) => (counts[bin] ? sum / counts[bin] : null));
  const intervals = rights.map((value, bin) => wilson(value, counts[bin]));
  const error = by ? calibrationError : plainCalibrationError;
  return {
    n: counts,
    confidence: share(confidences),
    accuracy: share(rights),
    lower: intervals.map((interval) => interval && interval[0]),
    upper: intervals.map((interval) => interval && interval[1]),
    total,
    ece: total >= (by ? EXAMPLES_PER_BIN : 1) ? error(counts, confidences, rights) / total : null,
  };
}

/** Wilson's 95 % interval of a share. @param {number} successes @param {number} trials @returns {[number, number] | null} */
function wilson(successes, trials) {
  if (!trials) return null;
  const share = successes / trials;
  const scale = 1 + Z95 ** 2 / trials;
  const centre = (share + Z95 ** 2 / (2 * trials)) / scale;
  const half = (Z95 / scale) * Math.sqrt((share * (1 - share)) / trials + Z95 ** 2 / (4 * trials ** 2));
  return [Math.max(0, centre - half), Math.min(1, centre + half)];
}

/** @param {number[]} counts @param {number[]} confidences @param {number[]} rights */
function plainCalibrationError(counts, confidences, rights) {
  return counts.reduce((sum, _, bin) => sum + Math.abs(rights[bin] - confidences[bin]), 0);
}

/**
 * Sum over bins of the absolute gap, reduced by what noise adds to the squared one: no bias if few are in a bin.
 * The same as `calibration_error` in tbmetrics.
 * @param {number[]} counts @param {number[]} confidences @param {number[]} rights
 */
function calibrationError(counts, confidences, rights) {
  let [absolute, squared, noise] = [0, 0, 0];
  for (const [n, confidence, right] of mergedBins(counts, confidences, rights)) {
    absolute += Math.abs(right - confidence);
    squared += (right - confidence) ** 2 / n;
    noise += (right * (1 - right / n)) / (n - 1);
  }
  const factor = squared ? 1 - noise / squared : 0;
  return absolute * Math.sign(factor) * Math.sqrt(Math.abs(factor));
}

/**
 * Neighbouring bins merged until each has enough examples; what remains joins the last.
 * @param {number[]} counts @param {number[]} confidences @param {number[]} rights @returns {number[][]}
 */
function mergedBins(counts, confidences, rights) {
  const plus = (/** @type {number[]} */ p, /** @type {number[]} */ q) => p.map((value, i) => value + q[i]);
  /** @type {number[][]} */
  const merged = [];
  let pending = [0, 0, 0];
  counts.forEach((n, bin) => {
    pending = plus(pending, [n, confidences[bin], rights[bin]]);
    if (pending[0] < EXAMPLES_PER_BIN) return;
    merged.push(pending);
    pending = [0, 0, 0];
  });
  const last = merged.pop();
  return [...merged, last ? plus(last, pending) : pending];
}
