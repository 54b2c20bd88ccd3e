// @ts-check
/** Texts of the page as texts of a picture: one a line, where they stand, cut where they are cut. */

import { svg } from './dom.js';
import { collapsed, lengthOf, round } from './picture-shapes.js';
import { fontHeights, paintAttributes, setFont, textWidth } from './picture-style.js';

/** @import { Box } from './picture-shapes.js' */

/** @typedef {{text: string, left: number, right: number, top: number, bottom: number, from: number}} Line */
/** @typedef {{left: number, right: number}} Limit where a text is cut with an ellipsis */

const ELLIPSIS = '…';
const SPACE = /[ \t\n\r\f]/;

/**
 * The lines of a text node as they stand on the page; white space at their ends is not part of them.
 * @param {Text} node @param {CSSStyleDeclaration} style of its parent @returns {Line[]}
 */
export function linesOf(node, style) {
  const range = document.createRange();
  range.selectNodeContents(node);
  const boxes = [...range.getClientRects()].filter((box) => box.width > 0);
  if (!boxes.length) return [];
  const oneLine = boxes.every((box) => sameLine(box, boxes[0]));
  const spans = oneLine ? [[0, node.data.length]] : lineSpans(node, range);
  const preserves = /^(pre|break-spaces)/.test(style.whiteSpace);
  return spans.flatMap(([from, to]) => lineOf(node, range, from, to, preserves));
}

/** @param {DOMRect} p @param {DOMRect} q */
function sameLine(p, q) {
  return Math.abs(p.top - q.top) < Math.min(p.height, q.height) / 2;
}

/** Where the lines begin and end, told by the places of the characters. @param {Text} node @param {Range} range */
function lineSpans(node, range) {
  /** @type {[number, number][]} */
  const spans = [];
  /** @type {DOMRect | null} */
  let before = null;
  let from = 0;
  for (const character of node.data) {
    const to = from + character.length;
    range.setStart(node, from);
    range.setEnd(node, to);
    const box = [...range.getClientRects()].find(({ width }) => width > 0);
    if (box && !(before && sameLine(box, before))) spans.push([spans.at(-1)?.[1] ?? 0, to]);
    // What takes no room (a combining mark, a sign of direction) belongs to what is before it.
    else if (spans.length && (box || !SPACE.test(character))) spans[spans.length - 1][1] = to;
    before = box ?? before;
    from = to;
  }
  return spans;
}

/**
 * @param {Text} node @param {Range} range @param {number} from @param {number} to @param {boolean} preserves
 * @returns {Line[]}
 */
function lineOf(node, range, from, to, preserves) {
  while (from < to && SPACE.test(node.data[from])) from += 1;
  while (from < to && SPACE.test(node.data[to - 1])) to -= 1;
  const box = from < to ? spanBox(node, range, from, to) : null;
  const text = node.data.slice(from, to);
  return box ? [{ text: preserves ? text : collapsed(text), ...box, from }] : [];
}

/** @param {Text} node @param {Range} range @param {number} from @param {number} to */
function spanBox(node, range, from, to) {
  range.setStart(node, from);
  range.setEnd(node, to);
  const boxes = [...range.getClientRects()].filter((box) => box.width > 0);
  if (!boxes.length) return null;
  return {
    left: Math.min(...boxes.map((box) => box.left)),
    right: Math.max(...boxes.map((box) => box.right)),
    top: Math.min(...boxes.map((box) => box.top)),
    bottom: Math.max(...boxes.map((box) => box.bottom)),
  };
}

/**
 * `line` as it is seen where it is too long for `limit`: the characters that fit, and an ellipsis; null where nothing
 * of it is seen.
 * @param {Line} line @param {Text} node @param {CSSStyleDeclaration} style @param {Limit} limit @returns {Line | null}
 */
export function ellipsised(line, node, style, limit) {
  const leftwards = style.direction === 'rtl';
  if (leftwards ? line.left >= limit.left - 0.5 : line.right <= limit.right + 0.5) return line;
  const start = leftwards ? line.right - limit.left : limit.right - line.left;
  if (start <= 0) return null;
  const room = start - textWidth(style, ELLIPSIS);
  const ends = endsOf(node.data.slice(line.from), 1 + Math.ceil(start)); // no more than one a pixel can fit
  const range = document.createRange();
  const fits = (/** @type {number} */ end) => {
    const box = spanBox(node, range, line.from, line.from + end);
    return !box || box.right - box.left <= room;
  };
  let [low, high] = [0, ends.length - 1];
  while (low < high) {
    const middle = Math.ceil((low + high) / 2);
    if (fits(ends[middle])) low = middle;
    else high = middle - 1;
  }
  const text = collapsed(node.data.slice(line.from, line.from + ends[low]) + ELLIPSIS);
  const width = Math.min(start, textWidth(style, text));
  return leftwards ? { ...line, text, left: line.right - width } : { ...line, text, right: line.left + width };
}

/** Where the first characters, as readers count them, end. @param {string} text @param {number} most */
function endsOf(text, most) {
  const ends = [];
  for (const { index, segment } of new Intl.Segmenter(undefined, { granularity: 'grapheme' }).segment(text)) {
    ends.push(index + segment.length);
    if (ends.length >= most) break;
  }
  return ends;
}

/** The inner edges of an element that cuts its text with an ellipsis. @param {Element} element
 * @param {CSSStyleDeclaration} style @returns {Limit | null} */
export function limitOf(element, style) {
  if (style.textOverflow !== 'ellipsis' || style.overflowX === 'visible') return null;
  const box = element.getBoundingClientRect();
  return {
    left: box.left + lengthOf(style.borderLeftWidth, 0) + lengthOf(style.paddingLeft, 0),
    right: box.right - lengthOf(style.borderRightWidth, 0) - lengthOf(style.paddingRight, 0),
  };
}

/**
 * A line as an element: anchored at the edge to which it is aligned, so that it stays there in another font.
 * @param {Line} line in the picture's coordinates @param {CSSStyleDeclaration} style @param {CSSStyleDeclaration} base
 * @param {string} decoration of the line under or through it
 */
export function textElement(line, style, base, decoration) {
  const { ascent, descent } = fontHeights(style);
  const y = (line.top + line.bottom - ascent - descent) / 2 + ascent;
  // Right-to-left texts hang from their middle: programs differ on which end their start is.
  const side = style.direction === 'rtl' ? 'center' : sideOf(style);
  const x = side === 'center' ? (line.left + line.right) / 2 : side === 'left' ? line.left : line.right;
  const anchor = { left: 'start', center: 'middle', right: 'end' }[side];
  const text = svg('text', {
    x: round(x),
    y: round(Math.round(y * window.devicePixelRatio) / window.devicePixelRatio),
    ...paintAttributes('fill', style.color),
  });
  if (anchor !== 'start') text.setAttribute('text-anchor', anchor);
  if (decoration) text.setAttribute('text-decoration', decoration);
  if (/^(pre|break-spaces)/.test(style.whiteSpace)) text.setAttribute('xml:space', 'preserve');
  setFont(text, style, base);
  text.append(transformed(line.text, style.textTransform));
  return text;
}

/** @param {CSSStyleDeclaration} style @returns {'left' | 'center' | 'right'} */
function sideOf({ textAlign, direction }) {
  if (textAlign.endsWith('center')) return 'center';
  if (textAlign.endsWith('left')) return 'left';
  if (textAlign.endsWith('right')) return 'right';
  return (textAlign === 'end') === (direction === 'rtl') ? 'left' : 'right';
}

/** @param {string} text @param {string} how */
function transformed(text, how) {
  if (how === 'uppercase') return text.toLocaleUpperCase();
  if (how === 'lowercase') return text.toLocaleLowerCase();
  return how === 'capitalize'
    ? text.replace(/(^|[^\p{L}\p{M}\p{N}'’])(\p{L})/gu, (all) => all.toLocaleUpperCase())
    : text;
}

/**
 * What stands in a field or a closed menu, as a line; null where nothing does, or where it is no text.
 * @param {Element} element @param {CSSStyleDeclaration} style @param {Box} box its content's
 */
export function controlLine(element, style, box) {
  const text = controlText(element);
  if (!text) return null;
  const [...characters] = text;
  while (characters.length && textWidth(style, characters.join('')) > box.width) characters.pop();
  const kept = characters.join('');
  const width = textWidth(style, kept);
  const left = style.direction === 'rtl' ? box.x + box.width - width : box.x;
  return { text: kept, left, right: left + width, top: box.y, bottom: box.y + box.height, from: 0 };
}

/** @param {Element} element */
function controlText(element) {
  if (element instanceof HTMLSelectElement) return element.selectedOptions[0]?.label ?? '';
  if (element instanceof HTMLTextAreaElement) return element.value;
  if (!(element instanceof HTMLInputElement) || !/^(text|search|number|url|email)$/.test(element.type)) return '';
  return element.value || element.placeholder;
}
