// @ts-check
/** Classes by frequency rank: their marks, the trend of neighbours, bars of training examples, and choosing ranks. */

import { runColor, svg } from './dom.js';
import { compact, count } from '../model/format.js';
import { linear, linePath, markerPath } from '../model/scale.js';
import { binnedTrend } from '../model/statistics.js';
import { GROUPS } from '../model/view.js';

/** @import { Group, Row, RunView } from '../model/types.js' */

/** @typedef {{letter: 'A' | 'B', run: RunView, points: {x: number, y: number, row: Row}[]}} FrequencySide */
/** @typedef {{x: (v: number) => number, y: (v: number) => number}} Scales */

const MOST_LARGE = 600; // classes; beyond it marks get smaller
/** How the bars of each group are hatched: none, to the right, to the left, dotted. */
const HATCHES = Object.freeze({ head: null, medium: 'M0 6L6 0', tail: 'M0 0L6 6M0 6L6 0', unknown: 'M3 0V6' });

/** The patterns, to be put into an SVG. @param {string} prefix of their ids */
export function hatches(prefix) {
  return svg(
    'defs',
    {},
    ...GROUPS.flatMap((group) => {
      const lines = HATCHES[/** @type {keyof typeof HATCHES} */ (group)];
      return lines
        ? [
            svg(
              'pattern',
              { id: `${prefix}-${group}`, width: 6, height: 6, patternUnits: 'userSpaceOnUse' },
              svg('path', { class: 'hatch', d: lines }),
            ),
          ]
        : [];
    }),
  );
}

/**
 * One bar per class, or the tallest of the classes that share a pixel; log scale.
 * @param {readonly Row[]} byRank @param {number} width @param {number} height
 * @param {{left: number, right: number}} margin
 */
export function countBars(byRank, width, height, { left, right }) {
  const [top, bottom] = [6, height - 34];
  const largest = Math.max(1, byRank[0]?.count ?? 1);
  const y = (/** @type {number} */ n) => bottom - (Math.log10(1 + n) / Math.log10(1 + largest)) * (bottom - top);
  const slot = (width - left - right) / byRank.length;
  const together = Math.max(1, Math.floor(1 / slot));
  const paths = new Map(GROUPS.map((group) => [group, '']));
  for (let k = 0; k < byRank.length; k += together) {
    const { group, count: n } = byRank[k];
    const wide = slot > 5 ? slot - 1 : slot * together + 0.5; // no gaps from rounding between thin ones
    const x = left + k * slot + (slot > 5 ? 0.5 : 0);
    const bar = `M${x.toFixed(1)} ${bottom}V${y(n ?? 0).toFixed(1)}h${wide.toFixed(2)}V${bottom}Z`;
    paths.set(group, `${paths.get(/** @type {Group} */ (group))}${bar}`);
  }
  const marks = [1, 10, 100, 1000, 1e4, 1e5, 1e6].filter((n) => n <= largest);
  return svg(
    'svg',
    {
      class: 'count-bars plot over-ranks',
      width,
      height,
      viewBox: `0 0 ${width} ${height}`,
      role: 'img',
      'aria-label': `Training examples by class, from ${count(largest)} down to ${count(byRank.at(-1)?.count)}`,
    },
    hatches('hatch'),
    ...marks.map((n) =>
      svg(
        'g',
        { class: 'tick' },
        svg('line', { x1: left, x2: width - right, y1: y(n), y2: y(n) }),
        svg('text', { x: left - 7, y: y(n), dy: '0.32em', 'text-anchor': 'end' }, compact(n)),
      ),
    ),
    ...GROUPS.map((group) => svg('path', { class: 'bar-shape', 'data-group': group, d: paths.get(group) })),
    ...GROUPS.filter((group) => HATCHES[/** @type {keyof typeof HATCHES} */ (group)]).map((group) =>
      svg('path', { d: paths.get(group), fill: `url(#hatch-${group})` }),
    ),
    svg('rect', { class: 'brush', visibility: 'hidden' }),
    ...rankTicks(byRank.length).map((rank) =>
      svg('text', { x: left + (rank - 0.5) * slot, y: bottom + 13, 'text-anchor': 'middle' }, count(rank)),
    ),
    svg(
      'text',
      { class: 'axis-label', x: width - right, y: height - 3, 'text-anchor': 'end' },
      'frequency rank; bars: training examples, log scale',
    ),
  );
}

/** The first rank and round numbers. @param {number} n */
function rankTicks(n) {
  if (n <= 12) return Array.from({ length: n }, (_, i) => i + 1);
  const step =
    [5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000, 20000, 50000, 100000].find((s) => n / s <= 9) ?? 200000;
  return [1, ...Array.from({ length: Math.floor(n / step) }, (_, i) => (i + 1) * step)];
}

/**
 * Marks of the classes of a run in one path: A filled, B hollow, so that they differ by more than colour.
 * @param {FrequencySide} side @param {Scales} scales
 */
export function classMarks({ letter, run, points }, { x, y }) {
  const size = points.length > MOST_LARGE ? 1.3 : points.length > 150 ? 2.2 : 3;
  const square = `h${2 * size}v${2 * size}h${-2 * size}Z`;
  const squares = points.map(
    (point) => `M${(x(point.x) - size).toFixed(1)} ${(y(point.y) - size).toFixed(1)}${square}`,
  );
  const many = points.length > MOST_LARGE ? ' many' : '';
  return svg('path', {
    class: `class-marks ${letter === 'A' ? 'filled' : 'hollow'}${many}`,
    d: squares.join(''),
    ...runColor(run.style),
  });
}

/** The mean of neighbouring classes. @param {FrequencySide} side @param {readonly Row[]} byRank @param {Scales} scales */
export function trendLine({ letter, run, points }, byRank, { x, y }) {
  const values = new Map(points.map((p) => [p.x, p.y]));
  const trend = binnedTrend(byRank.map((row) => ({ x: row.rank, y: values.get(row.rank) ?? null })));
  if (trend.length < 3) return [];
  const line = trend.map((p) => ({ ...p, lower: null, upper: null }));
  const last = trend[trend.length - 1];
  return [
    svg(
      'g',
      { class: 'run compared trend', 'data-side': letter, ...runColor(run.style) },
      svg('path', { class: 'run-line halo', d: linePath(line, x, y) }),
      svg('path', { class: 'run-line', d: linePath(line, x, y), 'stroke-dasharray': run.style.dash || null }),
      svg('path', {
        class: 'run-marker',
        d: trend.map((p) => markerPath(run.style.marker, x(p.x), y(p.y), 3)).join(''),
      }),
      svg('text', { class: 'end-label', x: x(last.x) + 8, y: y(last.y) + 4 }, letter),
    ),
  ];
}

/** @typedef {readonly [number, number]} Range first and last rank */

const LEAST_DRAG = 4; // pixels; less is a click

/** Choose a range of ranks by dragging over plots that share an axis; a click chooses nothing. */
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
