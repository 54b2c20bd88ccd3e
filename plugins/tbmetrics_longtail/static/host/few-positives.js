// @ts-check
/** How many classes of each group have so few positives that their average precision is too high on average. */

import { columnsOf } from './class-rows.js';
import { count, FEW_POSITIVES } from '../model/format.js';
import { groupsOfClasses } from '../model/grouping.js';

/** @import { Data } from './data.js' */
/** @import { RunView, View } from '../model/types.js' */

/**
 * Their number in a group at the run's step, from what the class table shows; null until that has arrived.
 * @param {Data} data @param {RunView} run @param {View} view @param {string} group
 */
function fewPositives(data, run, view, group) {
  const classes = data.classes(run, view.attribute).value;
  const values = data.values(run, view.attribute, columnsOf(run, view)).value;
  if (!classes || !values || group === 'gap' || !run.info.columns.includes('support')) return null;
  const groups = groupsOfClasses(classes, view.grouping);
  const inside = (/** @type {number} */ i) => group === 'all' || groups[i] === group;
  return groups.filter((_, i) => inside(i) && values[i] > 0 && values[i] < FEW_POSITIVES).length;
}

/**
 * In words, for a mean AP: "A: 3, B: 2 classes with under 5 positives, whose AP is too high on average"; else empty.
 * @param {Data} data @param {RunView[]} runs @param {View} view @param {string} group
 */
export function fewPositivesText(data, runs, view, group) {
  if (view.metric !== 'ap') return '';
  const numbers = runs.map((run) => fewPositives(data, run, view, group));
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
