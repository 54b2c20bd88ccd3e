// @ts-check
/** The difference between A and B in one group in words: its verdict and its evidence. */

import { el } from '../charts/dom.js';
import { count, isDefined, pValue, signed } from '../model/format.js';
import { verdict } from '../model/view.js';

/** @import { GroupComparison, Maybe, Point, RunView, View } from '../model/types.js' */

/** With fewer classes the p-value of the sign-flip test cannot be small. */
const LEAST_FOR_P = 6;
const CLEAR = 0.05;
/** An interval with a larger half-width says too little. */
const TOO_WIDE = 0.1;

/** @typedef {{run: RunView, point: Point | null, loaded: boolean}} SideValue one run's value of a group */

/**
 * @param {string} group @param {View} view @param {SideValue[]} sides
 * @param {GroupComparison | undefined} comparison
 */
export function differenceText(group, view, sides, comparison) {
  const [a, b] = [sides.find((s) => s.run === view.a)?.point?.y, sides.find((s) => s.run === view.b)?.point?.y];
  const plain = isDefined(a) && isDefined(b) ? Number(b) - Number(a) : null;
  const value = comparison ? comparison.difference : plain;
  const [good, word] = judged(value, view.metric, group, comparison);
  return el(
    'div',
    { class: 'tile-difference' },
    el('span', { class: 'muted' }, 'B − A'),
    el(
      'span',
      { class: `value ${good > 0 ? 'better' : good < 0 ? 'worse' : ''}`, 'data-side': 'difference' },
      signed(value),
    ),
    el('span', {}, word),
    comparison && group !== 'gap' && el('p', { class: 'muted' }, agreement(comparison)),
    comparison && group !== 'gap' && el('p', { class: 'tells' }, tells(comparison)),
  );
}

/**
 * Better or worse only if the classes agree; otherwise the direction without a judgement.
 * @param {Maybe} value @param {string} metric @param {string} group @param {GroupComparison | undefined} comparison
 * @returns {[-1 | 0 | 1, string]}
 */
function judged(value, metric, group, comparison) {
  const good = verdict(value, metric, group);
  if (good === 0) return [0, isDefined(value) ? 'no difference' : 'undefined'];
  if (comparison && hasP(comparison) && Number(comparison.sign_flip_p) < CLEAR)
    return [good, good > 0 ? '▲ better' : '▼ worse'];
  if (group === 'gap') return [0, Number(value) > 0 ? '▲ wider' : '▼ narrower'];
  return [0, Number(value) > 0 ? '▲ higher' : '▼ lower'];
}

/** @param {GroupComparison} comparison */
function hasP({ n_defined, sign_flip_p }) {
  return n_defined >= LEAST_FOR_P && isDefined(sign_flip_p);
}

/** @param {GroupComparison} comparison */
function agreement(comparison) {
  const { n_higher, n_lower, n_defined, sign_flip_p } = comparison;
  const same = n_defined - n_higher - n_lower;
  const parts = [
    `${count(n_higher)} higher`,
    `${count(n_lower)} lower`,
    same ? `${count(same)} equal` : '',
    hasP(comparison) ? pValue(sign_flip_p) : '',
  ];
  return parts.filter(Boolean).join(' · ');
}

/** What the comparison can and cannot tell. @param {GroupComparison} comparison */
function tells({ n_defined, least_p, lower, upper, sign_flip_p }) {
  if (!n_defined) return 'No class has a value in both.';
  if (!isDefined(least_p)) return 'Tested in TensorBoard only.';
  if (Number(least_p) > CLEAR) return `Too few classes to tell: ${count(n_defined)} of at least ${LEAST_FOR_P}.`;
  if (!isDefined(lower) || !isDefined(upper)) return '';
  const range = `${signed(lower)} to ${signed(upper)}`;
  if (Number(sign_flip_p) < CLEAR) return `95 %: ${range}`;
  if (Number(upper) - Number(lower) > 2 * TOO_WIDE) return `Too little data to tell: 95 % ${range}`;
  return `No clear difference: 95 % ${range}`;
}
