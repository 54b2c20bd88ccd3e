// @ts-check
/** Training examples of every class as bars by rank, coloured and hatched by group. */

import { svg } from './dom.js';
import { compact, count } from './format.js';
import { GROUPS } from './model.js';

/** @import { Group, Row } from './types.js' */

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
 * One bar a class, or the tallest of the classes that share a pixel; log scale.
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
      class: 'count-bars plot',
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

/** The first rank, and round ones. @param {number} n */
function rankTicks(n) {
  if (n <= 12) return Array.from({ length: n }, (_, i) => i + 1);
  const step =
    [5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000, 20000, 50000, 100000].find((s) => n / s <= 9) ?? 200000;
  return [1, ...Array.from({ length: Math.floor(n / step) }, (_, i) => (i + 1) * step)];
}
