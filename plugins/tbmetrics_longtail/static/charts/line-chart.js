// @ts-check
/** Line charts: lines with markers and bands over steps, and lines small enough for a cell of a table. */

import { fill, runColor, set, setSize, svg } from './dom.js';
import { compact, number } from '../model/format.js';
import {
  bandPath,
  decimals,
  extent,
  linear,
  linePath,
  markedPoints,
  markerPath,
  spread,
  ticks,
} from '../model/scale.js';

/** @import { Maybe, Point, RunStyle, Series } from '../model/types.js' */

/**
 * @typedef {object} ChartContent
 * @property {Series[]} series
 * @property {number[]} steps every step that can be chosen
 * @property {Maybe} step the chosen one
 * @property {[number, number]} yDomain
 * @property {boolean} zeroLine
 * @property {string} label for those who cannot see it
 */

/**
 * @typedef {object} LineNodes
 * @property {SVGElement | null} band
 * @property {SVGElement} line
 * @property {SVGElement} marker
 * @property {SVGElement} interval of a single validation
 * @property {SVGElement} group all but the band
 * @property {Point[] | null} points drawn last
 * @property {boolean} isAlone whether they were a single validation's
 * @property {string} place changes with where they were drawn
 */

const MARGIN = { top: 10, right: 26, bottom: 38, left: 42 };
const APART = 14; // pixels between runs with a single validation

export class LineChart {
  /** @param {{onHover: (step: Maybe, event: PointerEvent | null) => void, onPick: (step: number) => void}} actions */
  constructor({ onHover, onPick }) {
    this._width = 0;
    this._height = 0;
    /** @type {ChartContent | null} */
    this._content = null;
    this._cursor = svg('line', { class: 'hover-line', visibility: 'hidden' });
    this._axesOf = '';
    this._linesOf = '';
    this._labelsOf = '';
    /** @type {LineNodes[]} */
    this._nodes = [];
    this._frame = svg('g');
    this._lines = svg('g');
    this._labels = svg('g');
    this.element = svg('svg', {
      class: 'line-chart',
      role: 'img',
      onpointermove: (/** @type {PointerEvent} */ event) => onHover(this._stepUnder(event), event),
      onpointerleave: () => onHover(null, null),
      onclick: (/** @type {PointerEvent} */ event) => {
        const step = this._stepUnder(event);
        if (step !== null) onPick(step);
      },
    });
    this.element.append(this._frame, this._cursor, this._lines, this._labels);
  }

  /** @param {ChartContent} content @param {number} width @param {number} height */
  draw(content, width, height) {
    Object.assign(this, { _content: content, _width: width, _height: height });
    const { steps, yDomain, series } = content;
    this._x = linear([steps[0] ?? 0, steps[steps.length - 1] ?? 0], [MARGIN.left, width - MARGIN.right]);
    const x = this._x;
    const y = linear(yDomain, [height - MARGIN.bottom, MARGIN.top]);
    const beside = (/** @type {number} */ i) => (steps.length > 1 ? 0 : (i - (series.length - 1) / 2) * APART);
    setSize(this.element, width, height);
    if (this.element.getAttribute('aria-label') !== content.label)
      this.element.setAttribute('aria-label', content.label);
    this._drawAxes(y);
    // The compared runs are drawn last, on top of the others.
    const ordered = [...series].sort((p, q) => p.badge.length - q.badge.length);
    const nodes = this._nodesOf(ordered);
    ordered.forEach((s, i) => this._place(nodes[i], s, x, y, beside(series.indexOf(s))));
    this._drawLabels(
      x,
      y,
      series.map((_, i) => beside(i)),
    );
  }

  /** Axes and the line of the chosen step, drawn anew only if they are others. @param {(value: number) => number} y */
  _drawAxes(y) {
    const { steps, yDomain, step, zeroLine } = /** @type {ChartContent} */ (this._content);
    const key = JSON.stringify([steps, yDomain, step, zeroLine, this._width, this._height]);
    if (key === this._axesOf) return;
    this._axesOf = key;
    fill(
      this._frame,
      ...this._axes(y),
      step !== null && steps.length > 1 && this._vertical('step-line', Number(this._x?.(step))),
    );
  }

  /**
   * The shapes of each line; kept while the lines are of the same runs, as while a threshold moves.
   * @param {readonly Series[]} ordered @returns {LineNodes[]}
   */
  _nodesOf(ordered) {
    const key = JSON.stringify(ordered.map(({ label, badge, style, band }) => [label, badge, style.index, band]));
    if (key === this._linesOf) return this._nodes;
    this._linesOf = key;
    this._nodes = ordered.map(({ badge, style, band }) => ({
      band: band ? svg('path', { class: 'band', ...runColor(style) }) : null,
      line: svg('path', { class: 'run-line', 'stroke-dasharray': style.dash || null }),
      marker: svg('path', { class: 'run-marker' }),
      interval: svg('line', { class: 'whisker-line' }),
      group: svg('g', { class: badge ? 'run compared' : 'run', ...runColor(style) }),
      points: null,
      isAlone: true,
      place: '',
    }));
    for (const { group, interval, line, marker } of this._nodes) group.append(interval, line, marker);
    const bands = this._nodes.flatMap(({ band }) => band ?? []);
    fill(this._lines, ...bands, ...this._nodes.map(({ group }) => group));
    return this._nodes;
  }

  /** Marks the step under the pointer; null = none. @param {Maybe} step */
  mark(step) {
    const shown = step !== null && this._x;
    this._cursor.setAttribute('visibility', shown ? 'visible' : 'hidden');
    if (!shown) return;
    const place = String(this._x?.(step));
    for (const [name, value] of Object.entries({
      x1: place,
      x2: place,
      y1: MARGIN.top,
      y2: this._height - MARGIN.bottom,
    })) {
      this._cursor.setAttribute(name, String(value));
    }
  }

  /** @param {(value: number) => number} y */
  _axes(y) {
    const { yDomain, steps, zeroLine } = /** @type {ChartContent} */ (this._content);
    const [left, right, bottom] = [MARGIN.left, this._width - MARGIN.right, this._height - MARGIN.bottom];
    const yTicks = ticks(yDomain[0], yDomain[1], 5);
    const digits = decimals(yTicks);
    const xTicks = ticks(
      steps[0] ?? 0,
      steps[steps.length - 1] ?? 0,
      Math.max(2, Math.floor((right - left) / 48)),
      true,
    );
    return [
      ...yTicks.map((value) =>
        svg(
          'g',
          { class: zeroLine && value === 0 ? 'tick zero' : 'tick' },
          svg('line', { x1: left, x2: right, y1: y(value), y2: y(value) }),
          svg('text', { x: left - 7, y: y(value), dy: '0.32em', 'text-anchor': 'end' }, number(value, digits)),
        ),
      ),
      ...xTicks.map((value) =>
        svg(
          'text',
          { class: 'tick-label', x: this._x?.(value), y: bottom + 16, 'text-anchor': 'middle' },
          compact(value),
        ),
      ),
      svg('text', { class: 'axis-label', x: (left + right) / 2, y: this._height - 6, 'text-anchor': 'middle' }, 'Step'),
    ];
  }

  /** @param {string} className @param {number} x */
  _vertical(className, x) {
    return svg('line', { class: className, x1: x, x2: x, y1: MARGIN.top, y2: this._height - MARGIN.bottom });
  }

  /**
   * @param {LineNodes} nodes @param {Series} series @param {(value: number) => number} x
   * @param {(value: number) => number} y @param {number} beside pixels by which a single validation is moved
   */
  _place(nodes, { points, style, badge, band: hasBand }, x, y, beside) {
    const { band, line, marker, interval, group } = nodes;
    const place = `${this._axesOf} ${beside}`;
    if (points === nodes.points && place === nodes.place) return;
    Object.assign(nodes, { points, place });
    const radius = badge ? 3.2 : 2.6;
    const marks = markedPoints(points, style.index).map((p) =>
      markerPath(style.marker, x(p.x), y(Number(p.y)), radius),
    );
    const only = points.length === 1 && hasBand ? points[0] : null;
    const ends = only && only.lower !== null && only.upper !== null ? [y(only.lower), y(only.upper)] : null;
    if (band) setShape(band, bandPath(points, x, y));
    setShape(line, linePath(points, x, y));
    setShape(marker, marks.join(''));
    const isAlone = points.length === 1 || beside !== 0;
    if (!isAlone && !nodes.isAlone) return; // as nearly always: nothing stands there
    nodes.isAlone = isAlone;
    set(group, { transform: beside ? `translate(${beside} 0)` : null });
    set(interval, {
      visibility: ends ? null : 'hidden',
      x1: only && x(only.x),
      x2: only && x(only.x),
      y1: ends?.[0],
      y2: ends?.[1],
    });
  }

  /**
   * The letters A and B where their lines end; those there are moved up and down.
   * @param {(value: number) => number} x @param {(value: number) => number} y @param {readonly number[]} beside
   */
  _drawLabels(x, y, beside) {
    const { series } = /** @type {ChartContent} */ (this._content);
    const ends = series.flatMap((s, i) => {
      const last = s.badge ? s.points.findLast((p) => p.y !== null) : undefined;
      return last
        ? [{ badge: s.badge, style: s.style, x: x(last.x) + beside[i], y: y(/** @type {number} */ (last.y)) }]
        : [];
    });
    const heights = spread(
      ends.map((end) => end.y),
      14,
      [MARGIN.top + 6, this._height - MARGIN.bottom - 4],
    );
    const key = JSON.stringify(ends.map((end) => [end.badge, end.style.index, end.x]));
    if (key !== this._labelsOf) {
      this._labelsOf = key;
      const labels = ends.map((end) =>
        svg('text', { class: 'end-label', x: end.x + 8, dy: '0.35em', ...runColor(end.style) }, end.badge),
      );
      fill(this._labels, ...labels);
    }
    [...this._labels.children].forEach((label, i) => {
      const height = String(heights[i]);
      if (label.getAttribute('y') !== height) label.setAttribute('y', height);
    });
  }

  /** The step nearest to the pointer. @param {PointerEvent} event @returns {Maybe} */
  _stepUnder(event) {
    const x = this._x;
    if (!x || !this._content?.steps.length) return null;
    const box = this.element.getBoundingClientRect();
    const place = ((event.clientX - box.left) / (box.width || 1)) * this._width;
    return this._content.steps.reduce((best, step) =>
      Math.abs(x(step) - place) < Math.abs(x(best) - place) ? step : best,
    );
  }
}

/** Of another shape only, as the browser paints again whatever is set. @param {SVGElement} path @param {string} shape */
function setShape(path, shape) {
  if (path.getAttribute('d') !== shape) path.setAttribute('d', shape);
}

const WIDTH = 92;
const HEIGHT = 24;

/**
 * One line per run over the steps, on a common scale.
 * @param {readonly ({x: number, y: Maybe}[] | null)[]} lines @param {readonly RunStyle[]} styles
 */
export function sparkline(lines, styles) {
  const known = lines.flatMap((line) => line ?? []);
  const steps = extent(known.map((p) => p.x)) ?? [0, 1];
  const values = extent(known.map((p) => p.y)) ?? [0, 1];
  const x = linear(steps, [2, WIDTH - 2]);
  const y = linear(values, [HEIGHT - 3, 3]);
  return svg(
    'svg',
    { class: 'sparkline', width: WIDTH, height: HEIGHT, viewBox: `0 0 ${WIDTH} ${HEIGHT}`, 'aria-hidden': 'true' },
    ...lines.flatMap((line, i) =>
      line && styles[i]
        ? [
            svg('path', {
              class: 'run-line',
              d: linePath(
                line.map((p) => ({ ...p, lower: null, upper: null, n: null })),
                x,
                y,
              ),
              'stroke-dasharray': styles[i].dash || null,
              ...runColor(styles[i]),
            }),
          ]
        : [],
    ),
  );
}
