// @ts-check
/** Drawings of the page (SVG in HTML) as parts of a picture: looks written out, percentages resolved, names unique. */

import { svg } from './dom.js';
import { intersection, round } from './picture-shapes.js';
import { paintAttributes, referenceOf, setLooks } from './picture-style.js';

/** @import { Box } from './picture-shapes.js' */

const NAMESPACE = 'http://www.w3.org/2000/svg';
const GROUPS = new Set([
  'g',
  'a',
  'svg',
  'symbol',
  'pattern',
  'clipPath',
  'mask',
  'marker',
  'linearGradient',
  'radialGradient',
]);
const LEAVES = new Set([
  'path',
  'line',
  'rect',
  'circle',
  'ellipse',
  'polyline',
  'polygon',
  'text',
  'tspan',
  'use',
  'image',
]);
const PLAIN = new Set(['title', 'desc', 'stop']);
/** Drawn only where something refers to them. */
const RESOURCES = new Set([
  'defs',
  'symbol',
  'pattern',
  'clipPath',
  'mask',
  'marker',
  'linearGradient',
  'radialGradient',
]);
const LENGTHS = ['x', 'y', 'width', 'height', 'x1', 'x2', 'y1', 'y2', 'cx', 'cy', 'r', 'rx', 'ry'];
const GEOMETRY = [
  ...LENGTHS,
  ...['d', 'points', 'transform', 'dx', 'dy', 'rotate', 'textLength', 'lengthAdjust', 'viewBox', 'preserveAspectRatio'],
  ...['patternUnits', 'patternContentUnits', 'patternTransform', 'gradientUnits', 'gradientTransform', 'spreadMethod'],
  ...['offset', 'fx', 'fy', 'fr', 'clipPathUnits', 'maskUnits', 'maskContentUnits', 'markerUnits', 'markerWidth'],
  ...['markerHeight', 'refX', 'refY', 'orient', 'pathLength', 'xml:space'],
];
const REFERENCES = ['clip-path', 'mask', 'marker-start', 'marker-mid', 'marker-end'];

/** What a picture refers to by name: patterns, gradients, clips. */
export class Definitions {
  /** @param {CSSStyleDeclaration} base the style of what is pictured */
  constructor(base) {
    this.element = svg('defs');
    this._base = base;
    /** @type {Set<string>} */
    this._ids = new Set();
    /** @type {Map<Element, string>} */
    this._known = new Map();
    /** @type {Map<string, string>} */
    this._clips = new Map();
  }

  /** Adds `element` under a name that nothing else has. @param {Element} element @param {string} wanted */
  add(element, wanted) {
    const id = this._name(wanted);
    element.setAttribute('id', id);
    this.element.append(element);
    return id;
  }

  /** @param {string} wanted */
  _name(wanted) {
    const plain = wanted.replace(/[^\w-]/g, '').replace(/^[^A-Za-z_]+/, '') || 'part';
    let id = plain;
    for (let n = 2; this._ids.has(id); n += 1) id = `${plain}-${n}`;
    this._ids.add(id);
    return id;
  }

  /** The name of a clip to a rounded box, made once. @param {Box} box @param {number} radius */
  clip({ x, y, width, height }, radius) {
    const attributes = {
      x: round(x),
      y: round(y),
      width: round(width),
      height: round(height),
      rx: round(radius) || null,
    };
    const key = JSON.stringify(attributes);
    const id = this._clips.get(key) ?? this.add(svg('clipPath', {}, svg('rect', attributes)), 'clip');
    this._clips.set(key, id);
    return id;
  }

  /**
   * The name in the picture of what `id` names on the page, copied here the first time; null where there is nothing.
   * @param {string} id @param {Element} from what refers to it
   */
  refer(id, from) {
    const target = named(id, from);
    if (!target) return null;
    const known = this._known.get(target);
    if (known) return known;
    const name = this._name(id);
    this._known.set(target, name); // before it is copied: it may refer to itself
    const made = this.copy(target, null);
    if (!made) {
      this._known.delete(target);
      return null;
    }
    made.setAttribute('id', name);
    this.element.append(made);
    return name;
  }

  /**
   * An element of a drawing with its looks written out; null where nothing of it is seen.
   * @param {Element} source @param {CSSStyleDeclaration | null} parent of the text around a part of a text
   * @returns {SVGElement | null}
   */
  copy(source, parent) {
    const tag = source.localName;
    const style = window.getComputedStyle(source);
    if (source.namespaceURI !== NAMESPACE || style.display === 'none' || source.hasAttribute('data-no-picture'))
      return null;
    if (PLAIN.has(tag)) return plainCopy(source, style);
    const isLeaf = LEAVES.has(tag);
    if ((!isLeaf && !GROUPS.has(tag)) || (isLeaf && style.visibility !== 'visible') || style.opacity === '0')
      return null;
    const nested = tag === 'svg' && source instanceof SVGSVGElement;
    const made = svg(nested || tag === 'a' ? 'g' : /** @type {'g'} */ (tag));
    if (nested) placeNested(made, source);
    else copyGeometry(source, made);
    if (style.opacity !== '1') made.setAttribute('opacity', style.opacity);
    this._references(source, made, style);
    if (isLeaf && tag !== 'image') setLooks(made, style, this._base, parent, (id) => this.refer(id, source));
    this.copyChildren(source, made, tag === 'text' || tag === 'tspan' ? style : null);
    return isLeaf || made.childNodes.length || RESOURCES.has(tag) ? made : null;
  }

  /** @param {Element} source @param {Element} into @param {CSSStyleDeclaration | null} text the style of a text */
  copyChildren(source, into, text) {
    for (const child of source.childNodes) {
      if (child instanceof Text && text) into.append(child.data);
      else if (child instanceof Element && !RESOURCES.has(child.localName)) {
        const made = this.copy(child, text);
        if (made) into.append(made);
      }
    }
  }

  /** @param {Element} source @param {Element} made @param {CSSStyleDeclaration} style */
  _references(source, made, style) {
    for (const property of REFERENCES) {
      const wanted = referenceOf(style.getPropertyValue(property));
      const id = wanted === null ? null : this.refer(wanted, source);
      if (id) made.setAttribute(property, `url(#${id})`);
    }
    const href = source.getAttribute('href') ?? '';
    const id = href.startsWith('#') ? this.refer(href.slice(1), source) : null;
    if (id) made.setAttribute('href', `#${id}`);
    // Nothing is fetched: of images, only those that are in the page itself.
    else if (made.localName === 'image' && /^data:image\/(png|jpeg|webp|gif);/.test(href))
      made.setAttribute('href', href);
  }
}

/** The element that `id` means to `from`: in the same drawing first. @param {string} id @param {Element} from */
function named(id, from) {
  const drawing = from.closest('svg');
  return drawing?.querySelector(`[id="${CSS.escape(id)}"]`) ?? document.getElementById(id);
}

/** @param {Element} source @param {CSSStyleDeclaration} style */
function plainCopy(source, style) {
  const made = svg(/** @type {'title'} */ (source.localName));
  if (source.localName !== 'stop') made.textContent = source.textContent;
  else {
    copyGeometry(source, made);
    const paint = paintAttributes('stop-color', style.stopColor, Number(style.stopOpacity));
    for (const [name, value] of Object.entries(paint)) made.setAttribute(name, String(value));
  }
  return made;
}

/** Places and sizes; per cent as numbers, for what they are of is another in the picture. @param {Element} source
 * @param {Element} made */
function copyGeometry(source, made) {
  const resource = RESOURCES.has(source.localName) || source.localName === 'stop';
  for (const name of GEOMETRY) {
    const value = source.getAttribute(name);
    if (value === null) continue;
    const length = /** @type {Record<string, SVGAnimatedLength>} */ (/** @type {unknown} */ (source))[name]?.baseVal;
    const resolves = !resource && LENGTHS.includes(name) && value.endsWith('%') && typeof length?.value === 'number';
    made.setAttribute(name, resolves ? String(round(length.value)) : value);
  }
}

/** A drawing within a drawing becomes a group at its place. @param {Element} made @param {SVGSVGElement} source */
function placeNested(made, source) {
  const outer = /** @type {SVGGraphicsElement | null} */ (source.parentElement)?.getScreenCTM?.();
  const own = source.getScreenCTM();
  if (outer && own) setTransform(made, outer.inverse().multiply(own));
}

/** @param {Element} element @param {DOMMatrix} matrix */
function setTransform(element, { a, b, c, d, e, f }) {
  const scale = [a, b, c, d].map((v) => Math.round(v * 1e5) / 1e5 || 0);
  const [x, y] = [round(e), round(f)];
  if (scale.join() !== '1,0,0,1') element.setAttribute('transform', `matrix(${[...scale, x, y].join(' ')})`);
  else if (x || y) element.setAttribute('transform', `translate(${x} ${y})`);
}

/**
 * A drawing of the page as a group of the picture.
 * @param {SVGSVGElement} source @param {Definitions} definitions @param {{x: number, y: number}} origin of the picture
 */
export function drawingOf(source, definitions, origin) {
  const matrix = source.getScreenCTM();
  if (!matrix) return null;
  const group = svg('g');
  setTransform(group, new DOMMatrix().translate(-origin.x, -origin.y).multiply(matrix));
  const label = source.getAttribute('aria-label');
  if (label && !source.querySelector(':scope > title')) group.append(svg('title', {}, label));
  definitions.copyChildren(source, group, null);
  if (!group.querySelector('*:not(title, desc)')) return null;
  if (!cut(source)) return group;
  const { x, y, width, height } = source.getBoundingClientRect();
  const box = { x: x - origin.x, y: y - origin.y, width, height };
  return svg('g', { 'clip-path': `url(#${definitions.clip(box, 0)})` }, group);
}

/** Whether something of a drawing lies outside it, and is not seen for that. @param {SVGSVGElement} source */
function cut(source) {
  if (window.getComputedStyle(source).overflowX === 'visible') return false;
  const own = source.getBoundingClientRect();
  return [...source.querySelectorAll([...LEAVES].join())].some((element) => {
    if (element.closest([...RESOURCES].join())) return false;
    const box = element.getBoundingClientRect();
    if (!box.width && !box.height) return false;
    const seen = intersection(own, box);
    return !seen || box.width - seen.width > 0.5 || box.height - seen.height > 0.5;
  });
}
