// @ts-check
import assert from 'node:assert/strict';
import { test } from 'node:test';

import { answerWith, Together } from '../../../plugins/tbmetrics_longtail/static/host/requests.js';

/** Answer every request with what `answer` makes of its runs; returns the runs of each. @param {(run: string) => object} answer */
function server(answer) {
  /** @type {string[][]} */
  const asked = [];
  answerWith(async (url) => {
    const runs = new URL(url).searchParams.getAll('run');
    asked.push(runs);
    return Response.json(runs.length === 1 ? answer(runs[0]) : { answers: runs.map(answer) });
  });
  return asked;
}

const QUERY = { attribute: 'a', metric: 'f1' };

test('what is asked for in one turn goes in one request', async () => {
  const asked = server((run) => ({ run }));
  const together = new Together();
  const answers = await Promise.all(['a', 'b&c'].map((run) => together.ask('groups', run, QUERY)));
  assert.deepEqual(answers, [{ run: 'a' }, { run: 'b&c' }]);
  assert.deepEqual(await together.ask('groups', 'd', QUERY), { run: 'd' });
  await Promise.all([together.ask('groups', 'e', QUERY), together.ask('groups', 'f', { ...QUERY, metric: 'ap' })]);
  assert.deepEqual(asked, [['a', 'b&c'], ['d'], ['e'], ['f']]);
});

test('many runs go in several requests', async () => {
  const asked = server((run) => ({ run }));
  const together = new Together();
  const runs = Array.from({ length: 90 }, (_, i) => `run${i}`);
  const answers = await Promise.all(runs.map((run) => together.ask('groups', run, QUERY)));
  assert.deepEqual(
    answers.map(({ run }) => run),
    runs,
  );
  assert.deepEqual(
    asked.map(({ length }) => length),
    [40, 40, 10],
  );
});

test('a run that fails leaves the others', async () => {
  server((run) => (run === 'bad' ? { error: 'damaged', hint: 'write it again' } : { run }));
  const together = new Together();
  const [good, bad] = await Promise.allSettled(['good', 'bad'].map((run) => together.ask('groups', run, QUERY)));
  assert.deepEqual(good, { status: 'fulfilled', value: { run: 'good' } });
  assert.equal(bad.status, 'rejected');
  assert.equal(bad.status === 'rejected' && bad.reason.hint, 'write it again');
});
