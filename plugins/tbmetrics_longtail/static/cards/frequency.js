// @ts-check
/** The metric of every class against its frequency rank, over the training counts themselves; ranks can be brushed. */

import { Card, nothing } from './card.js';
import { el, fill, groupBadge, groupTitle, nameOf, setSize, sideBadge, svg } from '../charts/dom.js';
import {
  classMarks,
  countBars,
  frequencySwatch,
  hasIntervals,
  hasTrend,
  MOST_MARKS,
  RankBrush,
  trendLine,
  sidesOf,
} from '../charts/frequency-chart.js';
import { groupEntry, runEntry } from '../charts/picture.js';
import { nearest, plot, pointerIn } from '../charts/plot.js';
import { byFrequency } from '../model/class-list.js';
import { count, metricText, number, plural } from '../model/format.js';
import { extent, niceDomain } from '../model/scale.js';
import { mean } from '../model/statistics.js';
import { GROUPS } from '../model/view.js';

/** @import { CardContent, Page } from './card.js' */
/** @import { FrequencySide } from '../charts/frequency-chart.js' */
/** @import { ClassRows } from '../host/class-rows.js' */
/** @import { State } from '../model/state.js' */
/** @import { Row, Table, View } from '../model/types.js' */

const HEIGHT = 240;
const HEIGHT_OF_TWO = 340; // of two densities, one above the other
const BARS = 112;
const MARGIN = Object.freeze({ top: 10, right: 26, bottom: 12, left: 52 });
const REACH = 14;

export class FrequencyCard {
  /** @param {Page} page @param {ClassRows} rows */
  constructor(page, rows) {
    this._page = page;
    this._rows = rows;
    this._card = this.frame = new Card({
      id: 'frequency',
      title: 'By class frequency',
      className: 'frequency-card',
      page,
      table: () => this._table(),
      picture: () => this._picture(),
      metric: 'class_metric',
    });
    this.element = this._card.element;
    this._axes = svg('g');
    this._marks = svg('g');
    this._trends = svg('g');
    this._brush = svg('rect', { class: 'brush', visibility: 'hidden' });
    this._svg = svg(
      'svg',
      {
        class: 'plot over-ranks',
        role: 'img',
        onpointerleave: () => page.tooltip.hide(),
      },
      this._axes,
      this._marks,
      this._brush,
      this._trends,
    );
    this._chosen = el('div', { class: 'chosen', role: 'status' });
    this._strip = el('ul', { class: 'legend' });
    /** @type {FrequencySide[]} */
    this._sides = [];
    /** @type {SVGSVGElement | null} */
    this._bars = null;
    /** What the marks were drawn for. */
    this._marksOf = '';
    this._choosing = new RankBrush({
      onDrag: (range) => this._showBrush(range),
      onChosen: (range) => page.set({ brush: range }),
      onClick: (event) => this._click(event),
      onHover: (event) => this._hover(event),
      onCancel: () => this._showBrush(this._state?.brush ?? null),
    });
    this._choosing.follow(this._svg);
  }

  /** @param {View} view @param {State} state */
  update(view, state) {
    const rows = this._card.rowsOf(this._rows);
    if (!rows) return;
    const label = metricText(view.classMetric).label;
    this._card.title.textContent = `${label} by class frequency`;
    this._state = state;
    const width = Math.max(300, this._card.width);
    const isDense = rows.length > MOST_MARKS;
    const height = this._card.height((isDense && view.b ? HEIGHT_OF_TWO : HEIGHT) + BARS, 100) - BARS;
    const others = [view.classMetric, view.a?.run, view.b?.run, width, height].join('|');
    if (this._card.isNew(`${this._rows.key}|${others}`)) {
      const marksOf = `${this._rows.valuesKey}|${others}`;
      const areDrawn = marksOf === this._marksOf && this._svg.parentElement === this._card.body;
      this._marksOf = marksOf;
      if (areDrawn) this._drawGroups(view, rows, width);
      else this._draw(view, rows, width, height, label);
    }
    this._showBrush(state.brush);
  }

  /** @param {View} view @param {readonly Row[]} rows @param {number} width @param {number} height @param {string} label */
  _draw(view, rows, width, height, label) {
    const byRank = (this._byRank = byFrequency(rows));
    if (!byRank.length) {
      fill(
        this._card.body,
        nothing('The training counts are not known, so there is no frequency to order classes by.'),
        this._strip,
      );
      this._drawStrip(rows);
      return;
    }
    this._card.caption(captionOf(byRank.length));
    this._sides = sidesOf(view, byRank);
    const ends = byRank.flatMap((row) => [...(row.intervalA ?? []), ...((view.b && row.intervalB) || [])]);
    const values = this._sides.flatMap(({ points }) => points.map((p) => p.y));
    const yDomain = niceDomain(extent(hasIntervals(byRank.length) ? values.concat(ends) : values), { bounds: [0, 1] });
    // Two densities on one another would be neither.
    const panels = byRank.length > MOST_MARKS ? this._sides.map((side) => [side]) : [this._sides];
    const frames = panels.map((_, i) => {
      const [top, bottom] = [i, i + 1].map((k) => (k * height) / panels.length);
      return plot({
        width,
        height,
        xDomain: [0.5, byRank.length + 0.5],
        yDomain,
        xLabel: '',
        yLabel: panels.length > 1 ? `${label}, ${panels[i][0].letter}` : label,
        wholeX: true,
        margin: { ...MARGIN, top: top + MARGIN.top, bottom: height - bottom + MARGIN.bottom },
      });
    });
    this._x = frames[0].x;
    this._yOf = (/** @type {FrequencySide} */ side) => frames[panels.findIndex((panel) => panel.includes(side))].y;
    this._width = width;
    this._height = height;
    setSize(this._svg, width, height);
    this._svg.setAttribute('aria-label', describe(this._sides, label));
    const isShown = (/** @type {unknown} */ node) => !(node instanceof Element && node.classList.contains('x'));
    fill(this._axes, ...frames.flatMap(({ axes }) => axes.filter(isShown)));
    fill(this._marks, ...panels.flatMap((panel, i) => panel.map((side) => classMarks(side, frames[i]))));
    fill(this._trends, ...panels.flatMap((panel, i) => panel.flatMap((side) => trendLine(side, byRank, frames[i]))));
    this._bars = countBars(byRank, width, BARS, MARGIN);
    fill(this._card.body, this._legend(), this._chosen, this._svg, this._bars, this._strip);
    this._choosing.follow(this._bars);
    this._choosing.cover(byRank.length, [MARGIN.left, width - MARGIN.right]);
    this._drawStrip(rows);
  }

  /** Groups alone, as while a threshold moves: marks do not show them. @param {View} view @param {readonly Row[]} rows @param {number} width */
  _drawGroups(view, rows, width) {
    this._byRank = byFrequency(rows);
    this._sides = sidesOf(view, this._byRank);
    const bars = countBars(this._byRank, width, BARS, MARGIN);
    this._bars?.replaceWith(bars);
    this._bars = bars;
    this._choosing.follow(bars);
    this._drawStrip(rows);
  }

  _legend() {
    return el(
      'ul',
      { class: 'legend' },
      ...this._sides.map(({ letter, run }) =>
        el('li', {}, frequencySwatch(letter, run, this._byRank?.length ?? 0), sideBadge(letter), nameOf(run.run)),
      ),
    );
  }

  /** Share of the classes and of the training examples in each group. @param {readonly Row[]} rows */
  _drawStrip(rows) {
    const total = rows.reduce((sum, row) => sum + (row.count ?? 0), 0);
    const entries = GROUPS.flatMap((group) => {
      const members = rows.filter((row) => row.group === group);
      if (!members.length) return [];
      const examples = members.reduce((sum, row) => sum + (row.count ?? 0), 0);
      const share =
        total && group !== 'unknown' ? `, ${((100 * examples) / total).toFixed(1)} % of the training examples` : '';
      return [
        el(
          'li',
          {},
          groupBadge(group, groupTitle(group)),
          el('span', { class: 'muted' }, `${plural(members.length, 'class', 'classes')}${share}`),
        ),
      ];
    });
    fill(this._strip, ...entries);
  }

  // ------------------------------------------------------------------------------------------------ brushing

  /** @param {PointerEvent} event */
  _hover(event) {
    const point = this._under(event);
    if (!point) this._page.tooltip.hide();
    else this._tell(point.row, event);
  }

  /** @param {PointerEvent} event */
  _click(event) {
    const point = this._under(event);
    this._page.set(point ? { open: point.row.name } : { brush: null });
  }

  /** @param {PointerEvent} event */
  _under(event) {
    const [x, yOf] = [this._x, this._yOf];
    if (!x || !yOf || event.currentTarget !== this._svg) return null;
    const places = this._sides.flatMap((side) => {
      const y = yOf(side);
      return side.points.map((p) => ({ x: x(p.x), y: y(p.y), row: p.row }));
    });
    return nearest(places, (place) => place, pointerIn(this._svg, event, this._width ?? 1), REACH);
  }

  /** @param {Row} row @param {PointerEvent} event */
  _tell(row, event) {
    this._page.tooltip.show(
      event.clientX,
      event.clientY,
      el('p', { class: 'tooltip-title' }, groupBadge(row.group, ''), nameOf(row.name)),
      el(
        'table',
        {},
        ...this._sides.map(({ letter }) =>
          el(
            'tr',
            {},
            el('td', {}, sideBadge(letter)),
            el('td', { class: 'number' }, number(letter === 'A' ? row.a : row.b)),
          ),
        ),
      ),
      el(
        'p',
        { class: 'muted' },
        `rank ${count(row.rank)}, ${plural(row.count ?? 0, 'training example')}, ${plural(row.support ?? 0, 'positive')}`,
      ),
    );
  }

  /** @param {readonly [number, number] | null} brush */
  _showBrush(brush) {
    const x = this._x;
    const marks = [this._brush, this._bars?.querySelector('.brush')];
    for (const mark of marks) {
      mark?.setAttribute('visibility', brush && x ? 'visible' : 'hidden');
      if (!brush || !x || !mark) continue;
      mark.setAttribute('x', String(x(brush[0] - 0.5)));
      mark.setAttribute('width', String(Math.max(1, x(brush[1] + 0.5) - x(brush[0] - 0.5))));
      mark.setAttribute('y', '0');
      mark.setAttribute('height', String(mark === this._brush ? this._height : BARS));
    }
    const inside = brush ? (this._byRank ?? []).slice(brush[0] - 1, brush[1]) : [];
    fill(this._chosen, ...(brush && inside.length ? this._chosenText(brush, inside) : []));
  }

  /** @param {readonly [number, number]} brush @param {Row[]} inside */
  _chosenText([first, last], inside) {
    const means = this._sides.flatMap(({ letter }) => {
      const values = inside.flatMap((row) => row[letter === 'A' ? 'a' : 'b'] ?? []);
      const fewer = values.length < inside.length ? ` of ${plural(values.length, 'class', 'classes')}` : '';
      return values.length ? [el('span', {}, sideBadge(letter), ` mean ${number(mean(values))}${fewer}`)] : [];
    });
    const clear = el(
      'button',
      { type: 'button', class: 'button small', onclick: () => this._page.set({ brush: null }) },
      'Clear',
    );
    return [
      el('span', {}, `Ranks ${count(first)} to ${count(last)}: ${plural(inside.length, 'class', 'classes')}`),
      ...means,
      clear,
    ];
  }

  /** @returns {ReturnType<NonNullable<CardContent['picture']>>} */
  _picture() {
    if (!this._bars || !this._byRank?.length) return null;
    const groups = GROUPS.filter((group) => this._byRank?.some((row) => row.group === group));
    const n = this._byRank.length;
    return {
      legend: [
        ...this._sides.map(({ letter, run }) => ({ ...runEntry(letter, run), mark: frequencySwatch(letter, run, n) })),
        ...(hasTrend(n) ? [{ text: 'lines: mean of neighbouring classes' }] : []),
        ...(hasIntervals(n) ? [{ text: 'bars: 95 % intervals' }] : []),
        ...groups.map((group) => groupEntry(group, '', groupTitle(group))),
      ],
      panels: [this._svg, this._bars].map((chart) => ({ heading: null, chart })),
      columns: 1,
    };
  }

  /** @returns {Table} */
  _table() {
    const rows = (this._byRank ?? []).map((row) => [
      row.rank,
      row.name,
      row.group,
      row.count,
      row.support,
      row.a,
      row.b,
    ]);
    return { columns: ['rank', 'class', 'group', 'training_count', 'support', 'a', 'b'], rows };
  }
}

/** @param {number} n classes */
function captionOf(n) {
  const what = n > MOST_MARKS ? 'Darker: more classes. Lines: mean of neighbouring classes.' : '';
  const few = hasIntervals(n) ? 'Bars at the marks: 95 % intervals.' : 'Lines: mean of neighbouring classes.';
  return `${what || few} Click a mark to open its class; drag to list a range in the table.`;
}

/** @param {FrequencySide[]} sides @param {string} label */
function describe(sides, label) {
  const texts = sides.map(
    ({ letter, points }) => `${letter}: ${plural(points.length, 'class', 'classes')} with a value`,
  );
  return `${label} of each class by frequency rank. ${texts.join('; ')}`;
}
