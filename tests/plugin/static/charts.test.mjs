// @ts-check
import assert from 'node:assert/strict';
import { test } from 'node:test';

import { reliabilityOf } from '../../../plugins/tbmetrics_longtail/static/model/reliability.js';
import { flowByGroup } from '../../../plugins/tbmetrics_longtail/static/model/grouping.js';
import { pngScale } from '../../../plugins/tbmetrics_longtail/static/charts/picture.js';
import { nearest } from '../../../plugins/tbmetrics_longtail/static/charts/plot.js';
import { bestPoint } from '../../../plugins/tbmetrics_longtail/static/cards/pr.js';
import { paretoFront } from '../../../plugins/tbmetrics_longtail/static/model/statistics.js';
import { binnedTrend } from '../../../plugins/tbmetrics_longtail/static/model/statistics.js';

const BUCKETS = [
  { group: 'head', lowest: 500, highest: 500, n_classes: 1 },
  { group: 'tail', lowest: 3, highest: 3, n_classes: 1 },
];
const BOUNDS = { rule: 'custom', headMin: 2, tailMax: 1, key: '2:1' };

test('the Pareto front is what no other point beats on both axes', () => {
  const points = [
    { x: 0.9, y: 0.2 },
    { x: 0.8, y: 0.5 },
    { x: 0.7, y: 0.4 },
    { x: 0.6, y: 0.7 },
    { x: 0.6, y: 0.6 },
  ];
  assert.deepEqual(
    paretoFront(points).map((p) => p.x),
    [0.6, 0.8, 0.9],
  );
  assert.deepEqual(
    paretoFront(points, true),
    [points[0], points[2], points[4]].sort((p, q) => p.x - q.x),
  );
  const twins = [
    { x: 1, y: 1 },
    { x: 1, y: 1 },
  ];
  assert.equal(paretoFront(twins).length, 2);
  assert.deepEqual(paretoFront([]), []);
});

test('the trend is the mean of equally many neighbours, without the undefined', () => {
  const points = [1, 2, 3, 4].map((x) => ({ x, y: x === 2 ? null : x / 10 }));
  assert.deepEqual(binnedTrend(points, 2), [
    { x: 1.5, y: 0.1, n: 1 },
    { x: 3.5, y: 0.35, n: 2 },
  ]);
  assert.deepEqual(binnedTrend([{ x: 1, y: null }], 2), []);
});

test('reliability adds buckets up and leaves empty bins undefined', () => {
  const answer = {
    buckets: BUCKETS,
    by: null,
    n: [
      [0, 10],
      [2, 0],
    ],
    confidence: [
      [0, 9],
      [0.5, 0],
    ],
    right: [
      [0, 6],
      [1, 0],
    ],
  };
  const head = reliabilityOf(answer, null, 'head');
  assert.deepEqual(head.confidence, [null, 0.9]);
  assert.deepEqual(head.accuracy, [null, 0.6]);
  assert.ok(Math.abs(Number(head.ece) - 0.3) < 1e-12);
  const all = reliabilityOf(answer, null, 'all');
  assert.equal(all.total, 12);
  assert.ok(Math.abs(Number(all.ece) - 3.5 / 12) < 1e-12);
  assert.equal(reliabilityOf(answer, BOUNDS, 'head').total, 12);
  assert.equal(reliabilityOf(answer, BOUNDS, 'tail').ece, null);
});

test('by predicted class the calibration error has its bias taken off, and bins have intervals', () => {
  const answer = {
    buckets: BUCKETS.slice(0, 1),
    by: /** @type {const} */ ('predicted_class'),
    n: [[10, 15, 30, 5]],
    confidence: [[1, 6, 21, 4.5]],
    right: [[2, 4, 15, 5]],
  };
  const { ece, lower, upper } = reliabilityOf(answer, null, 'head');
  assert.ok(Math.abs(Number(ece) - 0.07744923551874228) < 1e-12); // calibration_error of tbmetrics
  assert.ok(Math.abs(Number(lower[0]) - 0.05668215145437519) < 1e-12);
  assert.ok(Math.abs(Number(upper[0]) - 0.5098375284633583) < 1e-12);
  assert.equal(reliabilityOf(answer, BOUNDS, 'medium').ece, null);
});

test('the flow between buckets becomes one between groups', () => {
  const flow = {
    buckets: BUCKETS,
    values: [
      [5, 1, 2],
      [3, 4, 0],
    ],
  };
  const found = flowByGroup(flow, null);
  assert.deepEqual(found.values[0], [5, 0, 1, 0, 2]);
  assert.deepEqual(found.values[2], [3, 0, 4, 0, 0]);
  const merged = flowByGroup(flow, BOUNDS);
  assert.deepEqual(merged.values[0], [13, 0, 0, 0, 2]);
  const unknown = flowByGroup(
    {
      buckets: BUCKETS,
      values: [
        [null, null, null],
        [null, null, null],
      ],
    },
    null,
  );
  assert.equal(unknown.values[0][0], null);
});

test('the best point of a curve is where F1 is largest', () => {
  const at = { precision: null, recall: null, threshold: null, best_threshold: 0.25, best_f1: 0.66, support: 3 };
  const found = bestPoint({ class: 'x', recall: [0.5, 1], precision: [1, 0.3], at });
  assert.ok(found);
  assert.deepEqual([found.recall, found.precision], [0.5, 1]);
  assert.match(found.words, /0\.660 at threshold 0\.250/);
  assert.equal(bestPoint({ class: 'x', recall: [0.5], precision: [null], at }), null);
});

test('the nearest item within reach', () => {
  const items = [
    { x: 0, y: 0 },
    { x: 10, y: 0 },
  ];
  assert.equal(
    nearest(items, (p) => p, { x: 7, y: 1 }, 5),
    items[1],
  );
  assert.equal(
    nearest(items, (p) => p, { x: 5, y: 9 }, 5),
    null,
  );
});

test('a picture too large for a canvas is drawn smaller', () => {
  assert.equal(pngScale(1000, 800, 2), 2);
  assert.equal(pngScale(16_384, 10, 2), 1);
  assert.ok(20_000 * 20_000 * pngScale(20_000, 20_000, 2) ** 2 <= 2 ** 27 + 1);
});
