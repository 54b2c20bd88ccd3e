// @ts-check
/** What a picture is made of, worked out from texts and numbers alone: clean text, colours, borders, gradients. */

/** @typedef {{x: number, y: number, width: number, height: number}} Box */
/** @typedef {{rx: number, ry: number}} Radius */
/** @typedef {{top: number, right: number, bottom: number, left: number}} Edges */
/** @typedef {{color: string, opacity: number}} Paint a colour as #rrggbb, and how opaque it is (0 to 1) */
/** @typedef {{color: string, at: number | null}} Stop a colour at a share of the way, null = evenly between others */
/** @typedef {{angle: number, stops: Stop[]}} Gradient the angle as in CSS: 0 = upwards, 90 = to the right */

const NOT_XML = /[^\t\n\r\x20-\uD7FF\uE000-\uFFFD\u{10000}-\u{10FFFF}]/gu;
const NUMBER = /[-+]?(?:\d+\.?\d*|\.\d+)(?:e[-+]?\d+)?%?/gi;
/** @type {Readonly<Record<string, number>>} */
const DIRECTIONS = Object.freeze({ 'to top': 0, 'to right': 90, 'to bottom': 180, 'to left': 270 });
/** @type {readonly (keyof Edges)[]} */
export const SIDES = Object.freeze(['top', 'right', 'bottom', 'left']);

/** Two decimals: a hundredth of a pixel is more than any reader shows. @param {number} value */
export function round(value) {
  return Math.round(value * 100) / 100 || 0;
}

/** `text` without what XML cannot hold: control characters and halves of surrogate pairs. @param {string} text */
export function xmlText(text) {
  return text.replace(NOT_XML, '');
}

/** Runs of white space as one space, none at the ends, as HTML shows it. @param {string} text */
export function collapsed(text) {
  return text.replace(/[ \t\n\r\f]+/g, ' ').replace(/^ | $/g, '');
}

/**
 * A colour as browsers compute it, in the notation that every SVG reader knows; null for what is not sRGB.
 * @param {string} text @returns {Paint | null}
 */
export function parseColor(text) {
  const found = /^(rgba?|color)\((srgb )?([^()]*)\)$/.exec(text.trim());
  if (!found || (found[1] === 'color') !== Boolean(found[2])) return null;
  const numbers = (found[3].replace(/\bnone\b/g, '0').match(NUMBER) ?? []).map(Number.parseFloat);
  if (numbers.length < 3 || numbers.some(Number.isNaN)) return null;
  const scale = found[2] ? 255 : 1;
  const bytes = numbers.slice(0, 3).map((v) => Math.round(Math.min(255, Math.max(0, v * scale))));
  const color = `#${bytes.map((byte) => byte.toString(16).padStart(2, '0')).join('')}`;
  return { color, opacity: Math.min(1, Math.max(0, numbers[3] ?? 1)) };
}

/** `text` cut at each `separator` that is not within brackets. @param {string} text @param {string} separator */
export function splitTop(text, separator) {
  const parts = [''];
  let depth = 0;
  for (const char of text) {
    depth += char === '(' ? 1 : char === ')' ? -1 : 0;
    if (char === separator && depth === 0) parts.push('');
    else parts[parts.length - 1] += char;
  }
  return parts.map((part) => part.trim()).filter(Boolean);
}

/**
 * The shadows of a computed `box-shadow` that are sharp rings: no offset and no blur. Soft shadows need filters,
 * which many readers lack; they are left out.
 * @param {string} text @returns {{color: string, spread: number, inset: boolean}[]}
 */
export function ringShadows(text) {
  if (!text || text === 'none') return [];
  return splitTop(text, ',').flatMap((shadow) => {
    const parts = splitTop(shadow, ' ');
    const lengths = parts.filter((part) => /^[-\d.]/.test(part)).map(Number.parseFloat);
    const color = parts.find((part) => /^[a-z]/i.test(part) && part !== 'inset');
    if (!color || lengths.length < 4 || lengths.slice(0, 3).some(Boolean) || lengths[3] <= 0) return [];
    return [{ color, spread: lengths[3], inset: parts.includes('inset') }];
  });
}

/** A computed `linear-gradient(…)`, or null for any other image. @param {string} text @returns {Gradient | null} */
export function parseGradient(text) {
  const found = /^linear-gradient\((.*)\)$/.exec(text.trim());
  if (!found) return null;
  const parts = splitTop(found[1], ',');
  const angle = angleOf(parts[0]);
  const stops = parts.slice(angle === null ? 0 : 1).flatMap(stopsOf);
  return stops.length < 2 ? null : { angle: angle ?? 180, stops };
}

/** @param {string} text */
function angleOf(text) {
  if (Object.hasOwn(DIRECTIONS, text)) return DIRECTIONS[text];
  return /^-?[\d.]+deg$/.test(text) ? Number.parseFloat(text) : null;
}

/** One colour, at no, one or two places. @param {string} text @returns {Stop[]} */
function stopsOf(text) {
  const [color, ...places] = splitTop(text, ' ');
  const at = places.filter((place) => place.endsWith('%')).map((place) => Number.parseFloat(place) / 100);
  return at.length ? at.map((share) => ({ color, at: share })) : [{ color, at: null }];
}

/** Places for the stops that have none, evenly between those that do. @param {readonly Stop[]} stops @returns {number[]} */
export function stopPlaces(stops) {
  const places = stops.map(({ at }) => at);
  places[0] ??= 0;
  places[places.length - 1] ??= 1;
  let before = 0;
  return places.map((place, i) => {
    if (place !== null) {
      before = i;
      return place;
    }
    const after = places.findIndex((other, j) => j > i && other !== null);
    const [from, to] = [Number(places[before]), Number(places[after])];
    return from + ((to - from) * (i - before)) / (after - before);
  });
}

/**
 * Where a gradient of `angle` degrees begins and ends in `box`: its corners get the first and the last colour.
 * @param {Box} box @param {number} angle
 */
export function gradientLine({ x, y, width, height }, angle) {
  const [sin, cos] = [Math.sin((angle * Math.PI) / 180), Math.cos((angle * Math.PI) / 180)];
  const half = (Math.abs(width * sin) + Math.abs(height * cos)) / 2;
  const [cx, cy] = [x + width / 2, y + height / 2];
  return {
    x1: round(cx - half * sin),
    y1: round(cy + half * cos),
    x2: round(cx + half * sin),
    y2: round(cy - half * cos),
  };
}

/**
 * The part of `box` that a background image of computed `size` at `position` covers once.
 * @param {Box} box @param {string} size @param {string} position @returns {Box}
 */
export function tileOf(box, size, position) {
  const [w, h = 'auto'] = size.split(' ');
  const [left, top = '50%'] = position.split(' ');
  const width = w === 'auto' ? box.width : lengthOf(w, box.width);
  const height = h === 'auto' ? box.height : lengthOf(h, box.height);
  return {
    x: box.x + lengthOf(left, box.width - width),
    y: box.y + lengthOf(top, box.height - height),
    width,
    height,
  };
}

/** A computed length in pixels; per cent are of `whole`. @param {string} text @param {number} whole */
export function lengthOf(text, whole) {
  const value = Number.parseFloat(text) || 0;
  return text.endsWith('%') ? (value / 100) * whole : value;
}

/**
 * The corners' radii (from the top left clockwise), shrunk together until neighbours do not overlap.
 * @param {readonly string[]} texts computed `border-*-radius` @param {Box} box @returns {Radius[]}
 */
export function radiiOf(texts, { width, height }) {
  const radii = texts.map((text) => {
    const [rx, ry = rx] = text.split(' ');
    return { rx: lengthOf(rx, width), ry: lengthOf(ry, height) };
  });
  const [tl, tr, br, bl] = radii;
  const sums = [
    [tl.rx + tr.rx, width],
    [bl.rx + br.rx, width],
    [tl.ry + bl.ry, height],
    [tr.ry + br.ry, height],
  ];
  const factor = Math.min(1, ...sums.map(([sum, room]) => (sum > room ? room / sum : 1)));
  return radii.map(({ rx, ry }) => ({ rx: rx * factor, ry: ry * factor }));
}

/** `box` made smaller by `edges`, never less than nothing. @param {Box} box @param {Edges} edges @returns {Box} */
export function inset({ x, y, width, height }, { top, right, bottom, left }) {
  return {
    x: x + left,
    y: y + top,
    width: Math.max(0, width - left - right),
    height: Math.max(0, height - top - bottom),
  };
}

/** The same on all four sides. @param {number} width @returns {Edges} */
export function evenly(width) {
  return { top: width, right: width, bottom: width, left: width };
}

/** The common part of two boxes, or null where there is none. @param {Box} p @param {Box} q @returns {Box | null} */
export function intersection(p, q) {
  const [x, y] = [Math.max(p.x, q.x), Math.max(p.y, q.y)];
  const width = Math.min(p.x + p.width, q.x + q.width) - x;
  const height = Math.min(p.y + p.height, q.y + q.height) - y;
  return width > 0 && height > 0 ? { x, y, width, height } : null;
}

/**
 * The border along one side of a rounded box, as a closed path: it meets its neighbours on the lines from the outer to
 * the inner corners, as browsers draw it.
 * @param {Box} box the outer edge @param {readonly Radius[]} radii of the outer edge @param {Edges} widths
 * @param {keyof Edges} side
 */
export function borderSide(box, radii, widths, side) {
  const at = SIDES.indexOf(side);
  const [a, b] = [corner(box, radii, widths, at), corner(box, radii, widths, (at + 1) % 4)];
  return [
    `M${point(a.outer.split)}`,
    arc(a.outer.radius, 1, a.outer.end),
    `L${point(b.outer.start)}`,
    arc(b.outer.radius, 1, b.outer.split),
    `L${point(b.inner.split)}`,
    arc(b.inner.radius, 0, b.inner.start),
    `L${point(a.inner.end)}`,
    arc(a.inner.radius, 0, a.inner.split),
    'Z',
  ].join('');
}

/** A box with corners of different radii, as a closed path. @param {Box} box @param {readonly Radius[]} radii */
export function roundedPath(box, radii) {
  const corners = SIDES.map((_, k) => corner(box, radii, evenly(0), k).outer);
  const parts = corners.map(({ start, radius, end }, k) => `${k ? 'L' : 'M'}${point(start)}${arc(radius, 1, end)}`);
  return `${parts.join('')}Z`;
}

/** @param {Box} box @param {readonly Radius[]} radii @param {Edges} widths @param {number} k from the top left, clockwise */
function corner(box, radii, widths, k) {
  const [sx, sy] = [k === 0 || k === 3 ? 1 : -1, k < 2 ? 1 : -1];
  const [dx, dy] = [sx > 0 ? widths.left : widths.right, sy > 0 ? widths.top : widths.bottom];
  const [x, y] = [sx > 0 ? box.x : box.x + box.width, sy > 0 ? box.y : box.y + box.height];
  const { rx, ry } = radii[k];
  const small = { rx: Math.max(0, rx - dx), ry: Math.max(0, ry - dy) };
  const along = dx || dy ? [sx * dx, sy * dy] : [sx, sy];
  const outer = bend([x, y], [sx, sy], { rx, ry }, along, k);
  const inner = bend([x + sx * dx, y + sy * dy], [sx, sy], small, along, k);
  return { outer, inner };
}

/**
 * One quarter of an ellipse: where it starts and ends clockwise, and where the line from the corner in the direction
 * `along` cuts it.
 * @param {number[]} at @param {number[]} sign @param {Radius} radius @param {number[]} along @param {number} k
 */
function bend([x, y], [sx, sy], radius, along, k) {
  const { rx, ry } = radius;
  const [flat, upright] = [
    [x + sx * rx, y],
    [x, y + sy * ry],
  ];
  const [start, end] = k % 2 ? [flat, upright] : [upright, flat];
  if (!rx || !ry) return { radius: { rx: 0, ry: 0 }, start: [x, y], end: [x, y], split: [x, y] };
  // In units of the radii, from the centre: |(-sx, -sy) + t d| = 1, the smaller t.
  const d = [along[0] / rx, along[1] / ry];
  const [aa, bb] = [d[0] ** 2 + d[1] ** 2, -(sx * d[0] + sy * d[1])];
  const t = (-bb - Math.sqrt(Math.max(0, bb ** 2 - aa))) / aa;
  return { radius, start, end, split: [x + t * along[0], y + t * along[1]] };
}

/** @param {Radius} radius @param {0 | 1} sweep @param {number[]} to */
function arc({ rx, ry }, sweep, to) {
  return rx && ry ? `A${round(rx)} ${round(ry)} 0 0 ${sweep} ${point(to)}` : '';
}

/** @param {number[]} at */
function point([x, y]) {
  return `${round(x)} ${round(y)}`;
}
