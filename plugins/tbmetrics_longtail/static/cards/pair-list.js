// @ts-check
/** The pairs of classes confused most, in A and B side by side. */

import { el, groupBadge, groupTitle, nameOf, sideBadge } from '../charts/dom.js';
import { count, percent, UNDEFINED } from '../model/format.js';

/** @import { ClassPair, PairSide } from '../model/pairs.js' */
/** @import { Group } from '../model/types.js' */

/**
 * @param {readonly ClassPair[]} pairs @param {readonly ('A' | 'B')[]} letters of their sides
 * @param {{groupOf: (name: string) => Group, whose: string, open: (name: string) => void}} options `whose` is the group
 *   whose mistakes are listed, or empty
 */
export function pairTable(pairs, letters, { groupOf, whose, open }) {
  const name = (/** @type {string} */ text) =>
    el(
      'button',
      { type: 'button', class: 'class-link', onclick: () => open(text) },
      groupBadge(groupOf(text), ''),
      nameOf(text),
    );
  const row = (/** @type {ClassPair} */ { from, to, sides }) => {
    const isChance = sides.every((side) => !side || side.isChance);
    return el(
      'tr',
      { class: isChance ? 'chance' : '' },
      el('td', {}, name(from)),
      el(
        'td',
        {},
        el('span', { class: 'muted', 'aria-hidden': 'true' }, '→ '),
        to === null ? 'nothing predicted' : name(to),
      ),
      el(
        'td',
        { class: 'number', title: titleOf(sides, letters) },
        el('span', { class: 'mark', 'aria-hidden': 'true' }, isChance ? '○' : '●'),
        sides.map((side) => (side ? count(side.n) : UNDEFINED)).join(' → '),
        isChance && el('span', { class: 'for-readers' }, ', could be chance'),
      ),
      el('td', { class: 'number muted' }, shareText(sides)),
    );
  };
  const sidesOf = letters.flatMap((letter, i) => [i ? ' → ' : '', sideBadge(letter)]);
  return el(
    'table',
    { class: 'pairs' },
    el('caption', { class: 'for-readers' }, `${whose ? groupTitle(whose) : 'All'} classes mistaken most`),
    el('colgroup', {}, el('col'), el('col'), el('col', { class: 'n' }), el('col', { class: 'share' })),
    el(
      'thead',
      {},
      el(
        'tr',
        {},
        el('th', { scope: 'col' }, 'True class'),
        el('th', { scope: 'col' }, 'Predicted'),
        el('th', { scope: 'col', class: 'number' }, 'Examples ', ...sidesOf),
        el('th', { scope: 'col', class: 'number' }, 'Share of the class'),
      ),
    ),
    el('tbody', {}, ...pairs.map(row)),
  );
}

/** @param {readonly (PairSide | null)[]} sides */
function shareText(sides) {
  const shares = sides.map((side) => percent(side?.share));
  return shares.every((share) => share === UNDEFINED) ? '' : shares.join(' → ').replace(/ %(?= → )/, '');
}

/** @param {readonly (PairSide | null)[]} sides @param {readonly string[]} letters */
function titleOf(sides, letters) {
  const texts = sides.flatMap((side, i) => (side?.title ? [`${letters[i]}: ${side.title}`] : []));
  return texts.length ? texts.join('\n') : null;
}
