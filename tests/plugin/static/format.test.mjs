// @ts-check
import assert from 'node:assert/strict';
import { test } from 'node:test';

import {
  compact,
  count,
  interval,
  metricText,
  number,
  percent,
  plural,
  pValue,
  ruleText,
  shorten,
  signed,
} from '../../../plugins/tbmetrics_longtail/static/model/format.js';

test('undefined is a dash, never a zero', () => {
  for (const text of [number(null), number(NaN), number(undefined), signed(null), count(null), percent(null)])
    assert.equal(text, '–');
  assert.equal(pValue(null), '');
  assert.equal(interval(0.1, null), '');
});

test('numbers have three decimals and a true minus', () => {
  assert.equal(number(0.12345), '0.123');
  assert.equal(number(-0.5), '−0.500');
  assert.equal(number(-0.0001), '0.000');
  assert.equal(interval(0.1, 0.25), '[0.100, 0.250]');
});

test('differences have a sign unless they round to zero', () => {
  assert.equal(signed(0.1), '+0.100');
  assert.equal(signed(-0.1), '−0.100');
  assert.equal(signed(0.0001), '0.000');
});

test('counts have thousands separators', () => {
  assert.equal(count(8142), '8,142');
  assert.equal(plural(1, 'class', 'classes'), '1 class');
  assert.equal(plural(1200, 'step'), '1,200 steps');
  const asBrowsersWrite = new Intl.NumberFormat('en-US');
  for (const value of [0, 7, 999, 1000, 12345, 1234567, 1e9, 1e15, -4, -1234, 0.5, 1234.5678, 0.0004, 2.0005])
    assert.equal(count(value), asBrowsersWrite.format(value));
});

test('small shares and p-values are not rounded to zero', () => {
  assert.equal(percent(0.004), '<1 %');
  assert.equal(percent(0), '0 %');
  assert.equal(percent(0.256), '26 %');
  assert.equal(pValue(0.0004), 'p\u00a0<\u00a00.001');
  assert.equal(pValue(0.0321), 'p\u00a0=\u00a00.032');
});

test('large steps are short on an axis', () => {
  assert.deepEqual([0, 500, 9000, 12500, 1200000, 3e9].map(compact), ['0', '500', '9000', '12.5k', '1.2M', '3G']);
});

test('long names are cut in the middle, between characters', () => {
  assert.equal(shorten('short'), 'short');
  assert.equal(shorten('abcdefghij', 5), 'ab…ij');
  assert.equal(shorten('😀'.repeat(10), 5), '😀😀…😀😀');
});

test('metrics and rules that are not known keep their own words', () => {
  assert.equal(metricText('f1').label, 'F1');
  assert.equal(metricText('my_score').label, 'my score');
  assert.equal(metricText('constructor').label, 'constructor');
  assert.match(ruleText('decoupling'), /head > 100/);
  assert.equal(ruleText('head > 50, tail < 5'), 'head > 50, tail < 5');
});
