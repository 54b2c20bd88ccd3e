// @ts-check
import assert from 'node:assert/strict';
import { test } from 'node:test';

import {
  filterRows,
  firstDirection,
  groupCounts,
  joinClasses,
  largestDifference,
  movers,
  onlyInOne,
  ranked,
  sortRows,
  visibleRows,
} from '../../../plugins/tbmetrics_longtail/static/model/class-list.js';
import { chanceText, movedByChance } from '../../../plugins/tbmetrics_longtail/static/model/evidence.js';

/**
 * @param {[name: string, group: string, count: number | null, support: number, value: number][]} classes
 * @returns {import('../../../plugins/tbmetrics_longtail/static/model/class-list.js').Side}
 */
function side(classes) {
  return {
    classes: {
      names: classes.map(([name]) => name),
      groups: classes.map(([, group]) => group),
      counts: classes.map(([, , count]) => count),
      rule: 'decoupling',
      decision: 'multi_label',
    },
    support: Float32Array.from(classes, ([, , , support]) => support),
    values: Float32Array.from(classes, ([, , , , value]) => value),
  };
}

const A = side([
  ['cat', 'head', 900, 30, 0.75],
  ['lynx', 'tail', 9, 2, NaN],
  ['otter', 'medium', null, 5, 0.5],
]);
const B = side([
  ['otter', 'tail', 12, 5, 0.25],
  ['cat', 'head', 900, 30, 1],
  ['pangolin', 'tail', 4, 1, 0],
]);

test('runs are joined by class name, those that only B has last', () => {
  const rows = joinClasses(A, B);
  assert.deepEqual(
    rows.map(({ name, a, b, difference }) => [name, a, b, difference]),
    [
      ['cat', 0.75, 1, 0.25],
      ['lynx', null, null, null],
      ['otter', 0.5, 0.25, -0.25],
      ['pangolin', null, 0, null],
    ],
  );
  assert.deepEqual(
    rows.map(({ indexA, indexB }) => [indexA, indexB]),
    [
      [0, 1],
      [1, -1],
      [2, 0],
      [-1, 2],
    ],
  );
  assert.deepEqual(onlyInOne(rows), { a: 1, b: 1 });
});

test('the group is that in A; another in B is said; counts come from where they are known', () => {
  const otter = joinClasses(A, B)[2];
  assert.deepEqual([otter.group, otter.regrouped, otter.count], ['medium', 'tail', 12]);
});

test('one run alone makes a table too', () => {
  assert.deepEqual(
    joinClasses(A, null).map(({ name, b, difference }) => [name, b, difference]),
    [
      ['cat', null, null],
      ['lynx', null, null],
      ['otter', null, null],
    ],
  );
  assert.deepEqual(
    joinClasses(null, B).map(({ name, b }) => [name, b]),
    [
      ['otter', 0.25],
      ['cat', 1],
      ['pangolin', 0],
    ],
  );
});

test('undefined values come last in either direction', () => {
  const rows = joinClasses(A, B);
  assert.deepEqual(
    sortRows(rows, 'b', true).map((r) => r.name),
    ['cat', 'otter', 'pangolin', 'lynx'],
  );
  assert.deepEqual(
    sortRows(rows, 'b', false).map((r) => r.name),
    ['pangolin', 'otter', 'cat', 'lynx'],
  );
});

test('names are sorted as people count, groups from head to unknown', () => {
  const rows = joinClasses(
    side(['class 10', 'class 9', 'Class 1'].map((name, i) => [name, ['tail', 'head', 'medium'][i], 1, 1, 1])),
    null,
  );
  assert.deepEqual(
    sortRows(rows, 'name', false).map((r) => r.name),
    ['Class 1', 'class 9', 'class 10'],
  );
  assert.deepEqual(
    sortRows(rows, 'group', false).map((r) => r.group),
    ['head', 'medium', 'tail'],
  );
});

test('sorting keeps the order of equals and leaves its input alone', () => {
  const rows = joinClasses(side([1, 2, 3].map((i) => [`c${i}`, 'head', 5, 1, 0.5])), null);
  assert.deepEqual(
    sortRows(rows, 'count', true).map((r) => r.name),
    ['c1', 'c2', 'c3'],
  );
  assert.deepEqual(
    rows.map((r) => r.name),
    ['c1', 'c2', 'c3'],
  );
});

test('search is by any part of the name in any case; groups can be left out', () => {
  const rows = joinClasses(A, B);
  assert.deepEqual(
    filterRows(rows, ' OTT', []).map((r) => r.name),
    ['otter'],
  );
  assert.deepEqual(
    filterRows(rows, '', ['head', 'tail']).map((r) => r.name),
    ['otter'],
  );
  assert.deepEqual(filterRows(rows, 'cat', ['head']), []);
});

test('groups are counted, bars scaled to the largest difference', () => {
  const rows = joinClasses(A, B);
  assert.deepEqual(
    [...groupCounts(rows)],
    [
      ['head', 1],
      ['medium', 1],
      ['tail', 2],
      ['unknown', 0],
    ],
  );
  assert.equal(largestDifference(rows), 0.25);
  assert.equal(largestDifference([]), 0.05);
});

test('names start from A, numbers from the largest', () => {
  assert.equal(firstDirection('name'), false);
  assert.equal(firstDirection('difference'), true);
});

test('of 8,142 rows a few dozen are drawn, and those in sight are among them', () => {
  for (const scrollTop of [0, 1000, 36 * 4000, 36 * 8142]) {
    const { first, last } = visibleRows(scrollTop, 504, 36, 8142);
    assert.ok(last - first <= 32 && first >= 0 && last <= 8142);
    assert.ok(first <= scrollTop / 36 && last >= Math.min(8142, (scrollTop + 504) / 36));
  }
  assert.deepEqual(visibleRows(500, 500, 36, 0), { first: 0, last: 0 });
});

test('ranks follow the training counts; unknown ones have none', () => {
  const rows = ranked(
    joinClasses(
      {
        classes: { names: ['a', 'b', 'c', 'd'], counts: [5, null, 9, 5], groups: [], rule: '', decision: '' },
        support: null,
        values: null,
      },
      null,
    ),
  );
  assert.deepEqual(
    rows.map((row) => row.rank),
    [2, 0, 1, 3],
  );
  assert.deepEqual(
    filterRows(rows, '', [], [1, 2]).map((row) => row.name),
    ['a', 'c'],
  );
});

test('movers: without intervals by value, of equal ones those with more positives first', () => {
  const row = (
    /** @type {string} */ name,
    /** @type {number | null} */ a,
    /** @type {number | null} */ b,
    /** @type {number} */ support,
  ) => ({
    name,
    group: /** @type {const} */ ('tail'),
    regrouped: null,
    count: 1,
    support,
    a,
    b,
    difference: a === null || b === null ? null : b - a,
    intervalA: null,
    intervalB: null,
    interval: /** @type {[number, number] | null} */ (null),
    rank: 1,
    indexA: 0,
    indexB: 0,
  });
  const rows = [
    row('up', 0, 0.5, 1),
    row('UP', 0, 0.5, 9),
    row('down', 0.9, 0.25, 2),
    row('same', 0.5, 0.5, 3),
    row('shown as +0.000', 0.5, 0.5004, 3),
    row('shown as -0.000', 0.5, 0.4996, 3),
    row('new', null, 0.1, 4),
  ];
  const names = (/** @type {readonly {name: string}[]} */ list) => list.map(({ name }) => name);
  const found = movers(rows, false, 3);
  assert.deepEqual(names(found.gains), ['UP', 'up']);
  assert.deepEqual(names(found.losses), ['down']);
  assert.deepEqual(names(movers(rows, true, 3).gains), ['down']);
});

test('movers: by evidence, the end of the interval nearest to saying nothing', () => {
  const sideOf = (/** @type {[string, number, number, number][]} */ rows) => ({
    classes: { names: rows.map(([name]) => name), counts: rows.map(() => 1), groups: [], rule: '', decision: '' },
    support: null,
    values: Float32Array.from(rows, ([, value]) => value),
    lower: Float32Array.from(rows, ([, , lower]) => lower),
    upper: Float32Array.from(rows, ([, , , upper]) => upper),
  });
  const a = sideOf([
    ['few', 0.25, 0, 0.75],
    ['many', 0.5, 0.4375, 0.5625],
    ['down', 0.75, 0.6875, 0.8125],
    ['bare', 0.25, NaN, NaN],
  ]);
  const b = sideOf([
    ['few', 0.75, 0.25, 1],
    ['many', 0.75, 0.6875, 0.8125],
    ['down', 0.5, 0.4375, 0.5625],
    ['bare', 1, 0, 1],
  ]);
  const rows = joinClasses(a, b);
  const near = (/** @type {number | undefined} */ value, /** @type {number} */ expected) =>
    assert.ok(Math.abs(Number(value) - expected) < 1e-9, `${value}`);
  near(rows[0].interval?.[0], 0.5 - 1.08 * Math.hypot(0.5, 0.5)); // Newcombe: what B may be less, what A may be more
  near(rows[0].interval?.[1], 0.5 + 1.08 * Math.hypot(0.25, 0.25));
  near(rows[1].interval?.[0], 0.25 - 1.08 * Math.hypot(0.0625, 0.0625));
  assert.equal(rows[3].interval, null);
  assert.deepEqual(rows.map(movedByChance), [true, false, false, true]);
  const lists = movers(rows, false, 4);
  const names = (/** @type {readonly {name: string}[]} */ list) => list.map(({ name }) => name);
  assert.deepEqual(names(lists.gains), ['many', 'few', 'bare']);
  assert.deepEqual(names(lists.losses), ['down']);
  assert.deepEqual(names(movers(rows, true, 1).gains), ['down']);
  assert.match(chanceText(8142), /up to about 407 of 8,142/);
  assert.match(chanceText(3), /less than one of 3/);
});
