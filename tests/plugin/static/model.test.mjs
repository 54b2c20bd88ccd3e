// @ts-check
import assert from 'node:assert/strict';
import { test } from 'node:test';

import {
  experimentsInNames,
  groupPoints,
  movedStep,
  pointAt,
  resolve,
  runFilter,
  runOrder,
  runStyle,
  stepAt,
  TICKED_AT_FIRST,
  unionOfSteps,
  unlikeness,
  verdict,
} from '../../../plugins/tbmetrics_longtail/static/model/view.js';
import { INITIAL } from '../../../plugins/tbmetrics_longtail/static/model/state.js';

/** @import { AttributeInfo, RunInfo } from '../../../plugins/tbmetrics_longtail/static/model/answers.js' */
/** @import { View } from '../../../plugins/tbmetrics_longtail/static/model/types.js' */
/** @import { State } from '../../../plugins/tbmetrics_longtail/static/model/state.js' */

/** @param {Partial<AttributeInfo>} [given] @returns {AttributeInfo} */
function info(given = {}) {
  return {
    attribute: 'digit',
    n_classes: 3,
    group_sizes: { head: 1, medium: 1, tail: 1, unknown: 0 },
    rule: 'decoupling',
    decision: 'multi_label',
    evaluation: 'validation',
    steps: [0, 1, 2],
    columns: ['support', 'precision', 'recall', 'f1', 'ap'],
    metrics: ['precision', 'f1', 'worst_f1', 'ece'],
    means: ['precision', 'f1'],
    uncertain: ['precision', 'f1'],
    kinds: ['classes', 'groups'],
    ...given,
  };
}

/** @param {Record<string, Partial<AttributeInfo>[]>} given @returns {RunInfo[]} */
function runs(given) {
  return Object.entries(given).map(([run, attributes]) => ({ run, attributes: attributes.map(info) }));
}

/** @param {RunInfo[]} list @param {Partial<State>} [state] @param {string[]} [host] @returns {View} */
function view(list, state = {}, host = list.map(({ run }) => run)) {
  const found = resolve(
    { ...INITIAL, ...state },
    list,
    runOrder(
      host,
      list.map(({ run }) => run),
    ),
  );
  assert.ok(found);
  return found;
}

test('the step of a run is the nearest that is not after the chosen one', () => {
  assert.equal(stepAt([0, 10, 20], 20), 20);
  assert.equal(stepAt([0, 10, 20], 19), 10);
  assert.equal(stepAt([5], 4), null);
  assert.equal(stepAt([], 4), null);
  assert.equal(stepAt([5], null), null);
});

test('steps of several runs are joined in ascending order', () => {
  assert.deepEqual(
    unionOfSteps([
      [0, 10, 20],
      [5, 10],
    ]),
    [0, 5, 10, 20],
  );
});

test('without any attribute there is nothing to see', () => {
  assert.equal(resolve(INITIAL, [{ run: 'broken', attributes: [], problem: 'torn' }], new Map()), null);
});

test('at first: the first two runs compared at the last step that both have, means before other metrics', () => {
  const found = view(runs({ a: [{}], b: [{ steps: [0, 1] }], c: [{}] }));
  assert.deepEqual([found.a?.run, found.b?.run, found.step, found.usual], ['a', 'b', 1, 1]);
  assert.deepEqual(found.metrics, ['f1', 'precision', 'worst_f1', 'ece']);
  assert.deepEqual(
    found.runs.map((run) => run.step),
    [1, 1, 1],
  );
  assert.deepEqual([movedStep(found, 1), movedStep({ ...found, step: 2 }, -1)], [2, null]);
  const apart = view(runs({ a: [{}], b: [{ steps: [5] }] }));
  assert.deepEqual([apart.step, apart.a?.step, apart.b?.step], [5, 2, 5]);
});

test('at first two experiments are compared, not two seeds of one, where the names say which are', () => {
  const names = ['ce_s1', 'ce_s2', 'focal_s1'];
  const found = view(runs(Object.fromEntries(names.map((name) => [name, [{}]]))));
  assert.deepEqual([found.a?.run, found.b?.run], ['ce_s1', 'focal_s1']);
  assert.equal(view(runs({ ce_s1: [{}], ce_s2: [{}] })).b?.run, 'ce_s2'); // there is no other
  assert.equal(experimentsInNames(names), 2);
  assert.equal(experimentsInNames(['bs32', 'bs64']), null);
});

test('steps and evaluations that differ are said', () => {
  const at = (/** @type {number | null} */ step, evaluation = 'validation') => ({ step, info: { evaluation } });
  assert.equal(unlikeness(at(3), at(3)), '');
  assert.equal(unlikeness(at(9), at(2)), 'A is at step 9, B is at step 2');
  assert.equal(unlikeness(at(9), at(null)), 'A is at step 9, B has no validation yet');
  assert.equal(unlikeness(at(9), at(9, 'test')), 'A is of the evaluation "validation", B of "test"');
  assert.equal(unlikeness(at(9, 'test'), at(9, 'test')), '');
});

test('at first a validation is compared with a validation, not with its own test set', () => {
  const validation = [{ evaluation: 'validation' }];
  const list = runs({ a: validation, 'a/test': [{ evaluation: 'test' }], b: validation });
  assert.deepEqual([view(list).a?.run, view(list).b?.run], ['a', 'b']);
  const alone = view(list.slice(0, 2));
  assert.deepEqual([alone.a?.run, alone.b?.run], ['a', 'a/test']);
});

test('one run is compared with none', () => {
  const found = view(runs({ only: [{}] }));
  assert.equal(found.a?.run, 'only');
  assert.equal(found.b, null);
});

test('B can be switched off, and A and B chosen', () => {
  const three = runs({ a: [{}], b: [{}], c: [{}] });
  assert.equal(view(three, { b: '' }).b, null);
  const swapped = view(three, { a: 'c', b: 'a' });
  assert.deepEqual([swapped.a?.run, swapped.b?.run], ['c', 'a']);
  assert.equal(view(three, { b: 'a' }).a?.run, 'b');
  assert.equal(view(three, { a: 'deleted' }).a?.run, 'a');
});

test('the order of the host gives the places, and so the colours; runs it does not name follow', () => {
  const found = view(runs({ a: [{}], b: [{}], new: [{}] }), {}, ['scalars only', 'b', 'a']);
  assert.deepEqual(
    found.runs.map(({ run, style }) => [run, style.index]),
    [
      ['b', 1],
      ['a', 2],
      ['new', 3],
    ],
  );
});

test('no two of 140 runs look alike', () => {
  const looks = Array.from({ length: 140 }, (_, i) => runStyle(i)).map(
    ({ index, marker, dash }) => `${index % 7} ${marker} ${dash}`,
  );
  assert.equal(new Set(looks).size, 140);
});

test('only runs that are ticked and let through by the filter are drawn', () => {
  const three = runs({ 'lr=1': [{}], 'lr=2': [{}], base: [{}] });
  assert.deepEqual(
    view(three, { filter: 'LR' }).charted.map(({ run }) => run),
    ['lr=1', 'lr=2'],
  );
  assert.deepEqual(
    view(three, { shown: ['base'], filter: '' }).charted.map(({ run }) => run),
    ['base'],
  );
  assert.deepEqual(view(three, { shown: [] }).charted, []);
});

test('a filter that is no regular expression filters nothing and says so', () => {
  const { matches, error } = runFilter('(');
  assert.ok(matches('anything'));
  assert.match(error ?? '', /regular expression/);
});

test('of many runs only the first are ticked', () => {
  const many = runs(Object.fromEntries(Array.from({ length: 40 }, (_, i) => [`run ${i}`, [{}]])));
  assert.equal(view(many).charted.length, TICKED_AT_FIRST);
});

test('runs without the chosen attribute are left out', () => {
  const found = view(runs({ a: [{}], b: [{ attribute: 'colour' }] }), { attribute: 'colour' });
  assert.deepEqual(
    found.runs.map(({ run }) => run),
    ['b'],
  );
  assert.deepEqual(found.attributes, ['digit', 'colour']);
});

test('a group metric without a class column shows the column behind it', () => {
  assert.equal(view(runs({ a: [{}] }), { metric: 'worst_f1' }).classMetric, 'f1');
  assert.equal(view(runs({ a: [{}] }), { metric: 'ece' }).classMetric, 'f1');
  assert.equal(view(runs({ a: [{}] }), { metric: 'precision' }).classMetric, 'precision');
});

test('without a table of groups the metrics are those of the classes', () => {
  const means = ['precision', 'recall', 'f1', 'ap'];
  assert.deepEqual(view(runs({ a: [{ metrics: [], means }] })).metrics, ['f1', 'ap', 'recall', 'precision']);
});

test('means that only some runs have are offered, after the usual ones, with their class column', () => {
  const columns = ['support', 'f1', 'recall_at_5'];
  const means = ['f1', 'recall_at_5'];
  const list = runs({ a: [{}], b: [{ columns, means, metrics: ['f1', 'recall_at_5', 'ece'] }] });
  assert.deepEqual(view(list).metrics, ['f1', 'precision', 'recall_at_5', 'worst_f1', 'ece']);
  const shown = view(list, { metric: 'recall_at_5' });
  assert.deepEqual([shown.metric, shown.classMetric], ['recall_at_5', 'recall_at_5']);
});

test('a step between validations shows the one before; before the first, the first', () => {
  const found = view(runs({ a: [{ steps: [10, 20] }], b: [{ steps: [15] }] }), { step: 17 });
  assert.deepEqual([found.step, found.a?.step, found.b?.step], [15, 10, 15]);
  assert.equal(view(runs({ a: [{ steps: [10] }] }), { step: 1 }).step, 10);
});

test('moving to the last step follows the newest', () => {
  const list = runs({ a: [{}] });
  assert.equal(movedStep(view(list), -1), 1);
  assert.equal(movedStep(view(list, { step: 1 }), 1), null);
  assert.equal(movedStep(view(list, { step: 0 }), -1), 0);
});

test('a log that has grown has another version', () => {
  const [short, long] = [view(runs({ a: [{ steps: [0] }] })), view(runs({ a: [{ steps: [0, 1] }] }))];
  assert.notEqual(short.a?.version, long.a?.version);
});

test('points carry the interval and the number of classes where they are recorded', () => {
  const answer = {
    run: 'a',
    attribute: 'digit',
    steps: [0, 4],
    wall_times: [1, 2],
    groups: { tail: { f1: [0.25, null], f1_lower: [0.125, null], f1_upper: [0.5, null], f1_n_classes: [3, 0] } },
  };
  const points = groupPoints(answer, 'tail', 'f1');
  assert.deepEqual(pointAt(points, 0), { x: 0, y: 0.25, lower: 0.125, upper: 0.5, n: 3 });
  assert.deepEqual(pointAt(points, 4), { x: 4, y: null, lower: null, upper: null, n: 0 });
  assert.equal(pointAt(points, 3), null);
  assert.deepEqual(
    groupPoints(answer, 'head', 'f1').map((p) => p.y),
    [null, null],
  );
});

test('higher is better, except for the gap and for calibration error', () => {
  assert.equal(verdict(0.1, 'f1', 'tail'), 1);
  assert.equal(verdict(0.1, 'f1', 'gap'), -1);
  assert.equal(verdict(0.1, 'ece', 'tail'), -1);
  assert.equal(verdict(-0.1, 'f1'), -1);
  assert.equal(verdict(0.0001, 'f1'), 0);
  assert.equal(verdict(null, 'f1'), 0);
});
