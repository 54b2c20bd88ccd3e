// @ts-check
/** Which points no other point beats on both axes. */

/** @typedef {{x: number, y: number}} Place */

/**
 * The Pareto front: points that none is at least as good as on both axes and better on one; by x ascending.
 * @template {Place} T
 * @param {readonly T[]} points @param {boolean} [lowerIsBetter] @returns {T[]}
 */
export function paretoFront(points, lowerIsBetter = false) {
  const sign = lowerIsBetter ? -1 : 1;
  const beats = (/** @type {Place} */ p, /** @type {Place} */ q) =>
    sign * p.x >= sign * q.x && sign * p.y >= sign * q.y && (p.x !== q.x || p.y !== q.y);
  return points.filter((point) => !points.some((other) => beats(other, point))).sort((p, q) => p.x - q.x || q.y - p.y);
}
