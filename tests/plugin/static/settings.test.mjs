// @ts-check
import assert from 'node:assert/strict';
import { test } from 'node:test';

import { differingSettings } from '../../../plugins/tbmetrics_longtail/static/model/settings.js';

test('settings that are not equal are listed, with a dash where a run has none', () => {
  const a = { lr: 0.1, loss: 'ce', amp: true, batch: 64 };
  const b = { lr: 0.012345, loss: 'ce', amp: 'true', constructor: 1, batch: 64 };
  assert.deepEqual(differingSettings(a, b), [
    { name: 'lr', a: '0.1', b: '0.01235' },
    { name: 'amp', a: 'true', b: 'true' },
    { name: 'constructor', a: '–', b: '1' },
  ]);
});

test('nothing is said of runs without any settings', () => {
  assert.deepEqual(differingSettings({}, { lr: 1 }), []);
  assert.deepEqual(differingSettings({ lr: 1 }, { lr: 1 }), []);
});
