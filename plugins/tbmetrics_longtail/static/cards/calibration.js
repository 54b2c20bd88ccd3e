// @ts-check
/** Reliability diagrams by group: confidence against how often the model is right, for A and B. */

import { Card, NOT_RECORDED, nothing, Width } from './card.js';
import { el, fill, groupBadge, groupTitle, nameOf, runColor, setSize, sideBadge, svg } from '../charts/dom.js';
import { groupEntry, runEntry } from '../charts/picture.js';
import { nearest, plot, pointerIn } from '../charts/plot.js';
import { keyOf, partsOf, SideAnswers } from '../host/resources.js';
import { count, number, plural } from '../model/format.js';
import { isExact } from '../model/grouping.js';
import { reliabilityOf } from '../model/reliability.js';
import { linePath, markerPath } from '../model/scale.js';

/** @import { Page } from './card.js' */
/** @import { SideAnswer } from '../host/resources.js' */
/** @import { Reliability } from '../model/reliability.js' */
/** @import { CalibrationAnswer } from '../model/answers.js' */
/** @import { RunView, Table, View } from '../model/types.js' */

const GROUPS = /** @type {const} */ (['head', 'medium', 'tail']);
const HEIGHT = 230;
const REACH = 26;
const BAR = 26; // height of the fullest bin's bar
const FEW = 100; // examples of a bin, below which its interval is drawn

/** @typedef {SideAnswer<CalibrationAnswer>} Side */
/** @typedef {{letter: 'A' | 'B', run: RunView, reliability: Reliability}} Drawn */

export class CalibrationCard {
  /** @param {Page} page */
  constructor(page) {
    this._page = page;
    this._card = this.frame = new Card({
      id: 'calibration',
      title: 'Calibration by group',
      className: 'calibration-card',
      page,
      table: () => this._table(),
      picture: () => this._picture(),
    });
    this.element = this._card.element;
    this._charts = GROUPS.map((group) => {
      const heading = el('h3', {});
      const chart = svg('svg', { class: 'plot', role: 'img', onpointerleave: () => page.tooltip.hide() });
      const errors = el('div', { class: 'errors' });
      return { group, heading, chart, errors, box: el('figure', { class: 'chart' }, heading, chart, errors) };
    });
    this._chart = new Width(this._charts[0].box, page.redraw);
    this._grid = el('div', { class: 'three-grid' }, ...this._charts.map(({ box }) => box));
    /** @type {SideAnswers<CalibrationAnswer>} */
    this._answers = new SideAnswers();
    /** @type {Side[]} */
    this._sides = [];
  }

  /** @param {View} view */
  update(view) {
    this._view = view;
    this._sides = this._answers.of(view, 'calibration', (run) => this._page.data.calibration(run, view.attribute));
    if (!this._sides.length) {
      this._card.ready([]);
      this._card.put(nothing(`These runs have no calibration by training count: ${NOT_RECORDED}`));
      return;
    }
    if (!this._card.ready(partsOf(this._sides))) return;
    this._card.caption(captionOf(view, this._sides));
    if (this._grid.parentElement !== this._card.body) fill(this._card.body, this._grid);
    this._draw(view);
  }

  /** @param {View} view */
  _draw(view) {
    const width = this._chart.value;
    const height = this._card.height(HEIGHT, 52);
    const key = [view.attribute, view.grouping?.key, width, height].concat(keyOf(this._sides)).join('\n');
    if (!width || !this._card.isNew(key)) return;
    for (const { group, heading, chart, errors } of this._charts) {
      const drawn = this._drawn(view, group);
      fill(heading, groupBadge(group, groupTitle(group)), el('span', { class: 'muted' }, sizeText(drawn, view)));
      this._diagram(chart, drawn, group, width, height);
      fill(
        errors,
        ...drawn.map(({ letter, reliability }) =>
          el(
            'span',
            {},
            sideBadge(letter),
            ' ECE ',
            el('span', { class: 'value', 'data-side': letter }, number(reliability.ece)),
          ),
        ),
      );
    }
  }

  /** @param {SVGSVGElement} chart @param {Drawn[]} drawn @param {string} group @param {number} width @param {number} height */
  _diagram(chart, drawn, group, width, height) {
    const frame = plot({
      width,
      height,
      xDomain: [0, 1],
      yDomain: [0, 1],
      xLabel: 'Confidence',
      yLabel: 'Share right',
    });
    const { x, y, bottom } = frame;
    const spots = drawn.flatMap((d) => d.reliability.n.flatMap((n, bin) => (n ? [{ ...d, bin }] : [])));
    setSize(chart, width, height);
    const errors = drawn.map(({ letter, reliability }) => `${letter}: calibration error ${number(reliability.ece)}`);
    chart.setAttribute('aria-label', `Reliability of ${group} classes. ${errors.join('; ')}`);
    fill(
      chart,
      ...frame.axes,
      svg('line', { class: 'diagonal', x1: x(0), y1: y(0), x2: x(1), y2: y(1) }),
      ...drawn.flatMap((d, i) => bars(d, i, drawn.length, x, bottom)),
      ...drawn.flatMap((d) => errorBars(d, x, y)),
      ...drawn.map(({ run, letter, reliability }) => lineOf(run, letter, reliability, x, y)),
    );
    chart.onpointermove = (event) => {
      const placeOf = (/** @type {typeof spots[number]} */ s) => ({
        x: x(Number(s.reliability.confidence[s.bin])),
        y: y(Number(s.reliability.accuracy[s.bin])),
      });
      const spot = nearest(spots, placeOf, pointerIn(chart, event, width), REACH);
      if (spot) this._tell(spot, event);
      else this._page.tooltip.hide();
    };
  }

  /** @param {Drawn & {bin: number}} spot @param {PointerEvent} event */
  _tell({ letter, run, reliability, bin }, event) {
    this._page.tooltip.show(
      event.clientX,
      event.clientY,
      el('p', { class: 'tooltip-title' }, sideBadge(letter), ' ', nameOf(run.run)),
      el('p', {}, `says ${number(reliability.confidence[bin])}, is right ${number(reliability.accuracy[bin])}`),
      el('p', { class: 'muted' }, `95 %: ${number(reliability.lower[bin])} to ${number(reliability.upper[bin])}`),
      el('p', { class: 'muted' }, `${plural(reliability.n[bin], 'example')} of ${count(reliability.total)}`),
    );
  }

  _picture() {
    const view = this._view;
    if (!view || !this._sides.length) return null;
    return {
      legend: [
        ...this._sides.map(({ letter, run }) => runEntry(letter, run)),
        { text: 'bars: share of the examples in each bin' },
        { text: 'dashed: as sure as right' },
        ...groupedBy(this._sides).map((text) => ({ text })),
      ],
      panels: this._charts.map(({ group, chart }) => {
        const errors = this._drawn(view, group).map(
          ({ letter, reliability }) => `${letter} ECE ${number(reliability.ece)}`,
        );
        return { heading: groupEntry(group, groupTitle(group), errors.join(', ')), chart };
      }),
      columns: this._charts.length,
    };
  }

  /** @param {View} view @param {string} group @returns {Drawn[]} */
  _drawn(view, group) {
    return this._sides.flatMap(({ letter, run, resource }) =>
      resource.value ? [{ letter, run, reliability: reliabilityOf(resource.value, view.grouping, group) }] : [],
    );
  }

  /** @returns {Table} */
  _table() {
    const view = this._view;
    const rows = this._sides.flatMap(({ letter, run, resource }) =>
      [...GROUPS, 'all'].flatMap((group) => {
        if (!resource.value || !view) return [];
        const reliability = reliabilityOf(resource.value, view.grouping, group);
        return reliability.n.map((n, bin) => [
          letter,
          run.run,
          group,
          bin,
          n,
          reliability.confidence[bin],
          reliability.accuracy[bin],
          reliability.lower[bin],
          reliability.upper[bin],
          reliability.ece,
        ]);
      }),
    );
    const shares = ['confidence', 'accuracy', 'accuracy_lower', 'accuracy_upper'];
    return { columns: ['side', 'run', 'group', 'bin', 'n', ...shares, 'group_ece'], rows };
  }
}

/** @param {View} view @param {Side[]} sides */
function captionOf(view, sides) {
  const single = sides[0].run.info.decision === 'single_label';
  const what = single
    ? 'How often predictions are right, by confidence. Below the diagonal: too sure.'
    : 'How often a class is there, by its probability. Below the diagonal: too sure.';
  const by = groupedBy(sides).map((text) => ` Examples ${text}.`);
  const cut = sides.some(({ resource }) => resource.value && !isExact(resource.value.buckets, view.grouping));
  return `${what} Bars: examples.${by.join('')}${cut ? ' Classes of like training count are recorded together, so these thresholds are rounded here.' : ''}`;
}

/** Whose group examples count for, where that is not the class of the decision itself. @param {Side[]} sides */
function groupedBy(sides) {
  const ways = sides.flatMap(({ resource, run }) => {
    if (!resource.value || run.info.decision !== 'single_label') return [];
    return [resource.value.by === 'predicted_class' ? 'by predicted class' : 'by true class (older log)'];
  });
  return [...new Set(ways)];
}

/**
 * Wilson's interval in bins of few examples.
 * @param {Drawn} drawn @param {(v: number) => number} x @param {(v: number) => number} y
 */
function errorBars({ run, letter, reliability }, x, y) {
  return reliability.n.flatMap((n, bin) => {
    if (!n || n >= FEW) return [];
    const at = x(Number(reliability.confidence[bin]));
    const [y1, y2] = [reliability.lower[bin], reliability.upper[bin]].map((end) => y(Number(end)));
    return [svg('line', { class: 'error-bar', 'data-side': letter, x1: at, x2: at, y1, y2, ...runColor(run.style) })];
  });
}

/** @param {Drawn[]} drawn @param {View} view */
function sizeText(drawn, view) {
  const single = (view.a ?? view.b)?.info.decision === 'single_label';
  return drawn.length ? plural(drawn[0].reliability.total, single ? 'example' : 'decision') : '';
}

/** @param {RunView} run @param {string} letter @param {Reliability} reliability @param {(v: number) => number} x @param {(v: number) => number} y */
function lineOf(run, letter, reliability, x, y) {
  const points = reliability.confidence.flatMap((c, bin) =>
    c === null ? [] : [{ x: c, y: reliability.accuracy[bin], lower: null, upper: null, n: null }],
  );
  const marks = points.map((p) => markerPath(run.style.marker, x(p.x), y(Number(p.y)), 3));
  return svg(
    'g',
    { class: 'run compared', ...runColor(run.style), 'data-side': letter },
    svg('path', { class: 'run-line', d: linePath(points, x, y), 'stroke-dasharray': run.style.dash || null }),
    svg('path', { class: 'run-marker', d: marks.join('') }),
  );
}

/**
 * How the examples spread over the bins, along the bottom.
 * @param {Drawn} drawn @param {number} side @param {number} nSides @param {(v: number) => number} x @param {number} bottom
 */
function bars({ run, reliability }, side, nSides, x, bottom) {
  const most = Math.max(1, ...reliability.n);
  const slot = 1 / reliability.n.length;
  const width = ((x(slot) - x(0)) * 0.8) / nSides;
  return reliability.n.map((n, bin) => {
    const height = (n / most) * BAR;
    const left = x((bin + 0.1) * slot) + side * width;
    return n
      ? svg('rect', { class: 'share', x: left, y: bottom - height, width, height, ...runColor(run.style) })
      : svg('g');
  });
}
