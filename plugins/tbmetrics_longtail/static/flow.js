// @ts-check
/** Where positives go between groups, from the flow between buckets of training counts. */

import { groupOfBucket } from './grouping.js';

/** @import { ConfusionAnswer, FlowAnswer, Grouping } from './types.js' */

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
