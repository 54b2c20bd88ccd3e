// @ts-check
/** The trend of a metric along the frequency ranks: means of neighbouring classes. */

/** @import { Maybe } from './types.js' */

/**
 * Means over bins of equally many classes; bins without any value are left out.
 * @param {readonly {x: number, y: Maybe}[]} points by x ascending @param {number} [bins]
 * @returns {{x: number, y: number, n: number}[]}
 */
export function binnedTrend(points, bins = 24) {
  const size = Math.max(1, Math.ceil(points.length / bins));
  const found = [];
  for (let first = 0; first < points.length; first += size) {
    const members = points.slice(first, first + size);
    const known = members.flatMap(({ y }) => (y === null ? [] : [y]));
    if (!known.length) continue;
    const x = (members[0].x + members[members.length - 1].x) / 2;
    found.push({ x, y: known.reduce((sum, y) => sum + y, 0) / known.length, n: known.length });
  }
  return found;
}
