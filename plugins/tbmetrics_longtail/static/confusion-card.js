// @ts-check
/** Where the examples of each group go: true group against predicted group, for A and B. */

import { Card, nothing } from './card.js';
import { el, fill, groupBadge, nameOf, sideBadge } from './dom.js';
import { count, percent } from './format.js';
import { GROUPS } from './model.js';
import { Latest } from './resources.js';

/** @import { Data } from './data.js' */
/** @import { ConfusionAnswer, RunView, View } from './types.js' */

/** @type {Readonly<Record<string, string>>} */
const LETTERS = Object.freeze({ head: 'H', medium: 'M', tail: 'T', unknown: '?' });

export class ConfusionCard {
  /** @param {{data: Data, retry: () => void}} page */
  constructor({ data, retry }) {
    this._data = data;
    this._card = new Card({ title: 'Where examples go', className: 'confusion-card', onRetry: retry });
    this.element = this._card.element;
    this._card.caption('Rows: true group; columns: predicted group; share of each row. Point at a cell for counts.');
    this._latest = { A: /** @type {Latest<ConfusionAnswer>} */ (new Latest()), B: /** @type {Latest<ConfusionAnswer>} */ (new Latest()) };
  }

  /** @param {View} view */
  update(view) {
    const sides = /** @type {const} */ (['A', 'B']).flatMap((letter) => {
      const run = letter === 'A' ? view.a : view.b;
      if (!run || run.step === null) return [];
      const resource = this._latest[letter].take(this._data.confusion(run, view.attribute), `${run.run}\n${view.attribute}`);
      return [{ name: run.run, letter, run, resource }];
    });
    if (!this._card.ready(sides)) return;
    const answers = sides.flatMap(({ letter, run, resource }) => (resource.value ? [{ letter, run, answer: resource.value }] : []));
    const groups = GROUPS.filter((group) => answers.some(({ answer }) => takesPart(answer, group)));
    if (!answers.length) fill(this._card.body, nothing('No validation at or before this step.'));
    else fill(this._card.body, el('div', { class: 'matrices' }, ...answers.map(({ letter, run, answer }) => matrix(letter, run, answer, groups))));
  }
}

/** Head, medium and tail always; unknown where an example is, or is predicted to be, of it. @param {ConfusionAnswer} answer @param {string} group */
function takesPart({ rows, columns, values }, group) {
  if (group !== 'unknown') return rows.includes(group) || columns.includes(group);
  const [i, j] = [rows.indexOf(group), columns.indexOf(group)];
  return values.some((row, k) => row.some((value, l) => (k === i || l === j) && Boolean(value)));
}

/** @param {'A' | 'B'} letter @param {RunView} run @param {ConfusionAnswer} answer @param {readonly string[]} groups */
function matrix(letter, run, answer, groups) {
  const at = (/** @type {string} */ from, /** @type {string} */ to) => answer.values[answer.rows.indexOf(from)]?.[answer.columns.indexOf(to)] ?? 0;
  const header = (/** @type {string} */ group) => el('th', { scope: 'col', title: group }, groupBadge(group, LETTERS[group]), el('span', { class: 'for-readers' }, group));
  const row = (/** @type {string} */ from) => {
    const total = groups.reduce((sum, to) => sum + at(from, to), 0);
    return el('tr', {}, el('th', { scope: 'row' }, groupBadge(from)), ...groups.map((to) => cell(from, to, at(from, to), total)));
  };
  return el(
    'table',
    { class: 'matrix', 'data-side': letter },
    el('caption', {}, sideBadge(letter), nameOf(run.run)),
    el('thead', {}, el('tr', {}, el('td', {}), ...groups.map(header))),
    el('tbody', {}, ...groups.map(row)),
  );
}

/** @param {string} from @param {string} to @param {number} value @param {number} total */
function cell(from, to, value, total) {
  const share = total > 0 ? value / total : null;
  const title = `${from} predicted as ${to}: ${count(Math.round(value))} of ${count(Math.round(total))}`;
  const element = el('td', { class: share !== null && share >= 0.75 ? 'cell strong' : 'cell', title }, percent(share));
  element.style.setProperty('--share', `${Math.round(100 * (share ?? 0))}%`);
  return element;
}
