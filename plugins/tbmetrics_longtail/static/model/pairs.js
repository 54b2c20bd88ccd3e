// @ts-check
/** Confused pairs of classes of A and B as one list, and whether a share of examples changed. */

import { pairsByEvidence } from './evidence.js';
import { Z95 } from './statistics.js';

/** @import { ClassesAnswer, ConfusionsAnswer } from './answers.js' */
/** @import { Maybe } from './types.js' */

/** A single mistake says nothing of two classes. */
const LEAST_EXAMPLES = 2;

/**
 * @typedef {object} PairSide what one run says of a pair
 * @property {number} n examples
 * @property {Maybe} share of the true class
 * @property {Maybe} lower end of its 95 % interval
 * @property {Maybe} upper
 * @property {boolean} isChance
 * @property {string | null} title
 */

/**
 * @typedef {object} ClassPair
 * @property {string} from the true class
 * @property {string | null} to the class predicted; null = none
 * @property {(PairSide | null)[]} sides in the order given; null = not among the pairs listed
 */

/**
 * The pairs of all sides, joined by name, those with the most evidence in any side first. Pairs with a single example
 * are left out.
 * @param {readonly {answer: ConfusionsAnswer, classes: ClassesAnswer}[]} sides @param {number} [least] examples
 * @returns {ClassPair[]}
 */
export function joinedPairs(sides, least = LEAST_EXAMPLES) {
  /** @type {Map<string, ClassPair>} */
  const byName = new Map();
  sides.forEach(({ answer, classes }, place) => {
    for (const { pair, ...side } of pairsByEvidence(answer)) {
      const [from, to] = [classes.names[pair[0]], classes.names[pair[1]] ?? null];
      const key = JSON.stringify([from, to]);
      const joined = byName.get(key) ?? { from, to, sides: sides.map(() => null) };
      joined.sides[place] = { n: pair[2], ...side };
      byName.set(key, joined);
    }
  });
  const most = (/** @type {ClassPair} */ pair, /** @type {'lower' | 'n'} */ key) =>
    Math.max(...pair.sides.map((side) => side?.[key] ?? -1));
  return [...byName.values()]
    .filter((pair) => most(pair, 'n') >= least)
    .sort((p, q) => most(q, 'lower') - most(p, 'lower') || most(q, 'n') - most(p, 'n'));
}

/**
 * The difference of two shares, and whether it could be chance (Agresti and Caffo, 2000, at 95 %).
 * @param {[number, number]} a count and total @param {[number, number]} b
 * @returns {{difference: Maybe, isChance: boolean}}
 */
export function shareDifference(a, b) {
  if (!a[1] || !b[1]) return { difference: null, isChance: true };
  const [[p, n], [q, m]] = [a, b].map(([count, total]) => [(count + 1) / (total + 2), total + 2]);
  const half = Z95 * Math.sqrt((p * (1 - p)) / n + (q * (1 - q)) / m);
  return { difference: b[0] / b[1] - a[0] / a[1], isChance: Math.abs(q - p) <= half };
}
