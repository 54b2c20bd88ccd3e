// @ts-check
import assert from 'node:assert/strict';
import { test } from 'node:test';

import { joinedPairs, shareDifference } from '../../../plugins/tbmetrics_longtail/static/model/pairs.js';

const classesOf = (/** @type {string[]} */ names) => ({ names, counts: [], groups: [], rule: '', decision: '' });
const answerOf = (
  /** @type {[number, number, number][]} */ pairs,
  /** @type {[number, number, number][]} */ shares,
) => ({
  pairs,
  shares,
  by_chance: pairs.map(() => 0.1),
  n_pairs: pairs.length,
  n_mistakes: null,
  n_recorded: 0,
});

test('pairs of both runs are joined by name, those with the most evidence in either first', () => {
  const a = answerOf(
    [
      [0, 1, 20],
      [1, -1, 3],
      [2, 0, 1],
    ],
    [
      [0.5, 0.3, 0.7],
      [0.3, 0.05, 0.5],
      [1, 0.2, 1],
    ],
  );
  const b = answerOf(
    [
      [1, 0, 15],
      [0, 2, 9],
    ],
    [
      [0.4, 0.2, 0.6],
      [0.9, 0.6, 0.95],
    ],
  );
  const joined = joinedPairs([
    { answer: a, classes: classesOf(['nine', 'three', 'two']) },
    { answer: b, classes: classesOf(['three', 'nine', 'four']) }, // in another order
  ]);
  const texts = joined.map(({ from, to, sides }) => `${from} ${to} ${sides.map((side) => side?.n ?? '-')}`);
  // A pair seen once says nothing, however large its share is.
  assert.deepEqual(texts, ['three four -,9', 'nine three 20,15', 'three null 3,-']);
  assert.deepEqual(
    joined.map(({ sides }) => sides.map((side) => side?.isChance)),
    [
      [undefined, false],
      [false, false],
      [true, undefined],
    ],
  );
});

test('a difference of shares is told from chance as Agresti and Caffo do', () => {
  const { difference, isChance } = shareDifference([56, 70], [48, 80]); // their example: 0.06 to 0.33
  assert.ok(Math.abs(Number(difference) + 0.2) < 1e-12);
  assert.equal(isChance, false);
  assert.equal(shareDifference([1, 2], [2, 2]).isChance, true);
  assert.deepEqual(shareDifference([0, 0], [1, 2]), { difference: null, isChance: true });
});
