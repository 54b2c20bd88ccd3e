// @ts-check
/** Each run at a step of its own. */

import { metricText } from './format.js';
import { experimentsOf } from './view.js';

/** @import { GroupsAnswer } from './answers.js' */
/** @import { Maybe, RunView, View } from './types.js' */

/**
 * The first step at which the mean over all classes, or of the tail if there is none, is best; null if none is defined.
 * @param {GroupsAnswer} answer @param {string} metric @returns {Maybe}
 */
export function bestStep({ steps, groups }, metric) {
  const sign = metricText(metric).lowerIsBetter ? -1 : 1;
  const means = ['all', 'tail'].map((group) => groups[group]?.[metric] ?? []);
  const values = means.find((column) => column.some((value) => value !== null)) ?? [];
  let best = -1;
  values.forEach((value, i) => {
    if (value !== null && (best < 0 || sign * value > sign * Number(values[best]))) best = i;
  });
  return steps[best] ?? null;
}

/**
 * The view with runs at other steps; where none is known a run stays at its own.
 * @param {View} view @param {(run: RunView) => Maybe} stepOf @returns {View}
 */
export function atSteps(view, stepOf) {
  const runs = view.runs.map((run) => ({ ...run, step: stepOf(run) ?? run.step }));
  const byName = new Map(runs.map((run) => [run.run, run]));
  const same = (/** @type {RunView | null} */ run) => (run && byName.get(run.run)) ?? null;
  const charted = view.charted.flatMap((run) => same(run) ?? []);
  const [a, b] = [same(view.a), same(view.b)];
  const steps = [a, b].flatMap((run) => run?.step ?? []);
  return {
    ...view,
    runs,
    charted,
    a,
    b,
    step: steps.length ? Math.max(...steps) : view.step,
    experiments: view.experimentOf && experimentsOf(charted, view.experimentOf),
  };
}
