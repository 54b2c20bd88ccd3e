// @ts-check
import assert from 'node:assert/strict';
import { test } from 'node:test';

import {
  groupingOf,
  groupMeans,
  groupOfBucket,
  groupOfCount,
  groupsOfClasses,
  isExact,
  recordedBounds,
} from '../../../plugins/tbmetrics_longtail/static/model/grouping.js';
import { stopsOf } from '../../../plugins/tbmetrics_longtail/static/app/groups-control.js';

/** @import { Bucket } from '../../../plugins/tbmetrics_longtail/static/model/answers.js' */

const NONE = { rule: null, head: null, tail: null };

/** @param {string} rule @param {number[]} [counts] */
function bounds(rule, counts = [1, 2, 3]) {
  const found = groupingOf({ ...NONE, rule }, counts);
  assert.ok(found);
  return [found.headMin, found.tailMax];
}

test('named rules have the bounds of their papers', () => {
  assert.deepEqual(bounds('decoupling'), [101, 19]);
  assert.deepEqual(bounds('oltr'), [100, 20]);
  assert.deepEqual(bounds('dbl'), [100, 19]);
  assert.deepEqual(bounds('lvis'), [100, 9]);
});

test('terciles lie at the 33rd and 67th percentile, as numpy has them', () => {
  // numpy.percentile([1..10], [33, 67]) = 3.97, 7.03: head above, tail below.
  assert.deepEqual(bounds('terciles', [10, 9, 8, 7, 6, 5, 4, 3, 2, 1]), [8, 3]);
  assert.deepEqual(bounds('terciles', [5, 5, 5]), [6, 4]); // all medium
});

test('no rule, no counts, or crossing bounds: as recorded', () => {
  assert.equal(groupingOf(NONE, [1]), null);
  assert.equal(groupingOf({ ...NONE, rule: 'lvis' }, [null]), null);
  assert.equal(groupingOf({ rule: 'custom', head: 5, tail: 5 }, [1]), null);
  assert.equal(groupingOf({ rule: 'custom', head: null, tail: 5 }, [1]), null);
  assert.equal(groupingOf({ ...NONE, rule: 'constructor' }, [1]), null);
  assert.equal(groupingOf({ rule: 'custom', head: 6, tail: 5 }, [1])?.headMin, 6);
});

test('a count falls into its group; an unknown one into none', () => {
  const lvis = groupingOf({ ...NONE, rule: 'lvis' }, [1]);
  assert.ok(lvis);
  assert.deepEqual(
    [100, 99, 10, 9, 0, null].map((n) => groupOfCount(lvis, n)),
    ['head', 'medium', 'medium', 'tail', 'tail', 'unknown'],
  );
  assert.deepEqual(groupsOfClasses({ groups: ['tail', 'odd'], counts: [500, 1] }, null), ['tail', 'unknown']);
});

test('recorded groups give back bounds, unless none would make them', () => {
  const found = recordedBounds({ groups: ['head', 'medium', 'tail'], counts: [500, 40, 3] });
  assert.deepEqual([found?.headMin, found?.tailMax], [500, 3]);
  assert.equal(recordedBounds({ groups: ['head', 'tail'], counts: [3, 500] }), null);
  assert.equal(recordedBounds({ groups: ['head'], counts: [null] }), null);
  const noHead = recordedBounds({ groups: ['medium', 'tail'], counts: [40, 3] });
  assert.deepEqual([noHead?.headMin, noHead?.tailMax], [41, 3]);
});

/** @type {Bucket[]} */
const BUCKETS = [
  { group: 'head', lowest: 500, highest: 900, n_classes: 2 },
  { group: 'medium', lowest: 40, highest: 40, n_classes: 1 },
  { group: 'tail', lowest: 3, highest: 3, n_classes: 2 },
  { group: 'unknown', lowest: -1, highest: -1, n_classes: 1 },
];

test('a bucket that a bound cuts goes where its middle lies, and is told', () => {
  const cut = groupingOf({ rule: 'custom', head: 600, tail: 3 }, [1]);
  assert.equal(groupOfBucket(BUCKETS[0], cut), 'head');
  assert.equal(groupOfBucket(BUCKETS[3], cut), 'unknown');
  assert.equal(isExact(BUCKETS, cut), false);
  assert.equal(isExact(BUCKETS, null), true);
  assert.equal(isExact(BUCKETS, groupingOf({ rule: 'custom', head: 41, tail: 40 }, [1])), true);
});

/** One step: sums 1.8, 0.4, 0.5, 0; variances 0.02, 0.04, 0.01, 0; classes 2, 1, 2, 0. */
const SUMS = {
  steps: [7],
  buckets: BUCKETS,
  combine: 'mean',
  values: Float32Array.from([1.8, 0.4, 0.5, 0, 0.02, 0.04, 0.01, 0, 2, 1, 2, 0]),
};

/** @param {number | null | undefined} value @param {number} expected */
function near(value, expected) {
  assert.ok(typeof value === 'number' && Math.abs(value - expected) < 1e-6, `${value} is not ${expected}`);
}

test('means, intervals and the gap are those of the classes', () => {
  const { groups, steps } = groupMeans(SUMS, null, 'f1');
  assert.deepEqual(steps, [7]);
  near(groups.head.f1[0], 0.9);
  near(groups.tail.f1[0], 0.25);
  near(groups.all.f1[0], 2.7 / 5);
  near(groups.gap.f1[0], 0.65);
  assert.equal(groups.unknown.f1[0], null);
  near(groups.tail.f1_lower[0], 0.25 - (1.959964 * 0.1) / 2);
  near(
    groups.gap.f1_upper[0],
    0.65 +
      1.959964 *
        Math.hypot(
          Math.min(0.1, Math.sqrt(0.02) / 2) && (1 - (0.9 - (1.959964 * Math.sqrt(0.02)) / 2)) / 2 / 1.959964,
          0.05,
        ),
  );
  const wide = groupMeans(SUMS, groupingOf({ rule: 'custom', head: 30, tail: 1 }, [1]), 'f1').groups;
  near(wide.head.f1[0], 2.2 / 3);
  near(wide.medium.f1[0], 0.25);
  assert.equal(wide.tail.f1[0], null);
  assert.equal(wide.head.f1_n_classes[0], 3);
});

test('after a threshold has moved, groups are as if made anew, and those that it does not bound are kept', () => {
  const moved = [3, 1, 40, 3].map((tail) => groupingOf({ rule: 'custom', head: 100, tail }, [1]));
  const inTurn = moved.map((grouping) => groupMeans(SUMS, grouping, 'f1').groups);
  moved.forEach((grouping, i) => assert.deepEqual(inTurn[i], groupMeans({ ...SUMS }, grouping, 'f1').groups));
  assert.ok(inTurn.every(({ head, all }) => head === inTurn[0].head && all === inTurn[0].all));
  assert.notDeepEqual(inTurn[1].gap, inTurn[0].gap);
});

test('other metrics are combined their own way, without an interval', () => {
  const logs = {
    ...SUMS,
    combine: 'exp_mean',
    values: Float32Array.from([2 * Math.log(0.5), 0, 0, 0, NaN, NaN, NaN, NaN, 2, 1, 2, 0]),
  };
  near(groupMeans(logs, null, 'm').groups.head.m[0], 0.5);
  assert.equal(groupMeans(logs, null, 'm').groups.head.m_lower[0], null);
  const never = {
    ...SUMS,
    combine: 'exp_mean',
    values: Float32Array.from([2 * Math.log(0.5), 0, -Infinity, 0, NaN, NaN, NaN, NaN, 2, 1, 2, 0]),
  };
  near(groupMeans(never, null, 'm').groups.tail.m[0], 0); // a class that is never found
  near(groupMeans(never, null, 'm').groups.head.m[0], 0.5); // spoils its own group only
  const least = {
    ...SUMS,
    combine: 'min',
    values: Float32Array.from([0.7, 0.2, 0.4, Infinity, 0, 0, 0, 0, 2, 1, 2, 0]),
  };
  near(groupMeans(least, null, 'm').groups.all.m[0], 0.2);
  assert.equal(groupMeans(least, null, 'm').groups.unknown.m[0], null);
  const inverse = {
    ...SUMS,
    combine: 'inverse_mean',
    values: Float32Array.from([Infinity, 2, 8, 0, 0, 0, 0, 0, 2, 1, 2, 0]),
  };
  near(groupMeans(inverse, null, 'm').groups.head.m[0], 0);
  near(groupMeans(inverse, null, 'm').groups.tail.m[0], 0.25);
});

test('sliders stop at small numbers and at the counts there are', () => {
  assert.deepEqual(stopsOf([]), []);
  assert.deepEqual(stopsOf([null, null]), []);
  assert.deepEqual(stopsOf([3, 1]), [0, 1, 2, 3, 4]);
  const many = stopsOf(Array.from({ length: 9000 }, (_, i) => i));
  assert.ok(many.length < 220);
  assert.equal(many.at(-1), 9000);
});
