// @ts-check
/** Reliability of each group from sums by bucket and confidence bin. */

import { groupOfBucket } from './grouping.js';

/** @import { CalibrationAnswer, Grouping, Maybe } from './types.js' */

/**
 * @typedef {object} Reliability
 * @property {number[]} n examples in each bin
 * @property {Maybe[]} confidence their mean confidence
 * @property {Maybe[]} accuracy how many of them are right
 * @property {number} total
 * @property {Maybe} ece expected calibration error, Guo et al. (2017)
 */

/**
 * The reliability of one group ("all" = every class).
 * @param {CalibrationAnswer} answer @param {Grouping | null} bounds @param {string} group @returns {Reliability}
 */
export function reliabilityOf({ buckets, n, confidence, right }, bounds, group) {
  const inside = buckets.flatMap((b, i) => (group === 'all' || groupOfBucket(b, bounds) === group ? [i] : []));
  const bins = n[0]?.length ?? 0;
  const summed = (/** @type {Maybe[][]} */ table) =>
    Array.from({ length: bins }, (_, bin) => inside.reduce((sum, i) => sum + (table[i][bin] ?? 0), 0));
  const [counts, confidences, rights] = [summed(n), summed(confidence), summed(right)];
  const total = counts.reduce((sum, value) => sum + value, 0);
  const share = (/** @type {number[]} */ sums) => sums.map((sum, bin) => (counts[bin] ? sum / counts[bin] : null));
  const error = rights.reduce((sum, value, bin) => sum + Math.abs(value - confidences[bin]), 0);
  return {
    n: counts,
    confidence: share(confidences),
    accuracy: share(rights),
    total,
    ece: total ? error / total : null,
  };
}
