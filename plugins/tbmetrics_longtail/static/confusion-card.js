// @ts-check
/** Where the examples of each group go: true group against predicted group, for A and B. */

import { Card, nothing } from './card.js';
import { el, fill, groupBadge, nameOf, sideBadge } from './dom.js';
import { count, percent } from './format.js';
import { Latest } from './resources.js';

/** @import { Data } from './data.js' */
/** @import { ConfusionAnswer, RunView, View } from './types.js' */

/** Where there is room for a letter only. */
const LETTERS = new Map([
  ['head', 'H'],
  ['medium', 'M'],
  ['tail', 'T'],
  ['unknown', '?'],
]);
const ALWAYS = new Set(['head', 'medium', 'tail']);

export class ConfusionCard {
  /** @param {{data: Data, retry: () => void}} page */
  constructor({ data, retry }) {
    this._data = data;
    this._card = new Card({ title: 'Where examples go', className: 'confusion-card', onRetry: retry });
    this.element = this._card.element;
    this._latest = {
      A: /** @type {Latest<ConfusionAnswer>} */ (new Latest()),
      B: /** @type {Latest<ConfusionAnswer>} */ (new Latest()),
    };
  }

  /** @param {View} view */
  update(view) {
    const sides = /** @type {const} */ (['A', 'B']).flatMap((letter) => {
      const run = letter === 'A' ? view.a : view.b;
      if (!run || run.step === null) return [];
      const resource = this._latest[letter].take(
        this._data.confusion(run, view.attribute),
        `${run.run}\n${view.attribute}`,
      );
      return [{ name: run.run, letter, run, resource }];
    });
    if (!this._card.ready(sides)) return;
    const answers = sides.flatMap(({ letter, run, resource }) =>
      resource.value ? [{ letter, run, answer: resource.value }] : [],
    );
    const kept = (/** @type {'rows' | 'columns'} */ axis) =>
      namesOf(
        answers.map(({ answer }) => answer),
        axis,
      );
    const [from, to] = [kept('rows'), kept('columns')];
    this._card.caption(captionOf(view));
    if (!answers.length) fill(this._card.body, nothing('No validation at or before this step.'));
    else
      fill(
        this._card.body,
        el(
          'div',
          { class: 'matrices' },
          ...answers.map(({ letter, run, answer }) => matrix(letter, run, answer, from, to)),
        ),
      );
  }
}

/** @param {View} view */
function captionOf({ a, b }) {
  const single = (a ?? b)?.info.decision === 'single_label';
  const what = single
    ? 'A wrong class of the right group counts as right.'
    : 'Positives found stay in their group; those missed go to what was wrongly predicted instead.';
  return `Rows: true group; columns: predicted group; share of each row. ${what}`;
}

/**
 * The names of the rows or columns to show: head, medium and tail always, others ("unknown", "none") where they hold
 * any example.
 * @param {ConfusionAnswer[]} answers @param {'rows' | 'columns'} axis
 */
function namesOf(answers, axis) {
  const all = [...new Set(answers.flatMap((answer) => answer[axis]))];
  return all.filter((name) => ALWAYS.has(name) || answers.some((answer) => holds(answer, axis, name)));
}

/** @param {ConfusionAnswer} answer @param {'rows' | 'columns'} axis @param {string} name */
function holds(answer, axis, name) {
  const at = answer[axis].indexOf(name);
  return axis === 'rows' ? (answer.values[at] ?? []).some(Boolean) : answer.values.some((row) => Boolean(row[at]));
}

/**
 * @param {'A' | 'B'} letter @param {RunView} run @param {ConfusionAnswer} answer
 * @param {readonly string[]} from @param {readonly string[]} to
 */
function matrix(letter, run, answer, from, to) {
  const at = (/** @type {string} */ row, /** @type {string} */ column) =>
    answer.values[answer.rows.indexOf(row)]?.[answer.columns.indexOf(column)] ?? 0;
  const header = (/** @type {string} */ name) =>
    el(
      'th',
      { scope: 'col', title: name },
      groupBadge(name, LETTERS.get(name) ?? name),
      el('span', { class: 'for-readers' }, name),
    );
  const row = (/** @type {string} */ name) => {
    const total = to.reduce((sum, column) => sum + at(name, column), 0);
    return el(
      'tr',
      {},
      el('th', { scope: 'row' }, groupBadge(name)),
      ...to.map((column) => cell(name, column, at(name, column), total)),
    );
  };
  return el(
    'table',
    { class: 'matrix', 'data-side': letter },
    el('caption', {}, sideBadge(letter), nameOf(run.run)),
    el('thead', {}, el('tr', {}, el('td', {}), ...to.map(header))),
    el('tbody', {}, ...from.map(row)),
  );
}

/** @param {string} from @param {string} to @param {number} value @param {number} total */
function cell(from, to, value, total) {
  const share = total > 0 ? value / total : null;
  const title = `${from}, predicted ${to}: ${count(Math.round(value))} of ${count(Math.round(total))}`;
  const element = el('td', { class: share !== null && share >= 0.75 ? 'cell strong' : 'cell', title }, percent(share));
  element.style.setProperty('--share', `${Math.round(100 * (share ?? 0))}%`);
  return element;
}
