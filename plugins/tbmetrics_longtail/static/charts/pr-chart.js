// @ts-check
/** One precision-recall chart: lines over recall, the points where the model decides, and where F1 is best. */

import { el, fill, runColor, svg } from './dom.js';
import { nearest, plot, pointerIn } from './plot.js';
import { number } from '../model/format.js';
import { linePath, markerPath, spread } from '../model/scale.js';

/** @import { Tooltip } from './plot.js' */
/** @import { Maybe, OperatingPoint, RunStyle } from '../model/types.js' */

/**
 * @typedef {object} PrLine
 * @property {'A' | 'B'} letter
 * @property {RunStyle} style
 * @property {boolean} dotted a single class, not a mean
 * @property {number[]} recall
 * @property {Maybe[]} precision
 * @property {OperatingPoint} decision where the decision rule in use stands
 * @property {{recall: number, precision: number, words: string} | null} best
 * @property {HTMLElement} title
 */

/** @typedef {{recall: number, precision: number, line: PrLine, words: string}} Spot */

const REACH = 26;

export class PrChart {
  /** @param {Tooltip} tooltip */
  constructor(tooltip) {
    this._tooltip = tooltip;
    this._width = 0;
    /** @type {Spot[]} */
    this._spots = [];
    this.element = svg('svg', {
      class: 'plot',
      role: 'img',
      onpointermove: (/** @type {PointerEvent} */ event) => this._hover(event),
      onpointerleave: () => this._tooltip.hide(),
    });
  }

  /** @param {PrLine[]} lines @param {number} width @param {number} height @param {string} label */
  draw(lines, width, height, label) {
    this._width = width;
    const frame = plot({ width, height, xDomain: [0, 1], yDomain: [0, 1], xLabel: 'Recall', yLabel: 'Precision' });
    const { x, y } = frame;
    this._x = x;
    this._y = y;
    this._spots = lines.flatMap(spotsOf);
    this.element.setAttribute('viewBox', `0 0 ${width} ${height}`);
    this.element.setAttribute('width', String(width));
    this.element.setAttribute('height', String(height));
    const points = lines.map(
      (l) => `${l.letter} decides at precision ${number(l.decision.precision)}, recall ${number(l.decision.recall)}`,
    );
    this.element.setAttribute('aria-label', `${label}. ${points.join('; ')}`);
    fill(this.element, ...frame.axes, ...lines.flatMap((line) => lineOf(line, x, y)), ...labels(lines, x, y));
    if (!lines.length) {
      this.element.append(
        svg(
          'text',
          {
            class: 'empty-plot',
            x: (frame.left + frame.right) / 2,
            y: (frame.top + frame.bottom) / 2,
            'text-anchor': 'middle',
          },
          'no class with positives',
        ),
      );
    }
  }

  /** @param {PointerEvent} event */
  _hover(event) {
    const [x, y] = [this._x, this._y];
    const spot =
      x &&
      y &&
      nearest(
        this._spots,
        (s) => ({ x: x(s.recall), y: y(s.precision) }),
        pointerIn(this.element, event, this._width),
        REACH,
      );
    if (!spot) {
      this._tooltip.hide();
      return;
    }
    this._tooltip.show(
      event.clientX,
      event.clientY,
      el('p', { class: 'tooltip-title' }, spot.line.title.cloneNode(true)),
      el('p', {}, `precision ${number(spot.precision)} at recall ${number(spot.recall)}`),
      spot.words ? el('p', { class: 'muted' }, spot.words) : '',
    );
  }
}

/** @param {PrLine} line @returns {Spot[]} */
function spotsOf(line) {
  const { precision, recall } = line.decision;
  const decision =
    precision === null || recall === null ? [] : [{ precision, recall, line, words: 'decision rule in use' }];
  const best = line.best ? [{ ...line.best, line }] : [];
  const curve = line.recall.flatMap((r, i) => {
    const p = line.precision[i];
    return p === null ? [] : [{ recall: r, precision: p, line, words: '' }];
  });
  return [...curve, ...decision, ...best];
}

/** @param {PrLine} line @param {(v: number) => number} x @param {(v: number) => number} y */
function lineOf(line, x, y) {
  const points = line.recall.map((r, i) => ({ x: r, y: line.precision[i], lower: null, upper: null, n: null }));
  const { precision, recall } = line.decision;
  return [
    svg(
      'g',
      { class: 'run compared', ...runColor(line.style), 'data-side': line.letter },
      svg('path', {
        class: 'run-line',
        d: linePath(points, x, y),
        'stroke-dasharray': line.dotted ? '1 4' : line.style.dash || null,
        'stroke-linecap': line.dotted ? 'round' : null,
      }),
      precision !== null &&
        recall !== null &&
        svg('path', { class: 'run-marker', d: markerPath('circle', x(recall), y(precision), line.dotted ? 3.4 : 4.6) }),
      line.best &&
        svg('path', {
          class: 'run-marker',
          d: markerPath('diamond', x(line.best.recall), y(line.best.precision), 4.4),
        }),
    ),
  ];
}

/** Letters at the ends of the lines, pushed apart. @param {PrLine[]} lines @param {(v: number) => number} x @param {(v: number) => number} y */
function labels(lines, x, y) {
  const ends = lines.flatMap((line) => {
    const last = line.precision.findLastIndex((p) => p !== null);
    return last < 0 ? [] : [{ line, x: x(line.recall[last]), y: y(Number(line.precision[last])) }];
  });
  const heights = spread(
    ends.map((end) => end.y),
    13,
    [y(1) + 4, y(0) - 4],
  );
  return ends.map(({ line, x: left }, i) =>
    svg('text', { class: 'end-label', x: left + 3, y: heights[i], dy: '0.35em' }, line.letter),
  );
}
