// @ts-check
/** Families as rows of a table, in the order of a column. */

/** @import { GroupComparison } from './answers.js' */

/** @typedef {{name: string} & GroupComparison} FamilyRow */
/** @typedef {{key: 'name' | 'n_classes' | 'mean_a' | 'mean_b' | 'difference', descending: boolean}} FamilySort */

/** The families of a comparison, without all classes. @param {Record<string, GroupComparison>} groups @returns {FamilyRow[]} */
export function familyRows(groups) {
  return Object.entries(groups).flatMap(([name, comparison]) => (name === 'all' ? [] : [{ name, ...comparison }]));
}

/** Undefined values last, ties by name. @param {readonly FamilyRow[]} rows @param {FamilySort} sort @returns {FamilyRow[]} */
export function sortedFamilies(rows, { key, descending }) {
  const byName = (/** @type {FamilyRow} */ p, /** @type {FamilyRow} */ q) =>
    p.name.localeCompare(q.name, 'en', { numeric: true });
  const sign = descending ? -1 : 1;
  return [...rows].sort((p, q) => {
    if (key === 'name') return sign * byName(p, q);
    const [a, b] = [p[key], q[key]];
    if (a === null || b === null) return Number(a === null) - Number(b === null) || byName(p, q);
    return sign * (a - b) || byName(p, q);
  });
}
