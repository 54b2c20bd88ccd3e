// @ts-check
import assert from 'node:assert/strict';
import { test } from 'node:test';

import {
  deviation,
  mean,
  meanLine,
  permutationTest,
} from '../../../plugins/tbmetrics_longtail/static/model/statistics.js';
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

test('means over seeds at every step that any has', () => {
  const line = meanLine([
    [point(0, 0.2), point(1, 0.4), point(3, null)],
    [point(1, 0.6), point(2, 0.5)],
  ]);
  assert.deepEqual(
    line.map(({ x, y, n }) => [x, y, n]),
    [
      [0, 0.2, 1],
      [1, 0.5, 2],
      [2, 0.5, 1],
    ],
  );
  assert.equal(line[0].lower, null);
  assert.ok(Math.abs(Number(line[1].upper) - (0.5 + Math.sqrt(0.02))) < 1e-12);
  assert.equal(mean([1, 2, 6]), 3);
  assert.equal(deviation([1]), null);
});

test('the permutation test counts every way to deal the values', () => {
  // 20 ways to deal six values to two sides of three; only two are as far apart.
  assert.deepEqual(permutationTest([1, 2, 3], [4, 5, 6]), { p: 0.1, least: 0.1 });
  assert.equal(permutationTest([1, 4], [2, 3])?.p, 1);
  assert.equal(permutationTest([1], [2, 3])?.least, 1 / 3);
  assert.equal(permutationTest([], [1]), null);
  assert.equal(permutationTest(Array(20).fill(0), Array(20).fill(1)), null); // too many to try
});
