// @ts-check
/** Group means over steps of one run: as recorded, or added up anew for other thresholds. */

import { groupMeans } from './grouping.js';

/** @import { Data } from './data.js' */
/** @import { BucketSums, GroupsAnswer, Resource, RunView, View } from './types.js' */

/** Metrics that are no sum over classes; their groups stay as recorded. */
const FIXED = new Set(['ece', 'balanced_accuracy']);

/** Whether a metric follows other thresholds. @param {string} metric */
export function canRegroup(metric) {
  return !FIXED.has(metric);
}

/** @type {WeakMap<BucketSums, {key: string, answer: GroupsAnswer}>} */
const worked = new WeakMap();

/** @param {Data} data @param {RunView} run @param {View} view @returns {Resource<GroupsAnswer>} */
export function groupsOf(data, run, view) {
  const { attribute, metric, grouping } = view;
  if (!grouping || !canRegroup(metric)) return data.groups(run, attribute, metric);
  const resource = data.bucketSums(run, attribute, metric);
  const sums = resource.value;
  if (!sums) return { ...resource, value: undefined };
  const key = `${grouping.key}|${metric}`;
  let known = worked.get(sums);
  if (known?.key !== key) {
    const found = { run: run.run, attribute, wall_times: [], ...groupMeans(sums, grouping, metric) };
    known = { key, answer: found };
    worked.set(sums, known);
  }
  return { ...resource, value: known.answer };
}
