// @ts-check
/** Two runs compared without a server: everything but the test, which the file holds for some groups only. */

import { groupsOfClasses } from './grouping.js';

/** @import { ClassesAnswer, CompareAnswer, GroupComparison, Grouping, Maybe } from './types.js' */

/** @typedef {{classes: ClassesAnswer, values: ArrayLike<number>}} Side */

const GROUPS = Object.freeze(['head', 'medium', 'tail', 'unknown', 'all']);

/** @param {Side} a @param {Side} b @param {Grouping | null} bounds @returns {CompareAnswer} */
export function compareOffline(a, b, bounds) {
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
  };
}

/** @param {{a: number, b: number}[]} classes @returns {GroupComparison} */
function summary(classes) {
  const defined = classes.filter((c) => !Number.isNaN(c.a) && !Number.isNaN(c.b));
  const mean = (/** @type {(c: {a: number, b: number}) => number} */ of) =>
    defined.length ? defined.reduce((sum, c) => sum + of(c), 0) / defined.length : null;
  return {
    n_classes: classes.length,
    n_defined: defined.length,
    mean_a: mean((c) => c.a),
    mean_b: mean((c) => c.b),
    difference: mean((c) => c.b - c.a),
    n_higher: defined.filter((c) => c.b > c.a).length,
    n_lower: defined.filter((c) => c.b < c.a).length,
    sign_flip_p: null,
    least_p: null,
    lower: null,
    upper: null,
  };
}

/** @param {Maybe} p @param {Maybe} q @returns {Maybe} */
function minus(p, q) {
  return p === null || q === null ? null : p - q;
}
