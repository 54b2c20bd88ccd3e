// @ts-check
import assert from 'node:assert/strict';
import { test } from 'node:test';

import { Latest, Resources } from '../../../plugins/tbmetrics_longtail/static/host/resources.js';

/** A source whose answers come when the test says so. */
function source() {
  /** @type {{resolve: (value: string) => void, reject: (error: Error) => void}[]} */
  const waiting = [];
  const read = () =>
    /** @type {Promise<string>} */ (new Promise((resolve, reject) => waiting.push({ resolve, reject })));
  return { waiting, read };
}

const settled = () => new Promise((resolve) => setImmediate(resolve));

test('an address is fetched once a version, and the old value stays until the new has come', async () => {
  let changes = 0;
  const resources = new Resources(() => (changes += 1));
  const { waiting, read } = source();
  assert.equal(resources.get('u', '1', read).status, 'loading');
  resources.get('u', '1', read);
  assert.equal(waiting.length, 1);
  waiting[0].resolve('old');
  await settled();
  assert.deepEqual(resources.get('u', '1', read), { status: 'ready', value: 'old', stale: false, fault: null });
  assert.deepEqual(resources.get('u', '2', read), { status: 'ready', value: 'old', stale: true, fault: null });
  waiting[1].resolve('new');
  await settled();
  assert.equal(resources.get('u', '2', read).value, 'new');
  assert.equal(changes, 2);
});

test('an answer that has been overtaken is dropped', async () => {
  const resources = new Resources(() => {});
  const { waiting, read } = source();
  resources.get('u', '1', read);
  resources.get('u', '2', read);
  waiting[1].resolve('second');
  await settled();
  waiting[0].resolve('first');
  await settled();
  assert.equal(resources.get('u', '2', read).value, 'second');
});

test('a fault is kept with its hint until it is retried', async () => {
  const resources = new Resources(() => {});
  const { waiting, read } = source();
  resources.get('u', '1', read);
  waiting[0].reject(Object.assign(new Error('no such run'), { hint: 'pick another' }));
  await settled();
  const { status, fault } = resources.get('u', '1', read);
  assert.deepEqual([status, fault, waiting.length], ['error', { error: 'no such run', hint: 'pick another' }, 1]);
  resources.retryFailed();
  resources.get('u', '1', read);
  waiting[1].resolve('there');
  await settled();
  assert.deepEqual(resources.get('u', '1', read), { status: 'ready', value: 'there', stale: false, fault: null });
});

test('a reload that fails keeps what there was', async () => {
  const resources = new Resources(() => {});
  const { waiting, read } = source();
  resources.get('u', '1', read);
  waiting[0].resolve('value');
  await settled();
  resources.refreshAll();
  resources.get('u', '1', read);
  waiting[1].reject(new Error('gone'));
  await settled();
  const { status, value, stale, fault } = resources.get('u', '1', read);
  assert.deepEqual([status, value, stale, fault?.error], ['ready', 'value', true, 'gone']);
});

test('memory is bounded', async () => {
  const resources = new Resources(() => {});
  let reads = 0;
  const read = async () => (reads += 1);
  for (let i = 0; i < 1000; i += 1) resources.get(`u${i}`, '1', read);
  resources.get('u999', '1', read);
  assert.equal(reads, 1000);
  resources.get('u0', '1', read);
  assert.equal(reads, 1001);
});

test('one place of the page keeps its last value while the next loads, within its scope', () => {
  const latest = new Latest();
  const loading = { status: /** @type {const} */ ('loading'), value: undefined, stale: false, fault: null };
  assert.equal(latest.take(loading, 'f1').status, 'loading');
  latest.take({ status: 'ready', value: 'step 1', stale: false, fault: null }, 'f1');
  assert.deepEqual(latest.take(loading, 'f1'), { status: 'ready', value: 'step 1', stale: true, fault: null });
  assert.equal(latest.take(loading, 'ap').status, 'loading');
});
