// @ts-check
/** The leaderboard's rows: which runs, in which order, and the settings in which they differ. */

import { number } from './format.js';

/** @import { Maybe, RunView, View } from './types.js' */

/**
 * @typedef {object} BoardCell
 * @property {Maybe} mean
 * @property {Maybe} lower
 * @property {Maybe} upper
 * @property {Maybe} deviation over the runs of the row
 * @property {number} n_classes
 * @property {string} mark "best", "similar", "worse", "untold" or ""
 */

/** @typedef {string | number | boolean} Setting */

/**
 * @typedef {object} BoardRow
 * @property {string} name
 * @property {string} evaluation
 * @property {string[]} runs
 * @property {number[]} steps
 * @property {BoardCell[]} cells by column
 * @property {[string, Setting][]} hparams
 */

/**
 * @typedef {object} TableAnswer
 * @property {string[]} columns
 * @property {Maybe[]} sizes classes in each column
 * @property {boolean} by_frequency whether the columns are head, medium and tail, not families
 * @property {BoardRow[]} rows
 * @property {string[]} notes
 * @property {{markdown: string, latex: string, csv: string} | null} texts null = no table is held
 */

/** @typedef {{column: string, descending: boolean}} BoardSort */

/** More runs than these are no table that anyone reads, and no address that every server takes. */
export const MOST_RUNS = 100;

/** Sign and words of each mark. @type {Readonly<Record<string, readonly [string, string]>>} */
export const MARK_TEXTS = Object.freeze({
  best: ['★', 'the best'],
  similar: ['≈', 'not told apart from the best'],
  untold: ['?', 'too little is known to tell it from the best'],
});

/** The runs that the filter lets through, as many as fit; A and B always. @param {View} view @returns {RunView[]} */
export function runsOfBoard({ runs, a, b }) {
  const isSide = (/** @type {RunView} */ run) => run.run === a?.run || run.run === b?.run;
  const listed = runs.filter((run) => (run.matches || isSide(run)) && run.info.steps.length);
  const first = new Set(listed.slice(0, MOST_RUNS));
  return listed.filter((run) => first.has(run) || isSide(run));
}

/** Names of the settings that rows do not share, as they first come. @param {readonly BoardRow[]} rows */
export function differing(rows) {
  const names = [...new Set(rows.flatMap((row) => row.hparams.map(([name]) => name)))];
  const settings = rows.map((row) => new Map(row.hparams));
  return names.filter((name) => new Set(settings.map((setting) => setting.get(name))).size > 1);
}

/** @param {Setting | undefined} value */
export function settingText(value) {
  if (typeof value !== 'number') return value === undefined ? '–' : String(value);
  return Number.isInteger(value) ? String(value) : String(Number(value.toPrecision(4)));
}

/**
 * Rows by a column: "run", "runs", "step", a group or "hparam:NAME"; undefined values last, ties as they came.
 * @param {TableAnswer} answer @param {BoardSort} sort @returns {BoardRow[]}
 */
export function sortedRows(answer, { column, descending }) {
  const index = answer.columns.indexOf(column);
  const valueOf = (/** @type {BoardRow} */ row) => {
    if (column === 'run') return row.name;
    if (column === 'runs') return row.runs.length;
    if (column === 'step') return Math.max(...row.steps);
    if (index >= 0) return row.cells[index].mean ?? undefined;
    return row.hparams.find(([name]) => `hparam:${name}` === column)?.[1];
  };
  const keyed = answer.rows.map((row) => ({ row, value: valueOf(row) }));
  return keyed.sort((p, q) => compared(p.value, q.value, descending)).map(({ row }) => row);
}

/** @param {Setting | undefined} a @param {Setting | undefined} b @param {boolean} descending */
function compared(a, b, descending) {
  if (a === undefined || b === undefined) return Number(a === undefined) - Number(b === undefined);
  const sign = descending ? -1 : 1;
  if (typeof a === 'number' && typeof b === 'number') return sign * (a - b);
  return sign * String(a).localeCompare(String(b), 'en', { numeric: true });
}

/**
 * Rows by evaluation, in the order of the answer: only those of one evaluation are compared.
 * @param {TableAnswer} answer @param {BoardSort} sort @returns {Map<string, BoardRow[]>}
 */
export function rowsByEvaluation(answer, sort) {
  const sorted = sortedRows(answer, sort);
  const names = new Set(answer.rows.map(({ evaluation }) => evaluation));
  return new Map([...names].map((name) => [name, sorted.filter(({ evaluation }) => evaluation === name)]));
}

/** A cell's interval or deviation in words. @param {BoardCell} cell */
export function spreadText({ lower, upper, deviation }) {
  const ends = lower === null || upper === null ? '' : `[${number(lower)}, ${number(upper)}]`;
  return deviation === null ? ends : `± ${number(deviation)}, ${ends}`;
}
