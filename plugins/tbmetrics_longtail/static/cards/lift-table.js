// @ts-check
/** Lifts as a table, of one run or of A and B: rows of what was missed, columns of what was wrongly predicted. */

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
  const shown = rows.filter(({ group }) => groups.includes(group));
  const caption = [sideBadge(letter), nameOf(run.run)];
  return table(
    { class: 'matrix lifts', 'data-side': letter },
    caption,
    groups,
    shown.map((row) => liftRow(row, groups)),
  );
}

/** Both runs in one table. @param {LiftRow[]} a @param {LiftRow[]} b @param {readonly string[]} groups shown */
export function comparedLifts(a, b, groups) {
  const rows = a.flatMap((row, i) => (groups.includes(row.group) ? [comparedRow(row, b[i], groups)] : []));
  return table({ class: 'matrix lifts compared' }, [sideBadge('A'), ' → ', sideBadge('B')], groups, rows);
}

/**
 * @param {Record<string, string>} attributes @param {(Node | string)[]} caption @param {readonly string[]} groups
 * @param {HTMLElement[]} rows
 */
function table(attributes, caption, groups, rows) {
  const header = (/** @type {string} */ name) =>
    el(
      'th',
      { scope: 'col', title: `${name}, wrongly predicted` },
      groupBadge(name, LETTERS.get(name) ?? name),
      el('span', { class: 'for-readers' }, name),
    );
  return el(
    'table',
    attributes,
    el('caption', {}, ...caption),
    el('thead', {}, el('tr', {}, el('td', {}), el('th', { scope: 'col' }, 'missed'), ...groups.map(header))),
    el('tbody', {}, ...rows),
  );
}

/** @param {LiftRow} a @param {LiftRow} b of the same group @param {readonly string[]} groups */
function comparedRow(a, b, groups) {
  const missed = [a, b].map((row) => percent(row.positives ? row.missed / row.positives : null));
  const title = [a, b].map((row, i) => `${'AB'[i]}: ${count(row.missed)} of ${count(row.positives)} positives missed`);
  return el(
    'tr',
    {},
    el('th', { scope: 'row' }, groupBadge(a.group)),
    el('td', { class: 'cell missed', title: title.join('\n') }, `${missed[0].replace(' %', '')} → ${missed[1]}`),
    ...groups.map((other) => {
      const lifts = [a, b].map((row) => row.lifts[other]);
      const texts = [a, b].map((row, i) => `${'AB'[i]}: ${liftText(row.group, other, row.missed, lifts[i])}`);
      const strengths = lifts.map(strengthOf);
      const element = el(
        'td',
        { class: `cell${lookOf(lifts, Math.max(...strengths))}`, title: texts.join('\n') },
        lifts.map(short).join(' → '),
      );
      element.style.setProperty('--share', `${Math.round(100 * Math.max(...strengths))}%`);
      return element;
    }),
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
  const strength = strengthOf(lift);
  const look = lookOf([lift], strength);
  const element = el('td', { class: `cell${look}`, title: liftText(from, to, missed, lift) }, short(lift));
  element.style.setProperty('--share', `${Math.round(100 * strength)}%`);
  return element;
}

/** How strong the colour of a lift is. @param {Lift} lift */
function strengthOf(lift) {
  return told(lift) > 0 ? Math.min(1, Math.log(Number(lift.lift)) / Math.log(FULL)) : 0;
}

/** @param {readonly Lift[]} lifts @param {number} strength */
function lookOf(lifts, strength) {
  if (lifts.every((lift) => told(lift) === 0)) return ' chance';
  return strength >= 0.75 ? ' strong' : '';
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
