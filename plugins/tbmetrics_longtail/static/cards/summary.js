// @ts-check
/** A against B by group at the chosen step: values, intervals, the difference, and how many classes agree. */

import { Card, NO_VALIDATION, nothing } from './card.js';
import { differenceText } from './summary-difference.js';
import { seedsText } from './summary-seeds.js';
import { el, fill, groupBadge, groupTitle, nameOf, runColor, sideBadge, svg } from '../charts/dom.js';
import { groupsOf } from '../host/data.js';
import { fewPositivesText } from '../host/few-positives.js';
import { Latest } from '../host/resources.js';
import { count, interval, isDefined, metricText, number, plural } from '../model/format.js';
import { extent, linear, markerPath, niceDomain } from '../model/scale.js';
import { groupPoints, pointAt } from '../model/view.js';

/** @import { Page } from './card.js' */
/** @import { SideValue } from './summary-difference.js' */
/** @import { Resource } from '../host/resources.js' */
/** @import { CompareAnswer, GroupComparison, GroupsAnswer } from '../model/answers.js' */
/** @import { Maybe, Point, RunView, Table, View } from '../model/types.js' */

const GROUPS = /** @type {const} */ (['head', 'medium', 'tail', 'unknown', 'all', 'gap']);
const PLOT_HEIGHT = 16;

export class SummaryCard {
  /** @param {Page} page */
  constructor(page) {
    this._data = page.data;
    this._card = this.frame = new Card({
      id: 'summary',
      title: 'By group',
      className: 'summary-card',
      page,
      table: () => this._table(),
      metric: 'metric',
    });
    this.element = this._card.element;
    this._grid = el('div', { class: 'summary-grid' });
    /** @type {Latest<CompareAnswer>} */
    this._latest = new Latest();
  }

  /** @param {View} view */
  update(view) {
    const sides = [view.a, view.b].flatMap((run) => (run && run.step !== null ? [run] : []));
    const answers = sides.map((run) => ({
      name: run.run,
      run,
      resource: groupsOf(this._data, run, view),
    }));
    const seeds = this._seeds(view);
    const compare = this._compare(view);
    this._describe(view);
    const parts = [...answers, ...(compare ? [{ name: 'Difference', resource: compare }] : [])];
    if (!this._card.ready(parts)) return;
    if (!sides.length) {
      this._card.put(nothing(NO_VALIDATION));
      return;
    }
    const groups = GROUPS.filter((group) => group !== 'unknown' || view.sizes.get('unknown'));
    const points = groups.map((group) =>
      answers.map(({ run, resource }) => ({
        run,
        loaded: resource.value !== undefined,
        point: pointOf(resource, run, group, view),
      })),
    );
    const answer = compare?.value;
    const waits = compare?.status === 'loading';
    const over = groups.map((group, i) => overCommon(points[i], view, answer?.groups[group]));
    const domain = niceDomain(
      extent(
        over
          .slice(0, -1)
          .flat()
          .flatMap(({ point }) => [point?.y ?? null, point?.lower ?? null, point?.upper ?? null]),
      ),
      { bounds: [0, 1] },
    );
    this._shown = groups.map((group, i) => ({ group, sides: over[i], comparison: answer?.groups[group] }));
    if (answer) this._card.caption([captionOf(view), answer.basis, answer.about_classes].filter(Boolean).join(' '));
    fill(
      this._grid,
      ...groups.map((group, i) =>
        tile(
          group,
          view,
          over[i],
          domain,
          fewPositivesText(this._data, sides, view, group),
          view.b && differenceText(group, view, over[i], answer, waits),
          seeds && seedsText(seeds, group, view),
        ),
      ),
    );
    this._grid.classList.toggle('six', groups.length === 6);
    if (this._grid.parentElement !== this._card.body) fill(this._card.body, this._grid);
  }

  /** The comparison by class, if the metric is a mean of a class column. @param {View} view */
  _compare(view) {
    const { a, b, attribute, metric } = view;
    if (!a || !b || a.step === null || b.step === null || view.moving) return null;
    if (![a, b].every(({ info }) => info.means.includes(metric))) return null;
    // Numbers of other steps are never kept: beside those of this one they would be taken for them.
    const scope = JSON.stringify([a.run, a.step, b.run, b.step, attribute, metric, view.grouping?.key]);
    return this._latest.take(this._data.compare(a, b, attribute, metric, view.grouping), scope);
  }

  /** The seeds of A's and B's experiments whose groups have arrived. @param {View} view */
  _seeds(view) {
    const { experimentOf } = view;
    if (!experimentOf) return null;
    const seedsOf = (/** @type {RunView | null} */ run) =>
      run ? view.runs.filter((r) => experimentOf(r.run) === experimentOf(run.run) && r.step !== null) : [];
    const answers = (/** @type {RunView[]} */ runs) =>
      runs.flatMap((run) => {
        const answer = groupsOf(this._data, run, view).value;
        return answer ? [{ run, answer }] : [];
      });
    return { a: answers(seedsOf(view.a)), b: answers(seedsOf(view.b)) };
  }

  /** @returns {Table} */
  _table() {
    const rows = (this._shown ?? []).flatMap(({ group, sides, comparison: c }) => [
      ...sides.map(({ run, point }) => [
        group,
        run.run,
        run.step,
        point?.y ?? null,
        point?.lower ?? null,
        point?.upper ?? null,
        point?.n ?? null,
        null,
        null,
      ]),
      ...(c ? [[group, 'B - A', null, c.difference, c.lower, c.upper, c.n_defined, c.verdict, c.sign_flip_p]] : []),
    ]);
    return {
      columns: ['group', 'run', 'step', 'value', 'lower', 'upper', 'n_classes', 'verdict', 'sign_flip_p'],
      rows,
    };
  }

  /** @param {View} view */
  _describe(view) {
    const { a, b } = view;
    this._card.title.textContent = b ? 'A and B by group' : 'A by group';
    const runs = [a && legendOf('A', a), b && legendOf('B', b)].filter((node) => node !== null);
    fill(this._card.tools, ...runs);
    this._card.caption(captionOf(view));
  }
}

/** @param {'A' | 'B'} letter @param {RunView} run */
function legendOf(letter, run) {
  const step = run.step === null ? 'nothing yet' : `step ${count(run.step)}`;
  return el(
    'span',
    { class: 'compared-run' },
    sideBadge(letter),
    nameOf(run.run),
    el('span', { class: 'muted' }, step),
  );
}

/** @param {View} view */
function captionOf({ b, runs, metric, means }) {
  const values = means.includes(metric)
    ? 'Means with 95 % intervals of this validation set.'
    : metricText(metric).meaning;
  if (!b) return runs.length > 1 ? `${values} Choose a run B to compare.` : values;
  if (!means.includes(metric)) return `${values} Difference: B minus A.`;
  return `${values} Another seed may differ by more. p: whether other classes would agree (sign-flip test).`;
}

/** @param {Resource<GroupsAnswer>} resource @param {RunView} run @param {string} group @param {View} view */
function pointOf(resource, run, group, view) {
  return resource.value ? pointAt(groupPoints(resource.value, group, view.metric), run.step) : null;
}

/**
 * @param {typeof GROUPS[number]} group @param {View} view @param {SideValue[]} sides
 * @param {[number, number]} domain @param {string} few @param {HTMLElement | null} difference
 * @param {HTMLElement | null} seeds
 */
function tile(group, view, sides, domain, few, difference, seeds) {
  const rows = sides.map((side) => row(side.run === view.a ? 'A' : 'B', side, group === 'gap' ? null : domain));
  return el(
    'article',
    { class: 'tile', 'data-group': group, 'aria-label': groupTitle(group) },
    el(
      'h3',
      {},
      group === 'all' || group === 'gap' ? groupTitle(group) : groupBadge(group, groupTitle(group)),
      el('span', { class: 'muted' }, sizeText(group, sides, view)),
    ),
    el('div', {}, ...rows),
    ownValues(sides, view),
    few && el('p', { class: 'few muted' }, few),
    difference,
    seeds,
  );
}

/**
 * The values of A and B over the classes that both define, so that they and their difference agree; the runs' own
 * values, where they are others, become `own`.
 * @param {SideValue[]} sides @param {View} view @param {GroupComparison | undefined} comparison @returns {SideValue[]}
 */
function overCommon(sides, view, comparison) {
  if (!comparison) return sides;
  const { n_defined: n, mean_a: a, mean_b: b, lower_a: lowA, upper_a: upA, lower_b: lowB, upper_b: upB } = comparison;
  return sides.map((side) => {
    const [y, lower, upper] = side.run === view.a ? [a, lowA, upA] : [b, lowB, upB];
    const { point } = side;
    const isSame = point !== null && number(point.y) === number(y);
    const keeps = isSame && lower === null; // an older log without decisions, regrouped: its own, approximate interval
    const common = keeps
      ? { ...point, n: point.n === null ? null : n }
      : { x: point?.x ?? 0, y, lower, upper, n: point?.n === null ? null : n };
    return { ...side, point: common, own: isSame ? undefined : point };
  });
}

/** The runs' own values, if they are not those shown. @param {SideValue[]} sides @param {View} view */
function ownValues(sides, view) {
  const texts = sides.flatMap(({ run, own }) => {
    if (!own || !isDefined(own.y)) return [];
    const over = own.n === null || own.n < 0 ? '' : ` over ${plural(own.n, 'class', 'classes')}`;
    return [`${run === view.a ? 'A' : 'B'} ${number(own.y)} ${interval(own.lower, own.upper)}${over}`];
  });
  return texts.length > 0 && el('p', { class: 'own muted' }, `Own classes: ${texts.join('; ')}`);
}

/** @param {string} group @param {SideValue[]} sides @param {View} view */
function sizeText(group, sides, view) {
  if (group === 'gap') return 'head − tail';
  const { info } = sides[0].run;
  const size = group === 'all' ? info.n_classes : (view.sizes.get(group) ?? 0);
  const defined = [...new Set(sides.map(({ point }) => point?.n ?? size))];
  if (defined.every((n) => n === size)) return plural(size, 'class', 'classes');
  return `${defined.map(count).join(' and ')} of ${plural(size, 'class', 'classes')}`;
}

/** @param {'A' | 'B'} letter @param {SideValue} side @param {[number, number] | null} domain */
function row(letter, { run, point, loaded }, domain) {
  return el(
    'div',
    { class: 'tile-row' },
    sideBadge(letter),
    el('span', { class: 'value', 'data-side': letter }, loaded ? number(point?.y) : '…'),
    domain && whisker(run, point, domain),
    el('span', { class: 'interval' }, interval(point?.lower, point?.upper), point?.approximate && ' approximate'),
  );
}

/**
 * The value as a marker on its interval; positions are percentages, so that it fills any width.
 * @param {RunView} run @param {Point | null} point @param {[number, number]} domain
 */
function whisker(run, point, domain) {
  const x = linear(domain, [3, 97]);
  const percentOf = (/** @type {Maybe | undefined} */ value) => `${x(value ?? 0).toFixed(2)}%`;
  const y = PLOT_HEIGHT / 2;
  const known = point !== null && point.y !== null;
  const hasInterval = known && point.lower !== null && point.upper !== null;
  return svg(
    'svg',
    { class: 'whisker', width: '100%', height: PLOT_HEIGHT, 'aria-hidden': 'true', ...runColor(run.style) },
    svg('line', { class: 'track', x1: 0, x2: '100%', y1: y, y2: y }),
    hasInterval &&
      svg('line', { class: 'whisker-line', x1: percentOf(point.lower), x2: percentOf(point.upper), y1: y, y2: y }),
    known &&
      svg(
        'svg',
        { x: percentOf(point.y), y, overflow: 'visible' },
        svg('path', { class: 'run-marker', d: markerPath(run.style.marker, 0, 0, 3.6) }),
      ),
  );
}
