// @ts-check
/** What one class is mistaken for, what is mistaken for it, and the way to the images of each confusion. */

import { skeleton } from './card.js';
import { el, groupBadge, nameOf, sideBadge } from '../charts/dom.js';
import { count, plural } from '../model/format.js';
import { groupsOfClasses } from '../model/grouping.js';

/** @import { Page } from './card.js' */
/** @import { DrawerImages, Side } from './drawer-images.js' */
/** @import { View } from '../model/types.js' */

const MOST = 5;

/** @param {Page} page @param {View} view @param {Side[]} sides @param {DrawerImages} images */
export function confusionsOf(page, view, sides, images) {
  const lists = sides.flatMap((side) => listsOf(page, view, side, images) ?? []);
  return lists.length ? [el('h3', {}, 'Confusions'), el('div', { class: 'confused-lists' }, ...lists)] : [];
}

/** @param {Page} page @param {View} view @param {Side} side @param {DrawerImages} images */
function listsOf(page, view, side, images) {
  const { letter, run, index } = side;
  if (!run.info.kinds.includes('confusions') || run.step === null) return null;
  const { value: confusions, status } = page.data.confusions(run, view.attribute, index);
  const classes = page.data.classes(run, view.attribute).value;
  if (!confusions && status === 'loading') return [skeleton()];
  if (!confusions || !classes) return null;
  const groups = groupsOfClasses(classes, view.grouping);
  const linkTo = (/** @type {number} */ other) =>
    el(
      'button',
      { type: 'button', class: 'class-link', onclick: () => page.set({ open: classes.names[other] }) },
      groupBadge(groups[other], ''),
      nameOf(classes.names[other]),
    );
  const item = (/** @type {readonly number[]} */ [label, predicted, n]) => {
    const other = label === index ? predicted : label;
    return el(
      'li',
      {},
      other < 0 ? 'nothing predicted' : linkTo(other),
      imagesLink(images, { view, side, label: classes.names[label], predicted: classes.names[predicted] ?? null }),
      el('span', { class: 'number' }, count(n)),
    );
  };
  const list = (/** @type {string} */ heading, /** @type {readonly (readonly number[])[]} */ pairs) => [
    el('h4', {}, sideBadge(letter), ` ${heading}`),
    pairs.length ? el('ol', {}, ...pairs.slice(0, MOST).map(item)) : el('p', { class: 'hint' }, 'nothing'),
  ];
  return el(
    'div',
    { class: 'confused', 'data-side': letter },
    ...list(
      'mistaken for',
      confusions.pairs.filter(([label]) => label === index),
    ),
    ...list(
      'predicted, but was',
      confusions.pairs.filter(([label, predicted]) => predicted === index && label !== index),
    ),
  );
}

/**
 * @param {DrawerImages} images
 * @param {{view: View, side: Side, label: string, predicted: string | null}} pair
 */
function imagesLink(images, { view, side, label, predicted }) {
  const stored = images.ofPair(view, side, label, predicted).length;
  if (!stored) return el('span');
  const show = () => images.show({ label, predicted });
  return el('button', { type: 'button', class: 'images-link', onclick: show }, plural(stored, 'image'));
}
