// @ts-check
/** Tables as CSV, JSON, Markdown and LaTeX, and safe names for the files that hold them. */

import { number, UNDEFINED } from './format.js';

/** @import { Table } from './types.js' */

const LONGEST_NAME = 120;
const LONGEST_PART = 48;
/** Names reserved by Windows, with any suffix. */
const RESERVED = /^(?:con|prn|aux|nul|com[0-9]|lpt[0-9])(?:\.|$)/i;
/** First characters that make a spreadsheet read a text as a formula, including their full-width forms. */
const FORMULA = /^[=+\-@\t\r\n\uFF1D\uFF0B\uFF0D\uFF20]/;
/** Line ends and control characters. */
// eslint-disable-next-line no-control-regex
const CONTROLS = /[\u0000-\u001f\u007f-\u009f\u2028\u2029]+/g;
/** @type {Readonly<Record<string, string>>} */
const LATEX = Object.freeze({
  '\\': '\\textbackslash{}',
  '~': '\\textasciitilde{}',
  '^': '\\textasciicircum{}',
  '<': '\\textless{}',
  '>': '\\textgreater{}',
  '|': '\\textbar{}',
  '`': '\\textasciigrave{}',
  '"': '\\symbol{34}',
  '[': '{[}', // after the end of a row it would open an option
  '*': '{*}',
  '-': '-{}', // before another, with which it would join
});

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
 * An object of `about` (run, step, metric, …), `columns` and `rows`, one row per line. Undefined values are null.
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

/**
 * A GitHub Markdown table below a line of `facts`. Names are escaped, columns of numbers have three decimals or none,
 * undefined values are en dashes.
 * @param {Table} table @param {readonly string[]} facts
 */
export function markdownText({ columns, rows }, facts) {
  const kinds = columns.map((_, column) => kindOf(rows, column));
  const line = (/** @type {string[]} */ cells) => `| ${cells.join(' | ')} |\n`;
  const cells = rows.map((row) =>
    row.map((value, column) => (typeof value === 'string' ? markdown(value) : numberText(value, kinds[column]))),
  );
  return [
    `${facts.map(markdown).join(', ')}\n\n`,
    line(columns.map((name) => markdown(heading(name)))),
    line(kinds.map((kind) => (kind === 'text' ? '---' : '---:'))),
    ...cells.map(line),
  ].join('');
}

/**
 * A LaTeX table with booktabs rules, below `facts` as a comment; numbers as in Markdown.
 * @param {Table} table @param {readonly string[]} facts
 */
export function latexText({ columns, rows }, facts) {
  const kinds = columns.map((_, column) => kindOf(rows, column));
  const line = (/** @type {string[]} */ cells) => `${cells.join(' & ')} \\\\\n`;
  const cells = rows.map((row) =>
    row.map((value, column) =>
      typeof value === 'string'
        ? latex(value)
        : numberText(value, kinds[column]).replace(UNDEFINED, '--').replace('−', '$-$'),
    ),
  );
  return [
    `% ${facts.map(oneLine).join(', ')}\n% needs \\usepackage{booktabs}\n`,
    `\\begin{tabular}{${kinds.map((kind) => (kind === 'text' ? 'l' : 'r')).join('')}}\n\\toprule\n`,
    line(columns.map((name) => latex(heading(name)))),
    '\\midrule\n',
    ...cells.map(line),
    '\\bottomrule\n\\end{tabular}\n',
  ].join('');
}

/** Kind of a column. @param {Table['rows']} rows @param {number} column @returns {'text' | 'count' | 'value'} */
function kindOf(rows, column) {
  const values = rows.map((row) => row[column]).filter((value) => value !== null && !Number.isNaN(value));
  if (!values.length || values.some((value) => typeof value === 'string')) return 'text';
  return values.every(Number.isInteger) ? 'count' : 'value';
}

/** A number with the decimals of its column. @param {number | null} value @param {'text' | 'count' | 'value'} kind */
function numberText(value, kind) {
  if (value !== null && value !== 0 && Math.abs(value) < 0.0005)
    return String(Number(value.toPrecision(2))).replace(/^-/, '−');
  return number(value, kind !== 'value' && Number.isInteger(value) ? 0 : 3);
}

/** A column's name in words. @param {string} name */
function heading(name) {
  return name.replaceAll('_', ' ');
}

/** @param {string} text */
function oneLine(text) {
  return text.replace(CONTROLS, ' ').trim();
}

/** Escape `text` for a Markdown cell: no emphasis, code, link, HTML, entity or cell end. @param {string} text */
function markdown(text) {
  return oneLine(text)
    .replace(/[\\`*_{}[\]<>#|~&$@!^]/g, '\\$&')
    .replace(/^[-+=:]|:(?=\/\/)|(?<=www)\./gi, '\\$&');
}

/** Escape `text` for a LaTeX cell: no command, comment, group or cell end. @param {string} text */
function latex(text) {
  return oneLine(text).replace(/[\\~^<>|`"[*&%$#_{}]|-(?=-)/g, (character) => LATEX[character] ?? `\\${character}`);
}

/**
 * A file name built from untrusted parts: ASCII letters, digits, dots, dashes and underscores only,
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
