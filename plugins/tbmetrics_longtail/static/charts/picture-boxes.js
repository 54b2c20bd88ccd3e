// @ts-check
/** The boxes of a page as shapes of a picture: backgrounds, plain gradients, rings and borders. */

import { svg } from './dom.js';
import {
  borderSide,
  evenly,
  gradientLine,
  inset,
  lengthOf,
  parseGradient,
  ringShadows,
  round,
  roundedPath,
  SIDES,
  stopPlaces,
  tileOf,
} from './picture-shapes.js';
import { cornersOf, paintAttributes, paintOf } from './picture-style.js';

/** @import { Definitions } from './picture-graphics.js' */
/** @import { Box, Edges, Radius } from './picture-shapes.js' */

/** Background and borders of one box. @param {Box} box @param {CSSStyleDeclaration} style @param {Definitions} definitions @returns {SVGElement[]} */
export function boxShapes(box, style, definitions) {
  const radii = cornersOf(style, box);
  const shapes = [];
  if (paintOf(style.backgroundColor).opacity > 0) shapes.push(filled(box, radii, style.backgroundColor));
  const gradient = gradientShape(box, style, definitions);
  if (gradient) shapes.push(gradient);
  for (const { color, spread, inset: inwards } of ringShadows(style.boxShadow)) {
    const half = inwards ? spread / 2 : -spread / 2;
    shapes.push(
      ring(inset(box, evenly(half)), radii, half, { ...paintAttributes('stroke', color), 'stroke-width': spread }),
    );
  }
  return [...shapes, ...borderShapes(box, radii, style)];
}

/** @param {Box} box @param {CSSStyleDeclaration} style @param {Definitions} definitions */
function gradientShape(box, style, definitions) {
  const gradient = parseGradient(style.backgroundImage);
  if (!gradient) return null;
  const repeats = style.backgroundRepeat.startsWith('repeat');
  const tile = repeats
    ? box
    : snapped(tileOf(inset(box, borders(style)), style.backgroundSize, style.backgroundPosition));
  const plain = new Set(gradient.stops.map(({ color }) => color)).size === 1;
  const made = filled(tile, cornersOf(style, tile), gradient.stops[0].color);
  if (plain) return made;
  const places = stopPlaces(gradient.stops);
  const stops = gradient.stops.map(({ color }, i) =>
    svg('stop', { offset: round(places[i]), ...paintAttributes('stop-color', color) }),
  );
  const line = { gradientUnits: 'userSpaceOnUse', ...gradientLine(tile, gradient.angle) };
  const id = definitions.add(svg('linearGradient', line, ...stops), 'gradient');
  made.removeAttribute('fill-opacity');
  made.setAttribute('fill', `url(#${id})`);
  return made;
}

/** `box` on the pixels of the screen, where the browser draws it. @param {Box} box @returns {Box} */
export function snapped({ x, y, width, height }) {
  const at = (/** @type {number} */ v) => Math.round(v * window.devicePixelRatio) / window.devicePixelRatio;
  return { x: at(x), y: at(y), width: at(x + width) - at(x), height: at(y + height) - at(y) };
}

/** @param {CSSStyleDeclaration} style @returns {Edges} */
export function borders(style) {
  const width = (/** @type {string} */ side) => lengthOf(style.getPropertyValue(`border-${side}-width`), 0);
  return { top: width('top'), right: width('right'), bottom: width('bottom'), left: width('left') };
}

/** Borders and padding together. @param {CSSStyleDeclaration} style @returns {Edges} */
export function paddings(style) {
  const { top, right, bottom, left } = borders(style);
  const width = (/** @type {string} */ side) => lengthOf(style.getPropertyValue(`padding-${side}`), 0);
  return {
    top: top + width('top'),
    right: right + width('right'),
    bottom: bottom + width('bottom'),
    left: left + width('left'),
  };
}

/** @param {Box} box @param {readonly Radius[]} radii @param {string} color */
function filled(box, radii, color) {
  const even = radii.every(({ rx, ry }) => rx === radii[0].rx && ry === radii[0].ry);
  if (even) return svg('rect', { ...placed(box, radii[0], 0), ...paintAttributes('fill', color) });
  return svg('path', { d: roundedPath(box, radii), ...paintAttributes('fill', color) });
}

/** @param {Box} box @param {Radius} radius @param {number} less */
function placed({ x, y, width, height }, { rx, ry }, less) {
  const corners = rx && ry ? { rx: round(Math.max(0, rx - less)), ry: round(Math.max(0, ry - less)) } : {};
  return { x: round(x), y: round(y), width: round(width), height: round(height), ...corners };
}

/** The outline of a box. @param {Box} box @param {readonly Radius[]} radii @param {number} less
 * @param {Record<string, string | number>} stroke */
function ring(box, radii, less, stroke) {
  return svg('rect', { ...placed(box, radii[0], less), fill: 'none', ...stroke });
}

/** @param {Box} box @param {readonly Radius[]} radii @param {CSSStyleDeclaration} style @returns {SVGElement[]} */
function borderShapes(box, radii, style) {
  const widths = borders(style);
  const looks = SIDES.map((side) => {
    const [color, line] = ['color', 'style'].map((what) => style.getPropertyValue(`border-${side}-${what}`));
    const drawn = widths[side] > 0 && line !== 'none' && line !== 'hidden' && paintOf(color).opacity > 0;
    return { side, color, line, drawn, key: `${color} ${line} ${widths[side]}` };
  });
  if (looks.every(({ drawn, key }) => drawn && key === looks[0].key)) {
    const [{ color, line }, width] = [looks[0], widths.top];
    const stroke = { ...paintAttributes('stroke', color), 'stroke-width': width, ...dashes(line, width) };
    return [ring(inset(box, evenly(width / 2)), radii, width / 2, stroke)];
  }
  return looks
    .filter(({ drawn }) => drawn)
    .map(({ side, color }) =>
      svg('path', { d: borderSide(box, radii, widths, side), ...paintAttributes('fill', color) }),
    );
}

/** @param {string} line @param {number} width @returns {Record<string, string>} */
function dashes(line, width) {
  if (line === 'dashed') return { 'stroke-dasharray': `${3 * width} ${2 * width}` };
  return line === 'dotted' ? { 'stroke-dasharray': `${width} ${width}` } : {};
}
