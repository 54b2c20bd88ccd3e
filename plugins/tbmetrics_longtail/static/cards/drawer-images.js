// @ts-check
/** The images of one class: its mistakes, its hits, and what was taken for it; or those of one confusion. */

import { skeleton } from './card.js';
import { el, nameOf, sideBadge, svg } from '../charts/dom.js';
import { address } from '../host/requests.js';
import { count, number, plural } from '../model/format.js';
import { PARTS } from '../model/gallery.js';

/** @import { Page } from './card.js' */
/** @import { ClassImage, Pair } from '../model/gallery.js' */
/** @import { RunView, View } from '../model/types.js' */

/** @typedef {{letter: 'A' | 'B', run: RunView, index: number}} Side */

const ABOUT = 'A few of each class, first those of different confusions, with the probability of the prediction.';
const HOW = 'To see images of each class, train with diagnostics=True and validate with tb.update(…, images=images).';

/** Images of fewer pixels across show them, rather than blur. */
const COARSE = 48;

export class DrawerImages {
  /** @param {Page} page */
  constructor(page) {
    this._page = page;
    /** The confusion that is shown alone. @type {Pair | null} */
    this._pair = null;
    /** Whether the images are still to be scrolled to. */
    this._isSought = false;
    this._name = '';
    this._heading = el('h3', { tabindex: -1 }, 'Images');
    /** Tiles in the page, by address and place: they are kept when the drawer is redrawn. @type {Map<string, Element>} */
    this._tiles = new Map();
  }

  /** Show the images of one confusion alone, or null for all. @param {Pair | null} pair */
  show(pair) {
    this.choose(this._name, pair);
    this._page.redraw();
  }

  /** What to show of a class from now on. @param {string} name @param {Pair | null} pair */
  choose(name, pair) {
    [this._name, this._pair, this._isSought] = [name, pair, true];
  }

  /** Scroll to what was chosen, once, when what stands above it has come. */
  reveal() {
    if (!this._isSought) return;
    this._isSought = false;
    this._heading.scrollIntoView({ block: 'start' });
    this._heading.focus({ preventScroll: true });
  }

  /** The stored images of a confusion. @param {View} view @param {Side} side @param {string} label @param {string | null} predicted */
  ofPair(view, side, label, predicted) {
    const images = this._answer(view, side)?.value?.images?.images ?? [];
    return images.filter((image) => image.label === label && image.predicted === predicted);
  }

  /** @param {View} view @param {Side[]} sides @param {string} name of the class */
  of(view, sides, name) {
    if (name !== this._name) [this._name, this._pair, this._isSought] = [name, null, false];
    const recorded = sides.filter((side) => this._answer(view, side));
    if (!recorded.length) return [this._heading, el('p', { class: 'hint' }, HOW)];
    const tiles = this._tiles;
    this._tiles = new Map();
    const parts = recorded.flatMap((side) => this._side(view, side, tiles));
    return [this._heading, this._filter() ?? el('p', { class: 'caption' }, ABOUT), ...parts];
  }

  /** @param {View} view @param {Side} side */
  _answer(view, { run, index }) {
    if (!run.info.kinds.includes('class_images') || run.step === null) return null;
    return this._page.data.gallery(run, view.attribute, index);
  }

  _filter() {
    if (!this._pair) return null;
    const { label, predicted } = this._pair;
    const text = [label, predicted].flatMap((name, i) => [i ? ' → ' : '', name === null ? 'nothing' : nameOf(name)]);
    const all = el('button', { type: 'button', class: 'button', onclick: () => this.show(null) }, 'Show all');
    return el('p', { class: 'images-filter' }, el('span', {}, ...text), all);
  }

  /** @param {View} view @param {Side} side @param {Map<string, Element>} tiles drawn before */
  _side(view, side, tiles) {
    const { value, fault } = this._answer(view, side) ?? {};
    if (fault) return [el('p', { class: 'hint' }, sideBadge(side.letter), ` ${fault.error}`)];
    if (!value) return [skeleton()];
    const { images: stored } = value;
    const about = { run: side.run.run, attribute: view.attribute, kind: 'every_class', group: 'all' };
    const url = stored && address('gallery_image', { ...about, step: stored.step });
    const parts = PARTS.map(([heading, belongs]) => ({
      heading,
      images: (stored?.images ?? []).filter((image) => belongs(image, this._name) && this._isChosen(image)),
    })).filter(({ images }) => images.length);
    if (!stored || !url || !parts.length)
      return [el('p', { class: 'hint' }, sideBadge(side.letter), ` ${this._none(stored?.n_stored)}`)];
    return parts.map(({ heading, images }) =>
      el(
        'figure',
        { class: 'class-images', 'data-side': side.letter },
        el('figcaption', {}, sideBadge(side.letter), ` ${heading}, step ${count(stored.step)}`),
        el('ul', {}, ...images.map((image) => this._item(image, url, tiles))),
      ),
    );
  }

  /** @param {ClassImage} image */
  _isChosen({ label, predicted }) {
    return !this._pair || (this._pair.label === label && this._pair.predicted === predicted);
  }

  /** @param {number | undefined} stored images of all classes */
  _none(stored) {
    if (this._pair) return 'No image of this confusion is stored.';
    const room = stored ? ` Of all classes ${plural(stored, 'image')} fit, the rarest classes first.` : '';
    return `No image of this class is stored.${room}`;
  }

  /** @param {ClassImage} image @param {string} url @param {Map<string, Element>} tiles */
  _item(image, url, tiles) {
    const key = `${url} ${image.place}`;
    const tile = tiles.get(key) ?? tileOf(image, url);
    this._tiles.set(key, tile);
    const { label, predicted } = image;
    const names =
      label === predicted
        ? ['right']
        : label === this._name
          ? ['→ ', predicted === null ? 'nothing' : nameOf(predicted)]
          : ['was ', label === null ? 'nothing' : nameOf(label)];
    return el('li', {}, tile, el('span', {}, ...names), el('span', { class: 'muted' }, number(image.probability, 2)));
  }
}

/** A part of the sheet. @param {ClassImage} image @param {string} url */
function tileOf({ label, predicted, place }, url) {
  const text = `true ${label ?? 'not this class'}, predicted ${predicted ?? 'nothing'}`;
  return svg(
    'svg',
    {
      class: place[2] < COARSE ? 'class-image coarse' : 'class-image',
      viewBox: place.join(' '),
      role: 'img',
      'aria-label': text,
    },
    svg('title', {}, text),
    svg('image', { href: url }),
  );
}
