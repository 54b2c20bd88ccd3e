// @ts-check
import assert from 'node:assert/strict';
import { test } from 'node:test';

import { sideOf, sortRows } from '../../../plugins/tbmetrics_longtail/static/model/class-list.js';
import { bestStep } from '../../../plugins/tbmetrics_longtail/static/model/steps.js';

/** @import { Row } from '../../../plugins/tbmetrics_longtail/static/model/types.js' */

/** @param {Record<string, Record<string, (number | null)[]>>} groups */
function answer(groups) {
  return { run: 'a', attribute: 'x', steps: [0, 5, 9, 12], wall_times: [], groups };
}

test('the best step is the first with the best mean over all classes', () => {
  const groups = { all: { f1: [0.2, 0.5, 0.5, null] }, tail: { f1: [0.9, 0.1, 0.1, 0.1] } };
  assert.equal(bestStep(answer(groups), 'f1'), 5);
  assert.equal(bestStep(answer({ all: { ece: [0.3, 0.4, 0.1, 0.2] } }), 'ece'), 9);
});

test('without a mean over all classes it is that of the tail', () => {
  const groups = { all: { f1: [null, null, null, null] }, tail: { f1: [null, 0.1, 0.3, 0.2] } };
  assert.equal(bestStep(answer(groups), 'f1'), 9);
  assert.equal(bestStep(answer({}), 'f1'), null);
});

test('rows are sorted by a further metric, undefined ones last', () => {
  const rows = /** @type {Row[]} */ (
    /** @type {unknown} */ (['x', 'y', 'z'].map((name, i) => ({ name, indexA: i, difference: -i })))
  );
  const values = [0.1, null, 0.7];
  const further = (/** @type {Row} */ row) => ({ a: null, b: null, difference: values[row.indexA] });
  const names = (/** @type {Row[]} */ sorted) => sorted.map(({ name }) => name).join('');
  assert.equal(names(sortRows(rows, 'difference:re:call', true, further)), 'zxy');
  assert.equal(names(sortRows(rows, 'difference:re:call', false, further)), 'xzy');
  assert.equal(names(sortRows(rows, 'difference', false)), 'zyx');
  assert.deepEqual(sideOf('difference:re:call'), ['difference', 're:call']);
});
