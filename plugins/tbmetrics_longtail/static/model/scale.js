// @ts-check
/** Linear scales, ticks, and SVG paths of lines, bands and markers. */

/** @import { Marker, Maybe, Point } from './types.js' */

/**
 * A linear map from `domain` to `range`; an empty domain maps to the middle.
 * @param {[number, number]} domain @param {[number, number]} range
 * @returns {(value: number) => number}
 */
export function linear([d0, d1], [r0, r1]) {
  if (d0 === d1) return () => (r0 + r1) / 2;
  return (value) => r0 + ((value - d0) / (d1 - d0)) * (r1 - r0);
}

/**
 * Smallest and largest defined value, or null if there are none.
 * @param {Iterable<Maybe>} values @returns {[number, number] | null}
 */
export function extent(values) {
  let low = Infinity;
  let high = -Infinity;
  for (const value of values) {
    if (value === null || !Number.isFinite(value)) continue;
    if (value < low) low = value;
    if (value > high) high = value;
  }
  return low <= high ? [low, high] : null;
}

/**
 * Smallest and largest value of a line, and of its band if it has one; null if there are none.
 * @param {readonly Point[]} points @param {boolean} band @returns {[number, number] | null}
 */
export function rangeOfPoints(points, band) {
  let low = Infinity;
  let high = -Infinity;
  for (const { y, lower, upper } of points) {
    for (const value of band ? [y, lower, upper] : [y]) {
      if (value === null || !Number.isFinite(value)) continue;
      low = Math.min(low, value);
      high = Math.max(high, value);
    }
  }
  return low <= high ? [low, high] : null;
}

/**
 * The distance between ticks: 1, 2 or 5 times a power of ten, so that about `wanted` of them fit.
 * @param {number} span @param {number} wanted
 */
function tickStep(span, wanted) {
  const rough = span / Math.max(1, wanted);
  const power = 10 ** Math.floor(Math.log10(rough));
  const factor = [1, 2, 5, 10].find((f) => f * power >= rough * 0.999) ?? 10;
  return factor * power;
}

/**
 * Round numbers within [low, high].
 * @param {number} low @param {number} high @param {number} [wanted] @param {boolean} [whole] integers only
 */
export function ticks(low, high, wanted = 4, whole = false) {
  if (!(high > low)) return [low];
  const step = Math.max(tickStep(high - low, wanted), whole ? 1 : 0);
  const first = Math.ceil(low / step - 1e-9);
  const last = Math.floor(high / step + 1e-9);
  return Array.from({ length: Math.max(0, last - first + 1) }, (_, i) => Number(((first + i) * step).toPrecision(12)));
}

/** Where a logarithmic axis puts 0. */
const LEAST = 0.5;

/**
 * A logarithmic map of counts from `domain` to `range`; 0 lies where ½ does.
 * @param {[number, number]} domain @param {[number, number]} range @returns {(value: number) => number}
 */
export function logarithmic([d0, d1], range) {
  const log = (/** @type {number} */ value) => Math.log10(Math.max(value, LEAST));
  const place = linear([log(d0), log(d1)], range);
  return (value) => place(log(value));
}

/**
 * Round counts within [low, high] for a logarithmic axis: as many of 1, 2 and 5 times a power of ten as are `wanted`.
 * @param {number} low @param {number} high @param {number} wanted
 */
export function logTicks(low, high, wanted) {
  const powers = Array.from({ length: 16 }, (_, i) => 10 ** i).filter((power) => power <= high);
  const choices = [[1, 2, 5], [1, 3], [1]].map((factors) =>
    powers.flatMap((power) => factors.map((factor) => factor * power)).filter((n) => low <= n && n <= high),
  );
  const chosen = choices.find((values) => values.length <= wanted) ?? choices[2];
  if (chosen.length < 2) return ticks(low, high, wanted, true);
  return low < LEAST ? [0, ...chosen] : chosen;
}

/** Decimals needed to distinguish `values`. @param {number[]} values */
export function decimals(values) {
  return values.length < 2
    ? 2
    : Math.max(0, Math.min(4, Math.ceil(-Math.log10(Math.abs(values[1] - values[0])) - 1e-9)));
}

/**
 * A y axis around `data`: widened to ticks, kept within `bounds`, never empty.
 * @param {[number, number] | null} data @param {{bounds?: [number, number], zero?: boolean}} [options]
 * @returns {[number, number]}
 */
export function niceDomain(data, { bounds = [-Infinity, Infinity], zero = false } = {}) {
  let [low, high] = data ?? [0, 1];
  if (zero) [low, high] = [Math.min(low, 0), Math.max(high, 0)];
  const padding = high > low ? (high - low) * 0.04 : 0.05;
  const step = tickStep(high - low + 2 * padding, 5);
  low = Math.floor((low - padding) / step + 1e-9) * step;
  high = Math.ceil((high + padding) / step - 1e-9) * step;
  return [Math.max(low, Math.min(bounds[0], data?.[0] ?? 0)), Math.min(high, Math.max(bounds[1], data?.[1] ?? 1))];
}

/**
 * A line through the defined points, broken at the undefined.
 * @param {readonly Pick<Point, 'x' | 'y'>[]} points @param {(v: number) => number} x @param {(v: number) => number} y
 */
export function linePath(points, x, y) {
  let path = '';
  let open = false;
  for (const point of points) {
    if (point.y === null) open = false;
    else {
      path += `${open ? 'L' : 'M'}${round(x(point.x))} ${round(y(point.y))}`;
      open = true;
    }
  }
  return path;
}

/**
 * Bands between `lower` and `upper`, one closed shape for each unbroken stretch.
 * @param {Point[]} points @param {(v: number) => number} x @param {(v: number) => number} y
 */
export function bandPath(points, x, y) {
  return stretches(points)
    .filter((stretch) => stretch.length > 1)
    .map((stretch) => {
      const there = stretch.map((p) => `${round(x(p.x))} ${round(y(p.upper))}`);
      const back = stretch.map((p) => `${round(x(p.x))} ${round(y(p.lower))}`).reverse();
      return `M${[...there, ...back].join('L')}Z`;
    })
    .join('');
}

/** @param {Point[]} points @returns {{x: number, lower: number, upper: number}[][]} */
function stretches(points) {
  /** @type {{x: number, lower: number, upper: number}[][]} */
  const unbroken = [[]];
  for (const { x, lower, upper } of points) {
    if (lower === null || upper === null) unbroken.push([]);
    else unbroken[unbroken.length - 1].push({ x, lower, upper });
  }
  return unbroken;
}

/**
 * Points with a marker: all up to `limit`, otherwise a few, shifted by `phase` so that lines differ.
 * @param {Point[]} points @param {number} phase @param {number} [limit]
 */
export function markedPoints(points, phase, limit = 24) {
  const defined = points.filter((point) => point.y !== null);
  if (defined.length <= limit) return defined;
  const every = Math.ceil(defined.length / 8);
  return defined.filter((_, i) => i % every === phase % every || i === defined.length - 1);
}

/** Corners of a marker of radius 1. @type {Readonly<Record<string, readonly (readonly [number, number])[]>>} */
const CORNERS = Object.freeze({
  diamond: [
    [0, -1.3],
    [1.3, 0],
    [0, 1.3],
    [-1.3, 0],
  ],
  triangle: [
    [0, -1.25],
    [1.2, 0.95],
    [-1.2, 0.95],
  ],
  square: [
    [-1, -1],
    [1, -1],
    [1, 1],
    [-1, 1],
  ],
  cross: [
    [-0.42, -1.25],
    [0.42, -1.25],
    [0.42, -0.42],
    [1.25, -0.42],
    [1.25, 0.42],
    [0.42, 0.42],
    [0.42, 1.25],
    [-0.42, 1.25],
    [-0.42, 0.42],
    [-1.25, 0.42],
    [-1.25, -0.42],
    [-0.42, -0.42],
  ],
});

/** Shapes from their centre on, by marker and radius. @type {Map<string, string>} */
const shapes = new Map();

/**
 * A marker of radius `r` around (x, y), as a closed path.
 * @param {Marker} marker @param {number} x @param {number} y @param {number} r
 */
export function markerPath(marker, x, y, r) {
  const key = `${marker}${r}`;
  let shape = shapes.get(key);
  if (shape === undefined) shapes.set(key, (shape = shapeOf(marker, r)));
  return `M${round(x)} ${round(y)}${shape}`;
}

/** @param {Marker} marker @param {number} r */
function shapeOf(marker, r) {
  const corners = CORNERS[marker];
  if (!corners) return `m${-r} 0a${r} ${r} 0 1 0 ${2 * r} 0a${r} ${r} 0 1 0 ${-2 * r} 0Z`;
  const steps = corners.map(([x, y], i) => {
    const [fromX, fromY] = i ? corners[i - 1] : [0, 0];
    return `${round((x - fromX) * r)} ${round((y - fromY) * r)}`;
  });
  return `m${steps.join('l')}Z`;
}

/** @param {number} value */
function round(value) {
  return Math.round(value * 100) / 100;
}

/**
 * Heights of labels at `wanted`, pushed apart to at least `distance`, within [top, bottom]; in the order given.
 * @param {number[]} wanted @param {number} distance @param {[number, number]} limits
 */
export function spread(wanted, distance, [top, bottom]) {
  const order = wanted.map((_, i) => i).sort((i, j) => wanted[i] - wanted[j]);
  const placed = [...wanted];
  order.forEach((i, k) => {
    placed[i] = Math.max(wanted[i], k ? placed[order[k - 1]] + distance : top);
  });
  [...order].reverse().forEach((i, k, reversed) => {
    placed[i] = Math.min(placed[i], k ? placed[reversed[k - 1]] - distance : bottom);
  });
  return placed;
}

/**
 * Heights of two letters wanted at these points, pushed apart if they would overlap.
 * @param {readonly {x: number, y: number}[]} points one or two
 */
export function labelHeights(points) {
  const [a, b = a] = points;
  const wanted = points.map(({ y }) => y);
  return a && Math.abs(a.x - b.x) < 16 ? spread(wanted, 13, [Math.min(...wanted), Infinity]) : wanted;
}
