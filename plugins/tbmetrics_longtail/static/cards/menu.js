// @ts-check
/** The menu of a card: its charts as a picture, its numbers as tables, its address, and the whole window for it. */

import { el, fill, setText } from '../charts/dom.js';
import { drawPicture, pngBlob, svgBlob } from '../charts/picture.js';
import { hasAddress } from '../host/tensorboard.js';
import { metricText, ruleText } from '../model/format.js';
import { csvBlob, fileName, jsonBlob, latexText, markdownText } from '../model/table-text.js';

/** @import { Card, CardContent, Page } from './card.js' */
/** @import { Table } from '../model/types.js' */

const REVOKE_MS = 60_000;

export class CardMenu {
  /** @param {Card} card @param {Page} page @param {CardContent} content what can be taken away */
  constructor(card, page, content) {
    this._card = card;
    this._page = page;
    this._content = content;
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
      ...(hasAddress() ? [this._item('Copy link', () => this._copy('Link', page.linkTo(card.id)))] : []),
      ...(content.picture
        ? [
            this._item('Download SVG', () => this._save('svg', async () => svgBlob(this._picture()))),
            this._item('Download PNG', () => this._save('png', () => pngBlob(this._picture()))),
          ]
        : []),
      this._item('Download CSV', () => this._save('csv', async () => this._csv())),
      this._item('Download JSON', () => this._save('json', async () => jsonBlob(this._numbers(), page.about(card.id)))),
      this._item('Copy as Markdown', () => this._copyTable('markdown', markdownText)),
      this._item('Copy as LaTeX', () => this._copyTable('latex', latexText)),
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
    setText(this._full, full ? 'Normal size' : 'Full size');
    const label = `Menu of the card ${this._card.title.textContent}`;
    if (this._button.getAttribute('aria-label') !== label) this._button.setAttribute('aria-label', label);
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
    const focused = items.indexOf(/** @type {HTMLElement} */ (document.activeElement));
    const target = { ArrowDown: focused + 1, ArrowUp: focused - 1, Home: 0, End: items.length - 1 }[event.key];
    if (event.key === 'Escape') this._close();
    else if (target === undefined) return;
    else items[(target + items.length) % items.length].focus();
    event.preventDefault();
    event.stopPropagation();
  }

  _picture() {
    const content = this._content.picture?.() ?? null;
    if (!content) throw new Error('nothing is drawn yet.');
    return drawPicture({ title: this._title(), facts: this._facts(), ...content });
  }

  _csv() {
    const text = this._content.texts?.()?.csv;
    if (text === undefined) return csvBlob(this._numbers());
    return new Blob(['\uFEFF', text.replaceAll('\n', '\r\n')], { type: 'text/csv;charset=utf-8' }); // as `csvText`
  }

  /** @param {'markdown' | 'latex'} form @param {(table: Table, facts: readonly string[]) => string} write */
  _copyTable(form, write) {
    const text = this._content.texts?.()?.[form];
    return this._copy('Table', text ?? write(this._numbers(), this._tableFacts()));
  }

  _numbers() {
    return this._content.table() ?? { columns: [], rows: [] };
  }

  _title() {
    return this._card.title.textContent ?? '';
  }

  /** What a download shows: attribute, metric, step and groups. */
  _facts() {
    const about = this._page.about(this._card.id);
    const metric = this._content.metric && about[this._content.metric];
    const groups =
      about.head_min === null
        ? `groups: ${ruleText(String(about.rule))}`
        : `head from ${about.head_min}, tail up to ${about.tail_max} training examples`;
    return [
      `attribute ${about.attribute}`,
      ...(metric ? [metricText(String(metric)).label] : []),
      about.step === null ? 'no step' : `step ${about.step}`,
      groups,
    ];
  }

  /** The same for a table, which has no legend. */
  _tableFacts() {
    const { a, b } = this._page.about(this._card.id);
    const runs = Object.entries({ A: a, B: b }).flatMap(([letter, run]) => (run === null ? [] : [`${letter}: ${run}`]));
    return [this._title(), ...this._facts(), ...runs];
  }

  /** @param {string} suffix @param {() => Promise<Blob>} make */
  async _save(suffix, make) {
    const kind = suffix.toUpperCase();
    try {
      const { attribute, metric, step } = this._page.about(this._card.id);
      save(await make(), fileName([this._card.id, attribute, metric, `step ${step}`].map(String), suffix));
      this._say(`The ${kind} file is downloaded.`);
    } catch (error) {
      this._card.say(`The ${kind} file could not be made: ${error instanceof Error ? error.message : error}`);
    }
  }

  /** @param {'Link' | 'Table'} what @param {string} text */
  async _copy(what, text) {
    try {
      await navigator.clipboard.writeText(text);
      this._card.say(`${what} copied.`);
    } catch {
      const box = el('textarea', { class: 'copied', readonly: true, rows: what === 'Link' ? 1 : 6 }, text);
      box.setAttribute('aria-label', `${what} of this card`);
      this._card.say(`Copy this ${what.toLowerCase()}:`, box);
      box.select();
    }
  }

  /** @param {string} words */
  _say(words) {
    fill(this._said, words);
  }
}

/** Download `blob` as a file. @param {Blob} blob @param {string} name */
function save(blob, name) {
  const url = URL.createObjectURL(blob);
  const link = el('a', { href: url, download: name });
  document.body.append(link);
  link.click();
  link.remove();
  // Not at once: browsers read the address only after the click has been dealt with.
  window.setTimeout(() => URL.revokeObjectURL(url), REVOKE_MS);
}
