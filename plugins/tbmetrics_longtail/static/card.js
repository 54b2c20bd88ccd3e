// @ts-check
/** The frame of each part of the page: heading, explanation, and what stands there while there is nothing to show. */

import { el, fill, nameOf } from './dom.js';

/** @import { ApiFault, Resource } from './types.js' */

/** @typedef {{name: string, resource: Resource<unknown>}} Part what a card waits for, and whose it is */

let cards = 0;

export class Card {
  /** @param {{title: string, className: string, onRetry: () => void}} options */
  constructor({ title, className, onRetry }) {
    const id = `card-${(cards += 1)}`;
    this._onRetry = onRetry;
    this._caption = el('p', { class: 'caption' });
    this._notice = el('div', { class: 'notice', role: 'alert', hidden: true });
    this.title = el('h2', { id }, title);
    this.tools = el('div', { class: 'tools' });
    this.body = el('div', { class: 'body' });
    this.element = el(
      'section',
      { class: `card ${className}`, 'aria-labelledby': id },
      el('header', {}, el('div', {}, this.title, this._caption), this.tools),
      this._notice,
      this.body,
    );
  }

  /** @param {...(Node | string)} content */
  caption(...content) {
    fill(this._caption, ...content);
  }

  /**
   * Shows how far the `parts` are; says whether there is anything to draw in the body.
   * @param {Part[]} parts
   */
  ready(parts) {
    const failed = parts.filter(({ resource }) => resource.fault);
    const any = parts.length === 0 || parts.some(({ resource }) => resource.status === 'ready');
    const waits = !any && failed.length < parts.length;
    this.element.classList.toggle(
      'stale',
      parts.some(({ resource }) => resource.stale && !resource.fault),
    );
    this.element.classList.toggle('waits', waits);
    this.element.setAttribute('aria-busy', String(waits));
    this._report(failed);
    if (!any) fill(this.body, waits && el('div', { class: 'skeleton', 'aria-label': 'Loading' }));
    return any;
  }

  /** @param {Part[]} failed */
  _report(failed) {
    const key = JSON.stringify(failed.map(({ name, resource }) => [name, resource.fault, resource.status]));
    if (this._notice.dataset.key === key) return;
    this._notice.dataset.key = key;
    this._notice.hidden = failed.length === 0;
    fill(this._notice, ...(failed.length ? faultText(failed, this._onRetry) : []));
  }
}

/** @param {Part[]} failed @param {() => void} onRetry */
function faultText(failed, onRetry) {
  const shown = failed.slice(0, 3).map(({ name, resource }) => {
    const { error, hint } = /** @type {ApiFault} */ (resource.fault);
    const old = resource.status === 'ready' ? ' Shown is what was read before.' : '';
    return el('p', {}, el('strong', {}, name ? nameOf(name) : 'Not loaded'), `: ${error}. ${hint}${old}`);
  });
  const more = failed.length > 3 && el('p', {}, `and ${failed.length - 3} more`);
  return [
    el('div', { class: 'faults' }, ...shown, more),
    el('button', { type: 'button', class: 'button', onclick: onRetry }, 'Retry'),
  ];
}

/** A line in place of what cannot be shown for a reason that is no fault. @param {string} text */
export function nothing(text) {
  return el('p', { class: 'nothing' }, text);
}
