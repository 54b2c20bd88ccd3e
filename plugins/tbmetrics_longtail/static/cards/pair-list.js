// @ts-check
/** The pairs of classes confused most, in A and B side by side. */

import { el, groupBadge, groupTitle, nameOf, oneTabStop, sideBadge } from '../charts/dom.js';
import { count, percent, UNDEFINED } from '../model/format.js';

/** @import { ClassPair, PairSide } from '../model/pairs.js' */
/** @import { Group } from '../model/types.js' */

/**
 * @param {readonly ClassPair[]} pairs @param {readonly ('A' | 'B')[]} letters of their sides
 * @param {object} options
 * @param {(name: string) => Group} options.groupOf
 * @param {string} options.whose the group whose mistakes are listed, or empty
 * @param {(name: string) => void} options.open
 * @param {((pair: {label: string, predicted: string | null}) => void) | null} options.openImages null = none recorded
 */
export function pairTable(pairs, letters, { groupOf, whose, open, openImages }) {
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
      openImages && el('td', { class: 'number' }, imagesButton(from, to, openImages)),
    );
  };
  const sidesOf = letters.flatMap((letter, i) => [i ? ' → ' : '', sideBadge(letter)]);
  return el(
    'table',
    { class: 'pairs' },
    el('caption', { class: 'for-readers' }, `${whose ? groupTitle(whose) : 'All'} classes mistaken most`),
    el(
      'colgroup',
      {},
      el('col'),
      el('col'),
      el('col', { class: 'n' }),
      el('col', { class: 'share' }),
      openImages && el('col', { class: 'images' }),
    ),
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
        openImages && el('td', {}),
      ),
    ),
    oneTabStop(el('tbody', {}, ...pairs.map(row)), 'button'),
  );
}

/** @param {string} label @param {string | null} predicted @param {(pair: {label: string, predicted: string | null}) => void} open */
function imagesButton(label, predicted, open) {
  const about = `Images of ${label} mistaken for ${predicted ?? 'nothing'}`;
  const attributes = { type: 'button', class: 'images-link', 'aria-label': about, title: about };
  return el('button', { ...attributes, onclick: () => open({ label, predicted }) }, 'images');
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
