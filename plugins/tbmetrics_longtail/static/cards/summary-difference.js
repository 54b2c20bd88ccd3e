// @ts-check
/** The difference between A and B in one group in words: its verdict, its evidence, and the seeds. */

import { el, sideBadge } from '../charts/dom.js';
import { count, isDefined, number, plural, pValue, signed } from '../model/format.js';
import { deviation, mean, permutationTest } from '../model/statistics.js';
import { groupPoints, pointAt, verdict } from '../model/view.js';

/** @import { GroupComparison, GroupsAnswer, Maybe, Point, RunView, View } from '../model/types.js' */

/** @typedef {{run: RunView, answer: GroupsAnswer}[]} Answers of the runs of one experiment */

/** With fewer classes the p-value of the sign-flip test cannot be small. */
const LEAST_FOR_P = 6;
const CLEAR = 0.05;
/** An interval with a larger half-width says too little. */
const TOO_WIDE = 0.1;

/** @typedef {{run: RunView, point: Point | null, loaded: boolean}} SideValue one run's value of a group */

/** @param {{a: Answers, b: Answers}} seeds @param {string} group @param {View} view */
export function seedsText(seeds, group, view) {
  const values = (/** @type {Answers} */ answers) =>
    answers.flatMap(({ run, answer }) => pointAt(groupPoints(answer, group, view.metric), run.step)?.y ?? []);
  const [a, b] = [values(seeds.a), values(seeds.b)];
  if (a.length < 2 && b.length < 2) return el('p', { class: 'seeds muted' }, 'One seed only.');
  const same = view.b && view.experimentOf?.(view.b.run) === view.experimentOf?.(view.a?.run ?? '');
  const sides = [a.length && side('A', a), !same && b.length && side('B', b)].filter(Boolean);
  const statement = same ? 'A and B are seeds of one experiment.' : a.length && b.length ? seedDifference(a, b) : '';
  return el('div', { class: 'seeds' }, .../** @type {HTMLElement[]} */ (sides), el('p', { class: 'muted' }, statement));
}

/** @param {'A' | 'B'} letter @param {number[]} values */
function side(letter, values) {
  const spread = deviation(values);
  const text = `${number(mean(values))}${spread === null ? '' : ` ± ${number(spread)}`}, ${plural(values.length, 'seed')}`;
  return el('p', {}, sideBadge(letter), ' ', el('span', { 'data-seeds': letter }, text));
}

/** @param {number[]} a @param {number[]} b */
function seedDifference(a, b) {
  const text = `Between seeds ${signed(mean(b) - mean(a))}`;
  const test = permutationTest(a, b);
  if (!test) return text;
  if (test.least > CLEAR) return `${text}; too few seeds to tell.`;
  return `${text}, ${pValue(test.p)} (permutation of seeds).`;
}

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
