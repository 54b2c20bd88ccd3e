// @ts-check
/** What the seeds of A's and B's experiments say about one group, in words. */

import { el, sideBadge } from '../charts/dom.js';
import { number, plural, pValue, signed } from '../model/format.js';
import { deviation, mean, permutationTest } from '../model/statistics.js';
import { groupPoints, pointAt } from '../model/view.js';

/** @import { GroupsAnswer, RunView, View } from '../model/types.js' */

/** @typedef {{run: RunView, answer: GroupsAnswer}[]} Answers of the runs of one experiment */

const CLEAR = 0.05;

/** @param {{a: Answers, b: Answers}} seeds @param {string} group @param {View} view */
export function seedsText(seeds, group, view) {
  const values = (/** @type {Answers} */ answers) =>
    answers.flatMap(({ run, answer }) => pointAt(groupPoints(answer, group, view.metric), run.step)?.y ?? []);
  const [a, b] = [values(seeds.a), values(seeds.b)];
  if (a.length < 2 && b.length < 2) return el('p', { class: 'seeds muted' }, 'One seed only.');
  const same = view.b && view.experimentOf?.(view.b.run) === view.experimentOf?.(view.a?.run ?? '');
  const sides = [a.length && side('A', a), !same && b.length && side('B', b)].filter(Boolean);
  const verdict = same ? 'A and B are seeds of one experiment.' : a.length && b.length ? difference(a, b) : '';
  return el('div', { class: 'seeds' }, .../** @type {HTMLElement[]} */ (sides), el('p', { class: 'muted' }, verdict));
}

/** @param {'A' | 'B'} letter @param {number[]} values */
function side(letter, values) {
  const spread = deviation(values);
  const text = `${number(mean(values))}${spread === null ? '' : ` ± ${number(spread)}`}, ${plural(values.length, 'seed')}`;
  return el('p', {}, sideBadge(letter), ' ', el('span', { 'data-seeds': letter }, text));
}

/** @param {number[]} a @param {number[]} b */
function difference(a, b) {
  const text = `Between seeds ${signed(mean(b) - mean(a))}`;
  const test = permutationTest(a, b);
  if (!test) return text;
  if (test.least > CLEAR) return `${text}; too few seeds to tell.`;
  return `${text}, ${pValue(test.p)} (permutation of seeds).`;
}
