// @ts-check
/** One precision-recall chart: lines over recall, the points where the model decides, and where F1 is best. */

import { el, fill, runColor, setSize, svg } from './dom.js';
import { nearest, plot, pointerIn } from './plot.js';
import { count, number, plural } from '../model/format.js';
import { linePath, markerPath, spread } from '../model/scale.js';

/** @import { Tooltip } from './plot.js' */
/** @import { OperatingPoint } from '../model/answers.js' */
/** @import { Maybe, Point, RunStyle } from '../model/types.js' */

/**
 * @typedef {object} PrLine
 * @property {'A' | 'B'} letter
 * @property {RunStyle} style
 * @property {boolean} dotted a single class, not a mean
 * @property {boolean} steps whether precision stays the same from positive to positive: a class, not a mean
 * @property {boolean} isPoint whether there is no curve: a single positive, found at recall 1
 * @property {string} words of every point
 * @property {number[]} recall
 * @property {Maybe[]} precision
 * @property {OperatingPoint & {nClasses?: [number, number]}} decision where the decision rule in use stands, and of
 *   how many classes the means of precision and recall are
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
    setSize(this.element, width, height);
    const points = lines.map(
      (l) =>
        `${l.letter} decides at precision ${number(l.decision.precision)}, recall ${number(l.decision.recall)}` +
        (l.isPoint ? '; one positive a class, no curve' : ''),
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
    precision === null || recall === null ? [] : [{ precision, recall, line, words: decisionText(line.decision) }];
  const best = line.best ? [{ ...line.best, line }] : [];
  const curve = pointsOf(line).flatMap(({ x, y }) =>
    y === null ? [] : [{ recall: x, precision: y, line, words: line.words }],
  );
  return [...curve, ...decision, ...best];
}

/** @param {PrLine['decision']} decision */
function decisionText({ nClasses }) {
  return `decision rule in use${nClasses ? `: mean precision of ${count(nClasses[0])}, mean recall of ${plural(nClasses[1], 'class', 'classes')}` : ''}`;
}

/** What there is to draw: the curve, or the only point. @param {PrLine} line @returns {Point[]} */
function pointsOf({ recall, precision, isPoint }) {
  const points = recall.map((r, i) => ({ x: r, y: precision[i], lower: null, upper: null, n: null }));
  return isPoint ? [{ ...points[points.length - 1], x: 1 }] : points;
}

/** Each precision as far as half-way to its neighbours. @param {Point[]} points @returns {Point[]} */
function asSteps(points) {
  return points.flatMap((point, i) => {
    const [before, after] = [points[i - 1] ?? point, points[i + 1] ?? point];
    return [(before.x + point.x) / 2, (point.x + after.x) / 2].map((x) => ({ ...point, x }));
  });
}

/** @param {PrLine} line @param {(v: number) => number} x @param {(v: number) => number} y */
function lineOf(line, x, y) {
  const points = line.steps ? asSteps(pointsOf(line)) : pointsOf(line);
  const { precision, recall } = line.decision;
  const only = line.isPoint && points[0];
  return [
    svg(
      'g',
      { class: 'run compared', ...runColor(line.style), 'data-side': line.letter },
      only && only.y !== null
        ? svg('path', { class: 'run-marker only', d: markerPath('cross', x(only.x), y(only.y), 5) })
        : svg('path', {
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
    const points = pointsOf(line).filter((point) => point.y !== null);
    const last = points[points.length - 1];
    return last ? [{ line, x: x(last.x) - (line.isPoint ? 20 : 0), y: y(Number(last.y)) }] : [];
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
