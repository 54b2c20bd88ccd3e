// @ts-check
import assert from 'node:assert/strict';
import { test } from 'node:test';

import {
  differing,
  MOST_RUNS,
  rowsByEvaluation,
  runsOfBoard,
  settingText,
  sortedRows,
} from '../../../plugins/tbmetrics_longtail/static/model/board.js';

/** @param {string} name @param {(number | null)[]} means @param {Record<string, any>} [hparams] */
const row = (name, means, hparams = {}) => ({
  name,
  evaluation: name.endsWith('/test') ? 'test' : 'validation',
  runs: [name],
  steps: [3],
  cells: means.map((mean) => ({ mean, lower: null, upper: null, deviation: null, n_classes: 1, mark: '' })),
  hparams: /** @type {[string, any][]} */ (Object.entries(hparams)),
});
/** @param {any[]} rows */
const answer = (rows) => ({
  columns: ['tail', 'all'],
  sizes: [1, 2],
  by_frequency: true,
  rows,
  notes: [],
  texts: { markdown: '', latex: '', csv: '' },
});
/** @param {any[]} rows @param {string} column @param {boolean} descending */
const order = (rows, column, descending) => sortedRows(answer(rows), { column, descending }).map(({ name }) => name);

test('rows are sorted by numbers, names and settings, the undefined last', () => {
  const rows = [row('run10', [0.2, 1], { lr: 0.1 }), row('run9', [null, 2]), row('run1', [0.9, 3], { lr: 0.01 })];
  assert.deepEqual(order(rows, 'tail', true), ['run1', 'run10', 'run9']);
  assert.deepEqual(order(rows, 'tail', false), ['run10', 'run1', 'run9']);
  assert.deepEqual(order(rows, 'run', false), ['run1', 'run9', 'run10']);
  assert.deepEqual(order(rows, 'hparam:lr', false), ['run1', 'run10', 'run9']);
  assert.deepEqual(order(rows, 'nothing', true), ['run10', 'run9', 'run1']);
});

test('rows are sorted within their evaluation', () => {
  const rows = [row('a', [0.2, 1]), row('b', [0.3, 1]), row('a/test', [0.1, 1]), row('b/test', [0.4, 1])];
  const parts = rowsByEvaluation(answer(rows), { column: 'tail', descending: true });
  const names = [...parts].map(([evaluation, of]) => [evaluation, of.map(({ name }) => name)]);
  assert.deepEqual(names, [
    ['validation', ['b', 'a']],
    ['test', ['b/test', 'a/test']],
  ]);
});

test('settings that all rows share are left out', () => {
  const rows = [row('a', [], { lr: 0.1, epochs: 5, loss: 'ce' }), row('b', [], { lr: 0.2, epochs: 5 })];
  assert.deepEqual(differing(rows), ['lr', 'loss']);
  assert.deepEqual(differing(rows.slice(0, 1)), []);
  assert.deepEqual([0.1 + 0.2, 5, true, 'x', undefined].map(settingText), ['0.3', '5', 'true', 'x', '–']);
});

test('the runs that match and A and B are listed, up to a bound', () => {
  const runs = Array.from({ length: MOST_RUNS + 5 }, (_, i) => ({
    run: `r${i}`,
    matches: i > 0,
    info: { steps: i === 2 ? [] : [1] },
  }));
  const view = /** @type {any} */ ({ runs, a: runs[0], b: runs[MOST_RUNS + 4] });
  const listed = runsOfBoard(view).map(({ run }) => run);
  assert.equal(listed.length, MOST_RUNS + 1);
  assert.ok(listed.includes('r0') && listed.includes(`r${MOST_RUNS + 4}`) && !listed.includes('r2'));
});
