// @ts-check
/** Classes by frequency rank: their marks, the trend of neighbours, bars of training examples, and choosing ranks. */

import { runColor, svg } from './dom.js';
import { compact, count, shorten } from '../model/format.js';
import { linear, linePath, markerPath } from '../model/scale.js';
import { binnedTrend } from '../model/statistics.js';
import { GROUPS } from '../model/view.js';

/** @import { Group, Row, RunView, View } from '../model/types.js' */

/** @typedef {{letter: 'A' | 'B', run: RunView, points: {x: number, y: number, row: Row}[]}} FrequencySide */
/** @typedef {{x: (v: number) => number, y: (v: number) => number}} Scales */
/** @typedef {Scales & {left: number, top: number}} Frame */

/** With more classes marks would be stripes: their density is drawn. */
export const MOST_MARKS = 600;
/** With no more classes each has its name and its interval. */
const MOST_NAMES = 10;
const MOST_INTERVALS = 30;
const CELL = 4; // pixels of density
const LEVELS = 5;
const LETTER_WIDTH = 6.6;
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
    svg(
      'text',
      { class: 'axis-label', transform: `translate(11 ${(top + bottom) / 2}) rotate(-90)`, 'text-anchor': 'middle' },
      'Examples',
    ),
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
      svg(
        'text',
        { x: left + (rank - 0.5) * slot, y: bottom + 14, 'text-anchor': 'middle' },
        ...(byRank.length > MOST_NAMES ? [count(rank)] : nameLabel(byRank[rank - 1].name, slot)),
      ),
    ),
    svg(
      'text',
      { class: 'axis-label', x: (left + width - right) / 2, y: height - 3, 'text-anchor': 'middle' },
      byRank.length > MOST_NAMES ? 'Frequency rank' : 'Class, the most frequent first',
    ),
  );
}

/** A class's name in so many pixels, whole on hover. @param {string} name @param {number} slot @returns {(string | Node)[]} */
function nameLabel(name, slot) {
  return [shorten(name, Math.max(3, Math.floor(slot / LETTER_WIDTH))), svg('title', {}, name)];
}

/** The first rank and round numbers. @param {number} n */
function rankTicks(n) {
  if (n <= 12) return Array.from({ length: n }, (_, i) => i + 1);
  const step =
    [5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000, 20000, 50000, 100000].find((s) => n / s <= 9) ?? 200000;
  return [1, ...Array.from({ length: Math.floor(n / step) }, (_, i) => (i + 1) * step)];
}

/**
 * The classes of a run: A filled, B hollow, so that they differ by more than colour; the density of thousands.
 * @param {FrequencySide} side @param {Frame} frame
 */
export function classMarks({ letter, run, points }, frame) {
  if (points.length > MOST_MARKS) return density(points, run, frame);
  const size = points.length > 150 ? 2.2 : 3;
  const few = hasIntervals(points.length);
  const beside = few ? (letter === 'A' ? -4 : 4) : 0;
  const places = points.map(({ x, y, row }) => ({ row, x: frame.x(x) + beside, y: frame.y(y) }));
  return svg(
    'g',
    runColor(run.style),
    few && svg('path', { class: 'class-interval', d: places.map((p) => intervalPath(p, letter, frame)).join('') }),
    svg('path', {
      class: `class-marks ${letter === 'A' ? 'filled' : 'hollow'}`,
      d: places.map((p) => markerPath('square', p.x, p.y, size)).join(''),
    }),
  );
}

/** @param {{row: Row, x: number}} place @param {'A' | 'B'} letter @param {Scales} scales */
function intervalPath({ row, x }, letter, { y }) {
  const ends = letter === 'A' ? row.intervalA : row.intervalB;
  return ends ? `M${x.toFixed(1)} ${y(ends[0]).toFixed(1)}V${y(ends[1]).toFixed(1)}` : '';
}

/**
 * How many classes lie in each cell, as one shape for each level.
 * @param {FrequencySide['points']} points @param {RunView} run @param {Frame} frame
 */
function density(points, run, { x, y, left, top }) {
  /** @type {Map<number, number>} */
  const counts = new Map();
  const cellOf = (/** @type {{x: number, y: number}} */ p) =>
    (Math.floor((y(p.y) - top) / CELL) + 1) * 8192 + Math.floor((x(p.x) - left) / CELL);
  for (const point of points) {
    const cell = cellOf(point);
    counts.set(cell, (counts.get(cell) ?? 0) + 1);
  }
  const scale = LEVELS / Math.log1p([...counts.values()].reduce((most, n) => Math.max(most, n), 1));
  const shapes = Array.from({ length: LEVELS }, () => '');
  for (const [cell, n] of counts) {
    const level = Math.min(LEVELS, Math.ceil(scale * Math.log1p(n))) - 1;
    const [column, row] = [cell % 8192, Math.floor(cell / 8192) - 1];
    shapes[level] += `M${(left + column * CELL).toFixed(1)} ${(top + row * CELL).toFixed(1)}h${CELL}v${CELL}h-${CELL}Z`;
  }
  return svg(
    'g',
    { class: 'density', ...runColor(run.style) },
    ...shapes.map((d, i) => svg('path', { class: 'class-marks filled', d, opacity: ((i + 1) / LEVELS).toFixed(2) })),
  );
}

/** Whether neighbouring classes have a mean. @param {number} n classes */
export function hasTrend(n) {
  return n > MOST_NAMES;
}

/** Whether classes have their intervals. @param {number} n classes */
export function hasIntervals(n) {
  return n <= MOST_INTERVALS;
}

/** How a run's classes and their trend look. @param {'A' | 'B'} letter @param {RunView} run @param {number} n classes */
export function frequencySwatch(letter, { style }, n) {
  const width = hasTrend(n) ? 40 : 12;
  return svg(
    'svg',
    { class: 'swatch', width, height: 12, viewBox: `0 0 ${width} 12`, 'aria-hidden': 'true', ...runColor(style) },
    svg('path', {
      class: `class-marks ${letter === 'A' ? 'filled' : 'hollow'}`,
      d: markerPath('square', 5, 6, 3),
    }),
    hasTrend(n) &&
      svg('line', { x1: 14, x2: 40, y1: 6, y2: 6, class: 'run-line', 'stroke-dasharray': style.dash || null }),
    hasTrend(n) && svg('path', { d: markerPath(style.marker, 27, 6, 3.4), class: 'run-marker' }),
  );
}

/** The mean of neighbouring classes. @param {FrequencySide} side @param {readonly Row[]} byRank @param {Scales} scales */
export function trendLine({ letter, run, points }, byRank, { x, y }) {
  if (!hasTrend(byRank.length)) return [];
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

/** The defined values of A and B. @param {View} view @param {readonly Row[]} byRank @returns {FrequencySide[]} */
export function sidesOf(view, byRank) {
  return /** @type {const} */ (['a', 'b']).flatMap((side) => {
    const run = view[side];
    const points = byRank.flatMap((row) => {
      const y = row[side];
      return y === null ? [] : [{ x: row.rank, y, row }];
    });
    return run ? [{ letter: side === 'a' ? 'A' : 'B', run, points }] : [];
  });
}
