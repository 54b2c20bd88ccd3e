// @ts-check
/** Where the examples of the tail go, step by step: right, to another class of the tail, or to another group. */

import { flowByGroup, groupOfBucket } from './grouping.js';
import { bucketsWithin } from './uncertainty.js';

/** @import { Bucket, BucketSums } from './answers.js' */
/** @import { Grouping, Maybe } from './types.js' */

/**
 * @typedef {object} Flows
 * @property {number[]} steps
 * @property {Bucket[]} buckets
 * @property {Float32Array} values (steps, buckets, buckets + 1), the last column "none"
 */

/**
 * @typedef {object} TailShares of the examples of the tail at one step
 * @property {number} step
 * @property {number} n examples
 * @property {number[]} shares one of each of `PARTS`
 */

/** From bottom to top. "unknown": groups that are not known, and no prediction. */
export const PARTS = Object.freeze(/** @type {const} */ (['right', 'tail', 'medium', 'head', 'unknown']));

/**
 * The shares at every step that both answers have; none if the tail has no examples.
 * @param {Flows} flows @param {BucketSums} hits of right predictions, their weight the examples
 * @param {Grouping | null} bounds @returns {TailShares[]}
 */
export function tailShares(flows, hits, bounds) {
  const size = flows.buckets.length;
  const rightAt = rightOfTail(flows.buckets, hits, bounds);
  return flows.steps.flatMap((step, i) => {
    const place = hits.steps.indexOf(step);
    const values = Array.from({ length: size }, (_, row) => {
      const first = (i * size + row) * (size + 1);
      return Array.from(flows.values.subarray(first, first + size + 1), asMaybe);
    });
    const { rows, columns, values: table } = flowByGroup({ buckets: flows.buckets, values }, bounds);
    const tail = table[rows.indexOf('tail')].map((value) => value ?? 0);
    const n = tail.reduce((sum, value) => sum + value, 0);
    if (!n || place < 0) return [];
    const to = (/** @type {string} */ group) => tail[columns.indexOf(group)];
    const right = Math.min(to('tail'), rightAt(place));
    const counts = [right, to('tail') - right, to('medium'), to('head'), to('unknown') + to('none')];
    return [{ step, n, shares: counts.map((count) => count / n) }];
  });
}

/**
 * How many examples of the tail are predicted right, by the place of a step; a bucket is cut as that of the flow is.
 * @param {readonly Bucket[]} recorded @param {BucketSums} hits @param {Grouping | null} bounds
 */
function rightOfTail(recorded, hits, bounds) {
  const { buckets, values } = hits;
  const within = bucketsWithin(buckets, recorded);
  const isTail = buckets.map((bucket, i) => groupOfBucket(within ? recorded[within[i]] : bucket, bounds) === 'tail');
  return (/** @type {number} */ place) =>
    isTail.reduce((sum, inside, i) => sum + (inside ? values[place * buckets.length + i] : 0), 0);
}

/** @param {number} value @returns {Maybe} */
function asMaybe(value) {
  return Number.isNaN(value) ? null : value;
}
