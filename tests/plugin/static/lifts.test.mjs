// @ts-check
/** Lifts between groups: sums by bucket added up, the interval as tbmetrics computes it, and what is too little. */

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { liftOf, liftsByGroup, told } from '../../../plugins/tbmetrics_longtail/static/model/lifts.js';

const bucket = (/** @type {string} */ group, /** @type {number} */ lowest) => ({
  group,
  lowest,
  highest: lowest,
  n_classes: 1,
});

const ANSWER = {
  buckets: [bucket('head', 900), bucket('head', 200), bucket('tail', 5)],
  positives: [100, 40, 10],
  missed: [20, 20, 5],
  absent_share: [18, 18, 4.9],
  false_positives: [30, 50, 20],
  observed: [
    [2, 3, 1],
    [1, 4, 2],
    [8, 6, 0],
  ],
  expected: [
    [2, 2.5, 1],
    [1.5, 3, 0.5],
    [1, 1, 0.2],
  ],
  variance: [
    [2, 3, 1],
    [1, 4, 2],
    [16, 12, 0],
  ],
};

test('groups are sums over their buckets', () => {
  const rows = liftsByGroup(ANSWER, null) ?? [];
  const [head, , tail] = rows;
  assert.deepEqual([head.positives, head.missed], [140, 40]);
  assert.equal(head.lifts.head.observed, 10);
  assert.equal(head.lifts.head.lift, 10 / 9);
  assert.equal(tail.lifts.head.lift, 7);
  assert.equal(told(tail.lifts.head), 1);
  assert.equal(told(head.lifts.head), 0);
  const moved = liftsByGroup(ANSWER, { rule: 'custom', headMin: 500, tailMax: 300, key: '' }) ?? [];
  assert.equal(moved[2].missed, 25);
  assert.equal(moved[2].lifts.head.observed, 9);
});

test('the interval is that of lift_interval in tbmetrics', () => {
  const { lower, upper } = liftOf(14, 2, 28, 80);
  assert.ok(Math.abs(Number(lower) - 3.297251063754949) < 1e-9);
  assert.ok(Math.abs(Number(upper) - 16.439672206706067) < 1e-9);
  assert.equal(liftOf(0, 3, 0, 200).lower, 0);
});

test('with less than one expected, or too little behind it, nothing is told', () => {
  assert.equal(liftOf(3, 0.4, 3, 100).lift, null);
  assert.equal(liftOf(3, 2, 3, 1).lift, null);
  assert.equal(told(liftOf(3, 0.4, 3, 100)), 0);
  const unknown = { ...ANSWER, missed: [null, null, null] };
  assert.equal(liftsByGroup(unknown, null), null);
});
