// @ts-check
/** Head, medium and tail by any thresholds: the named rules, the group of a count, and what sums by bucket add up to. */

import { Z95 } from './statistics.js';
import { bucketsWithin, gapOf, putIntervals } from './uncertainty.js';
import { GROUPS } from './view.js';

/**
 * @import { Bucket, BucketSums, BucketUncertainty, ConfusionAnswer, FlowAnswer, GroupsAnswer } from './answers.js'
 */
/** @import { Group, Grouping, Maybe } from './types.js' */

/** The bounds of the named rules: head from `headMin` on, tail up to `tailMax` training examples. */
export const RULES = Object.freeze({
  decoupling: { headMin: 101, tailMax: 19, label: 'Many / few shot: over 100, under 20' },
  oltr: { headMin: 100, tailMax: 20, label: 'OLTR: from 100, up to 20' },
  dbl: { headMin: 100, tailMax: 19, label: 'DBL: from 100, under 20' },
  lvis: { headMin: 100, tailMax: 9, label: 'LVIS: from 100, under 10' },
});

/**
 * Bounds chosen in the state, or null for the recorded groups or if no training count is known.
 * @param {{rule: string | null, head: Maybe, tail: Maybe}} state @param {readonly Maybe[]} counts
 * @returns {Grouping | null}
 */
export function groupingOf({ rule, head, tail }, counts) {
  const known = counts.filter((n) => n !== null);
  if (rule === null || !known.length) return null;
  if (rule === 'custom') return head !== null && tail !== null && tail < head ? grouping(rule, head, tail) : null;
  if (rule === 'terciles') return terciles(known);
  const named = Object.hasOwn(RULES, rule) ? RULES[/** @type {keyof typeof RULES} */ (rule)] : null;
  return named && grouping(rule, named.headMin, named.tailMax);
}

/** @param {string} rule @param {number} headMin @param {number} tailMax @returns {Grouping} */
function grouping(rule, headMin, tailMax) {
  return { rule, headMin, tailMax, key: `${headMin}:${tailMax}` };
}

/**
 * Bounds that reproduce the recorded groups, or null if there are none.
 * @param {{groups: readonly string[], counts: readonly Maybe[]}} classes @returns {Grouping | null}
 */
export function recordedBounds(classes) {
  const known = boundsOf.get(classes);
  if (known !== undefined) return known;
  const bounds = findBounds(classes);
  boundsOf.set(classes, bounds);
  return bounds;
}

/** @type {WeakMap<object, Grouping | null>} */
const boundsOf = new WeakMap();

/** @param {{groups: readonly string[], counts: readonly Maybe[]}} classes @returns {Grouping | null} */
function findBounds({ groups, counts }) {
  const countsOf = (/** @type {string} */ group) =>
    counts.flatMap((n, i) => (n !== null && groups[i] === group ? [n] : []));
  const [head, medium, tail] = ['head', 'medium', 'tail'].map(countsOf);
  if (!head.length && !medium.length && !tail.length) return null;
  const least = (/** @type {number[]} */ values) => values.reduce((low, n) => Math.min(low, n), Infinity);
  const most = (/** @type {number[]} */ values) => values.reduce((high, n) => Math.max(high, n), -1);
  const headMin = head.length ? least(head) : most([...medium, ...tail]) + 1;
  const tailMax = tail.length ? most(tail) : Math.min(0, least([...medium, ...head]) - 1);
  return tailMax < headMin && most(medium) < headMin && least(medium) > tailMax
    ? grouping('recorded', headMin, tailMax)
    : null;
}

/** Head above the 67th percentile of the counts, tail below the 33rd. @param {number[]} counts */
export function terciles(counts) {
  const sorted = [...counts].sort((p, q) => p - q);
  const headMin = Math.floor(percentile(sorted, 0.67)) + 1;
  return grouping('terciles', headMin, Math.min(Math.ceil(percentile(sorted, 0.33)) - 1, headMin - 1));
}

/** Percentile with linear interpolation, as in numpy. @param {readonly number[]} sorted @param {number} share */
function percentile(sorted, share) {
  const place = share * (sorted.length - 1);
  const below = Math.floor(place);
  return sorted[below] + (place - below) * ((sorted[below + 1] ?? sorted[below]) - sorted[below]);
}

/** @param {Grouping} bounds @param {Maybe} count @returns {Group} */
export function groupOfCount({ headMin, tailMax }, count) {
  if (count === null || count < 0) return 'unknown';
  if (count >= headMin) return 'head';
  return count <= tailMax ? 'tail' : 'medium';
}

/**
 * Group of each class, by the bounds if given, otherwise as recorded.
 * @param {{groups: readonly string[], counts: readonly Maybe[]}} classes @param {Grouping | null} bounds
 * @returns {Group[]}
 */
export function groupsOfClasses({ groups, counts }, bounds) {
  if (bounds) return counts.map((count) => groupOfCount(bounds, count));
  return groups.map((group) => GROUPS.find((known) => known === group) ?? 'unknown');
}

/**
 * Group of a bucket; a bucket cut by a bound belongs where its middle lies.
 * @param {Bucket} bucket @param {Grouping | null} bounds @returns {Group}
 */
export function groupOfBucket({ group, lowest, highest }, bounds) {
  if (!bounds) return GROUPS.find((known) => known === group) ?? 'unknown';
  return groupOfCount(bounds, lowest < 0 ? null : Math.sqrt((lowest + 0.5) * (highest + 0.5)) - 0.5);
}

/** Whether the bounds lie between buckets, so that sums over them are exact. @param {readonly Bucket[]} buckets @param {Grouping | null} bounds */
export function isExact(buckets, bounds) {
  return !bounds || buckets.every((b) => groupOfCount(bounds, b.lowest) === groupOfCount(bounds, b.highest));
}

/**
 * Metric of every group over steps, in the form of the route `groups`.
 * @param {BucketSums} sums @param {Grouping | null} bounds @param {string} metric
 * @param {BucketUncertainty | null} [uncertainty] null = not recorded: intervals take the classes as independent
 * @returns {Pick<GroupsAnswer, 'steps' | 'groups' | 'approximate'>}
 */
export function groupMeans(sums, bounds, metric, uncertainty = null) {
  const { steps, buckets } = sums;
  const groupOf = buckets.map((bucket) => groupOfBucket(bucket, bounds));
  const earlier = lastMeans.get(sums);
  const isLike = earlier?.metric === metric && earlier.uncertainty === uncertainty;
  /** @type {GroupsAnswer['groups']} */
  const groups = {};
  /** @type {GroupsAnswer['groups']} */
  const others = {};
  const members = Object.fromEntries([...GROUPS, 'all', 'gap'].map((group) => [group, membersOf(groupOf, group)]));
  for (const group of Object.keys(members)) {
    if (isLike && earlier.members[group] === members[group]) groups[group] = earlier.groups[group];
    else groups[group] = others[group] = meansOf(group);
  }
  const within = uncertainty && bucketsWithin(buckets, uncertainty.buckets);
  if (uncertainty && within) putIntervals(others, metric, sums, groupOf, uncertainty, within);
  lastMeans.set(sums, { metric, uncertainty, members, groups });
  return { steps, groups, approximate: !within };

  /** @param {string} group */
  function meansOf(group) {
    if (group === 'gap') return gapOf(groups.head, groups.tail, metric);
    const isIn = (/** @type {number} */ bucket) => group === 'all' || groupOf[bucket] === group;
    return columnsOf(sums, stretchesOf(sums, isIn), metric);
  }
}

/**
 * The last means of each run: while one threshold moves, groups that it does not bound stay as they are.
 * @type {WeakMap<BucketSums, {metric: string, uncertainty: BucketUncertainty | null,
 *   members: Record<string, string>, groups: GroupsAnswer['groups']}>}
 */
const lastMeans = new WeakMap();

/** A text that changes with the buckets that are in a group. @param {readonly Group[]} groupOf @param {string} group */
function membersOf(groupOf, group) {
  if (group === 'all') return '';
  const wanted = group === 'gap' ? ['head', 'tail'] : [group];
  return groupOf.map((own) => wanted.indexOf(own)).join();
}

/** Cumulative sums over buckets by training count, so that the cost of a group does not depend on its classes. */
/** @type {WeakMap<BucketSums, {order: number[], upTo: Float64Array}>} */
const cumulated = new WeakMap();

/** @param {BucketSums} sums */
function cumulative(sums) {
  const known = cumulated.get(sums);
  if (known) return known;
  const { steps, buckets, values } = sums;
  const order = buckets.map((_, i) => i).sort((i, j) => buckets[i].lowest - buckets[j].lowest);
  const width = buckets.length + 1;
  const upTo = new Float64Array(3 * steps.length * width);
  for (let row = 0; row < 3 * steps.length; row += 1) {
    order.forEach((bucket, i) => {
      upTo[row * width + i + 1] = upTo[row * width + i] + values[row * buckets.length + bucket];
    });
  }
  const sorted = { order, upTo };
  cumulated.set(sums, sorted);
  return sorted;
}

/**
 * Ranges [from, to) of neighbouring buckets of one group, in the order of `cumulative`.
 * @param {BucketSums} sums @param {(bucket: number) => boolean} isIn @returns {[number, number][]}
 */
function stretchesOf(sums, isIn) {
  /** @type {[number, number][]} */
  const ranges = [];
  cumulative(sums).order.forEach((bucket, i) => {
    if (!isIn(bucket)) return;
    const last = ranges[ranges.length - 1];
    if (last && last[1] === i) last[1] = i + 1;
    else ranges.push([i, i + 1]);
  });
  return ranges;
}

/** @param {BucketSums} sums @param {[number, number][]} stretches @param {string} metric */
function columnsOf(sums, stretches, metric) {
  const { steps, buckets, combine, values } = sums;
  const { order, upTo } = cumulative(sums);
  const width = buckets.length + 1;
  /** @type {Maybe[][]} */
  const [means, lower, upper, counts] = Array.from({ length: 4 }, () => new Array(steps.length));
  const total = (/** @type {number} */ what, /** @type {number} */ step) => {
    const row = (what * steps.length + step) * width;
    let sum = 0;
    for (let i = 0; i < stretches.length; i += 1) sum += upTo[row + stretches[i][1]] - upTo[row + stretches[i][0]];
    return sum;
  };
  const members = combine === 'mean' ? [] : stretches.flatMap(([from, to]) => order.slice(from, to));
  // Infinite summands (the log of 0, one over 0) cannot be taken away again from what has been summed up.
  const difference = (/** @type {number} */ step) => {
    if (combine === 'mean') return total(0, step);
    const summands = members.map((bucket) => values[step * buckets.length + bucket]);
    return combine === 'min' ? Math.min(...summands) : summands.reduce((sum, value) => sum + value, 0);
  };
  for (let step = 0; step < steps.length; step += 1) {
    const weight = total(2, step);
    const value = weight ? combined(combine, difference(step), weight) : null;
    const variance = total(1, step);
    const half = value === null || combine !== 'mean' || Number.isNaN(variance) ? null : halfWidth(variance, weight);
    means[step] = value;
    lower[step] = half === null ? null : Math.max(0, Number(value) - half);
    upper[step] = half === null ? null : Math.min(1, Number(value) + half);
    counts[step] = weight;
  }
  return { [metric]: means, [`${metric}_lower`]: lower, [`${metric}_upper`]: upper, [`${metric}_n_classes`]: counts };
}

/** Half of the 95 % interval of a mean. @param {number} variance of the sum @param {number} n */
function halfWidth(variance, n) {
  return (Z95 * Math.sqrt(Math.max(0, variance))) / n;
}

/** @param {string} combine @param {number} sum @param {number} weight */
function combined(combine, sum, weight) {
  switch (combine) {
    case 'exp_mean':
      return Math.exp(sum / weight);
    case 'inverse_mean':
      return weight / sum;
    case 'min':
      return sum;
    default:
      return sum / weight;
  }
}

/** Metrics that are not sums over classes and are known for the recorded groups only. */
const FIXED = new Set(['ece', 'balanced_accuracy']);

/** Whether a metric can be computed for other thresholds. @param {string} metric */
export function canRegroup(metric) {
  return !FIXED.has(metric);
}

const NAMES = Object.freeze(['head', 'medium', 'tail', 'unknown']);

/** @param {FlowAnswer} answer @param {Grouping | null} bounds @returns {ConfusionAnswer} */
export function flowByGroup({ buckets, values }, bounds) {
  const rows = [...NAMES];
  const columns = [...NAMES, 'none'];
  const summed = rows.map(() => columns.map(() => 0));
  const places = buckets.map((bucket) => NAMES.indexOf(groupOfBucket(bucket, bounds)));
  let known = false;
  values.forEach((row, i) => {
    row.forEach((value, j) => {
      if (value === null) return;
      known = true;
      summed[places[i]][j < places.length ? places[j] : columns.length - 1] += value;
    });
  });
  return { rows, columns, values: known ? summed : rows.map(() => columns.map(() => null)) };
}
