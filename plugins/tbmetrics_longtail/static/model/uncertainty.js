// @ts-check
/** Intervals of groups drawn anew, from recorded biases and covariances by bucket; as `MeanUncertainty` in tbmetrics. */

import { Z95 } from './statistics.js';

/** @import { Bucket, BucketSums, BucketUncertainty } from './answers.js' */
/** @import { Group, Maybe } from './types.js' */
/** @typedef {Record<string, Record<string, Maybe[]>>} Columns by group, by column */

/** Over more classes than this, with fewer than two positives each, the bias of a mean is as large as its interval. */
const MANY_CLASSES = 30;

/**
 * The recorded bucket of each bucket that sums were made for, or null if one is in none.
 * @param {readonly Bucket[]} fine @param {readonly Bucket[]} recorded @returns {number[] | null}
 */
export function bucketsWithin(fine, recorded) {
  const within = fine.map((b) =>
    recorded.findIndex((r) => r.group === b.group && r.lowest <= b.lowest && b.highest <= r.highest),
  );
  return within.includes(-1) ? null : within;
}

/**
 * Write the intervals of `groups` over their means.
 * @param {Columns} groups @param {string} metric @param {BucketSums} sums
 * @param {readonly Group[]} groupOf of each bucket of the sums @param {BucketUncertainty} uncertainty
 * @param {readonly number[]} within the recorded bucket of each bucket of the sums
 */
export function putIntervals(groups, metric, sums, groupOf, uncertainty, within) {
  const rows = sums.steps.map((_, step) => new Row(uncertainty, sums, within, step));
  for (const [group, columns] of Object.entries(groups)) {
    const parts = group === 'gap' ? ['head', 'tail'] : [group];
    const insideOf = parts.map((part) => groupOf.map((own) => part === 'all' || own === part));
    const ends = columns[metric].map((mean, step) => (mean === null ? null : rows[step].interval(mean, insideOf)));
    columns[`${metric}_lower`] = ends.map((interval) => interval && interval[0]);
    columns[`${metric}_upper`] = ends.map((interval) => interval && interval[1]);
  }
}

/** Head minus tail, treated as independent. @param {Record<string, Maybe[]>} head @param {Record<string, Maybe[]>} tail @param {string} metric */
export function gapOf(head, tail, metric) {
  const value = minus(head[metric], tail[metric]);
  const halves = [head, tail].map((group) =>
    minus(group[`${metric}_upper`], group[`${metric}_lower`]).map((w) => (w === null ? null : w / 2)),
  );
  const half = halves[0].map((h, i) =>
    h === null || halves[1][i] === null ? null : Math.hypot(h, Number(halves[1][i])),
  );
  return {
    [metric]: value,
    [`${metric}_lower`]: value.map((v, i) => (v === null || half[i] === null ? null : v - Number(half[i]))),
    [`${metric}_upper`]: value.map((v, i) => (v === null || half[i] === null ? null : v + Number(half[i]))),
    [`${metric}_n_classes`]: value.map(() => null),
  };
}

/** @param {Maybe[]} p @param {Maybe[]} q @returns {Maybe[]} */
function minus(p, q) {
  return p.map((value, i) => (value === null || q[i] === null ? null : value - Number(q[i])));
}

/** What is known of one step. */
class Row {
  /** @param {BucketUncertainty} uncertainty @param {BucketSums} sums @param {readonly number[]} within @param {number} step */
  constructor({ buckets, values }, sums, within, step) {
    const size = buckets.length;
    const width = (size * (size + 5)) / 2; // positives, biases, the triangle
    this._numbers = values.subarray(step * width, (step + 1) * width);
    this._size = size;
    this._within = within;
    const first = (2 * sums.steps.length + step) * within.length;
    this._weights = sums.values.subarray(first, first + within.length);
    this._defined = this._members(() => true);
  }

  /** @param {number} mean @param {readonly boolean[][]} insideOf @returns {[number, number] | null} */
  interval(mean, insideOf) {
    const parts = insideOf.map((inside) => this._part(this._members((bucket) => inside[bucket])));
    const [plus, less] = parts;
    if (parts.some(({ hasTooFew }) => hasTooFew)) return null;
    const weights = plus.share.map((share, b) => share / plus.n - (less ? less.share[b] / less.n : 0));
    const alone = plus.share.map((share, b) => share / plus.n ** 2 + (less ? less.share[b] / less.n ** 2 : 0));
    const centre = mean - weights.reduce((sum, w, b) => sum + w * this._bias(b), 0);
    const half = Z95 * Math.sqrt(Math.max(0, this._variance(weights, alone)));
    if (Number.isNaN(centre) || Number.isNaN(half)) return null;
    const lowest = less ? -1 : 0;
    return [Math.min(mean, Math.max(centre - half, lowest)), Math.max(mean, Math.min(centre + half, 1))];
  }

  /** Defined classes by recorded bucket. @param {(bucket: number) => boolean} isInside @returns {number[]} */
  _members(isInside) {
    /** @type {number[]} */
    const members = new Array(this._size).fill(0);
    this._within.forEach((recorded, bucket) => {
      if (isInside(bucket)) members[recorded] += this._weights[bucket];
    });
    return members;
  }

  /** @param {number[]} members */
  _part(members) {
    const share = members.map((n, b) => (n ? n / this._defined[b] : 0));
    const n = members.reduce((sum, value) => sum + value, 0);
    const positives = share.reduce((sum, part, b) => sum + (part ? part * this._numbers[b] : 0), 0);
    return { share, n, hasTooFew: n > MANY_CLASSES && positives < 2 * n };
  }

  /** @param {number} bucket */
  _bias(bucket) {
    return this._numbers[this._size + bucket];
  }

  /** @param {readonly number[]} weights @param {readonly number[]} alone */
  _variance(weights, alone) {
    let [sum, place] = [0, 2 * this._size];
    for (let i = 0; i < this._size; i += 1) {
      sum += alone[i] * this._numbers[place];
      if (weights[i]) {
        for (let j = i + 1; j < this._size; j += 1) {
          sum += 2 * weights[i] * weights[j] * this._numbers[place + j - i];
        }
      }
      place += this._size - i;
    }
    return sum;
  }
}
