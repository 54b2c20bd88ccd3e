// @ts-check
import assert from 'node:assert/strict';
import { test } from 'node:test';

import { tailShares } from '../../../plugins/tbmetrics_longtail/static/model/tail-flow.js';

const BUCKETS = [
  { group: 'head', lowest: 500, highest: 500, n_classes: 1 },
  { group: 'medium', lowest: 40, highest: 60, n_classes: 2 },
  { group: 'tail', lowest: 3, highest: 9, n_classes: 2 },
];
const FLOWS = {
  steps: [0, 5, 7],
  buckets: BUCKETS,
  values: Float32Array.from([
    ...[9, 0, 0, 0, 0, 8, 2, 0, 2, 1, 6, 1], // of head, of medium, of tail, each to head, medium, tail, none
    ...[9, 0, 0, 0, 0, 8, 2, 0, 0, 0, 10, 0],
    ...[9, 0, 0, 0, 0, 8, 2, 0, NaN, NaN, NaN, NaN],
  ]),
};
const HITS = {
  steps: [0, 5, 7],
  buckets: BUCKETS,
  combine: 'mean',
  values: Float32Array.from([9, 7, 4, 9, 7, 10, 9, 7, 0, ...new Array(18).fill(0)]),
};

test('right ones are told from those of another tail class', () => {
  assert.deepEqual(tailShares(FLOWS, HITS, null), [
    { step: 0, n: 10, shares: [0.4, 0.2, 0.1, 0.2, 0.1] },
    { step: 5, n: 10, shares: [1, 0, 0, 0, 0] },
  ]);
});

test('the tail follows the thresholds', () => {
  const [first] = tailShares(FLOWS, HITS, { rule: 'custom', headMin: 400, tailMax: 100, key: '' });
  assert.equal(first.n, 20);
  assert.deepEqual(first.shares, [11 / 20, 6 / 20, 0, 2 / 20, 1 / 20]);
  assert.deepEqual(tailShares(FLOWS, HITS, { rule: 'custom', headMin: 2, tailMax: 1, key: '' }), []);
});

test('steps without recorded classes are left out', () => {
  assert.deepEqual(
    tailShares(FLOWS, { ...HITS, steps: [5], values: HITS.values.subarray(3, 6) }, null).map(({ step }) => step),
    [5],
  );
});
