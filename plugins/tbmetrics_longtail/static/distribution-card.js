// @ts-check
/** How the classes are distributed: training examples from the most to the least frequent class, by group. */

import { Card } from './card.js';
import { el, fill, groupBadge, groupTitle, svg } from './dom.js';
import { count, plural, ruleText } from './format.js';
import { GROUPS } from './model.js';

/** @import { Data } from './data.js' */
/** @import { ClassesAnswer, Group, View } from './types.js' */

const HEIGHT = 120;
const WIDEST_BAR = 48;

export class DistributionCard {
  /** @param {{data: Data, retry: () => void}} page */
  constructor({ data, retry }) {
    this._data = data;
    this._card = new Card({ title: 'Training examples by class', className: 'distribution-card', onRetry: retry });
    this.element = this._card.element;
    this._key = '';
  }

  /** @param {View} view */
  update(view) {
    const run = view.a ?? view.b;
    if (!run) return;
    const resource = this._data.classes(run, view.attribute);
    if (!this._card.ready([{ name: run.run, resource }]) || !resource.value) return;
    const width = this._card.body.clientWidth;
    const key = [run.run, view.attribute, run.version, width].join('\n');
    if (key === this._key || !width) return;
    this._key = key;
    this._card.caption(
      `From the most to the least frequent class of run A, log scale. Groups: ${ruleText(resource.value.rule)}.`,
    );
    fill(this._card.body, ...content(resource.value, width));
  }
}

/** @param {ClassesAnswer} classes @param {number} width */
function content(classes, width) {
  const order = ranked(classes);
  const known = classes.counts.filter((n) => n !== null);
  const chart = known.length ? bars(classes, order, width) : null;
  return [
    chart ?? el('p', { class: 'nothing' }, 'The training counts are not known; groups were given.'),
    strip(classes),
  ];
}

/** Places of the classes, by group, then by count descending. @param {ClassesAnswer} classes */
function ranked({ counts, groups }) {
  const rank = (/** @type {string} */ group) => GROUPS.indexOf(/** @type {Group} */ (group));
  return counts
    .map((_, i) => i)
    .sort((i, j) => rank(groups[i]) - rank(groups[j]) || (counts[j] ?? -1) - (counts[i] ?? -1));
}

/**
 * One bar a class, or the tallest of the classes that share a pixel.
 * @param {ClassesAnswer} classes @param {number[]} order @param {number} width
 */
function bars({ counts, groups }, order, width) {
  const [left, bottom, top] = [42, HEIGHT - 6, 6];
  const largest = Math.max(1, ...orderedCounts(counts, order));
  const y = (/** @type {number} */ n) => bottom - (Math.log10(1 + n) / Math.log10(1 + largest)) * (bottom - top);
  const slot = Math.min(WIDEST_BAR, (width - left) / order.length);
  const paths = new Map(GROUPS.map((group) => [group, '']));
  const pixels = Math.max(1, Math.floor(1 / slot));
  for (let k = 0; k < order.length; k += pixels) {
    const group = /** @type {Group} */ (groups[order[k]]);
    const n = Math.max(...orderedCounts(counts, order.slice(k, k + pixels)));
    const x = left + k * slot;
    const w = Math.max(slot * pixels - (slot > 4 ? 1 : 0), 0.6);
    paths.set(group, `${paths.get(group)}M${x.toFixed(1)} ${bottom}V${y(n).toFixed(1)}h${w.toFixed(2)}V${bottom}Z`);
  }
  const marks = [1, 10, 100, 1000, 1e4, 1e5, 1e6].filter((n) => n <= largest);
  return svg(
    'svg',
    {
      class: 'distribution',
      width,
      height: HEIGHT,
      viewBox: `0 0 ${width} ${HEIGHT}`,
      role: 'img',
      'aria-label': `Training examples by class, at most ${count(largest)}`,
    },
    ...marks.map((n) =>
      svg(
        'g',
        { class: 'tick' },
        svg('line', { x1: left, x2: width, y1: y(n), y2: y(n) }),
        svg('text', { x: left - 6, y: y(n), dy: '0.32em', 'text-anchor': 'end' }, count(n)),
      ),
    ),
    ...GROUPS.map((group) => svg('path', { class: 'bar', 'data-group': group, d: paths.get(group) })),
  );
}

/** @param {ClassesAnswer['counts']} counts @param {number[]} order */
function orderedCounts(counts, order) {
  return order.map((i) => counts[i] ?? 0);
}

/** Share of the classes and of the training examples in each group. @param {ClassesAnswer} classes */
function strip({ counts, groups }) {
  const total = counts.reduce((/** @type {number} */ sum, n) => sum + (n ?? 0), 0);
  const entries = GROUPS.flatMap((group) => {
    const members = counts.filter((_, i) => groups[i] === group);
    if (!members.length) return [];
    const examples = members.reduce((/** @type {number} */ sum, n) => sum + (n ?? 0), 0);
    const share = total && group !== 'unknown' ? `, ${((100 * examples) / total).toFixed(1)} % of the examples` : '';
    return [
      el(
        'li',
        {},
        groupBadge(group, groupTitle(group)),
        el('span', { class: 'muted' }, `${plural(members.length, 'class', 'classes')}${share}`),
      ),
    ];
  });
  return el('ul', { class: 'legend' }, ...entries);
}
