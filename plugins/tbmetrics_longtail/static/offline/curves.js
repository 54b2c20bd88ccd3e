// @ts-check
/** Precision-recall curves from the tables in the file, as the server computes them (tbmetrics/records/curves.py). */

import { meansOver } from './tables.js';
import { FEW_POSITIVES } from '../model/format.js';

/** @import { CurvesAnswer } from '../model/answers.js' */
/** @import { Maybe } from '../model/types.js' */

/** @typedef {{columns: string[], values: Float32Array}} StepTable a table at one step, row by row */

/**
 * The points of a curve: mean precisions at the middle of their ranges of recall, the first and last reaching to the
 * ends; in older logs, precisions where recall reaches each level.
 * @param {string[]} columns @param {Maybe[]} precision
 */
export function curvePoints(columns, precision) {
  const levels = columns.map((name) => Number(name.slice(name.lastIndexOf('_') + 1)));
  if (!columns[0].startsWith('mean_')) return { recall: levels, precision };
  const middles = levels.map((level) => level - levels[0] / 2);
  return { recall: [0, ...middles, 1], precision: [precision[0], ...precision, precision[precision.length - 1]] };
}

/** @param {StepTable} curves @param {StepTable} classes @param {string[]} groupOfClass @returns {CurvesAnswer} */
export function groupCurves(curves, classes, groupOfClass) {
  const column = (/** @type {string} */ name) => classes.columns.indexOf(name);
  const width = classes.columns.length;
  /** @type {CurvesAnswer['groups']} */
  const groups = {};
  for (const group of ['head', 'medium', 'tail', 'unknown', 'all']) {
    const members = groupOfClass.flatMap((own, i) => (group === 'all' || own === group ? [i] : []));
    const { means, n } = meansOver(curves.values, curves.columns.length, members);
    const points = meansOver(classes.values, width, members);
    const defined = (/** @type {string} */ name) =>
      members.filter((i) => !Number.isNaN(classes.values[i * width + column(name)])).length;
    const positives = members.map((i) => classes.values[i * width + column('support')]).filter((k) => k > 0);
    groups[group] = {
      n_classes: n,
      n_few_positives: positives.filter((k) => k < FEW_POSITIVES).length,
      is_point: n > 0 && positives.every((k) => k <= 1),
      precision: curvePoints(curves.columns, means).precision,
      at: {
        precision: points.means[column('precision')],
        precision_n_classes: defined('precision'),
        recall: points.means[column('recall')],
        recall_n_classes: defined('recall'),
      },
    };
  }
  return { recall: curvePoints(curves.columns, []).recall, groups };
}
