// @ts-check
/** Choosing a range of ranks by dragging over plots that share an axis; a click chooses nothing. */

import { linear } from './scale.js';

/** @typedef {readonly [number, number]} Range first and last rank */

const LEAST_DRAG = 4; // pixels; less is a click

export class RankBrush {
  /**
   * `onDrag` and `onChosen` get the ranks dragged over, `onClick` and `onHover` the pointer; `onCancel` has none.
   * @param {{onDrag: (range: Range) => void, onChosen: (range: [number, number]) => void,
   *   onClick: (event: PointerEvent) => void, onHover: (event: PointerEvent) => void, onCancel: () => void}} actions
   */
  constructor(actions) {
    this._actions = actions;
    this._rankOf = linear([0, 1], [1, 1]);
    this._n = 0;
    /** @type {{from: number, to: number, x: number} | null} */
    this._drag = null;
  }

  /** The ranks under the pixels of the plots. @param {number} n how many @param {[number, number]} pixels */
  cover(n, pixels) {
    this._n = n;
    this._rankOf = linear(pixels, [0.5, n + 0.5]);
  }

  /** @param {SVGSVGElement} element */
  follow(element) {
    element.addEventListener('pointerdown', (event) => this._start(element, event));
    element.addEventListener('pointermove', (event) => this._move(element, event));
    element.addEventListener('pointerup', (event) => this._end(element, event));
    element.addEventListener('pointercancel', () => this._cancel());
  }

  /** @param {SVGSVGElement} element @param {PointerEvent} event */
  _rankAt(element, event) {
    const box = element.getBoundingClientRect();
    const x = (event.clientX - box.left) * (element.viewBox.baseVal.width / (box.width || 1));
    return Math.min(this._n, Math.max(1, Math.round(this._rankOf(x))));
  }

  /** @param {SVGSVGElement} element @param {PointerEvent} event */
  _start(element, event) {
    if (event.button !== 0) return;
    element.setPointerCapture(event.pointerId);
    const rank = this._rankAt(element, event);
    this._drag = { from: rank, to: rank, x: event.clientX };
  }

  /** @param {SVGSVGElement} element @param {PointerEvent} event */
  _move(element, event) {
    if (!this._drag) {
      this._actions.onHover(event);
      return;
    }
    this._drag.to = this._rankAt(element, event);
    if (this._far(event)) this._actions.onDrag(this._range());
  }

  /** @param {SVGSVGElement} element @param {PointerEvent} event */
  _end(element, event) {
    if (!this._drag) return;
    this._drag.to = this._rankAt(element, event);
    if (this._far(event)) this._actions.onChosen(this._range());
    else this._actions.onClick(event);
    this._drag = null;
  }

  _cancel() {
    this._drag = null;
    this._actions.onCancel();
  }

  /** @param {PointerEvent} event */
  _far(event) {
    return Math.abs(event.clientX - (this._drag?.x ?? event.clientX)) >= LEAST_DRAG;
  }

  /** @returns {[number, number]} */
  _range() {
    const { from, to } = this._drag ?? { from: 1, to: 1 };
    return [Math.min(from, to), Math.max(from, to)];
  }
}
