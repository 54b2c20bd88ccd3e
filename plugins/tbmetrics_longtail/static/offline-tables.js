// @ts-check
/** Tables in one long row of numbers: (steps, rows, columns). */

/** @import { Maybe } from './types.js' */

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
 * The numbers at one step, row or column (places), or at several of these.
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
 * Means over some rows, column by column, of what is defined; `n` = rows with anything defined.
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
