// @ts-check
/** Whether the difference on the tail depends on where the tail ends: B minus A at every boundary. */

import { Card, nothing } from './card.js';
import { el, fill, groupMarker, setSize, sideBadge, svg } from '../charts/dom.js';
import { pairEntries } from '../charts/picture.js';
import { plot, pointerIn } from '../charts/plot.js';
import { Latest } from '../host/resources.js';
import { boundaryAt, hasBoundaries, ruleBoundaries, tailEnd, toldBoundaries } from '../model/by-count.js';
import { count, metricText, number, plural, signed } from '../model/format.js';
import { bandPath, extent, linePath, markerPath, niceDomain } from '../model/scale.js';
import { unlikeness } from '../model/view.js';

/** @import { Page } from './card.js' */
/** @import { ClassRows } from '../host/class-rows.js' */
/** @import { ByCountAnswer, TailDifferences } from '../model/by-count.js' */
/** @import { ClassesAnswer } from '../model/answers.js' */
/** @import { Maybe, Table, View } from '../model/types.js' */

const HEIGHT = 300;
const ROWS = 3; // of labels above the plot
const ROW = 15;
const MARGIN = Object.freeze({ top: 14 + ROWS * ROW, right: 16, bottom: 38, left: 58 });
const LETTER = 6.6; // pixels of a letter, at most on average

export class BoundaryCard {
  /** @param {Page} page @param {ClassRows} rows */
  constructor(page, rows) {
    this._page = page;
    this._rows = rows;
    this._card = this.frame = new Card({
      id: 'boundary',
      title: 'Every boundary of the tail',
      className: 'boundary-card',
      page,
      table: () => this._table(),
      picture: () => this._picture(),
      metric: 'metric',
    });
    this.element = this._card.element;
    /** @type {Latest<ByCountAnswer>} */
    this._latest = new Latest();
    /** @type {TailDifferences | null} */
    this._tails = null;
    /** @type {((count: number) => number) | null} */
    this._x = null;
    /** @type {Pick<View, 'a' | 'b'>} */
    this._pair = { a: null, b: null };
    this._hint = el('p', { class: 'hint' });
    this._svg = svg('svg', {
      class: 'plot over-ranks boundary-plot',
      role: 'img',
      onpointermove: (/** @type {PointerEvent} */ event) => this._hover(event),
      onpointerleave: () => page.tooltip.hide(),
      onclick: (/** @type {PointerEvent} */ event) => this._pick(event),
    });
  }

  /** @param {View} view */
  update(view) {
    const { a, b, attribute, metric } = view;
    const classes = a && this._page.data.classes(a, attribute).value;
    const isMean = [a, b].every((run) => run?.info.means.includes(metric) && run.step !== null);
    this.element.hidden = !a || !b || !isMean || (classes && !hasBoundaries(classes.counts)) || false;
    if (!a || !b || this.element.hidden) return;
    this._pair = { a, b };
    const label = metricText(metric).label;
    this._card.title.textContent = `${label}: every boundary of the tail`;
    this._card.caption('B − A of the tail below each boundary; band: 95 %, pointwise. Click to choose one.');
    const unlike = unlikeness(a, b);
    if (unlike) {
      this._tails = null;
      this._card.ready([]);
      this._card.put(nothing(`No verdict: ${unlike}.`));
      return;
    }
    const scope = JSON.stringify([a.run, b.run, a.step, attribute, metric]);
    const resource = this._latest.take(this._page.data.byCount(a, b, attribute, metric), scope);
    if (!this._card.ready([{ name: 'Boundaries', resource }])) return;
    const answer = resource.value;
    if (!answer || !classes) return;
    if (answer.is_withheld) {
      this._tails = null;
      this._card.put(nothing(answer.basis));
      return;
    }
    const now = tailEnd(this._rows.rows ?? [], view.grouping);
    const [width, height] = [Math.max(260, this._card.width), this._card.height(HEIGHT, 30)];
    const key = [scope, a.version, b.version, now, width, height, resource.stale].join('|');
    if (this._card.isNew(key)) this._draw(answer, classes, now, { width, height, label });
  }

  /**
   * @param {ByCountAnswer} answer @param {ClassesAnswer} classes @param {Maybe} now where the tail ends
   * @param {{width: number, height: number, label: string}} size
   */
  _draw({ tails, basis }, classes, now, { width, height, label }) {
    this._tails = tails;
    this._view = { width, now };
    const points = tails.tail_max.map((x, i) => ({
      x,
      y: tails.difference[i],
      lower: tails.lower[i],
      upper: tails.upper[i],
      n: tails.n_defined[i],
    }));
    const ends = points.flatMap(({ y, lower, upper }) => [y, lower, upper]);
    const { x, y, axes, top, bottom, left, right } = plot({
      width,
      height,
      xDomain: [tails.tail_max[0], tails.tail_max[tails.tail_max.length - 1]],
      yDomain: niceDomain(extent(ends), { bounds: [-1, 1], zero: true }),
      xLabel: 'The tail ends at: training examples',
      yLabel: `${label}, B − A`,
      logX: true,
      margin: MARGIN,
    });
    this._x = x;
    const rules = ruleBoundaries(
      tails,
      classes.counts.filter((n) => n !== null),
    );
    fill(
      this._svg,
      ...axes,
      svg('line', { class: 'zero-line', x1: left, x2: right, y1: y(0), y2: y(0) }),
      svg('path', { class: 'band', d: bandPath(points, x, y) }),
      ...labelled(
        rules.map(({ index, label: text }) => ({ x: x(tails.tail_max[index]), text })),
        [left, right],
      ).map(({ place, text, row, anchor }) =>
        svg(
          'g',
          { class: 'rule-mark' },
          svg('line', { x1: place, x2: place, y1: 14 + row * ROW, y2: bottom }),
          svg('text', { x: place + (anchor === 'end' ? -4 : 4), y: 12 + row * ROW, 'text-anchor': anchor }, text),
        ),
      ),
      svg('path', { class: 'run-line', d: linePath(points, x, y) }),
      ...this._nowMark(now, x, y, [left, right, top, bottom]),
    );
    setSize(this._svg, width, height);
    const { known, clear } = toldBoundaries(tails);
    const told = known
      ? `The band leaves out 0 at ${count(clear)} of ${plural(known, 'boundary', 'boundaries')}.`
      : 'There are no intervals.';
    this._svg.setAttribute('aria-label', `${label} of the tail, B minus A, by where the tail ends. ${told}`);
    fill(this._hint, [told, basis, seedsText(this._page.state().seeds)].filter(Boolean).join(' '));
    fill(this._card.body, this._svg, this._hint);
  }

  /**
   * Where the tail ends now.
   * @param {Maybe} now @param {(v: number) => number} x @param {(v: number) => number} y
   * @param {[number, number, number, number]} frame left, right, top, bottom
   */
  _nowMark(now, x, y, [left, right, top, bottom]) {
    const tails = this._tails;
    const index = tails && now !== null ? boundaryAt(tails, now) : -1;
    if (!tails || index < 0) return [];
    const place = Math.min(right, Math.max(left, x(tails.tail_max[index])));
    const [value, lower, upper] = [tails.difference[index], tails.lower[index], tails.upper[index]];
    const atEnd = place > (left + right) / 2;
    return [
      svg(
        'g',
        { class: 'now-mark', 'data-group': 'tail', 'data-tail-max': tails.tail_max[index] },
        svg('line', { class: 'now-line', x1: place, x2: place, y1: top, y2: bottom }),
        lower !== null &&
          upper !== null &&
          svg('line', { class: 'whisker-line', x1: place, x2: place, y1: y(lower), y2: y(upper) }),
        value !== null && svg('path', { class: 'group-marker', d: markerPath('triangle', place, y(value), 6) }),
        svg(
          'text',
          { class: 'end-label', x: place + (atEnd ? -10 : 10), y: bottom - 8, 'text-anchor': atEnd ? 'end' : 'start' },
          `now: up to ${count(now)}`,
        ),
      ),
    ];
  }

  /** The boundary under the pointer. @param {PointerEvent} event */
  _under(event) {
    const [tails, x, view] = [this._tails, this._x, this._view];
    if (!tails || !x || !view) return null;
    const pointer = pointerIn(this._svg, event, view.width);
    return tails.tail_max.reduce(
      (best, n, i) => (Math.abs(x(n) - pointer.x) < Math.abs(x(tails.tail_max[best]) - pointer.x) ? i : best),
      0,
    );
  }

  /** @param {PointerEvent} event */
  _hover(event) {
    const index = this._under(event);
    const tails = this._tails;
    if (index === null || !tails) return;
    const [lower, upper] = [tails.lower[index], tails.upper[index]];
    const row = (/** @type {Node | string} */ head, /** @type {string} */ value, /** @type {string} */ note = '') =>
      el('tr', {}, el('td', {}, head), el('td', { class: 'number' }, value), el('td', { class: 'muted' }, note));
    this._page.tooltip.show(
      event.clientX,
      event.clientY,
      el(
        'p',
        { class: 'tooltip-title' },
        `Tail up to ${plural(tails.tail_max[index], 'example')}: ${plural(tails.n_defined[index], 'class', 'classes')}`,
      ),
      el(
        'table',
        {},
        row(sideBadge('A'), number(tails.mean_a[index])),
        row(sideBadge('B'), number(tails.mean_b[index])),
        row('B − A', signed(tails.difference[index]), lower === null ? '' : `${signed(lower)} to ${signed(upper)}`),
      ),
    );
  }

  /** End the tail at the boundary under the pointer. @param {PointerEvent} event */
  _pick(event) {
    const index = this._under(event);
    if (index === null || !this._tails) return;
    const tail = this._tails.tail_max[index];
    const heads = (this._rows.rows ?? []).flatMap(({ group, count: n }) => (group === 'head' && n !== null ? [n] : []));
    const head = Math.max(tail + 1, heads.length ? heads.reduce((least, n) => Math.min(least, n)) : 0);
    this._page.set({ rule: 'custom', tail, head });
  }

  _picture() {
    if (!this._tails) return null;
    return {
      legend: [
        ...pairEntries(this._pair),
        { text: 'band: 95 %, pointwise' },
        { mark: groupMarker('tail'), text: 'where the tail ends now' },
        { text: this._hint.textContent ?? '' },
      ],
      panels: [{ heading: null, chart: this._svg }],
      columns: 1,
    };
  }

  /** @returns {Table} */
  _table() {
    const tails = this._tails;
    const columns = /** @type {const} */ ([
      'tail_max',
      'n_defined',
      'mean_a',
      'mean_b',
      'difference',
      'lower',
      'upper',
    ]);
    return {
      columns: [...columns],
      rows: (tails?.tail_max ?? []).map((_, i) => columns.map((name) => tails?.[name][i] ?? null)),
    };
  }
}

/** @param {string} seeds the pattern that folds them */
function seedsText(seeds) {
  return seeds ? 'Of these two seeds alone.' : '';
}

/**
 * Labels of marks, in as many rows as keep them apart; those without room in any row have no text.
 * @param {{x: number, text: string}[]} marks by ascending x @param {[number, number]} range
 */
function labelled(marks, [, right]) {
  const ends = new Array(ROWS).fill(-Infinity);
  return marks.map(({ x: place, text }) => {
    const width = text.length * LETTER + 10;
    const anchor = place + width > right ? 'end' : 'start';
    const from = anchor === 'end' ? place - width : place;
    const row = ends.findIndex((end) => end < from);
    if (row >= 0) ends[row] = from + width;
    return { place, text: row < 0 ? '' : text, row: Math.max(0, row), anchor };
  });
}
