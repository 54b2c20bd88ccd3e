// @ts-check
/** The images worth looking at in the group of a class, in A and B. */

import { address } from './api.js';
import { el, groupBadge, sideBadge } from './dom.js';
import { count } from './format.js';

/** @import { Data } from './data.js' */
/** @import { RunView, View } from './types.js' */

/** @type {Readonly<Record<string, string>>} */
const KINDS = Object.freeze({
  confident_mistakes: 'most confident mistakes',
  hardest_correct: 'hardest correct samples',
});

export class DrawerGallery {
  /** @param {Data} data */
  constructor(data) {
    this._data = data;
    /** Images in the page, by address: they stay when the drawer is filled anew. @type {Map<string, HTMLElement>} */
    this._shown = new Map();
  }

  /** @param {View} view @param {{letter: 'A' | 'B', run: RunView, index: number}[]} sides */
  of(view, sides) {
    const figures = sides.flatMap(({ letter, run, index }) => {
      if (!run.info.kinds.includes('diagnostics') || run.step === null) return [];
      const found = this._data.gallery(run, view.attribute, index).value;
      if (!found) return [];
      return found.sheets.map(({ kind, step }) => {
        const of = { run: run.run, attribute: view.attribute, kind, group: found.group, step };
        const text = `${KINDS[kind] ?? kind}, step ${count(step)}`;
        return { at: address('gallery_image', of), letter, group: found.group, text };
      });
    });
    this._shown = new Map(
      figures.map(({ at, group, text }) => [at, this._shown.get(at) ?? picture(at, `${group}: ${text}`)]),
    );
    if (!figures.length) return [];
    const made = figures.map(({ at, letter, group, text }) =>
      el(
        'figure',
        { class: 'gallery' },
        el('figcaption', {}, sideBadge(letter), groupBadge(group), text),
        this._shown.get(at),
      ),
    );
    return [el('h3', {}, 'Images of its group'), ...made];
  }
}

/** A sheet, which opens at full size in a page of its own. @param {string} at @param {string} text */
function picture(at, text) {
  return el('a', { href: at, target: '_blank', rel: 'noopener' }, el('img', { src: at, alt: text }));
}
