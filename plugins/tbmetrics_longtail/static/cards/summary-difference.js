// @ts-check
/** The difference between A and B in one group in words, as the server says it: verdict, interval, classes. */

import { el } from '../charts/dom.js';
import { isDefined, signed } from '../model/format.js';
import { unlikeness } from '../model/view.js';

/** @import { CompareAnswer, GroupComparison } from '../model/answers.js' */
/** @import { Maybe, Point, RunView, View } from '../model/types.js' */

/**
 * @typedef {{run: RunView, point: Point | null, loaded: boolean, own?: Point | null}} SideValue one run's value of a
 * group; `own` is that over the run's own classes if `point` is over others
 */

/**
 * @param {string} group @param {View} view @param {SideValue[]} sides
 * @param {CompareAnswer | undefined} answer @param {boolean} waits for the answer
 */
export function differenceText(group, view, sides, answer, waits) {
  const comparison = answer?.groups[group];
  if (waits) return frame(null, '', '…');
  if (!comparison) return plainDifference(view, sides);
  const { difference, agreement } = comparison;
  const { className, words } = judged(comparison);
  return frame(
    difference,
    className,
    words,
    el('p', { class: 'tells' }, tells(group, comparison, /** @type {CompareAnswer} */ (answer))),
    agreement && el('p', { class: 'muted agreement' }, `Classes: ${agreement}`),
  );
}

/** @type {Readonly<Record<string, string>>} */
const SIGNS = Object.freeze({ better: '▲', worse: '▼', wider: '▲', narrower: '▼' });
const GOOD = Object.freeze(['better', 'narrower']);

/** A verdict as a class and in words. @param {GroupComparison} comparison */
export function judged({ verdict, verdict_text: text }) {
  const isClear = Object.hasOwn(SIGNS, verdict);
  const className = isClear ? (GOOD.includes(verdict) ? 'better' : 'worse') : '';
  return { className, words: isClear ? `${SIGNS[verdict]} ${text}` : text };
}

/**
 * @param {Maybe} value @param {string} className @param {string} words
 * @param {(HTMLElement | string | false | null)[]} more
 */
function frame(value, className, words, ...more) {
  return el(
    'div',
    { class: 'tile-difference' },
    el('span', { class: 'muted' }, 'B − A'),
    el('span', { class: `value ${className}`, 'data-side': 'difference' }, signed(value)),
    el('span', { class: 'verdict' }, words),
    ...more,
  );
}

/**
 * Of metrics that are no means over classes: nothing is said of their difference but its number.
 * @param {View} view @param {SideValue[]} sides
 */
function plainDifference(view, sides) {
  const [a, b] = [view.a, view.b].map((run) => sides.find((s) => s.run === run)?.point?.y);
  const value = isDefined(a) && isDefined(b) ? Number(b) - Number(a) : null;
  const unlike = unlikeness(view.a, view.b);
  const words =
    unlike || view.means.includes(view.metric) ? 'no verdict' : isDefined(value) ? 'no interval' : 'undefined';
  return frame(value, '', words, unlike && el('p', { class: 'tells' }, `No verdict: ${unlike}.`));
}

/** What the comparison can and cannot tell. @param {string} group @param {GroupComparison} comparison @param {CompareAnswer} answer */
function tells(group, { verdict: judgement, lower, upper, mean_a: a, mean_b: b }, { is_withheld: isWithheld, basis }) {
  if (isWithheld) return basis;
  if (judgement === 'undefined') return 'No class has a value in both.';
  const turned = group === 'gap' && Number(a) * Number(b) < 0;
  const leads = (/** @type {Maybe} */ gap) => (Number(gap) > 0 ? 'head' : 'tail');
  const sign = turned ? ` The gap changes sign: ${leads(a)} leads in A, ${leads(b)} in B.` : '';
  return (isDefined(lower) && isDefined(upper) ? `95 %: ${signed(lower)} to ${signed(upper)}.` : '') + sign;
}
