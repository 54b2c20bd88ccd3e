// @ts-check
/** How many classes of each group have so few positives that their average precision is too high on average. */

import { columnsOf } from './class-rows.js';
import { count, FEW_POSITIVES } from '../model/format.js';
import { groupsOfClasses } from '../model/grouping.js';

/** @import { Data } from './data.js' */
/** @import { RunView, View } from '../model/types.js' */

/**
 * Their number by group at the run's step, from what the class table shows; null until that has arrived.
 * @param {Data} data @param {RunView} run @param {View} view
 */
function fewPositives(data, run, view) {
  const classes = data.classes(run, view.attribute).value;
  const values = data.values(run, view.attribute, columnsOf(run, view)).value;
  if (!classes || !values || !run.info.columns.includes('support')) return null;
  const key = view.grouping?.key ?? '';
  const counted = countedOf.get(values);
  if (counted?.key === key) return counted.byGroup;
  /** @type {Record<string, number>} */
  const byGroup = { all: 0 };
  groupsOfClasses(classes, view.grouping).forEach((group, i) => {
    if (!(values[i] > 0 && values[i] < FEW_POSITIVES)) return;
    byGroup[group] = (byGroup[group] ?? 0) + 1;
    byGroup.all += 1;
  });
  countedOf.set(values, { key, byGroup });
  return byGroup;
}

/** The numbers last counted of a table. @type {WeakMap<Float32Array, {key: string, byGroup: Record<string, number>}>} */
const countedOf = new WeakMap();

/**
 * In words, for a mean AP: "A: 3, B: 2 classes with under 5 positives, whose AP is too high on average"; else empty.
 * @param {Data} data @param {RunView[]} runs @param {View} view @param {string} group
 */
export function fewPositivesText(data, runs, view, group) {
  if (view.metric !== 'ap' || group === 'gap') return '';
  const numbers = runs.map((run) => {
    const byGroup = fewPositives(data, run, view);
    return byGroup && (byGroup[group] ?? 0);
  });
  if (!numbers.some(Boolean)) return '';
  const same = numbers.every((n) => n === numbers[0]);
  const sides = runs.flatMap((run, i) => {
    const n = numbers[i];
    return n === null ? [] : [`${run === view.a ? 'A' : 'B'}: ${count(n)}`];
  });
  const text = same ? count(numbers[0]) : sides.join(', ');
  const classes = same && numbers[0] === 1 ? 'class' : 'classes';
  return `${text} ${classes} with under ${FEW_POSITIVES} positives, whose AP is too high on average`;
}
