// @ts-check
/** Answers computed from the tables in the file: slices, means, and the comparison of two runs. */

import { groupsOfClasses } from '../model/grouping.js';

/** @import { ClassesAnswer, CompareAnswer, GroupComparison } from '../model/answers.js' */
/** @import { Grouping, Maybe } from '../model/types.js' */

/**
 * @typedef {object} OfflineTable
 * @property {string} run
 * @property {string} attribute
 * @property {string} kind
 * @property {string[]} columns
 * @property {number[]} steps
 * @property {number} rows
 * @property {number} first where it begins among all numbers
 */

/**
 * The numbers at a step, row or column index, or at a combination of them.
 * @param {Float32Array} values @param {OfflineTable} table @param {{step?: number, row?: number, column?: number}} at
 * @returns {Float32Array}
 */
export function sliceTable(values, { columns, steps, rows, first }, { step, row, column }) {
  const width = columns.length;
  const inStep = rows * width;
  if (step !== undefined && row !== undefined && column === undefined) {
    const from = first + step * inStep + row * width;
    return values.subarray(from, from + width);
  }
  if (step !== undefined && row === undefined && column === undefined) {
    return values.subarray(first + step * inStep, first + (step + 1) * inStep);
  }
  const stepList = step === undefined ? steps.map((_, i) => i) : [step];
  const rowList = row === undefined ? Array.from({ length: rows }, (_, i) => i) : [row];
  const columnList = column === undefined ? columns.map((_, i) => i) : [column];
  return Float32Array.from(
    stepList.flatMap((s) => rowList.flatMap((r) => columnList.map((c) => values[first + s * inStep + r * width + c]))),
  );
}

/**
 * Column means of the defined values of some rows; `n` counts the rows with a defined value.
 * @param {Float32Array} values (rows, width) @param {number} width @param {readonly number[]} members
 * @returns {{means: Maybe[], n: number}}
 */
export function meansOver(values, width, members) {
  const sums = new Float64Array(width);
  const counts = new Float64Array(width);
  let n = 0;
  for (const row of members) {
    let any = false;
    for (let c = 0; c < width; c += 1) {
      const value = values[row * width + c];
      if (Number.isNaN(value)) continue;
      sums[c] += value;
      counts[c] += 1;
      any = true;
    }
    n += Number(any);
  }
  return { means: Array.from(sums, (sum, c) => (counts[c] ? sum / counts[c] : null)), n };
}

/** @typedef {{classes: ClassesAnswer, values: ArrayLike<number>}} Side */

const UNTOLD = Object.freeze({
  lower_a: null,
  upper_a: null,
  lower_b: null,
  upper_b: null,
  lower: null,
  upper: null,
  verdict: 'untold',
  verdict_text: 'told in TensorBoard only',
  agreement: '',
  sign_flip_p: null,
  least_p: null,
});

/** What is said instead of intervals. */
export const NO_INTERVALS = 'The file holds no intervals of this comparison; TensorBoard has them.';

const GROUPS = Object.freeze(['head', 'medium', 'tail', 'unknown', 'all']);

/**
 * Means and differences; intervals are in the answers that the file holds already.
 * @param {Side} a @param {Side} b @param {Grouping | null} bounds @param {string} unlike what is not alike, or nothing
 * @returns {CompareAnswer}
 */
export function compareOffline(a, b, bounds, unlike) {
  const placeInB = new Map(b.classes.names.map((name, i) => [name, i]));
  const known = new Set(a.classes.names);
  const groupsA = groupsOfClasses(a.classes, bounds);
  const groupsB = groupsOfClasses(b.classes, bounds);
  const joined = a.classes.names.flatMap((name, i) => {
    const j = placeInB.get(name);
    return j === undefined ? [] : [{ group: groupsA[i], other: groupsB[j], a: a.values[i], b: b.values[j] }];
  });
  /** @type {Record<string, GroupComparison>} */
  const groups = {};
  for (const group of GROUPS) groups[group] = summary(joined.filter((c) => group === 'all' || c.group === group));
  const { head, tail } = groups;
  const gap = (/** @type {'mean_a' | 'mean_b' | 'difference'} */ key) => minus(head[key], tail[key]);
  const nothing = summary([]);
  groups.gap = { ...nothing, mean_a: gap('mean_a'), mean_b: gap('mean_b'), difference: gap('difference') };
  return {
    groups,
    n_joined: joined.length,
    n_regrouped: joined.filter((c) => c.group !== c.other).length,
    only_in_a: a.classes.names.filter((name) => !placeInB.has(name)),
    only_in_b: b.classes.names.filter((name) => !known.has(name)),
    is_paired: false,
    is_withheld: unlike !== '',
    basis: unlike ? `No verdict: ${unlike}.` : NO_INTERVALS,
    about_classes: '',
  };
}

/** @param {{a: number, b: number}[]} classes @returns {GroupComparison} */
function summary(classes) {
  const defined = classes.filter((c) => !Number.isNaN(c.a) && !Number.isNaN(c.b));
  const mean = (/** @type {(c: {a: number, b: number}) => number} */ valueOf) =>
    defined.length ? defined.reduce((sum, c) => sum + valueOf(c), 0) / defined.length : null;
  return {
    n_classes: classes.length,
    n_defined: defined.length,
    mean_a: mean((c) => c.a),
    mean_b: mean((c) => c.b),
    difference: mean((c) => c.b - c.a),
    n_higher: defined.filter((c) => c.b > c.a).length,
    n_lower: defined.filter((c) => c.b < c.a).length,
    ...UNTOLD,
  };
}

/** @param {Maybe} p @param {Maybe} q @returns {Maybe} */
function minus(p, q) {
  return p === null || q === null ? null : p - q;
}
