// @ts-check
import assert from 'node:assert/strict';
import { test } from 'node:test';

import {
  bandPath,
  decimals,
  extent,
  linear,
  linePath,
  markedPoints,
  markerPath,
  niceDomain,
  spread,
  ticks,
} from '../../../plugins/tbmetrics_longtail/static/model/scale.js';

/** @import { Marker, Maybe, Point } from '../../../plugins/tbmetrics_longtail/static/model/types.js' */

const same = (/** @type {number} */ value) => value;

/** @param {[number, Maybe, Maybe?, Maybe?][]} values @returns {Point[]} */
function points(values) {
  return values.map(([x, y, lower = null, upper = null]) => ({ x, y, lower, upper, n: null }));
}

test('a linear scale maps ends to ends, and an empty domain to the middle', () => {
  const scale = linear([10, 20], [100, 0]);
  assert.deepEqual([10, 15, 20].map(scale), [100, 50, 0]);
  assert.equal(linear([3, 3], [0, 10])(3), 5);
});

test('the extent leaves undefined values out', () => {
  assert.deepEqual(extent([null, 2, NaN, -1, Infinity]), [-1, 2]);
  assert.equal(extent([null, NaN]), null);
});

test('ticks are round numbers within the range', () => {
  assert.deepEqual(ticks(0, 1, 5), [0, 0.2, 0.4, 0.6, 0.8, 1]);
  assert.deepEqual(ticks(-0.13, 0.31, 5), [-0.1, 0, 0.1, 0.2, 0.3]);
  assert.deepEqual(ticks(7, 7), [7]);
});

test('ticks of steps are whole', () => {
  assert.deepEqual(ticks(0, 2, 8, true), [0, 1, 2]);
});

test('ticks stay few, whatever the range', () => {
  for (const exponent of [-6, -3, 0, 4, 9]) {
    const found = ticks(0, 7.3 * 10 ** exponent, 4);
    assert.ok(found.length >= 3 && found.length <= 6, `${found}`);
    assert.ok(found.every((value, i) => i === 0 || value > found[i - 1]));
  }
});

test('decimals tell ticks apart', () => {
  assert.equal(decimals([0, 0.2]), 1);
  assert.equal(decimals([0, 0.05]), 2);
  assert.equal(decimals([0, 10]), 0);
});

test('an axis holds its data, ends on ticks and stays within bounds', () => {
  assert.deepEqual(niceDomain([0.02, 0.97], { bounds: [0, 1] }), [0, 1]);
  const [low, high] = niceDomain([0.81, 0.84], { bounds: [0, 1] });
  assert.ok(low <= 0.81 && low > 0.7 && high >= 0.84 && high < 0.9);
  assert.deepEqual(niceDomain(null, { bounds: [0, 1] }), [0, 1]);
});

test('an axis of one value has a height', () => {
  const [low, high] = niceDomain([0.5, 0.5]);
  assert.ok(low < 0.5 && high > 0.5);
});

test('an axis with zero holds zero', () => {
  const [low, high] = niceDomain([0.2, 0.4], { zero: true });
  assert.ok(low <= 0 && high >= 0.4);
});

test('a line is broken where a value is undefined', () => {
  assert.equal(
    linePath(
      points([
        [0, 1],
        [1, 2],
        [2, null],
        [3, 4],
      ]),
      same,
      same,
    ),
    'M0 1L1 2M3 4',
  );
  assert.equal(linePath(points([[0, null]]), same, same), '');
});

test('a band goes along the upper values and back along the lower, one for each stretch', () => {
  const path = bandPath(
    points([
      [0, 1, 0, 2],
      [1, 1, 0, 2],
      [2, null],
      [3, 1, 0, 2],
    ]),
    same,
    same,
  );
  assert.equal(path, 'M0 2L1 2L1 0L0 0Z');
});

test('few points are all marked; of many some, and the last', () => {
  const few = points([
    [0, 1],
    [1, null],
    [2, 3],
  ]);
  assert.deepEqual(
    markedPoints(few, 0).map((p) => p.x),
    [0, 2],
  );
  const many = points(Array.from({ length: 1000 }, (_, i) => [i, 1]));
  const [first, second] = [markedPoints(many, 0), markedPoints(many, 1)];
  assert.ok(first.length <= 10 && first.at(-1)?.x === 999);
  assert.notDeepEqual(first, second);
});

test('each marker is a closed path of its own', () => {
  const kinds = /** @type {Marker[]} */ (['circle', 'diamond', 'triangle', 'square', 'cross']);
  const paths = kinds.map((kind) => markerPath(kind, 5, 5, 3));
  assert.equal(new Set(paths).size, kinds.length);
  assert.ok(paths.every((path) => /^M.*Z$/.test(path)));
});

test('labels are pushed apart and stay within limits', () => {
  const placed = spread([50, 51, 10], 14, [0, 60]);
  assert.ok(Math.abs(placed[0] - placed[1]) >= 14 && placed[1] <= 60);
  assert.equal(placed[2], 10);
});
