// @ts-check
/** The trade-off plane: head against tail of every run at the chosen step, and the Pareto front. */

import { Card, nothing } from './card.js';
import { el, fill, groupBadge, nameOf, runColor, runSwatch, setSize, sideBadge, svg } from '../charts/dom.js';
import { nearest, plot, pointerIn } from '../charts/plot.js';
import { groupsOf } from '../host/data.js';
import { count, coverage, metricText, number, plural, shorten } from '../model/format.js';
import { extent, labelHeights, linePath, markerPath, niceDomain } from '../model/scale.js';
import { seedInterval } from '../model/seeds.js';
import { frontsByEvaluation, mean } from '../model/statistics.js';
import { badgeOf, groupPoints, pointAt } from '../model/view.js';

/** @import { Page } from './card.js' */
/** @import { GroupsAnswer } from '../model/answers.js' */
/** @import { Experiment, Maybe, Point, RunStyle, RunView, Table, View } from '../model/types.js' */

/**
 * @typedef {object} Place one run, or the mean of an experiment's seeds
 * @property {string} label
 * @property {'A' | 'B' | ''} badge
 * @property {string} evaluation
 * @property {RunStyle} style
 * @property {number} x
 * @property {number} y
 * @property {[Maybe, Maybe, Maybe, Maybe]} interval lower and upper of x, of y
 * @property {[Maybe, Maybe]} counts classes in the mean of the head, of the tail
 * @property {number} seeds
 * @property {Point[]} trail its places at the steps before
 */

const HEIGHT = 430;
const REACH = 24;
const MOST_IN_LEGEND = 12;
/** The interval of one seed. */
const NONE = /** @type {[null, null]} */ ([null, null]);

export class TradeoffCard {
  /** @param {Page} page */
  constructor(page) {
    this._page = page;
    this._card = this.frame = new Card({
      id: 'tradeoff',
      title: 'Trade-off between head and tail',
      className: 'tradeoff-card',
      page,
      table: () => this._table(),
      picture: () => this._picture(),
      metric: 'metric',
    });
    this.element = this._card.element;
    /** @type {Place[]} */
    this._places = [];
    /** @type {View | null} */
    this._view = null;
    this._svg = svg('svg', {
      class: 'plot',
      role: 'img',
      onpointermove: (/** @type {PointerEvent} */ event) => this._hover(event),
      onpointerleave: () => this._page.tooltip.hide(),
      onclick: (/** @type {PointerEvent} */ event) => this._pick(event),
    });
  }

  /** @param {View} view */
  update(view) {
    this._view = view;
    const parts = view.charted.map((run) => ({ name: run.run, run, resource: groupsOf(this._page.data, run, view) }));
    const label = metricText(view.metric).label;
    this._card.caption(
      (view.experiments
        ? 'Bars: 95 % t-intervals over seeds.'
        : 'Bars: 95 % intervals of A and B; dots: their earlier steps.') +
        (view.charted.length > 2 ? ' Dashed: beaten by none on both. Click a run to compare with it.' : '') +
        leftOutText(view),
    );
    if (!this._card.ready(parts)) return;
    const size = [this._width(), this._card.height(HEIGHT, 4)];
    const key = [view.attribute, view.metric, view.step, view.grouping?.key, view.a?.run, view.b?.run, ...size]
      .concat(view.experiments?.map((e) => `${e.label}${e.runs.length}`))
      .concat(parts.map(({ run, resource }) => `${run.run}${run.step}${run.version}${resource.status}`))
      .join('\n');
    if (!this._card.isNew(key)) return;
    const loaded = new Map(parts.flatMap(({ run, resource }) => (resource.value ? [[run.run, resource.value]] : [])));
    const placed = (/** @type {RunView} */ run) => placeOf(run, loaded.get(run.run), view);
    const places = view.experiments
      ? view.experiments.map((e) => together(e, e.runs.map(placed), view))
      : view.charted.map(placed);
    this._places = places.filter((place) => place !== null);
    if (!this._places.length) {
      fill(this._card.body, nothing(`No run drawn has both a head and a tail at this step.${leftOutText(view)}`));
      return;
    }
    this._draw(view, label);
    if (this._svg.parentElement !== this._card.body) fill(this._card.body, this._svg);
  }

  _width() {
    return Math.max(260, this._card.width);
  }

  /** @param {View} view @param {string} label */
  _draw(view, label) {
    const [width, height] = [this._width(), this._card.height(HEIGHT, 4)];
    const spans = this._places.map(({ x, y, interval, badge, trail }) => ({
      x: badge || view.experiments ? [x, interval[0], interval[1], ...trail.map((p) => p.x)] : [x],
      y: badge || view.experiments ? [y, interval[2], interval[3], ...trail.map((p) => p.y)] : [y],
    }));
    const domain = (/** @type {'x' | 'y'} */ axis) =>
      niceDomain(extent(spans.flatMap((s) => s[axis])), { bounds: [0, 1] });
    const { x, y, axes } = plot({
      width,
      height,
      xDomain: domain('x'),
      yDomain: domain('y'),
      xLabel: `${label}, head`,
      yLabel: `${label}, tail`,
    });
    this._x = x;
    this._y = y;
    const fronts = frontsByEvaluation(this._places, Boolean(metricText(view.metric).lowerIsBetter));
    this._front = new Set(fronts.flat());
    const compared = this._places.filter(({ badge }) => badge);
    const heights = labelHeights(compared.map((p) => ({ x: x(p.x), y: Math.max(14, y(p.y) - 8) })));
    const ordered = [...this._places].sort((p, q) => p.badge.length - q.badge.length);
    setSize(this._svg, width, height);
    this._svg.setAttribute('aria-label', describe(this._places, label));
    fill(
      this._svg,
      ...axes,
      ...fronts.map((front) => svg('path', { class: 'front', d: linePath(front, x, y) })),
      ...ordered.map((place) => this._mark(place, x, y, view, heights[compared.indexOf(place)])),
    );
  }

  /** @param {Place} place @param {(v: number) => number} x @param {(v: number) => number} y @param {View} view @param {number} labelHeight */
  _mark(place, x, y, view, labelHeight) {
    const [left, right, low, high] = place.interval;
    const shown = place.badge !== '' || view.experiments !== null;
    const atEdge = x(place.x) > this._width() - 40;
    const bar = (/** @type {number[]} */ [x1, x2, y1, y2]) =>
      svg('line', { class: 'whisker-line thin', x1, x2, y1, y2 });
    return svg(
      'g',
      { class: place.badge ? 'run compared' : 'run', ...runColor(place.style), 'data-run': place.label },
      place.trail.length > 1 && svg('path', { class: 'trail', d: linePath(place.trail, x, y) }),
      shown && left !== null && right !== null && bar([x(left), x(right), y(place.y), y(place.y)]),
      shown && low !== null && high !== null && bar([x(place.x), x(place.x), y(low), y(high)]),
      svg('path', {
        class: 'run-marker',
        d: markerPath(place.style.marker, x(place.x), y(place.y), place.badge ? 5.5 : 4),
      }),
      place.badge &&
        svg(
          'text',
          {
            class: 'end-label',
            x: x(place.x) + (atEdge ? -9 : 9),
            y: labelHeight,
            'text-anchor': atEdge ? 'end' : 'start',
          },
          place.badge,
        ),
    );
  }

  /** @param {PointerEvent} event */
  _under(event) {
    const [x, y] = [this._x, this._y];
    if (!x || !y) return null;
    return nearest(this._places, (p) => ({ x: x(p.x), y: y(p.y) }), pointerIn(this._svg, event, this._width()), REACH);
  }

  /** @param {PointerEvent} event */
  _hover(event) {
    const place = this._under(event);
    if (!place) {
      this._page.tooltip.hide();
      return;
    }
    const row = (
      /** @type {string} */ group,
      /** @type {number} */ value,
      /** @type {Maybe} */ low,
      /** @type {Maybe} */ high,
      /** @type {Maybe} */ n,
    ) =>
      el(
        'tr',
        {},
        el('td', {}, groupBadge(group)),
        el('td', { class: 'number' }, number(value)),
        el('td', { class: 'muted' }, low === null || high === null ? '' : `[${number(low)}, ${number(high)}]`),
        el('td', { class: 'muted' }, n === null ? '' : coverage(n, this._view?.sizes.get(group))),
      );
    this._page.tooltip.show(
      event.clientX,
      event.clientY,
      el(
        'p',
        { class: 'tooltip-title' },
        runSwatch(place.style),
        ' ',
        place.badge && sideBadge(place.badge),
        ' ',
        nameOf(place.label),
      ),
      el(
        'table',
        {},
        row('head', place.x, place.interval[0], place.interval[1], place.counts[0]),
        row('tail', place.y, place.interval[2], place.interval[3], place.counts[1]),
      ),
      el(
        'p',
        { class: 'muted' },
        [
          place.seeds > 1 ? `mean of ${plural(place.seeds, 'seed')}` : '',
          this._front?.has(place) ? 'beaten by none on both' : '',
        ]
          .filter(Boolean)
          .join(', '),
      ),
    );
  }

  /** @param {PointerEvent} event */
  _pick(event) {
    const place = this._under(event);
    const view = this._view;
    if (!place || !view || place.badge) return;
    const run = view.experiments?.find((e) => e.label === place.label)?.runs[0].run ?? place.label;
    this._page.set({ b: run });
  }

  _picture() {
    if (!this._places.length) return null;
    const shown = [...this._places].sort((p, q) => q.badge.length - p.badge.length);
    const legend = shown.slice(0, MOST_IN_LEGEND).map(({ label, badge, style, seeds }) => ({
      mark: runSwatch(style),
      strong: badge,
      text: `${shorten(label)}${seeds > 1 ? ` (${plural(seeds, 'seed')})` : ''}`,
    }));
    const more = shown.length - legend.length;
    const bars = this._view?.experiments ? 'bars: 95 % t-intervals over seeds' : 'bars: 95 % intervals of A and B';
    const notes = [more > 0 ? `and ${more} more` : '', 'dashed: beaten by none on both', bars, 'dots: earlier steps'];
    return {
      legend: [...legend, ...notes.filter(Boolean).map((text) => ({ text }))],
      panels: [{ heading: null, chart: this._svg }],
      columns: 1,
    };
  }

  /** @returns {Table} */
  _table() {
    return {
      columns: [
        'run',
        ...['head', 'tail'].flatMap((g) => [g, `${g}_lower`, `${g}_upper`, `${g}_n_classes`]),
        'seeds',
        'pareto',
      ],
      rows: this._places.map((p) => [
        p.label,
        p.x,
        p.interval[0],
        p.interval[1],
        p.counts[0],
        p.y,
        p.interval[2],
        p.interval[3],
        p.counts[1],
        p.seeds,
        this._front?.has(p) ? 'yes' : 'no',
      ]),
    };
  }
}

/** @param {RunView} run @param {GroupsAnswer | undefined} answer @param {View} view @returns {Place | null} */
function placeOf(run, answer, view) {
  if (!answer) return null;
  const [head, tail] = ['head', 'tail'].map((group) => groupPoints(answer, group, view.metric));
  const [h, t] = [pointAt(head, run.step), pointAt(tail, run.step)];
  if (!h || !t || h.y === null || t.y === null) return null;
  const badge = badgeOf(view, run.run);
  const before = badge
    ? head.flatMap((p, i) => (p.x <= Number(run.step) && p.y !== null ? [{ ...p, x: p.y, y: tail[i].y }] : []))
    : [];
  return {
    label: run.run,
    badge,
    evaluation: run.info.evaluation,
    style: run.style,
    x: h.y,
    y: t.y,
    interval: [h.lower, h.upper, t.lower, t.upper],
    counts: [h.n, t.n],
    seeds: 1,
    trail: before,
  };
}

/**
 * The mean of an experiment's seeds, with its t-interval; none if a seed lacks the step.
 * @param {Experiment} experiment @param {(Place | null)[]} places @param {View} view
 * @returns {Place | null}
 */
function together(experiment, places, view) {
  const { label, style, runs } = experiment;
  const known = places.filter((place) => place !== null);
  if (known.length < runs.length || lacksStep(experiment)) return null;
  const [xs, ys] = [known.map((p) => p.x), known.map((p) => p.y)];
  const [x, y] = [mean(xs), mean(ys)];
  /** @type {Place['interval']} */
  const interval = [...(seedInterval(xs, [0, 1]) ?? NONE), ...(seedInterval(ys, [0, 1]) ?? NONE)];
  const badge = runs.some((r) => r.run === view.a?.run) ? 'A' : runs.some((r) => r.run === view.b?.run) ? 'B' : '';
  const { evaluation } = runs[0].info;
  return { label, badge, evaluation, style, x, y, interval, counts: [null, null], seeds: known.length, trail: [] };
}

/** Seeds are compared at one step. @param {Experiment} experiment */
function lacksStep({ runs }) {
  return runs.some((run) => run.step !== runs[0].step);
}

/** @param {View} view */
function leftOutText({ experiments }) {
  const n = experiments?.filter(lacksStep).length ?? 0;
  return n ? ` ${plural(n, 'experiment')} left out: a seed lacks this step.` : '';
}

/** @param {Place[]} places @param {string} label */
function describe(places, label) {
  const texts = places.slice(0, 12).map((p) => `${p.label.slice(0, 40)}: head ${number(p.x)}, tail ${number(p.y)}`);
  return `${label}, head against tail, of ${count(places.length)} runs: ${texts.join('; ')}`;
}
