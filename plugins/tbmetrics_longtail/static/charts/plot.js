// @ts-check
/** The frame of a plot with two measured axes, what is under the pointer, and the box beside it. */

import { el, fill, svg } from './dom.js';
import { compact, number } from '../model/format.js';
import { decimals, linear, logarithmic, logTicks, ticks } from '../model/scale.js';

/**
 * @typedef {object} PlotOptions
 * @property {number} width
 * @property {number} height
 * @property {[number, number]} xDomain
 * @property {[number, number]} yDomain
 * @property {string} xLabel
 * @property {string} [yLabel]
 * @property {boolean} [wholeX] the x axis counts something
 * @property {boolean} [logX] it does so on a logarithmic scale
 * @property {{top: number, right: number, bottom: number, left: number}} [margin]
 */

export const MARGIN = Object.freeze({ top: 12, right: 14, bottom: 36, left: 54 });

/**
 * Create the scales and axes of a plot.
 * @param {PlotOptions} options
 */
export function plot(options) {
  const { width, height, xDomain, yDomain, xLabel, yLabel = '', logX = false, margin = MARGIN } = options;
  const wholeX = options.wholeX || logX;
  const [left, right] = [margin.left, width - margin.right];
  const [top, bottom] = [margin.top, height - margin.bottom];
  const x = (logX ? logarithmic : linear)(xDomain, [left, right]);
  const y = linear(yDomain, [bottom, top]);
  const mostX = Math.max(2, Math.floor((right - left) / 64));
  const xTicks = logX ? logTicks(...xDomain, mostX) : ticks(...xDomain, mostX, wholeX);
  const yTicks = ticks(yDomain[0], yDomain[1], Math.max(2, Math.floor((bottom - top) / 34)));
  const [xDigits, yDigits] = [decimals(xTicks), decimals(yTicks)];
  const axes = [
    ...yTicks.map((value) =>
      svg(
        'g',
        { class: 'tick' },
        svg('line', { x1: left, x2: right, y1: y(value), y2: y(value) }),
        svg('text', { x: left - 7, y: y(value), dy: '0.32em', 'text-anchor': 'end' }, number(value, yDigits)),
      ),
    ),
    ...xTicks.map((value) =>
      svg(
        'g',
        { class: 'tick x' },
        svg('line', { x1: x(value), x2: x(value), y1: bottom, y2: bottom + 4 }),
        svg(
          'text',
          { x: x(value), y: bottom + 16, 'text-anchor': 'middle' },
          wholeX ? compact(value) : number(value, xDigits),
        ),
      ),
    ),
    svg('text', { class: 'axis-label', x: (left + right) / 2, y: height - 3, 'text-anchor': 'middle' }, xLabel),
    yLabel &&
      svg(
        'text',
        { class: 'axis-label', transform: `translate(11 ${(top + bottom) / 2}) rotate(-90)`, 'text-anchor': 'middle' },
        yLabel,
      ),
  ];
  return { x, y, axes, left, right, top, bottom };
}

/**
 * The place of a pointer in the coordinates of an SVG drawn `width` wide.
 * @param {SVGSVGElement} element @param {PointerEvent} event @param {number} width
 */
export function pointerIn(element, event, width) {
  const box = element.getBoundingClientRect();
  const scale = width / (box.width || 1);
  return { x: (event.clientX - box.left) * scale, y: (event.clientY - box.top) * scale };
}

/**
 * The item nearest to a place, within `reach`.
 * @template T
 * @param {readonly T[]} items @param {(item: T) => {x: number, y: number}} placeOf @param {{x: number, y: number}} pointer
 * @param {number} reach @returns {T | null}
 */
export function nearest(items, placeOf, pointer, reach) {
  let best = null;
  let least = reach;
  for (const item of items) {
    const place = placeOf(item);
    const distance = Math.hypot(place.x - pointer.x, place.y - pointer.y);
    if (distance <= least) [best, least] = [item, distance];
  }
  return best;
}

/** One floating box beside the pointer. */
export class Tooltip {
  constructor() {
    this.element = el('div', { class: 'tooltip', role: 'tooltip', hidden: true });
    this._place = { x: 0, y: 0 };
  }

  /** @param {number} clientX @param {number} clientY @param {...(Node | string)} content */
  show(clientX, clientY, ...content) {
    this._place = { x: clientX, y: clientY };
    fill(this.element, ...content);
    this.element.hidden = false;
    const { width, height } = this.element.getBoundingClientRect();
    const fits = clientX + 16 + width < document.documentElement.clientWidth;
    const top = Math.min(clientY + 12, document.documentElement.clientHeight - height - 8);
    this.element.style.left = `${fits ? clientX + 16 : Math.max(8, clientX - 16 - width)}px`;
    this.element.style.top = `${Math.max(8, top)}px`;
  }

  hide() {
    this.element.hidden = true;
  }

  /** Say what is under the resting pointer now: called when something has been drawn anew. */
  follow() {
    if (this.element.hidden) return;
    const { x, y } = this._place;
    this.hide();
    const move = new PointerEvent('pointermove', { clientX: x, clientY: y, bubbles: true });
    document.elementFromPoint(x, y)?.dispatchEvent(move);
  }
}
