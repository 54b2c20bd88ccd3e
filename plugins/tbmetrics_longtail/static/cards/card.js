// @ts-check
/** The frame of a card: heading, caption, menu, errors, and placeholders while there is nothing to show. */

import { CardMenu } from './menu.js';
import { el, fill, nameOf } from '../charts/dom.js';

/** @import { Picture } from '../charts/picture.js' */
/** @import { Tooltip } from '../charts/plot.js' */
/** @import { ClassRows } from '../host/class-rows.js' */
/** @import { Data } from '../host/data.js' */
/** @import { Part } from '../host/resources.js' */
/** @import { ApiFault } from '../host/resources.js' */
/** @import { State } from '../model/state.js' */
/** @import { Table } from '../model/types.js' */

/**
 * @typedef {object} How a state is changed
 * @property {boolean} [replace] does not add a step to the browser's history
 * @property {boolean} [moving] further changes follow at once
 */

/**
 * @typedef {object} Page what every part of the tab shares
 * @property {Data} data
 * @property {Tooltip} tooltip
 * @property {(patch: Partial<State>, how?: How) => void} set
 * @property {() => State} state
 * @property {() => void} retry
 * @property {() => void} redraw in the next frame
 * @property {(pair: {label: string, predicted: string | null}) => void} openImages of one confusion
 * @property {(card: string) => string} linkTo
 * @property {(card: string) => Record<string, string | number | null>} about what a download was made of
 */

/**
 * @typedef {object} CardContent what a card has to take away
 * @property {() => Table | null} table its numbers
 * @property {() => Omit<Picture, 'facts' | 'title'> & {title?: string} | null} [picture] its charts, if it has any
 * @property {() => {markdown: string, latex: string, csv: string} | null} [texts] its table as the server writes it
 * @property {'metric' | 'class_metric'} [metric] which of the chosen metrics it shows, if any
 */

/** Pixels that a card keeps free until it is drawn, so that nothing below it moves. @type {Readonly<Record<string, number>>} */
const RESERVED = Object.freeze({
  leaderboard: 140,
  training: 252,
  summary: 212,
  boundary: 341,
  payers: 360,
  tradeoff: 474,
  movers: 474,
  families: 300,
  diagnosis: 420,
  frequency: 436,
  pr: 262,
  calibration: 286,
  flow: 300,
  tailflow: 330,
  classes: 546,
});

const PADDING = 18;
const LINE = 28; // pixels of a line in a list
const SAID_MS = 8000;
export const NO_VALIDATION = 'No validation at or before this step.';
/** Why runs lack a table. */
export const NOT_RECORDED = 'they keep no scores or decisions that tell, or come from an older version.';

export class Card {
  /**
   * `id` names the card in links; the rest of the content is for downloads.
   * @param {{id: string, title: string, className: string, page: Page} & CardContent} options
   */
  constructor({ id, title, className, page, ...content }) {
    this.id = id;
    this._page = page;
    this._caption = el('p', { class: 'caption' });
    this._notice = el('div', { class: 'notice', role: 'alert', hidden: true });
    this._said = el('div', { class: 'said', role: 'status', hidden: true });
    this.title = el('h2', { id: `card-${id}` }, title);
    this.tools = el('div', { class: 'tools' });
    this.body = el('div', { class: 'body' });
    this.body.style.setProperty('--reserved', `${RESERVED[id] ?? 150}px`);
    this.waits = false;
    /** What the body was last drawn for; null where something else stands there. @type {string | null} */
    this._drawnFor = null;
    this._width = new Width(this.body, page.redraw);
    this._menu = new CardMenu(this, page, content);
    this.element = el(
      'section',
      { class: `card ${className}`, 'data-card': id, 'aria-labelledby': `card-${id}` },
      el('header', {}, el('div', {}, this.title, this._caption), this.tools, this._menu.element),
      this._said,
      this._notice,
      this.body,
    );
  }

  /** @param {...(Node | string)} content */
  caption(...content) {
    const isThere = this._caption.childElementCount === 0 && this._caption.textContent === content[0];
    if (content.length !== 1 || !isThere) fill(this._caption, ...content);
  }

  /** Show the card in full or normal size. @param {boolean} full */
  setFull(full) {
    this.element.classList.toggle('full', full);
    this._menu.update(full);
  }

  /** The width of the body. */
  get width() {
    return this._width.value;
  }

  /**
   * Height of a chart: `normal`, or in full size what the window has for each of `rows` of charts.
   * @param {number} normal @param {number} around pixels of what else stands in a row @param {number} [rows]
   */
  height(normal, around, rows = 1) {
    if (!this.isFull) return normal;
    const room = document.documentElement.clientHeight - this.body.offsetTop - PADDING;
    return Math.max(normal, Math.floor(room / rows) - around);
  }

  /** How many lines a list has: `normal`, or in full size as many as fit. @param {number} normal @param {number} [lists] */
  lines(normal, lists = 1) {
    return Math.max(normal, Math.floor(this.height(0, 2 * LINE, lists) / LINE));
  }

  get isFull() {
    return this.element.classList.contains('full');
  }

  /** Show a message below the heading for a few seconds. @param {...(Node | string)} content */
  say(...content) {
    fill(this._said, ...content);
    this._said.hidden = false;
    this._hideLater();
  }

  /** Hide the message later, but not while it has the focus. */
  _hideLater() {
    window.clearTimeout(this._saying);
    this._saying = window.setTimeout(() => {
      if (this._said.contains(document.activeElement)) this._hideLater();
      else this._said.hidden = true;
    }, SAID_MS);
  }

  /**
   * Show the state of the `parts`. Returns whether there is anything to draw.
   * @param {Part[]} parts
   */
  ready(parts) {
    const failed = parts.filter(({ resource }) => resource.fault);
    const any = parts.length === 0 || parts.some(({ resource }) => resource.status === 'ready');
    const waits = !any && failed.length < parts.length;
    const stale = parts.some(({ resource }) => resource.stale && !resource.fault);
    this.waits = waits;
    this.element.classList.toggle('stale', stale);
    this.element.classList.toggle('waits', waits);
    this.element.setAttribute(
      'aria-busy',
      String(stale || parts.some(({ resource }) => resource.status === 'loading')),
    );
    this._report(failed);
    if (!any) this.put(waits ? skeleton() : '');
    return any;
  }

  /** Whether the body has to be redrawn: the `key` is new, or something else was shown. @param {string} key */
  isNew(key) {
    if (key === this._drawnFor) return false;
    this._drawnFor = key;
    return true;
  }

  /** Show `content` instead of the drawing. @param {Node | string} content */
  put(content) {
    this._drawnFor = null;
    fill(this.body, content);
  }

  /**
   * Rows to draw, or null; the body then says why there are none, or keeps its content until they arrive.
   * @param {ClassRows} source
   */
  rowsOf(source) {
    if (!this.ready(source.parts)) return null;
    if (!source.rows && !source.expected) this.put(nothing(NO_VALIDATION));
    return source.rows;
  }

  /** @param {Part[]} failed */
  _report(failed) {
    const key = JSON.stringify(failed.map(({ name, resource }) => [name, resource.fault, resource.status]));
    if (this._notice.dataset.key === key) return;
    this._notice.dataset.key = key;
    this._notice.hidden = failed.length === 0;
    fill(this._notice, ...(failed.length ? faultText(failed, this._page.retry) : []));
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

/** Placeholder while something loads. */
export function skeleton() {
  return el('div', { class: 'skeleton', role: 'img', 'aria-label': 'Loading' });
}

/** A line saying why there is nothing to show. @param {string} text */
export function nothing(text) {
  return el('p', { class: 'nothing' }, text);
}

/** Width of an element, known without forcing a layout while drawing. */
export class Width {
  /** @param {Element} element @param {() => void} changed called when it has got another width */
  constructor(element, changed) {
    this._element = element;
    this._value = 0;
    new ResizeObserver(([entry]) => {
      const value = Math.floor(entry.contentRect.width);
      if (value === this._value) return;
      this._value = value;
      changed();
    }).observe(element);
  }

  /** Whole pixels; 0 while it is not in the page. */
  get value() {
    return this._value || this._element.clientWidth;
  }
}
