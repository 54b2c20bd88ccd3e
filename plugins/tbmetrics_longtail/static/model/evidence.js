// @ts-check
/** What could be chance: differences of single classes and confused pairs; as `tbmetrics.comparing.evidence`. */

import { percent } from './format.js';

/** @import { ConfusionsAnswer } from './answers.js' */
/** @import { Interval, Row } from './types.js' */

/** Share of classes that did not change and are told apart all the same, at most. */
const BY_CHANCE = 0.05;
/** Newcombe's interval is too narrow for one to three examples. */
const WIDER = 1.08;

/**
 * The 95 % interval of B − A from those of both (Newcombe, 1998, method 10, widened), null if one is unknown.
 * @param {number} a @param {Interval | null} ofA @param {number} b @param {Interval | null} ofB
 * @returns {Interval | null}
 */
export function differenceInterval(a, ofA, b, ofB) {
  if (!ofA || !ofB) return null;
  return [b - a - WIDER * Math.hypot(b - ofB[0], ofA[1] - a), b - a + WIDER * Math.hypot(ofB[1] - b, a - ofA[0])];
}

/** Whether an interval contains 0, or is unknown. @param {Interval | null} interval */
export function couldBeChance(interval) {
  return !interval || (interval[0] <= 0 && interval[1] >= 0);
}

/** Whether a class's difference could be chance. @param {Row} row */
export function movedByChance(row) {
  return couldBeChance(row.interval);
}

/** How many of so many classes would stand out by chance, in words. @param {number} n */
export function chanceText(n) {
  const expected = BY_CHANCE * n;
  const number = expected >= 1 ? `up to about ${Math.round(expected).toLocaleString('en')}` : 'less than one';
  return `each class is judged alone, at 95 %: if none had changed, ${number} of ${n.toLocaleString('en')} would stand out`;
}

/**
 * Pairs of classes with their share of the true class. It could be chance if its interval reaches down to how often all
 * other examples are predicted as that class.
 * @param {ConfusionsAnswer} answer
 */
export function pairsByEvidence({ pairs, shares, by_chance }) {
  return pairs.map((pair, i) => {
    const [share, lower, upper] = shares?.[i] ?? [null, null, null];
    const usual = by_chance?.[i] ?? null;
    const isChance = lower !== null && usual !== null && lower <= usual;
    const of = usual === null ? '' : `; of all other examples ${percent(usual)} are predicted so`;
    const title = lower === null ? null : `95 % of this share: ${percent(lower)} to ${percent(upper)}${of}`;
    return { pair, share, lower, upper, isChance, title };
  });
}
