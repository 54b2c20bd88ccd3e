// @ts-check
import assert from 'node:assert/strict';
import { test } from 'node:test';

import {
  boundaryAt,
  hasBoundaries,
  movesOfBins,
  movesOfClasses,
  ruleBoundaries,
  tailEnd,
  toldBoundaries,
} from '../../../plugins/tbmetrics_longtail/static/model/by-count.js';
import { logarithmic, logTicks } from '../../../plugins/tbmetrics_longtail/static/model/scale.js';

/** @import { Row } from '../../../plugins/tbmetrics_longtail/static/model/types.js' */

const TAILS = {
  tail_max: [2, 9, 15, 40, 300],
  n_defined: [1, 2, 3, 4, 5],
  mean_a: [0.1, 0.1, 0.2, 0.2, 0.3],
  mean_b: [0.3, 0.2, 0.3, 0.2, 0.3],
  difference: [0.2, 0.1, 0.1, 0, 0],
  lower: [0.1, -0.1, 0.05, null, -0.2],
  upper: [0.3, 0.3, 0.15, null, 0.2],
};

/** @param {Partial<Row>} known @returns {Row} */
function row(known) {
  const none = { regrouped: null, support: 9, difference: null, intervalA: null, intervalB: null, interval: null };
  return { name: 'x', group: 'tail', count: 5, a: 0.2, b: 0.4, rank: 1, indexA: 0, indexB: 0, ...none, ...known };
}

test('a count lies at the largest boundary that it reaches', () => {
  assert.deepEqual(
    [1, 2, 8, 9, 1000].map((n) => boundaryAt(TAILS, n)),
    [-1, 0, 0, 1, 4],
  );
  assert.equal(hasBoundaries([3, 3, null]), false);
  assert.equal(hasBoundaries([3, 4]), true);
});

test('boundaries without an interval are not counted', () => {
  assert.deepEqual(toldBoundaries(TAILS), { known: 4, clear: 2 });
});

test('rules with one tail share a mark, and those without a tail have none', () => {
  assert.deepEqual(ruleBoundaries(TAILS, [2, 9, 15, 40, 300, 300, 300]), [
    { index: 1, label: 'LVIS, Thirds' },
    { index: 2, label: 'Many / few shot, OLTR, DBL' },
  ]);
  assert.deepEqual(
    ruleBoundaries({ ...TAILS, tail_max: [25, 300] }, [25, 300]).map(({ label }) => label),
    ['Thirds'],
  );
});

test('classes without a count, or a value in both, do not move', () => {
  const rows = [
    row({ name: 'clear', interval: [0.1, 0.3] }),
    row({ name: 'chance', interval: [-0.1, 0.3] }),
    row({ count: null }),
    row({ b: null }),
  ];
  assert.deepEqual(
    movesOfClasses(rows).map(({ name, isChance }) => [name, isChance]),
    [
      ['clear', false],
      ['chance', true],
    ],
  );
});

test('a bin has the group of most of its classes', () => {
  const bin = { lowest: 4, highest: 8, n_defined: 3, mean_a: 0.2, mean_b: 0.5, lower: 0.1, upper: 0.5 };
  const rows = [row({ group: 'medium', count: 8 }), row({}), row({}), row({ group: 'head', count: 9 })];
  const [move, unknown] = movesOfBins([bin, { ...bin, lower: null }], rows);
  assert.deepEqual([move.group, move.n, move.isChance, move.name], ['tail', 3, false, null]);
  assert.deepEqual([unknown.interval, unknown.isChance], [null, true]);
});

test('the tail ends at the threshold, or at its largest recorded count', () => {
  const rows = [row({ count: 4 }), row({ count: 7 }), row({ group: 'medium', count: 30 }), row({ count: null })];
  assert.equal(tailEnd(rows, null), 7);
  assert.equal(tailEnd(rows, { rule: 'lvis', headMin: 100, tailMax: 9, key: '' }), 9);
  assert.equal(tailEnd([row({ group: 'head' })], null), null);
});

test('a logarithmic axis has equal steps for equal factors, and a place for 0', () => {
  const x = logarithmic([1, 1000], [0, 300]);
  assert.deepEqual([1, 10, 100, 1000].map(x).map(Math.round), [0, 100, 200, 300]);
  assert.equal(x(0), x(0.5));
  assert.deepEqual(logTicks(1, 100, 7), [1, 2, 5, 10, 20, 50, 100]);
  assert.deepEqual(logTicks(1, 1000, 7), [1, 3, 10, 30, 100, 300, 1000]);
  assert.deepEqual(logTicks(0, 1000, 4), [0, 1, 10, 100, 1000]);
  assert.deepEqual(logTicks(310, 480, 6), [350, 400, 450]);
});
