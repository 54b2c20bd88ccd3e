// @ts-check
/** Taking what is shown away: pictures as SVG and PNG, tables as CSV and JSON, saved under safe names. */

import { xmlText } from './picture-shapes.js';

/** @typedef {{columns: string[], rows: (string | number | null)[][]}} Table */

const MOST_PIXELS_WIDE = 16_384; // what browsers allow a canvas to have on a side
const MOST_PIXELS = 2 ** 27;
const LONGEST_NAME = 120;
const LONGEST_PART = 48;
const REVOKE_MS = 60_000;
/** Windows keeps these names to itself, whatever the suffix. */
const RESERVED = /^(?:con|prn|aux|nul|com[0-9]|lpt[0-9])(?:\.|$)/i;
/** What makes a spreadsheet take a text for a formula (also in the wide forms of East Asian keyboards). */
const FORMULA = /^[=+\-@\t\r\n\uFF1D\uFF0B\uFF0D\uFF20]/;

/** A picture as the text of a file of its own. @param {SVGSVGElement} picture */
export function svgText(picture) {
  // Cleaned as a whole: the serializer escapes, but lets through what no reader of XML accepts.
  const text = xmlText(new XMLSerializer().serializeToString(picture));
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
  const [width, height] = ['width', 'height'].map((name) => Number(picture.getAttribute(name)));
  const used = pngScale(width, height, scale);
  const canvas = document.createElement('canvas');
  canvas.width = Math.round(width * used);
  canvas.height = Math.round(height * used);
  const large = /** @type {SVGSVGElement} */ (picture.cloneNode(true));
  large.setAttribute('width', String(canvas.width)); // browsers that draw an image at its own size first: at this one
  large.setAttribute('height', String(canvas.height));
  const image = await imageOf(svgBlob(large));
  canvas.getContext('2d')?.drawImage(image, 0, 0, canvas.width, canvas.height);
  return new Promise((resolve, reject) => {
    const done = (/** @type {Blob | null} */ blob) =>
      blob ? resolve(blob) : reject(new Error(`The browser made no PNG of ${canvas.width} × ${canvas.height} pixels.`));
    canvas.toBlob(done, 'image/png');
  });
}

/** `scale`, or the most that a canvas can hold. @param {number} width @param {number} height @param {number} scale */
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

/**
 * RFC 4180: commas, CRLF, quotes where they are needed. It opens with a byte order mark: without it Excel takes the
 * names of classes for its old code page; pandas, R's readr and LibreOffice skip it. Undefined values are empty. A text
 * that a spreadsheet would run as a formula gets a ' before it; numbers stay numbers, whatever their sign.
 * @param {Table} table
 */
export function csvText({ columns, rows }) {
  const lines = [columns, ...rows].map((row) => `${row.map(csvCell).join(',')}\r\n`);
  return `\uFEFF${lines.join('')}`;
}

/** @param {string | number | null | undefined} value */
function csvCell(value) {
  if (typeof value === 'number') return Number.isFinite(value) ? String(value) : '';
  const plain = (value ?? '').replaceAll('\0', '');
  const text = FORMULA.test(plain) ? `'${plain}` : plain;
  return /[",\r\n]|^ | $/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

/** @param {Table} table */
export function csvBlob(table) {
  return new Blob([csvText(table)], { type: 'text/csv;charset=utf-8' });
}

/**
 * An object of `about` (what the table shows: run, step, metric…), `columns` and `rows`, one row a line. What is
 * undefined is null: JSON knows no NaN.
 * @param {Table} table @param {Record<string, unknown>} about
 */
export function jsonText({ columns, rows }, about) {
  const lines = rows.map((row) => `    ${json(row)}`);
  const list = lines.length ? `[\n${lines.join(',\n')}\n  ]` : '[]';
  return `{\n  "about": ${json(about)},\n  "columns": ${json(columns)},\n  "rows": ${list}\n}\n`;
}

/** @param {unknown} value */
function json(value) {
  return JSON.stringify(value, (_, v) => v ?? null);
}

/** @param {Table} table @param {Record<string, unknown>} about */
export function jsonBlob(table, about) {
  return new Blob([jsonText(table, about)], { type: 'application/json' });
}

/** Hands `blob` to the user as a file. @param {Blob} blob @param {string} name */
export function save(blob, name) {
  const url = URL.createObjectURL(blob);
  const link = document.createElement('a');
  link.href = url;
  link.download = name;
  document.body.append(link);
  link.click();
  link.remove();
  // Not at once: browsers read the address only after the click has been dealt with.
  window.setTimeout(() => URL.revokeObjectURL(url), REVOKE_MS);
}

/**
 * A name for a file, of parts that anyone may have written: ASCII letters, digits, dots, dashes and underscores only,
 * no path, no hidden file, at most 120 characters.
 * @param {readonly string[]} parts @param {string} suffix as in `svg`
 */
export function fileName(parts, suffix) {
  const ending = suffix.replace(/[^A-Za-z0-9]/g, '').slice(0, 10);
  const room = LONGEST_NAME - (ending ? ending.length + 1 : 0);
  const joined = parts.map(slug).filter(Boolean).join('-').slice(0, room);
  const name = trimmed(joined) || 'download';
  const stem = RESERVED.test(name) ? trimmed(`file-${name}`.slice(0, room)) : name;
  return ending ? `${stem}.${ending}` : stem;
}

/** @param {string} text */
function slug(text) {
  const ascii = text.normalize('NFKD').replace(/\p{Mark}+/gu, '');
  const safe = ascii.replace(/[^A-Za-z0-9._]+/g, '-').replace(/\.{2,}/g, '-');
  return trimmed(trimmed(safe.replace(/-{2,}/g, '-')).slice(0, LONGEST_PART));
}

/** @param {string} text */
function trimmed(text) {
  return text.replace(/^[-._]+|[-._]+$/g, '');
}
