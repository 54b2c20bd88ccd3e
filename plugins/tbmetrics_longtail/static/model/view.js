// @ts-check
/** The view: what is shown for the user's state and the runs there are. */

import { count, inUsualOrder, metricText } from './format.js';

/** @import { State } from './state.js' */
/** @import { AttributeInfo, GroupsAnswer, RunInfo } from './answers.js' */
/** @import { Experiment, Group, Maybe, Point, RunStyle, RunView, View } from './types.js' */

/** @type {readonly Group[]} */
export const GROUPS = Object.freeze(['head', 'medium', 'tail', 'unknown']);

/** Runs ticked at first; more would be hard to tell apart. */
export const TICKED_AT_FIRST = 12;

/** @type {readonly RunStyle['marker'][]} */
const MARKERS = ['circle', 'square', 'triangle', 'diamond', 'cross'];
const DASHES = ['', '7 3', '2 3', '9 3 2 3'];

/**
 * How the `index`-th run of the host is drawn. Colours repeat after 7, markers after 5, dashes after 4, so that no two
 * of 140 runs look alike.
 * @param {number} index @returns {RunStyle}
 */
export function runStyle(index) {
  return { index, marker: MARKERS[index % MARKERS.length], dash: DASHES[index % DASHES.length] };
}

/**
 * Each run's place in the host's order; runs that the host does not name follow after.
 * @param {readonly string[]} hostRuns @param {readonly string[]} runs @returns {Map<string, number>}
 */
export function runOrder(hostRuns, runs) {
  const order = new Map(hostRuns.map((run, index) => [run, index]));
  for (const run of runs) if (!order.has(run)) order.set(run, order.size);
  return order;
}

/**
 * The run filter as a function, or an error if it is not a regular expression.
 * @param {string} filter @returns {{matches: (run: string) => boolean, error: string | null}}
 */
export function runFilter(filter) {
  try {
    const pattern = new RegExp(filter, 'iu');
    return { matches: (run) => pattern.test(run), error: null };
  } catch {
    return { matches: () => true, error: 'Not a regular expression; all runs are listed.' };
  }
}

/**
 * The last of `steps` (ascending) that is not after `step`, or null.
 * @param {readonly number[]} steps @param {Maybe} step
 */
export function stepAt(steps, step) {
  if (step === null) return null;
  let low = 0;
  let high = steps.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (steps[middle] <= step) low = middle + 1;
    else high = middle;
  }
  return low ? steps[low - 1] : null;
}

/** All steps of several runs, ascending. @param {readonly (readonly number[])[]} lists */
export function unionOfSteps(lists) {
  return [...new Set(lists.flat())].sort((s, t) => s - t);
}

/** The last step of two ascending lists that both have, or null. @param {number[]} [a] @param {number[]} [b] */
function lastOfBoth(a = [], b = []) {
  const inA = new Set(a);
  return b.findLast((step) => inA.has(step)) ?? null;
}

/** @typedef {{info: {evaluation: string}, step: Maybe} | null} Compared */

/** What is not alike in A and B, or nothing; as the server says it. @param {Compared} a @param {Compared} b */
export function unlikeness(a, b) {
  if (!a || !b) return '';
  const [ofA, ofB] = [a.info.evaluation, b.info.evaluation];
  if (ofA !== ofB) return `A is of the evaluation "${ofA}", B of "${ofB}"`;
  if (a.step === b.step) return '';
  const at = (/** @type {Maybe} */ step) => (step === null ? 'has no validation yet' : `is at step ${count(step)}`);
  return `A ${at(a.step)}, B ${at(b.step)}`;
}

/**
 * The view, or null if no run has an attribute.
 * @param {State} state @param {readonly RunInfo[]} runs @param {ReadonlyMap<string, number>} order
 * @returns {View | null}
 */
export function resolve(state, runs, order) {
  const attributes = [...new Set(runs.flatMap((run) => run.attributes.map((a) => a.attribute)))];
  if (!attributes.length) return null;
  const attribute = chosen(state.attribute, attributes);
  const filter = runFilter(state.filter);
  const candidates = runs
    .flatMap((run) => run.attributes.filter((a) => a.attribute === attribute).map((info) => ({ run: run.run, info })))
    .sort((p, q) => place(order, p.run) - place(order, q.run));
  const means = inUsualOrder([...new Set(candidates.flatMap(({ info }) => info.means))]);
  const metrics = metricsOf(
    candidates.map(({ info }) => info),
    means,
  );
  const { experimentOf, error: seedsError } = seedPattern(state.seeds);
  const names = candidates.map(({ run }) => run);
  const { a, b } = compared(state, candidates, experimentOf);
  const ticked = new Set(state.shown ?? tickedAtFirst(names, [a, b], experimentOf));
  const all = candidates.map(({ run, info }) => ({
    run,
    info,
    style: runStyle(place(order, run)),
    ticked: ticked.has(run),
    matches: filter.matches(run),
  }));
  const relevant = all.filter((r) => (r.ticked && r.matches) || r.run === a || r.run === b);
  const steps = unionOfSteps(relevant.map((r) => r.info.steps));
  const newest = steps.length ? steps[steps.length - 1] : null;
  const usual =
    lastOfBoth(all.find((r) => r.run === a)?.info.steps, all.find((r) => r.run === b)?.info.steps) ?? newest;
  const unchosen = state.pick === 'last' ? newest : usual;
  const step = state.step === null ? unchosen : (stepAt(steps, state.step) ?? steps[0] ?? null);
  const views = all.map((r) => ({ ...r, step: stepAt(r.info.steps, step), version: versionOf(r.info) }));
  const metric = chosen(state.metric, metrics);
  const charted = views.filter((r) => r.ticked && r.matches);
  return {
    attribute,
    attributes,
    metric,
    metrics,
    means,
    classMetric: classMetricOf(metric, [...new Set(candidates.flatMap(({ info }) => info.columns))], means),
    runs: views,
    charted,
    a: views.find((r) => r.run === a) ?? null,
    b: views.find((r) => r.run === b) ?? null,
    steps,
    step,
    pick: state.step === null ? state.pick : null,
    usual,
    filterError: filter.error,
    grouping: null,
    sizes: new Map(Object.entries((views.find((r) => r.run === a) ?? views[0]).info.group_sizes)),
    moving: false,
    experiments: experimentOf && experimentsOf(charted, experimentOf),
    experimentOf,
    seedsError,
  };
}

/** How many classes are in each group. @param {readonly Group[]} groups */
export function sizesOfGroups(groups) {
  const sizes = new Map(GROUPS.map((group) => [/** @type {string} */ (group), 0]));
  for (const group of groups) sizes.set(group, (sizes.get(group) ?? 0) + 1);
  return sizes;
}

/** @param {string | null} wanted @param {readonly string[]} known */
function chosen(wanted, known) {
  return wanted !== null && known.includes(wanted) ? wanted : known[0];
}

/** @param {ReadonlyMap<string, number>} order @param {string} run */
function place(order, run) {
  return order.get(run) ?? order.size;
}

/**
 * The runs compared: as chosen, else the first two, of different experiments if there are any. Without a pattern, names
 * that look like seeds tell them. A test set is compared with a validation only if nothing else is there.
 * @param {State} state @param {readonly {run: string, info: AttributeInfo}[]} candidates
 * @param {((run: string) => string) | null} experimentOf
 */
function compared(state, candidates, experimentOf) {
  const runs = candidates.map(({ run }) => run);
  const known = (/** @type {string | null} */ run) => run !== null && runs.includes(run);
  const wantedB = known(state.b) ? state.b : null;
  const a = known(state.a) ? /** @type {string} */ (state.a) : (runs.find((run) => run !== wantedB) ?? runs[0]);
  const labelOf = experimentOf ?? ofUsualSeeds;
  const evaluation = candidates.find(({ run }) => run === a)?.info.evaluation;
  const alike = candidates.filter(({ info }) => info.evaluation === evaluation).map(({ run }) => run);
  const other = [...alike, ...runs].find((run) => labelOf(run) !== labelOf(a));
  const b = state.b === '' ? null : (wantedB ?? other ?? runs.find((run) => run !== a) ?? null);
  return { a, b };
}

/**
 * The runs of the first experiments, none of which is split, and of those of A and B.
 * @param {readonly string[]} runs @param {readonly (string | null)[]} sides
 * @param {((run: string) => string) | null} experimentOf null = each run is one
 */
function tickedAtFirst(runs, sides, experimentOf) {
  const labelOf = experimentOf ?? ((/** @type {string} */ run) => run);
  const first = [...new Set(runs.map(labelOf))].slice(0, TICKED_AT_FIRST);
  const labels = new Set([...first, ...sides.flatMap((run) => (run === null ? [] : [labelOf(run)]))]);
  return runs.filter((run) => labels.has(labelOf(run)));
}

/**
 * Metrics that any of the runs has; those that are means of a class column first.
 * @param {readonly AttributeInfo[]} infos @param {readonly string[]} means
 */
function metricsOf(infos, means) {
  const others = infos.flatMap((info) => info.metrics).filter((metric) => !means.includes(metric));
  return [...means, ...new Set(others)];
}

/**
 * The per-class column that is shown for a group metric.
 * @param {string} metric @param {readonly string[]} columns @param {readonly string[]} means
 */
function classMetricOf(metric, columns, means) {
  const wanted = metricText(metric).classColumn ?? metric;
  return columns.includes(wanted) ? wanted : (means.find((m) => columns.includes(m)) ?? columns[0]);
}

/** @param {AttributeInfo} info */
function versionOf(info) {
  return `${info.n_classes}:${info.steps.length}:${info.steps[info.steps.length - 1] ?? ''}`;
}

/**
 * One group's metric over steps, with its interval and the number of classes in each mean.
 * @param {GroupsAnswer} answer @param {string} group @param {string} metric @returns {Point[]}
 */
export function groupPoints(answer, group, metric) {
  const columns = answer.groups[group] ?? {};
  const known = pointsOf.get(columns);
  if (known?.metric === metric) return known.points;
  const [y, lower, upper, n] = ['', '_lower', '_upper', '_n_classes'].map((end) => columns[`${metric}${end}`] ?? []);
  const points = answer.steps.map((x, i) => ({
    x,
    y: y[i] ?? null,
    lower: lower[i] ?? null,
    upper: upper[i] ?? null,
    n: n[i] ?? null,
    ...(answer.approximate && lower[i] !== null ? { approximate: true } : {}),
  }));
  pointsOf.set(columns, { metric, points });
  return points;
}

/** Points by the columns that they were made of. @type {WeakMap<object, {metric: string, points: Point[]}>} */
const pointsOf = new WeakMap();

/** The point of `step`, if there is one. @param {readonly Point[]} points @param {Maybe} step */
export function pointAt(points, step) {
  return points.find((point) => point.x === step) ?? null;
}

/** The `badge` of a run. @param {View} view @param {string} run @returns {'A' | 'B' | ''} */
export function badgeOf(view, run) {
  return run === view.a?.run ? 'A' : run === view.b?.run ? 'B' : '';
}

/**
 * The slider's neighbour of the current step: the state's `step` after moving by `by`.
 * @param {View} view @param {number} by
 */
export function movedStep(view, by) {
  const index = view.step === null ? -1 : view.steps.indexOf(view.step);
  const target = view.steps[Math.min(view.steps.length - 1, Math.max(0, index + by))] ?? null;
  return target === view.usual ? null : target;
}

/** Runs with a problem, and the problem. @param {readonly RunInfo[]} runs */
export function problemsOf(runs) {
  return runs.flatMap(({ run, problem }) => (problem ? [{ run, problem }] : []));
}

/**
 * Verdict on a difference: 1 if B is better, -1 if worse, 0 if equal or undefined.
 * @param {Maybe | undefined} difference @param {string} metric @param {string} [group] of the gap, less is better
 */
export function verdict(difference, metric, group) {
  if (difference === null || difference === undefined || Math.abs(difference) < 0.0005) return 0;
  const lowerIsBetter = Boolean(metricText(metric).lowerIsBetter);
  const sign = (group === 'gap') !== lowerIsBetter ? -1 : 1;
  return /** @type {-1 | 1} */ (sign * Math.sign(difference));
}

/** What says seed in run names: such a word by itself, with a whole number; `bs32` and `s0.1` are none. */
export const USUAL_PATTERN = '(^|[-_/.])(seed|s|run|rep)[-_=]?\\d+(?![0-9a-z]|\\.\\d)';

/**
 * A pattern as a function from a run's name to its experiment's, or why it is none. A capture group called `name`
 * is the experiment's name; without one it is what is left once the match is taken out.
 * @param {string} pattern @returns {{experimentOf: ((run: string) => string) | null, error: string | null}}
 */
export function seedPattern(pattern) {
  if (!pattern) return { experimentOf: null, error: null };
  try {
    const expression = new RegExp(pattern, 'iu');
    return {
      experimentOf: (run) => {
        const match = expression.exec(run);
        if (!match) return run;
        const rest = run.slice(0, match.index) + run.slice(match.index + match[0].length);
        return match.groups?.name ?? (rest || run);
      },
      error: null,
    };
  } catch {
    return { experimentOf: null, error: 'Not a regular expression; runs are shown one by one.' };
  }
}

const { experimentOf: usualExperimentOf } = seedPattern(USUAL_PATTERN);

/** The experiment of a run by the usual pattern. @param {string} run */
function ofUsualSeeds(run) {
  return usualExperimentOf?.(run) ?? run;
}

/** How many experiments the usual pattern makes of the runs; null if it makes one of each. @param {readonly string[]} runs */
export function experimentsInNames(runs) {
  const n = new Set(runs.map(ofUsualSeeds)).size;
  return n < runs.length ? n : null;
}

/**
 * Runs grouped by experiment, in the order and style of their first run.
 * @param {readonly RunView[]} runs @param {(run: string) => string} experimentOf @returns {Experiment[]}
 */
export function experimentsOf(runs, experimentOf) {
  /** @type {Map<string, Experiment>} */
  const byLabel = new Map();
  for (const run of runs) {
    const label = experimentOf(run.run);
    const experiment = byLabel.get(label) ?? { label, style: run.style, runs: [] };
    byLabel.set(label, { ...experiment, runs: [...experiment.runs, run] });
  }
  return [...byLabel.values()];
}
