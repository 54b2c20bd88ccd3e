// @ts-check
/** Charts of the page as one picture that stands alone: title, facts and legend are in it, and every style is resolved. */

import { groupMarker, runSwatch, set, svg } from './dom.js';
import { shorten } from '../model/format.js';

/** @import { RunView } from '../model/types.js' */

/** @typedef {{mark?: SVGElement | null, strong?: string, text: string}} Entry a mark, bold words and words in one line */

/**
 * @typedef {object} Picture
 * @property {string} title
 * @property {readonly string[]} facts what is shown: attribute, metric, step …
 * @property {readonly Entry[]} legend
 * @property {readonly {heading: Entry | null, chart: SVGSVGElement}[]} panels
 * @property {number} columns of panels, side by side
 */

const MARGIN = 16;
const GAP = 16;
const LINE = 20;
const BASELINE = 14;
const LEAST_WIDTH = 560;
const MOST_PIXELS_WIDE = 16_384; // what browsers allow a canvas to have on a side
const MOST_PIXELS = 2 ** 27;
const NOT_XML = /[^\t\n\r\x20-\uD7FF\uE000-\uFFFD\u{10000}-\u{10FFFF}]/gu;
/** Properties that the style sheet may set on shapes and texts, with SVG's defaults. */
const SHAPE = Object.freeze({
  fill: 'rgb(0, 0, 0)',
  'fill-opacity': '1',
  stroke: 'none',
  'stroke-width': '1',
  'stroke-opacity': '1',
  'stroke-dasharray': 'none',
  'stroke-linecap': 'butt',
  'stroke-linejoin': 'miter',
  'shape-rendering': 'auto',
  opacity: '1',
});
const TEXT = Object.freeze({
  fill: SHAPE.fill,
  opacity: '1',
  'text-anchor': 'start',
  'font-size': '',
  'font-weight': '400',
});
/** @type {Readonly<Record<string, Readonly<Record<string, string>>>>} */
const INITIAL = Object.freeze({ path: SHAPE, line: SHAPE, rect: SHAPE, circle: SHAPE, text: TEXT });

/** A run in the legend. @param {'A' | 'B' | ''} letter @param {RunView} run @returns {Entry} */
export function runEntry(letter, run) {
  const step = run.step === null ? '' : ` (step ${run.step})`;
  return { mark: runSwatch(run.style), strong: letter, text: `${shorten(run.run, 80)}${step}` };
}

/** The compared runs in the legend. @param {{a: RunView | null, b: RunView | null}} view @returns {Entry[]} */
export function pairEntries({ a, b }) {
  return [...(a ? [runEntry('A', a)] : []), ...(b ? [runEntry('B', b)] : [])];
}

/** The heading of a group's chart. @param {string} group @param {string} title @param {string} note @returns {Entry} */
export function groupEntry(group, title, note) {
  return { mark: groupMarker(group), strong: title, text: note };
}

/** Draw the picture, with copies of the charts as they are on the page now. @param {Picture} picture @returns {SVGSVGElement} */
export function drawPicture({ title, facts, legend, panels, columns }) {
  const root = svg('svg', { class: 'picture', 'aria-hidden': 'true' }, svg('title', {}, title));
  const ground = svg('rect', { class: 'picture-ground' });
  root.append(ground);
  document.body.append(root); // styles and widths of texts are known in the page only
  try {
    const width = Math.max(LEAST_WIDTH, rowWidth(panels, columns)) + 2 * MARGIN;
    let y = MARGIN;
    y = putLines(root, [{ strong: title, text: '' }], y, width, 'picture-title');
    y = putLines(
      root,
      facts.map((text) => ({ text })),
      y,
      width,
      'picture-fact',
    );
    y = putLines(root, legend, y, width, 'picture-legend');
    y = putPanels(root, panels, columns, y + GAP / 2);
    const height = Math.ceil(y + MARGIN);
    set(root, { width, height, viewBox: `0 0 ${width} ${height}` });
    set(ground, { width, height });
    resolveStyles(root);
  } finally {
    root.remove();
  }
  return root;
}

/** @param {Picture['panels']} panels @param {number} columns */
function rowWidth(panels, columns) {
  const widths = panels.map(({ chart }) => sizeOf(chart).width);
  const rows = widths.flatMap((_, i) => (i % columns ? [] : [widths.slice(i, i + columns)]));
  return Math.max(0, ...rows.map((row) => row.reduce((sum, width) => sum + width + GAP, -GAP)));
}

/** @param {SVGSVGElement} chart */
function sizeOf(chart) {
  return { width: Number(chart.getAttribute('width')), height: Number(chart.getAttribute('height')) };
}

/**
 * Entries one after the other, in as many lines as they need; returns where the next line begins.
 * @param {SVGElement} root @param {readonly Entry[]} entries @param {number} y @param {number} width
 * @param {string} className
 */
function putLines(root, entries, y, width, className) {
  if (!entries.length) return y;
  let x = MARGIN;
  for (const entry of entries) {
    const group = svg('g', { class: className });
    root.append(group);
    const used = putEntry(group, entry, width - 2 * MARGIN);
    if (x > MARGIN && x + used > width - MARGIN) {
      x = MARGIN;
      y += LINE;
    }
    group.setAttribute('transform', `translate(${x} ${y + BASELINE})`);
    x += used + GAP;
  }
  return y + LINE;
}

/** Put an entry at the origin; returns its width. @param {SVGElement} group @param {Entry} entry @param {number} room */
function putEntry(group, { mark, strong = '', text }, room) {
  let x = 0;
  if (mark) {
    const { width, height } = sizeOf(/** @type {SVGSVGElement} */ (mark));
    set(mark, { x, y: -4 - height / 2 });
    group.append(mark);
    x += width + 6;
  }
  for (const [words, className] of [
    [strong, 'strong'],
    [text, ''],
  ]) {
    if (!words) continue;
    const element = svg('text', { x, class: className }, words);
    group.append(element);
    x += fitted(element, words, room - x) + 6;
  }
  return x - 6;
}

/** Cut `words` until they fit; returns their width. @param {SVGTextElement} element @param {string} words @param {number} room */
function fitted(element, words, room) {
  for (let length = words.length; length > 4 && element.getComputedTextLength() > room; length -= 1 + (length >> 4))
    element.textContent = shorten(words, length);
  return element.getComputedTextLength();
}

/** @param {SVGElement} root @param {Picture['panels']} panels @param {number} columns @param {number} y */
function putPanels(root, panels, columns, y) {
  for (let first = 0; first < panels.length; first += columns) {
    const row = panels.slice(first, first + columns);
    const headed = row.some(({ heading }) => heading) ? LINE : 0;
    let x = MARGIN;
    for (const { heading, chart } of row) {
      const { width } = sizeOf(chart);
      const group = svg('g', { class: 'picture-legend', transform: `translate(${x} ${y + BASELINE})` });
      root.append(group);
      if (heading) putEntry(group, heading, width);
      const copy = /** @type {SVGSVGElement} */ (chart.cloneNode(true));
      set(copy, { x, y: y + headed });
      root.append(copy);
      x += width + GAP;
    }
    y += headed + Math.max(...row.map(({ chart }) => sizeOf(chart).height)) + GAP;
  }
  return y - GAP;
}

/** Write computed styles as attributes, and remove what refers to the style sheet. @param {SVGElement} root */
function resolveStyles(root) {
  const elements = /** @type {SVGElement[]} */ ([root, ...root.querySelectorAll('*')]);
  const looks = elements.map((element) => looksOf(element)); // all of them before any loses its class
  elements.forEach((element, i) => {
    if (looks[i] === null) element.remove();
    else {
      for (const { name } of [...element.attributes])
        if (/^(class|role|style|visibility|tabindex|data-|aria-)/.test(name)) element.removeAttribute(name);
      set(element, looks[i] ?? {});
    }
  });
}

/** Computed presentation attributes of an element, or null if it is hidden. @param {SVGElement} element */
function looksOf(element) {
  const style = window.getComputedStyle(element);
  if (style.visibility === 'hidden') return null;
  if (element.classList.contains('picture')) return { 'font-family': style.fontFamily };
  const initial = INITIAL[element.localName] ?? { opacity: '1' };
  return Object.fromEntries(
    Object.entries(initial).map(([name, usual]) => {
      const value = written(style.getPropertyValue(name));
      return [name, value === usual ? null : value];
    }),
  );
}

/** A computed value as drawing programs read it. @param {string} value */
function written(value) {
  return value.replace(/url\("([^"]*)"\)/, 'url($1)').replace(/(\d)px\b/g, '$1');
}

/** A picture as the text of an SVG file. @param {SVGSVGElement} picture */
export function svgText(picture) {
  // Cleaned as a whole: the serializer escapes, but lets through what no reader of XML accepts.
  const text = new XMLSerializer().serializeToString(picture).replace(NOT_XML, '');
  return `<?xml version="1.0" encoding="UTF-8"?>\n${text}\n`;
}

/** @param {SVGSVGElement} picture */
export function svgBlob(picture) {
  return new Blob([svgText(picture)], { type: 'image/svg+xml' });
}

/**
 * A picture in pixels.
 * @param {SVGSVGElement} picture @param {number} [scale] pixels for each CSS pixel; less where the canvas would be too large
 * @returns {Promise<Blob>}
 */
export async function pngBlob(picture, scale = 2) {
  const { width, height } = sizeOf(picture);
  const used = pngScale(width, height, scale);
  const canvas = document.createElement('canvas');
  canvas.width = Math.round(width * used);
  canvas.height = Math.round(height * used);
  const large = /** @type {SVGSVGElement} */ (picture.cloneNode(true));
  set(large, { width: canvas.width, height: canvas.height }); // browsers that draw an image at its own size first: at this one
  const image = await imageOf(svgBlob(large));
  canvas.getContext('2d')?.drawImage(image, 0, 0, canvas.width, canvas.height);
  return new Promise((resolve, reject) => {
    const done = (/** @type {Blob | null} */ blob) =>
      blob ? resolve(blob) : reject(new Error(`The browser made no PNG of ${canvas.width} × ${canvas.height} pixels.`));
    canvas.toBlob(done, 'image/png');
  });
}

/** `scale`, or the largest scale that fits a canvas. @param {number} width @param {number} height @param {number} scale */
export function pngScale(width, height, scale) {
  const longest = MOST_PIXELS_WIDE / Math.max(1, width, height);
  return Math.min(scale, longest, Math.sqrt(MOST_PIXELS / Math.max(1, width * height)));
}

/** @param {Blob} blob @returns {Promise<HTMLImageElement>} */
async function imageOf(blob) {
  const url = URL.createObjectURL(blob);
  try {
    const image = new Image();
    image.src = url;
    await image.decode();
    return image;
  } catch {
    throw new Error('The browser could not draw its own picture; take the SVG instead.');
  } finally {
    URL.revokeObjectURL(url);
  }
}
