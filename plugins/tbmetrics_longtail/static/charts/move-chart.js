// @ts-check
/** Arrows from A to B along the training count, opaque only where there is evidence. */

import { GROUP_MARKERS, svg } from './dom.js';
import { shorten } from '../model/format.js';
import { markerPath } from '../model/scale.js';

/** @import { Move } from '../model/by-count.js' */

/** @typedef {{move: Move, x: number, from: number, to: number}} PlacedMove */

/** More classes are drawn as bins. */
export const MOST_ARROWS = 150;
const MOST_NAMES = 10;
const RADIUS = 4.2;
const APART = 6; // pixels between classes of one count
const SPAN = 30; // that they take at most

/**
 * Where the moves lie: those of one count side by side.
 * @param {readonly Move[]} moves
 * @param {{x: (v: number) => number, y: (v: number) => number, left: number, right: number}} frame
 * @returns {PlacedMove[]}
 */
export function placesOf(moves, { x, y, left, right }) {
  /** @type {Map<number, Move[]>} */
  const byCount = new Map();
  for (const move of moves) byCount.set(move.lowest, [...(byCount.get(move.lowest) ?? []), move]);
  return [...byCount.values()].flatMap((equal) => {
    const apart = Math.min(APART, SPAN / equal.length);
    return equal.map((move, i) => {
      const middle = Math.sqrt(Math.max(0.5, move.lowest) * Math.max(0.5, move.highest));
      const place = x(middle) + (i - (equal.length - 1) / 2) * apart;
      return { move, x: Math.min(right, Math.max(left, place)), from: y(move.a), to: y(move.b) };
    });
  });
}

/**
 * Those that could be chance first, so that the others lie on top; names where there are few.
 * @param {readonly PlacedMove[]} places @param {number} right end of the plot
 */
export function moveMarks(places, right) {
  const ordered = [...places].sort((p, q) => Number(q.move.isChance) - Number(p.move.isChance));
  return ordered.map(({ move, x, from, to }) => {
    const reach = Math.sign(from - to) * Math.min(RADIUS, Math.abs(from - to));
    const shape = GROUP_MARKERS[move.group] ?? 'cross';
    const atEdge = x > right - 60;
    return svg(
      'g',
      {
        class: move.isChance ? 'move chance' : 'move',
        'data-group': move.group,
        'data-move': move.name ?? move.lowest,
      },
      svg('line', { x1: x - 3, x2: x + 3, y1: from, y2: from }),
      svg('line', { x1: x, x2: x, y1: from, y2: to + reach }),
      svg('path', { d: markerPath(shape, x, to, RADIUS) }),
      places.length <= MOST_NAMES &&
        move.name !== null &&
        svg(
          'text',
          { x: x + (atEdge ? -9 : 9), y: to, dy: '0.32em', 'text-anchor': atEdge ? 'end' : 'start' },
          shorten(move.name, 18),
        ),
    );
  });
}
