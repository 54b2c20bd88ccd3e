// @ts-check
/** Where the examples of one run go as a table: true group by predicted group, in shares of each row. */

import { LETTERS } from './lift-table.js';
import { el, groupBadge, nameOf, sideBadge } from '../charts/dom.js';
import { count, percent } from '../model/format.js';

/** @import { ConfusionAnswer, RunView } from '../model/types.js' */

/**
 * @param {'A' | 'B'} letter @param {RunView} run @param {ConfusionAnswer} answer
 * @param {readonly string[]} from @param {readonly string[]} to
 */
export function matrixTable(letter, run, answer, from, to) {
  const examples = (/** @type {string} */ row, /** @type {string} */ column) =>
    answer.values[answer.rows.indexOf(row)]?.[answer.columns.indexOf(column)] ?? 0;
  const header = (/** @type {string} */ name) =>
    el(
      'th',
      { scope: 'col', title: name },
      groupBadge(name, LETTERS.get(name) ?? name),
      el('span', { class: 'for-readers' }, name),
    );
  const row = (/** @type {string} */ name) => {
    const total = to.reduce((sum, column) => sum + examples(name, column), 0);
    return el(
      'tr',
      {},
      el('th', { scope: 'row' }, groupBadge(name)),
      ...to.map((column) => cell(name, column, examples(name, column), total)),
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
