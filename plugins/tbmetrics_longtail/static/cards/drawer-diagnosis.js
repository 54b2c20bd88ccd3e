// @ts-check
/** What the diagnostics say of one class in A and B, and the images worth looking at in its group. */

import { el, groupBadge, nameOf, sideBadge } from '../charts/dom.js';
import { address } from '../host/requests.js';
import { count, number } from '../model/format.js';

/** @import { Data } from '../host/data.js' */
/** @import { RunView, View } from '../model/types.js' */

/** @type {readonly [string, string, 'number' | 'count' | 'name'][]} column, what it is, how it is written */
const ROWS = Object.freeze([
  ['weight_norm', 'Weight norm', 'number'],
  ['bias', 'Bias', 'number'],
  ['nearest_weight_class', 'Weights most like', 'name'],
  ['own_logit', 'Mean logit, own samples', 'number'],
  ['other_logit', 'Mean logit, others', 'number'],
  ['samples_seen', 'Samples seen', 'count'],
  ['training_loss', 'Training loss', 'number'],
  ['training_accuracy', 'Training accuracy', 'number'],
  ['gradient_ratio', 'Positive ÷ negative gradient', 'number'],
  ['half_recall_step', 'Half of its recall at step', 'count'],
  ['forgetting_rate', 'Correct, then wrong at the next validation', 'number'],
  ['nc1', 'NC1', 'number'],
  ['nearest_mean_class', 'Features nearest to', 'name'],
  ['separation', 'Separation from it', 'number'],
  ['suspect_share', 'Confidently taken for another', 'number'],
]);

/** @param {Data} data @param {View} view @param {{letter: 'A' | 'B', run: RunView, index: number}[]} sides */
export function diagnosisOf(data, view, sides) {
  const known = sides.flatMap(({ letter, run, index }) => {
    if (!run.info.kinds.includes('diagnostics') || run.step === null) return [];
    const values = data.classDiagnosis(run, view.attribute, index).value?.values;
    return values ? [{ letter, values }] : [];
  });
  const rows = ROWS.filter(([column]) =>
    known.some(({ values }) => values[column] !== null && values[column] !== undefined),
  );
  if (!rows.length) return [];
  return [
    el('h3', {}, 'Diagnostics'),
    el(
      'table',
      { class: 'metric-table', 'data-table': 'diagnostics' },
      el(
        'thead',
        {},
        el('tr', {}, el('td', {}), ...known.map(({ letter }) => el('th', { scope: 'col' }, sideBadge(letter)))),
      ),
      el(
        'tbody',
        {},
        ...rows.map(([column, what, how]) =>
          el(
            'tr',
            {},
            el('th', { scope: 'row' }, what),
            ...known.map(({ values }) => el('td', { class: 'number' }, written(values[column], how))),
          ),
        ),
      ),
    ),
  ];
}

/** @param {string | number | null | undefined} value @param {'number' | 'count' | 'name'} how */
function written(value, how) {
  if (how === 'name' && typeof value === 'string') return nameOf(value);
  const plain = typeof value === 'number' ? value : null;
  return how === 'count' ? count(plain) : number(plain);
}

/** @type {Readonly<Record<string, string>>} */
const KINDS = Object.freeze({
  confident_mistakes: 'most confident mistakes',
  hardest_correct: 'hardest correct samples',
});

/** Images of the group of a class. */
export class DrawerGallery {
  /** @param {Data} data */
  constructor(data) {
    this._data = data;
    /** Images in the page, by address: they are kept when the drawer is redrawn. @type {Map<string, HTMLElement>} */
    this._shown = new Map();
  }

  /** @param {View} view @param {{letter: 'A' | 'B', run: RunView, index: number}[]} sides */
  of(view, sides) {
    const figures = sides.flatMap(({ letter, run, index }) => {
      if (!run.info.kinds.includes('diagnostics') || run.step === null) return [];
      const gallery = this._data.gallery(run, view.attribute, index).value;
      if (!gallery) return [];
      return gallery.sheets.map(({ kind, step }) => {
        const query = { run: run.run, attribute: view.attribute, kind, group: gallery.group, step };
        const text = `${KINDS[kind] ?? kind}, step ${count(step)}`;
        return { url: address('gallery_image', query), letter, group: gallery.group, text };
      });
    });
    this._shown = new Map(
      figures.map(({ url, group, text }) => [url, this._shown.get(url) ?? picture(url, `${group}: ${text}`)]),
    );
    if (!figures.length) return [];
    const made = figures.map(({ url, letter, group, text }) =>
      el(
        'figure',
        { class: 'gallery' },
        el('figcaption', {}, sideBadge(letter), groupBadge(group), text),
        this._shown.get(url),
      ),
    );
    return [el('h3', {}, 'Images of its group'), ...made];
  }
}

/** A sheet of images that opens at full size in a new page. @param {string} url @param {string} text */
function picture(url, text) {
  return el('a', { href: url, target: '_blank', rel: 'noopener' }, el('img', { src: url, alt: text }));
}
