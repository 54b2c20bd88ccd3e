// @ts-check
import assert from 'node:assert/strict';
import { test } from 'node:test';

import {
  fromTexts,
  INITIAL,
  readHash,
  toTexts,
  writeHash,
} from '../../../plugins/tbmetrics_longtail/static/model/state.js';

const PREFIX = 'p.longtail.';

/** @type {import('../../../plugins/tbmetrics_longtail/static/model/state.js').State} */
const CHOSEN = {
  attribute: 'a/b & c=d',
  metric: 'ap',
  step: 12,
  pick: 'best',
  a: '../run',
  b: '',
  shown: ['x', '<img src=x onerror=alert(1)>', '😀,"'],
  filter: '^lr.*%',
  search: 'otter #1',
  groups: ['head', 'unknown'],
  columns: ['recall', 'my metric, "x"'],
  sort: 'difference:recall',
  descending: false,
  open: 'שלום',
  rule: 'custom',
  head: 300,
  tail: 12,
  seeds: 's\\d+ & (?<name>x)',
  brush: [3, 120],
  pairs: 'tail',
  full: 'tradeoff',
};

test('the initial state needs no texts', () => {
  assert.deepEqual(toTexts(INITIAL), {});
  assert.deepEqual(fromTexts({}), INITIAL);
});

test('texts hold the whole state', () => {
  assert.deepEqual(fromTexts(toTexts(CHOSEN)), CHOSEN);
});

test('the state survives the way through a hash, whatever the names', () => {
  const hash = writeHash('#longtail', PREFIX, toTexts(CHOSEN));
  assert.match(hash, /^#longtail&p\.longtail\./);
  assert.deepEqual(fromTexts(readHash(hash, PREFIX)), CHOSEN);
});

test('writing a hash replaces what was ours and keeps what is not', () => {
  const hash = writeHash('#longtail&p.longtail.metric=f1&p.other.x=1', PREFIX, { step: '3' });
  assert.equal(hash, '#longtail&p.other.x=1&p.longtail.step=3');
  assert.equal(writeHash(hash, PREFIX, {}), '#longtail&p.other.x=1');
});

test('what cannot be read stays at its default', () => {
  const texts = { step: '1e9', shown: '{"a":1}', without: 'head,evil', sort: 'toString-asc', metric: 'f1' };
  assert.deepEqual(fromTexts(texts), { ...INITIAL, groups: ['head'], metric: 'f1' });
  assert.equal(fromTexts({ shown: 'not json' }).shown, null);
  assert.deepEqual(readHash('#%E0%A4%A&p.longtail.a=%E0', PREFIX), { a: '%E0' });
});
