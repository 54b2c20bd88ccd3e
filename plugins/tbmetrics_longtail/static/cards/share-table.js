// @ts-check
/** Where examples go as a table: true group by predicted group, in shares of each row; of one run, or of A and B. */

import { LETTERS } from './lift-table.js';
import { el, groupBadge, nameOf, sideBadge } from '../charts/dom.js';
import { count, number, percent, UNDEFINED } from '../model/format.js';
import { shareDifference } from '../model/pairs.js';

/** @import { ConfusionAnswer } from '../model/answers.js' */
/** @import { RunView } from '../model/types.js' */

/** A difference of this size has the full colour. */
const FULL = 0.3;

/**
 * @param {'A' | 'B'} letter @param {RunView} run @param {ConfusionAnswer} answer
 * @param {readonly string[]} from @param {readonly string[]} to
 */
export function matrixTable(letter, run, answer, from, to) {
  const caption = [sideBadge(letter), nameOf(run.run)];
  const row = (/** @type {string} */ name) => {
    const { counts, total } = countsOf(answer, name, to);
    return to.map((column, i) => cell(name, column, counts[i], total));
  };
  return matrix({ class: 'matrix', 'data-side': letter }, caption, from, to, row);
}

/**
 * B minus A, in percentage points, with both shares.
 * @param {ConfusionAnswer} a @param {ConfusionAnswer} b @param {readonly string[]} from @param {readonly string[]} to
 */
export function comparedTable(a, b, from, to) {
  const row = (/** @type {string} */ name) => {
    const [inA, inB] = [a, b].map((answer) => countsOf(answer, name, to));
    return to.map((column, i) => comparedCell(name, column, [inA.counts[i], inA.total], [inB.counts[i], inB.total]));
  };
  return matrix({ class: 'matrix compared' }, ['B − A, percentage points'], from, to, row);
}

/**
 * @param {Record<string, string>} attributes @param {(Node | string)[]} caption @param {readonly string[]} from
 * @param {readonly string[]} to @param {(name: string) => HTMLElement[]} cellsOf a row
 */
function matrix(attributes, caption, from, to, cellsOf) {
  const header = (/** @type {string} */ name) =>
    el(
      'th',
      { scope: 'col', title: name },
      groupBadge(name, LETTERS.get(name) ?? name),
      el('span', { class: 'for-readers' }, name),
    );
  const row = (/** @type {string} */ name) =>
    el('tr', {}, el('th', { scope: 'row' }, groupBadge(name)), ...cellsOf(name));
  return el(
    'table',
    attributes,
    el('caption', {}, ...caption),
    el('thead', {}, el('tr', {}, el('td', {}), ...to.map(header))),
    el('tbody', {}, ...from.map(row)),
  );
}

/** Examples of a true group by predicted group. @param {ConfusionAnswer} answer @param {string} row @param {readonly string[]} to */
function countsOf(answer, row, to) {
  const values = answer.values[answer.rows.indexOf(row)];
  const counts = to.map((column) => values?.[answer.columns.indexOf(column)] ?? 0);
  return { counts, total: counts.reduce((sum, n) => sum + n, 0) };
}

/** @param {string} from @param {string} to @param {[number, number]} a @param {[number, number]} b */
function comparedCell(from, to, a, b) {
  const { difference, isChance } = shareDifference(a, b);
  const isBetter = difference !== null && difference > 0 === (from === to);
  const [textA, textB] = [a, b].map(([n, total]) => percent(total ? n / total : null));
  const sides = [a, b].map(([n, total], i) => `${'AB'[i]} ${count(Math.round(n))} of ${count(Math.round(total))}`);
  const title = `${from}, predicted ${to}: ${sides.join(', ')}${isChance ? '; could be chance' : ''}`;
  const look = isChance ? ' chance' : isBetter ? ' gain' : ' loss';
  const element = el(
    'td',
    { class: `cell${look}`, title },
    el('strong', {}, points(difference)),
    el('span', {}, `${textA.replace(' %', '')} → ${textB}`),
  );
  element.style.setProperty('--share', `${Math.round(100 * Math.min(1, Math.abs(difference ?? 0) / FULL))}%`);
  return element;
}

/** @param {number | null} difference of shares */
function points(difference) {
  if (difference === null) return UNDEFINED;
  const text = number(100 * difference, 0);
  return difference > 0 && text !== '0' ? `+${text}` : text;
}

/** @param {string} from @param {string} to @param {number} value @param {number} total */
function cell(from, to, value, total) {
  const share = total > 0 ? value / total : null;
  const title = `${from}, predicted ${to}: ${count(Math.round(value))} of ${count(Math.round(total))}`;
  const element = el('td', { class: share !== null && share >= 0.75 ? 'cell strong' : 'cell', title }, percent(share));
  element.style.setProperty('--share', `${Math.round(100 * (share ?? 0))}%`);
  return element;
}
