// @ts-check
/** What the seeds of A's and B's experiments say of one group, in words. */

import { el, sideBadge } from '../charts/dom.js';
import { count, interval, number, plural, pValue, signed } from '../model/format.js';
import { LEAST_SEEDS, rangeOfGroup, seedDifference, seedInterval } from '../model/seeds.js';
import { mean } from '../model/statistics.js';
import { groupPoints, pointAt, unlikeness, verdict } from '../model/view.js';

/** @import { GroupsAnswer } from '../model/answers.js' */
/** @import { RunView, View } from '../model/types.js' */

/** @typedef {{run: RunView, answer: GroupsAnswer}[]} Answers of the runs of one experiment */
/** @typedef {{letter: 'A' | 'B', step: number | null, values: number[], n: number}} Seeds values of those that have the step, and how many there are */

/** @param {{a: Answers, b: Answers}} answers @param {string} group @param {View} view */
export function seedsText(answers, group, view) {
  const same = view.b && view.experimentOf?.(view.b.run) === view.experimentOf?.(view.a?.run ?? '');
  const a = seedsOf('A', answers.a, view.a, group, view);
  const b = same ? null : seedsOf('B', answers.b, view.b, group, view);
  if (a.n < 2 && (b?.n ?? 0) < 2) return el('p', { class: 'seeds muted' }, 'One seed only.');
  const sides = [a, ...(b ? [b] : [])].filter(({ n }) => n > 0);
  const statement = same ? 'A and B are seeds of one experiment.' : b?.n ? differenceText(a, b, group, view) : '';
  return el('div', { class: 'seeds' }, ...sides.map((s) => sideText(s, group)), el('p', { class: 'muted' }, statement));
}

/**
 * @param {'A' | 'B'} letter @param {Answers} answers @param {RunView | null} side @param {string} group @param {View} view
 * @returns {Seeds}
 */
function seedsOf(letter, answers, side, group, view) {
  const step = side?.step ?? null;
  const values = answers.flatMap(({ answer }) => pointAt(groupPoints(answer, group, view.metric), step)?.y ?? []);
  return { letter, step, values, n: answers.length };
}

/** @param {Seeds} seeds @param {string} group */
function sideText({ letter, step, values, n }, group) {
  const ends = seedInterval(values, rangeOfGroup(group));
  const text =
    values.length < n
      ? `${count(values.length)} of ${plural(n, 'seed')} at step ${step}: no mean`
      : `${number(mean(values))}${ends ? ` ${interval(...ends)}` : ''}, ${plural(n, 'seed')}`;
  return el('p', {}, sideBadge(letter), ' ', el('span', { 'data-seeds': letter }, text));
}

/** @param {Seeds} a @param {Seeds} b @param {string} group @param {View} view */
function differenceText(a, b, group, view) {
  const unlike = unlikeness(view.a, view.b);
  if (unlike) return `Not compared: ${unlike}.`;
  if (a.values.length < a.n || b.values.length < b.n) return 'Not compared: a seed lacks the step.';
  const { difference, interval: ends, p, permutation, sign } = seedDifference(a.values, b.values);
  const text = `Between seeds ${signed(difference)}`;
  if (p === null || !ends) return `${text}; too few seeds to tell: ${LEAST_SEEDS} of each are the least.`;
  const tests = `${pValue(p)} (Welch)${permutation === null ? '' : `, ${pValue(permutation)} (permutation)`}`;
  return `${text}, 95 % ${signed(ends[0])} to ${signed(ends[1])}; ${tests}: ${wordOf(sign, group, view)}`;
}

/** @param {-1 | 0 | 1} sign @param {string} group @param {View} view */
function wordOf(sign, group, view) {
  if (!sign) return 'not told apart.';
  if (group === 'gap') return sign > 0 ? '▲ higher.' : '▼ lower.';
  return verdict(sign, view.metric, group) > 0 ? '▲ better.' : '▼ worse.';
}
