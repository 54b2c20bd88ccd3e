// @ts-check
import assert from 'node:assert/strict';
import { test } from 'node:test';

import { compareOffline } from '../../../plugins/tbmetrics_longtail/static/offline/tables.js';
import { curvePoints, groupCurves } from '../../../plugins/tbmetrics_longtail/static/offline/curves.js';
import { meansOver, sliceTable } from '../../../plugins/tbmetrics_longtail/static/offline/tables.js';

/** Two steps of three rows and two columns, behind one number of something else: value = 100 step + 10 row + column. */
const VALUES = Float32Array.from([
  -1,
  ...[0, 1].flatMap((s) => [0, 1, 2].flatMap((r) => [0, 1].map((c) => 100 * s + 10 * r + c))),
]);
const TABLE = { run: 'r', attribute: 'a', kind: 'classes', columns: ['x', 'y'], steps: [3, 7], rows: 3, first: 1 };

test('a table is sliced by step, row and column', () => {
  assert.deepEqual([...sliceTable(VALUES, TABLE, { step: 1 })], [100, 101, 110, 111, 120, 121]);
  assert.deepEqual([...sliceTable(VALUES, TABLE, { step: 1, row: 2 })], [120, 121]);
  assert.deepEqual([...sliceTable(VALUES, TABLE, { step: 0, column: 1 })], [1, 11, 21]);
  assert.deepEqual([...sliceTable(VALUES, TABLE, { row: 1, column: 1 })], [11, 111]);
});

test('means are over what is defined', () => {
  const found = meansOver(Float32Array.from([1, NaN, 3, 4, NaN, NaN, 9, 9]), 2, [0, 1, 2]);
  assert.deepEqual(found, { means: [2, 4], n: 2 });
  assert.deepEqual(meansOver(Float32Array.from([1, 2]), 2, []), { means: [null, null], n: 0 });
});

test('runs are joined by name and compared without the test', () => {
  const classes = (/** @type {string[]} */ names, /** @type {string[]} */ groups) => ({
    names,
    groups,
    counts: names.map(() => 5),
    rule: '',
    decision: '',
  });
  const a = { classes: classes(['p', 'q', 'r', 's'], ['head', 'head', 'tail', 'tail']), values: [0.5, NaN, 0.25, 0.5] };
  const b = { classes: classes(['r', 'p', 'q', 'z'], ['tail', 'head', 'tail', 'tail']), values: [0.75, 0.25, 0.5, 1] };
  const found = compareOffline(a, b, null, '');
  assert.deepEqual([found.n_joined, found.n_regrouped, found.only_in_a, found.only_in_b], [3, 1, ['s'], ['z']]);
  assert.equal(found.groups.head.n_defined, 1);
  assert.equal(found.groups.head.difference, -0.25);
  assert.equal(found.groups.tail.difference, 0.5);
  assert.equal(found.groups.gap.difference, -0.75);
  assert.deepEqual(
    [found.groups.tail.sign_flip_p, found.groups.tail.verdict, found.is_withheld],
    [null, 'untold', false],
  );
  assert.match(compareOffline(a, b, null, 'A is at step 1, B at step 2').basis, /^No verdict: A is at step 1/);
  assert.equal(compareOffline(a, b, { rule: '', headMin: 9, tailMax: 8, key: '' }, '').groups.tail.n_classes, 3);
});

test('curves of groups in a file are those of the server', () => {
  const columns = ['mean_precision_up_to_recall_0.50', 'mean_precision_up_to_recall_1.00'];
  const curves = { columns, values: Float32Array.of(1, 0.5, 0.5, 0.25, NaN, NaN) };
  const classes = {
    columns: ['support', 'precision', 'recall'],
    values: Float32Array.of(30, 1, 0.5, 3, NaN, 0, 0, NaN, NaN),
  };
  const { recall, groups } = groupCurves(curves, classes, ['head', 'tail', 'tail']);
  assert.deepEqual(recall, [0, 0.25, 0.75, 1]);
  assert.deepEqual(groups.all.precision, [0.75, 0.75, 0.375, 0.375]);
  assert.deepEqual([groups.all.n_classes, groups.all.n_few_positives, groups.all.is_point], [2, 1, false]);
  assert.deepEqual(groups.all.at, { precision: 1, precision_n_classes: 1, recall: 0.25, recall_n_classes: 2 });
  assert.deepEqual([groups.tail.n_classes, groups.medium.n_classes], [1, 0]);
  const older = curvePoints(['precision_at_recall_0.50', 'precision_at_recall_1.00'], [0.5, 0.25]);
  assert.deepEqual(older, { recall: [0.5, 1], precision: [0.5, 0.25] });
});
