// @ts-check
/** Computed styles as attributes of SVG, in notations that drawing programs know too, and the heights of fonts. */

import { svg } from './dom.js';
import { parseColor, radiiOf, round } from './picture-shapes.js';

/** @import { Box, Paint, Radius } from './picture-shapes.js' */

/** Where references such as `url("#hatch")` lead. @typedef {(id: string) => string | null} Refer */

const W3 = 'http://www.w3.org/2000/svg'.slice(0, -'2000/svg'.length); // where the W3C keeps the names of its languages
const XML = `${W3}XML/1998/namespace`;
const XLINK = `${W3}1999/xlink`;

/** What SVG takes for granted where nothing is said. @type {Readonly<Record<string, string>>} */
const INITIAL = Object.freeze({
  'fill-rule': 'nonzero',
  'clip-rule': 'nonzero',
  'stroke-width': '1px',
  'stroke-dasharray': 'none',
  'stroke-dashoffset': '0px',
  'stroke-linecap': 'butt',
  'stroke-linejoin': 'miter',
  'stroke-miterlimit': '4',
  'vector-effect': 'none',
  'paint-order': 'normal',
  'shape-rendering': 'auto',
  'text-anchor': 'start',
  'dominant-baseline': 'auto',
  'font-family': '',
  'font-size': '',
  'font-weight': '400',
  'font-style': 'normal',
  'font-variant-numeric': 'normal',
  'letter-spacing': 'normal',
  'word-spacing': '0px',
  direction: 'ltr',
});
const FILL = ['fill-rule', 'clip-rule'];
const STROKE = Object.keys(INITIAL).filter((name) => /^stroke|^vector/.test(name));
const SHAPE = ['shape-rendering', 'paint-order'];
const FONT = Object.keys(INITIAL).filter((name) => /^font|spacing$|^direction$/.test(name));
const ANCHOR = ['text-anchor', 'dominant-baseline'];
/** Spelled with capitals in attributes, without in computed styles. */
const CAPITALS = new Map(['crispEdges', 'geometricPrecision', 'optimizeSpeed'].map((v) => [v.toLowerCase(), v]));

/** @type {CanvasRenderingContext2D | null} */
let canvas = null;

function measuringCanvas() {
  canvas ??= document.createElement('canvas').getContext('2d', { willReadFrequently: true });
  return /** @type {CanvasRenderingContext2D} */ (canvas);
}

/** The colour of any notation that the browser knows. @param {string} text @returns {Paint} */
export function paintOf(text) {
  const parsed = parseColor(text);
  if (parsed) return parsed;
  const pixels = measuringCanvas();
  pixels.clearRect(0, 0, 1, 1);
  pixels.fillStyle = 'transparent';
  pixels.fillStyle = text;
  pixels.fillRect(0, 0, 1, 1);
  const [r, g, b, alpha] = pixels.getImageData(0, 0, 1, 1).data;
  return { ...(parseColor(`rgb(${r}, ${g}, ${b})`) ?? { color: '#000000' }), opacity: alpha / 255 };
}

/**
 * Attributes for one paint: none where it cannot be seen.
 * @param {'fill' | 'stroke' | 'stop-color'} name @param {string} text @param {number} [opacity]
 * @returns {Record<string, string | number>}
 */
export function paintAttributes(name, text, opacity = 1) {
  const paint = paintOf(text);
  const seen = round(paint.opacity * opacity);
  const property = name === 'stop-color' ? 'stop-opacity' : `${name}-opacity`;
  return seen < 1 ? { [name]: paint.color, [property]: seen } : { [name]: paint.color };
}

/** The font as one text of CSS, as a canvas wants it. @param {CSSStyleDeclaration} style */
function fontOf(style) {
  return `${style.fontStyle} ${style.fontWeight} ${style.fontSize} ${style.fontFamily}`;
}

/** Heights above and below the baseline, in whole pixels as lines are laid out. @param {CSSStyleDeclaration} style */
export function fontHeights(style) {
  const context = measuringCanvas();
  context.font = fontOf(style);
  const { fontBoundingBoxAscent, fontBoundingBoxDescent } = context.measureText('x');
  return { ascent: Math.round(fontBoundingBoxAscent), descent: Math.round(fontBoundingBoxDescent) };
}

/** How wide a text is in a font. @param {CSSStyleDeclaration} style @param {string} text */
export function textWidth(style, text) {
  const context = measuringCanvas();
  context.font = fontOf(style);
  return context.measureText(text).width;
}

/** What `element` has by its style, as far as `base` says otherwise. @param {Element} element @param {string[]} names
 * @param {CSSStyleDeclaration} style @param {(name: string) => string} base */
function differences(element, names, style, base) {
  for (const name of names) {
    const value = style.getPropertyValue(name);
    if (!value || value === base(name)) continue;
    if (name === 'font-variant-numeric') element.setAttribute('style', `${name}:${value}`);
    else element.setAttribute(name, CAPITALS.get(value.toLowerCase()) ?? value.replace(/(\d)px\b/g, '$1'));
  }
}

/** The font of a text, as far as it is not the picture's. @param {Element} element @param {CSSStyleDeclaration} style
 * @param {CSSStyleDeclaration} base */
export function setFont(element, style, base) {
  differences(element, FONT, style, baseOf(base));
}

/** @param {CSSStyleDeclaration} base the style of the picture's root: its font needs not be said again */
function baseOf(base) {
  return (/** @type {string} */ name) =>
    /^font-(family|size)$/.test(name) ? base.getPropertyValue(name) : INITIAL[name];
}

/** The font that holds wherever nothing else is said. @param {Element} root @param {CSSStyleDeclaration} style */
export function setBaseFont(root, style) {
  root.setAttribute('font-family', style.fontFamily);
  root.setAttribute('font-size', String(Number.parseFloat(style.fontSize)));
}

/**
 * The looks of a shape or text of SVG.
 * @param {Element} element the new one @param {CSSStyleDeclaration} style of the one on the page
 * @param {CSSStyleDeclaration} base of the picture's root
 * @param {CSSStyleDeclaration | null} parent of the text that holds a part of a text, else null
 * @param {Refer} refer
 */
export function setLooks(element, style, base, parent, refer) {
  const isText = ['text', 'tspan'].includes(element.localName);
  const from = parent ? (/** @type {string} */ name) => parent.getPropertyValue(name) : baseOf(base);
  differences(element, [...SHAPE, ...FILL, ...(isText ? [...FONT, ...ANCHOR] : [])], style, from);
  if (element.localName !== 'line')
    paintWith(element, 'fill', style.fill, Number(style.fillOpacity), refer, parent !== null);
  paintWith(element, 'stroke', style.stroke, Number(style.strokeOpacity), refer, parent !== null);
  if (element.hasAttribute('stroke') && style.stroke !== 'none') differences(element, STROKE, style, from);
}

/** @param {Element} element @param {'fill' | 'stroke'} name @param {string} value @param {number} opacity
 * @param {Refer} refer @param {boolean} isPart of a text */
function paintWith(element, name, value, opacity, refer, isPart) {
  const url = referenceOf(value);
  const id = url && refer(url);
  if (id) element.setAttribute(name, `url(#${id})`);
  if (id && opacity < 1) element.setAttribute(`${name}-opacity`, String(opacity));
  const color = url === null ? value : value.replace(/^url\([^)]*\)\s*/, '');
  const none = !color || color === 'none';
  if (id || (none && name === 'stroke' && !isPart)) return;
  /** @type {Record<string, string | number>} */
  const looks = none ? { [name]: 'none' } : paintAttributes(name, color, opacity);
  if (!isPart && looks.fill === '#000000') delete looks.fill; // black is what SVG fills with
  setAll(element, looks);
}

/** The id in `url("#id")`, as it stands in computed styles; null where there is none. @param {string} value */
export function referenceOf(value) {
  const found = /^url\(["']?[^#)"']*#([^)"']+)["']?\)/.exec(value);
  return found ? decoded(found[1]) : null;
}

/** @param {string} text */
function decoded(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

/** The corners of `box`, from the top left clockwise. @param {CSSStyleDeclaration} style @param {Box} box @returns {Radius[]} */
export function cornersOf(style, box) {
  const { borderTopLeftRadius, borderTopRightRadius, borderBottomRightRadius, borderBottomLeftRadius } = style;
  return radiiOf([borderTopLeftRadius, borderTopRightRadius, borderBottomRightRadius, borderBottomLeftRadius], box);
}

/** @param {Element} element @param {Record<string, string | number>} attributes */
function setAll(element, attributes) {
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, String(value));
}

/** The language of the texts, for those who read them aloud. @param {Element} element @param {string} language */
export function setLanguage(element, language) {
  element.setAttributeNS(XML, 'xml:lang', language);
}

/**
 * Pixels within the picture itself; the address stands twice, for older programs know the older attribute only.
 * @param {Box} box @param {string} data a `data:` address
 */
export function imageIn({ x, y, width, height }, data) {
  const image = svg('image', { x: round(x), y: round(y), width: round(width), height: round(height), href: data });
  image.setAttribute('preserveAspectRatio', 'none');
  image.setAttributeNS(XLINK, 'xlink:href', data);
  return image;
}
