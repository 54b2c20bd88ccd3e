// @ts-check
import assert from 'node:assert/strict';
import { test } from 'node:test';

import {
  deviation,
  meanLine,
  seedDifference,
  seedInterval,
} from '../../../plugins/tbmetrics_longtail/static/model/seeds.js';
import { mean, permutationTest } from '../../../plugins/tbmetrics_longtail/static/model/statistics.js';
import { experimentsOf, seedPattern, USUAL_PATTERN } from '../../../plugins/tbmetrics_longtail/static/model/view.js';

/** @import { RunView } from '../../../plugins/tbmetrics_longtail/static/model/types.js' */

/** @param {string} pattern @param {string} run */
function experimentOf(pattern, run) {
  const { experimentOf: of } = seedPattern(pattern);
  assert.ok(of);
  return of(run);
}

test('the usual pattern takes seeds out of names', () => {
  for (const run of ['focal/seed1', 'focal_s12', 'focal-seed=3', 'focal.run2', 'focal/rep_7']) {
    assert.equal(experimentOf(USUAL_PATTERN, run), 'focal');
  }
  assert.equal(experimentOf(USUAL_PATTERN, 'baseline'), 'baseline');
  assert.equal(experimentOf(USUAL_PATTERN, 'seed4'), 'seed4'); // nothing would be left
  assert.equal(experimentOf(USUAL_PATTERN, 'run1_focal'), '_focal');
});

test('the usual pattern takes nothing that only ends in such a letter, or is another number', () => {
  const names = [
    'bs32',
    'bs64',
    'lr0.1',
    'params8',
    'trun3',
    'epochs-100',
    'wd_s0.1',
    'focal_s1b',
    'class12',
    'b_seed',
  ];
  for (const run of names) assert.equal(experimentOf(USUAL_PATTERN, run), run);
});

test('a named group names the experiment', () => {
  assert.equal(experimentOf('^(?<name>.*?)-\\d+$', 'ldam-3'), 'ldam');
});

test('no pattern, or one that is none', () => {
  assert.equal(seedPattern('').experimentOf, null);
  assert.equal(seedPattern('(').experimentOf, null);
  assert.match(seedPattern('(').error ?? '', /Not a regular expression/);
});

test('runs of one experiment come together in the order of the first', () => {
  const runs = /** @type {RunView[]} */ (['b1', 'a1', 'b2'].map((run, index) => ({ run, style: { index } })));
  const found = experimentsOf(runs, (run) => run[0]);
  assert.deepEqual(
    found.map((e) => [e.label, e.style.index, e.runs.map((r) => r.run)]),
    [
      ['b', 0, ['b1', 'b2']],
      ['a', 1, ['a1']],
    ],
  );
});

/** @param {number} x @param {number | null} y */
const point = (x, y) => ({ x, y, lower: null, upper: null, n: null });

test('means over seeds at the steps that all of them have; of the others it is said how many', () => {
  const line = meanLine(
    [
      [point(0, 0.2), point(1, 0.4), point(3, null)],
      [point(1, 0.6), point(2, 0.5)],
    ],
    [0, 1],
  );
  assert.deepEqual(
    line.map(({ x, y, n }) => [x, y, n]),
    [
      [0, null, 1],
      [1, 0.5, 2],
      [2, null, 1],
    ],
  );
  assert.equal(line[0].lower, null);
  assert.deepEqual([line[1].lower, line[1].upper], [0, 1]); // 12.7 standard errors of 0.1 either side
  assert.equal(mean([1, 2, 6]), 3);
  assert.equal(deviation([1]), null);
  assert.equal(seedInterval([1], [0, 1]), null);
  const [low, high] = seedInterval([0.5, 0.52, 0.54], [0, 1]) ?? [];
  assert.ok(Math.abs(Number(high) - Number(low) - (2 * 4.302653 * 0.02) / Math.sqrt(3)) < 1e-7);
});

test('with two seeds a side a difference cannot be told', () => {
  const { p, interval, sign } = seedDifference([0.1, 0.1001], [0.9, 0.9001]);
  assert.deepEqual([p, interval, sign], [null, null, 0]);
});

test('the permutation test counts every way to deal the values', () => {
  // 20 ways to deal six values to two sides of three; only two are as far apart.
  assert.deepEqual(permutationTest([1, 2, 3], [4, 5, 6]), { p: 0.1, least: 0.1 });
  assert.equal(permutationTest([1, 4], [2, 3])?.p, 1);
  assert.equal(permutationTest([1], [2, 3])?.least, 1 / 3);
  assert.equal(permutationTest([], [1]), null);
  assert.equal(permutationTest(Array(20).fill(0), Array(20).fill(1)), null); // too many to try
});
