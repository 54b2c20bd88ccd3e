// @ts-check
/** The lifts of one run as a table: rows of what was missed, columns of what was wrongly predicted. */

import { el, groupBadge, nameOf, sideBadge } from '../charts/dom.js';
import { count, number, percent, UNDEFINED } from '../model/format.js';
import { told } from '../model/lifts.js';

/** @import { Lift, LiftRow } from '../model/lifts.js' */
/** @import { RunView } from '../model/types.js' */

/** A lift of this size has the full colour. */
const FULL = 8;
/** Names for narrow columns. */
export const LETTERS = new Map([
  ['head', 'H'],
  ['medium', 'M'],
  ['tail', 'T'],
  ['unknown', '?'],
]);

/** @param {'A' | 'B'} letter @param {RunView} run @param {LiftRow[]} rows @param {readonly string[]} groups shown */
export function liftTable(letter, run, rows, groups) {
  const header = (/** @type {string} */ name) =>
    el(
      'th',
      { scope: 'col', title: `${name}, wrongly predicted` },
      groupBadge(name, LETTERS.get(name) ?? name),
      el('span', { class: 'for-readers' }, name),
    );
  return el(
    'table',
    { class: 'matrix lifts', 'data-side': letter },
    el('caption', {}, sideBadge(letter), nameOf(run.run)),
    el('thead', {}, el('tr', {}, el('td', {}), el('th', { scope: 'col' }, 'missed'), ...groups.map(header))),
    el('tbody', {}, ...rows.filter(({ group }) => groups.includes(group)).map((row) => liftRow(row, groups))),
  );
}

/** @param {LiftRow} row @param {readonly string[]} groups */
function liftRow({ group, positives, missed, lifts }, groups) {
  const title = `${group}: ${count(missed)} of ${count(positives)} positives missed`;
  return el(
    'tr',
    {},
    el('th', { scope: 'row' }, groupBadge(group)),
    el('td', { class: 'cell missed', title }, percent(positives ? missed / positives : null)),
    ...groups.map((other) => cell(group, other, missed, lifts[other])),
  );
}

/** @param {string} from @param {string} to @param {number} missed @param {Lift} lift */
function cell(from, to, missed, lift) {
  const direction = told(lift);
  const strength = direction > 0 ? Math.min(1, Math.log(Number(lift.lift)) / Math.log(FULL)) : 0;
  const look = direction === 0 ? ' chance' : strength >= 0.75 ? ' strong' : '';
  const element = el('td', { class: `cell${look}`, title: liftText(from, to, missed, lift) }, short(lift));
  element.style.setProperty('--share', `${Math.round(100 * strength)}%`);
  return element;
}

/** @param {Lift} lift */
function short({ lift }) {
  if (lift === null) return UNDEFINED;
  return `${number(lift, lift < 9.95 ? 1 : 0)}×`;
}

/** A lift in words. @param {string} from @param {string} to @param {number} missed @param {Lift} lift */
export function liftText(from, to, missed, lift) {
  const counts =
    `${count(missed)} missed ${from} labels came with ${count(lift.observed)} ${to} labels wrongly predicted; ` +
    `${number(lift.expected, 1)} expected by chance`;
  if (lift.lift === null) return `${counts}: too few to tell`;
  const words = ['may be chance', 'more often than by chance', 'less often than by chance'].at(told(lift));
  return `${counts}: lift ${number(lift.lift, 2)}, 95 % ${number(lift.lower, 2)} to ${number(lift.upper, 2)}, ${words}`;
}
