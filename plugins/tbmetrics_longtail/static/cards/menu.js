// @ts-check
/** The menu of a card: its picture, its numbers, its address, and the whole window for it. */

import { el, fill } from '../charts/dom.js';
import { csvBlob, fileName, jsonBlob, pngBlob, save, svgBlob } from '../charts/download.js';
import { pictureOf } from '../charts/picture.js';
import { hasAddress } from '../host/tensorboard.js';

/** @import { Card, Page } from './card.js' */
/** @import { Table } from '../model/types.js' */

/** @typedef {() => Table | null} TableSource */

export class CardMenu {
  /** @param {Card} card @param {Page} page @param {TableSource} table */
  constructor(card, page, table) {
    this._card = card;
    this._page = page;
    this._table = table;
    this._said = el('span', { class: 'for-readers', role: 'status' });
    this._full = this._item('Full size', () => page.set({ full: page.state().full === card.id ? null : card.id }));
    this._list = el(
      'div',
      {
        class: 'menu',
        role: 'menu',
        hidden: true,
        onkeydown: (/** @type {KeyboardEvent} */ event) => this._key(event),
      },
      this._full,
      ...(hasAddress() ? [this._item('Copy link', () => this._copyLink())] : []),
      this._item('Download SVG', () => this._save('svg', async () => svgBlob(this._picture()))),
      this._item('Download PNG', () => this._save('png', () => pngBlob(this._picture()))),
      this._item('Download CSV', () => this._save('csv', async () => csvBlob(this._numbers()))),
      this._item('Download JSON', () => this._save('json', async () => jsonBlob(this._numbers(), page.about(card.id)))),
    );
    this._button = el(
      'button',
      {
        type: 'button',
        class: 'icon-button menu-button',
        'aria-haspopup': 'menu',
        'aria-expanded': 'false',
        'aria-label': `Menu of the card ${card.title.textContent}`,
        title: 'Downloads, link, full size',
        onclick: () => (this._list.hidden ? this._open() : this._close()),
      },
      '⋮',
    );
    this.element = el(
      'div',
      {
        class: 'menu-box',
        'data-no-picture': true,
        onfocusout: (/** @type {FocusEvent} */ event) => {
          if (!(event.relatedTarget instanceof Node) || !this.element.contains(event.relatedTarget)) this._close(false);
        },
      },
      this._button,
      this._list,
      this._said,
    );
  }

  /** @param {boolean} full */
  update(full) {
    this._full.textContent = full ? 'Normal size' : 'Full size';
    this._button.setAttribute('aria-label', `Menu of the card ${this._card.title.textContent}`);
  }

  /** @param {string} label @param {() => void} act */
  _item(label, act) {
    const run = () => {
      this._close();
      act();
    };
    return el('button', { type: 'button', role: 'menuitem', tabindex: -1, onclick: run }, label);
  }

  _open() {
    this._list.hidden = false;
    this._button.setAttribute('aria-expanded', 'true');
    /** @type {HTMLElement} */ (this._list.firstElementChild).focus();
  }

  /** @param {boolean} [focus] */
  _close(focus = true) {
    if (this._list.hidden) return;
    this._list.hidden = true;
    this._button.setAttribute('aria-expanded', 'false');
    if (focus) this._button.focus();
  }

  /** @param {KeyboardEvent} event */
  _key(event) {
    const items = /** @type {HTMLElement[]} */ ([...this._list.children]);
    const at = items.indexOf(/** @type {HTMLElement} */ (document.activeElement));
    const to = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: items.length - 1 }[event.key];
    if (event.key === 'Escape') this._close();
    else if (to === undefined) return;
    else items[(to + items.length) % items.length].focus();
    event.preventDefault();
    event.stopPropagation();
  }

  _picture() {
    const { textContent: title } = this._card.title;
    return pictureOf(this._card.element, { title: title ?? '', caption: this._card.captionText() });
  }

  _numbers() {
    return this._table() ?? { columns: [], rows: [] };
  }

  /** @param {string} suffix @param {() => Promise<Blob>} make */
  async _save(suffix, make) {
    try {
      const { attribute, metric, step } = this._page.about(this._card.id);
      save(await make(), fileName([this._card.id, attribute, metric, `step ${step}`].map(String), suffix));
      this._say(`The ${suffix.toUpperCase()} file is downloaded.`);
    } catch (error) {
      this._card.say(
        `The ${suffix.toUpperCase()} file could not be made: ${error instanceof Error ? error.message : error}`,
      );
    }
  }

  async _copyLink() {
    const link = this._page.linkTo(this._card.id);
    try {
      await navigator.clipboard.writeText(link);
      this._card.say('Link copied.');
    } catch {
      this._card.say(
        'Copy this link:',
        el('input', { class: 'link', readonly: true, value: link, 'aria-label': 'Link to this card' }),
      );
    }
  }

  /** @param {string} words */
  _say(words) {
    fill(this._said, words);
  }
}
