// @ts-check
import assert from 'node:assert/strict';
import { test } from 'node:test';

import { familyRows, sortedFamilies } from '../../../plugins/tbmetrics_longtail/static/model/families.js';

/** @param {number | null} a @param {number | null} difference @returns {any} */
const family = (a, difference) => ({ mean_a: a, difference, n_classes: 2 });
const rows = familyRows({
  birds: family(0.4, null),
  f10: family(null, 0.2),
  f9: family(0.1, -0.1),
  all: family(0.3, 0),
});
/** @param {any} key @param {boolean} descending */
const names = (key, descending) => sortedFamilies(rows, { key, descending }).map(({ name }) => name);

test('families are sorted by any column, without all classes, the undefined last', () => {
  assert.deepEqual(names('mean_a', false), ['f9', 'birds', 'f10']);
  assert.deepEqual(names('difference', true), ['f10', 'f9', 'birds']);
  assert.deepEqual(names('name', false), ['birds', 'f9', 'f10']);
  assert.deepEqual(names('n_classes', true), ['birds', 'f9', 'f10']);
});
