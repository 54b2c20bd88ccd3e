// @ts-check
/** Any part of the page as a drawing that stands alone, for every program that opens SVG: real texts and plain shapes. */

import { svg } from './dom.js';
import { borders, boxShapes, paddings, snapped } from './picture-boxes.js';
import { Definitions, drawingOf } from './picture-graphics.js';
import { inset, intersection } from './picture-shapes.js';
import { cornersOf, imageIn, paintAttributes, paintOf, setBaseFont, setLanguage } from './picture-style.js';
import { controlLine, ellipsised, limitOf, linesOf, textElement } from './picture-text.js';

/** @import { Box } from './picture-shapes.js' */
/** @import { Limit } from './picture-text.js' */

/**
 * @typedef {object} Place where something is drawn
 * @property {Element} into the group of the picture
 * @property {{z: number, paint: () => void}[]} layers what comes on top once the group is done
 * @property {Box | null} clip what is seen of it, in the picture's coordinates
 * @property {Limit | null} limit where an element around it cuts text, in the page's
 * @property {string} decoration of texts
 */

const MARGIN = 8;
const SKIPPED = new Set(['SCRIPT', 'STYLE', 'TEMPLATE', 'NOSCRIPT', 'OPTION', 'IFRAME', 'OBJECT', 'VIDEO', 'AUDIO']);

/**
 * A picture of `element` as it is on the page now. It holds no HTML, script, style sheet or address of another file.
 * Left out is what is hidden, what is marked `data-no-picture`, and the element's own border. Not drawn: soft shadows,
 * generated content, background images but plain linear gradients, CSS transforms.
 * @param {Element} element
 * @param {{title: string, caption?: string, margin?: number}} options what a reader is told, and space around it
 * @returns {SVGSVGElement}
 */
export function pictureOf(element, { title, caption = '', margin = MARGIN }) {
  const box = element.getBoundingClientRect();
  // Whole pixels: what is sharp on the page stays so.
  const origin = { x: Math.floor(box.left) - margin, y: Math.floor(box.top) - margin };
  const [width, height] = [Math.ceil(box.right) - origin.x + margin, Math.ceil(box.bottom) - origin.y + margin];
  const style = window.getComputedStyle(element);
  const picture = svg('svg', { width, height, viewBox: `0 0 ${width} ${height}` });
  const painter = new Painter(style, origin);
  setLanguage(picture, document.documentElement.lang || 'en');
  setBaseFont(picture, style);
  picture.append(svg('title', {}, title));
  if (caption) picture.append(svg('desc', {}, caption));
  const ground = svg('rect', { width, height, ...paintAttributes('fill', groundOf(element)) });
  picture.append(painter.definitions.element, ground);
  painter.root(element, style, picture);
  if (!painter.definitions.element.hasChildNodes()) painter.definitions.element.remove();
  return picture;
}

/** The colour behind `element`. @param {Element} element */
function groundOf(element) {
  for (let e = /** @type {Element | null} */ (element); e; e = e.parentElement) {
    const { backgroundColor } = window.getComputedStyle(e);
    if (paintOf(backgroundColor).opacity > 0.99) return backgroundColor;
  }
  return 'rgb(255, 255, 255)';
}

class Painter {
  /** @param {CSSStyleDeclaration} base @param {{x: number, y: number}} origin of the picture on the page */
  constructor(base, origin) {
    this._base = base;
    this._origin = origin;
    this.definitions = new Definitions(base);
  }

  /** @param {Element} element @param {CSSStyleDeclaration} style @param {Element} into */
  root(element, style, into) {
    const place = { into, layers: [], clip: null, limit: limitOf(element, style), decoration: '' };
    if (element instanceof SVGSVGElement) this._drawing(element, place);
    else this._layered(element, style, place);
  }

  /** @param {Node} node @param {Place} place @param {CSSStyleDeclaration} style of the element around it */
  _node(node, place, style) {
    if (node instanceof Text) this._text(node, style, place);
    else if (node instanceof Element) this._element(node, place);
  }

  /** @param {Element} element @param {Place} place */
  _element(element, place) {
    if (SKIPPED.has(element.tagName) || element.hasAttribute('data-no-picture') || folded(element)) return;
    const style = window.getComputedStyle(element);
    if (style.display === 'none' || style.opacity === '0') return;
    // Positioned elements lie on top of the others around them.
    if (style.position === 'static') this._drawn(element, style, place);
    else place.layers.push({ z: Number(style.zIndex) || 0, paint: () => this._drawn(element, style, place) });
  }

  /** @param {Element} element @param {CSSStyleDeclaration} style @param {Place} place */
  _drawn(element, style, place) {
    if (style.display === 'contents') {
      for (const child of element.childNodes) this._node(child, place, style);
      return;
    }
    const inline = style.display === 'inline';
    const decoration = [inline || /^(block|flex|grid|table.*|list-item)$/.test(style.display) ? place.decoration : ''];
    const line = style.textDecorationLine;
    if (line && line !== 'none') decoration.push(line);
    const limit = limitOf(element, style) ?? place.limit;
    const inner = { ...place, limit, decoration: [...new Set(decoration)].join(' ').trim() };
    const boxes = inline ? [...element.getClientRects()] : [element.getBoundingClientRect()];
    if (style.position !== 'static' || style.opacity !== '1') {
      const into = style.opacity === '1' ? place.into : svg('g', { opacity: style.opacity });
      const group = { ...inner, into, layers: [] };
      this._boxed(element, style, boxes, group);
      flush(group);
      if (into !== place.into && into.hasChildNodes()) place.into.append(into);
    } else this._boxed(element, style, boxes, inner);
  }

  /** @param {Element} element @param {CSSStyleDeclaration} style @param {DOMRect[]} boxes @param {Place} place */
  _boxed(element, style, boxes, place) {
    const own = boxes.map((box) => this._here(box));
    if (hidesContent(element, style, own[0])) return;
    if (style.visibility === 'visible') {
      for (const box of own)
        if (seen(box, place.clip)) place.into.append(...boxShapes(snapped(box), style, this.definitions));
    }
    if (element instanceof SVGSVGElement) this._drawing(element, place);
    else if (element instanceof HTMLCanvasElement) pixels(element, inset(own[0], paddings(style)), place.into);
    else this._content(element, style, own[0], place);
  }

  /** @param {Element} element @param {CSSStyleDeclaration} style @param {Box | undefined} box @param {Place} place */
  _content(element, style, box, place) {
    if (!box || !clips(element, style)) {
      this._children(element, style, box, place);
      return;
    }
    const edge = borders(style);
    const shown = snapped(inset(box, edge));
    const clip = place.clip ? intersection(place.clip, shown) : shown;
    if (!clip) return;
    const radius = Math.max(0, cornersOf(style, box)[0].rx - edge.left);
    const into = svg('g', { 'clip-path': `url(#${this.definitions.clip(shown, radius)})` });
    const inner = { ...place, into, clip, layers: [] };
    this._children(element, style, box, inner);
    flush(inner);
    if (into.hasChildNodes()) place.into.append(into);
  }

  /** @param {Element} element @param {CSSStyleDeclaration} style @param {Box | undefined} box @param {Place} place */
  _children(element, style, box, place) {
    const line = box && controlLine(element, style, inset(box, paddings(style)));
    if (line && style.visibility === 'visible') {
      const empty = element instanceof HTMLInputElement && !element.value;
      const looks = empty ? window.getComputedStyle(element, '::placeholder') : style;
      place.into.append(textElement(line, looks, this._base, ''));
    }
    for (const child of element.childNodes) this._node(child, place, style);
  }

  /** The contents of the pictured element itself, and what lies on top of them. @param {Element} element
   * @param {CSSStyleDeclaration} style @param {Place} place */
  _layered(element, style, place) {
    this._content(element, style, this._here(element.getBoundingClientRect()), place);
    flush(place);
  }

  /** @param {Text} node @param {CSSStyleDeclaration} style @param {Place} place */
  _text(node, style, place) {
    if (style.visibility !== 'visible' || !node.data.trim()) return;
    for (const line of linesOf(node, style)) {
      const cut = place.limit ? ellipsised(line, node, style, place.limit) : line;
      if (!cut) continue;
      const { x, y } = this._origin;
      const here = { ...cut, left: cut.left - x, right: cut.right - x, top: cut.top - y, bottom: cut.bottom - y };
      const box = { x: here.left, y: here.top, width: here.right - here.left, height: here.bottom - here.top };
      if (seen(box, place.clip)) place.into.append(textElement(here, style, this._base, place.decoration));
    }
  }

  /** @param {SVGSVGElement} element @param {Place} place */
  _drawing(element, place) {
    if (!seen(this._here(element.getBoundingClientRect()), place.clip)) return;
    const made = drawingOf(element, this.definitions, this._origin);
    if (made) place.into.append(made);
  }

  /** @param {DOMRect} box @returns {Box} */
  _here({ x, y, width, height }) {
    return { x: x - this._origin.x, y: y - this._origin.y, width, height };
  }
}

/** Paints what was put off, lowest first. @param {Place} place */
function flush({ layers }) {
  const ordered = layers.splice(0).sort((p, q) => p.z - q.z);
  for (const { paint } of ordered) paint();
}

/** @param {Box} box @param {Box | null} clip */
function seen(box, clip) {
  return !clip || intersection({ ...box, width: box.width || 1, height: box.height || 1 }, clip) !== null;
}

/** Whether `element` is the content of a closed fold. @param {Element} element */
function folded(element) {
  const fold = element.parentElement;
  return fold instanceof HTMLDetailsElement && !fold.open && element.tagName !== 'SUMMARY';
}

/** Whether `element` is there for those who listen only. @param {Element} element @param {CSSStyleDeclaration} style
 * @param {Box | undefined} box */
function hidesContent(element, style, box) {
  if (/^inset\((50|100)%/.test(style.clipPath)) return true;
  return clips(element, style) && box !== undefined && box.width <= 1 && box.height <= 1;
}

/** Whether something of the content is cut off; texts with an ellipsis are cut already. @param {Element} element
 * @param {CSSStyleDeclaration} style */
function clips(element, style) {
  if (element instanceof SVGElement || style.display === 'inline') return false;
  if (style.overflowX === 'visible' && style.overflowY === 'visible') return false;
  const wide = element.scrollWidth > element.clientWidth && style.textOverflow !== 'ellipsis';
  return wide || element.scrollHeight > element.clientHeight + 1;
}

/** @param {HTMLCanvasElement} canvas @param {Box} box @param {Element} into */
function pixels(canvas, box, into) {
  if (canvas.width && canvas.height) into.append(imageIn(box, canvas.toDataURL('image/png')));
}
