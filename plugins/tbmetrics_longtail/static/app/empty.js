// @ts-check
/** Pages shown instead of the cards: loading, no data, or an error. */

import { el, fill, nameOf } from '../charts/dom.js';

/** @import { ApiFault } from '../host/resources.js' */
/** @import { RunInfo } from '../model/answers.js' */

const SNIPPET = `from tbmetrics import ClassGroups, TBMetrics

groups = ClassGroups.from_counts({"animal": {"cat": 900, "lynx": 60, "pangolin": 4}})
with TBMetrics("runs/first", classes=groups) as tb:
    for epoch in tb.epochs(range(10)):
        ...                                    # train as before
        for images, labels in val_loader:
            tb.update(model(images), labels)   # validation, streaming
`;

/**
 * No run has long-tail data.
 * @param {string} logdir @param {RunInfo[]} runs those with a problem @param {() => void} retry
 */
export function emptyPage(logdir, runs, retry) {
  const code = el('code', {}, SNIPPET);
  const copied = el('span', { role: 'status', class: 'muted' });
  const copy = el(
    'button',
    { type: 'button', class: 'button', onclick: () => copyText(SNIPPET, code, copied) },
    'Copy',
  );
  const problems = runs.filter((run) => run.problem);
  return el(
    'main',
    { class: 'page' },
    el('h1', {}, 'No long-tail data yet'),
    el(
      'p',
      {},
      'This tab compares head, medium and tail classes between runs. It shows what tbmetrics records when validating:',
    ),
    el(
      'div',
      { class: 'snippet' },
      el('pre', { tabindex: 0, 'aria-label': 'Example' }, code),
      el('div', { class: 'row' }, copied, copy),
    ),
    el(
      'p',
      {},
      'TensorBoard reads ',
      logdir ? el('code', {}, nameOf(logdir)) : 'no log directory',
      '. Runs that appear there show up here by themselves.',
    ),
    problems.length > 0 && problemList(problems),
    el('button', { type: 'button', class: 'button primary', onclick: retry }, 'Look again'),
  );
}

/** The list of runs itself could not be read. @param {ApiFault} fault @param {() => void} retry */
export function faultPage({ error, hint }, retry) {
  return el(
    'main',
    { class: 'page', role: 'alert' },
    el('h1', {}, 'The runs could not be read'),
    el('p', {}, `${error}.`),
    el('p', { class: 'muted' }, hint),
    el('button', { type: 'button', class: 'button primary', onclick: retry }, 'Retry'),
  );
}

/** What is wrong with some runs. @param {RunInfo[]} runs */
export function problemList(runs) {
  const items = runs.map(({ run, problem }) =>
    el('li', {}, el('strong', {}, nameOf(run)), el('span', { dir: 'auto' }, ` ${problem}`)),
  );
  const word =
    runs.length === 1
      ? 'One run has records that could not be read'
      : `${runs.length} runs have records that could not be read`;
  return el('details', { class: 'problems' }, el('summary', {}, word), el('ul', {}, ...items));
}

/** Shown until the first answer. */
export function loadingPage() {
  const cards = [190, 150, 260].map((height) => {
    const card = el('div', { class: 'skeleton' });
    card.style.height = `${height}px`;
    return card;
  });
  return el('main', { class: 'main', 'aria-busy': 'true', 'aria-label': 'Loading' }, ...cards);
}

/** @param {string} text @param {HTMLElement} source @param {HTMLElement} report */
async function copyText(text, source, report) {
  try {
    await navigator.clipboard.writeText(text);
    report.textContent = 'Copied';
  } catch {
    window.getSelection()?.selectAllChildren(source);
    fill(report, 'Selected: press Ctrl+C');
  }
}
