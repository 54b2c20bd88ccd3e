// @ts-check
/** One class in detail: its curves in A and B over training, and every metric of it at the chosen step. */

import { nothing, skeleton } from './card.js';
import { confusionsOf } from './drawer-confusions.js';
import { diagnosisOf, DrawerGallery } from './drawer-diagnosis.js';
import { DrawerImages } from './drawer-images.js';
import { classLine, isFew } from './pr.js';
import { el, fill, groupBadge, nameOf, sideBadge } from '../charts/dom.js';
import { LineChart } from '../charts/line-chart.js';
import { PrChart } from '../charts/pr-chart.js';
import { count, interval, metricText, number, signed } from '../model/format.js';
import { extent, niceDomain } from '../model/scale.js';
import { pointAt } from '../model/view.js';

/** @import { Page } from './card.js' */
/** @import { Side } from './drawer-images.js' */
/** @import { Resource } from '../host/resources.js' */
/** @import { ClassCurveAnswer, HistoryAnswer } from '../model/answers.js' */
/** @import { Maybe, Point, Row, Series, View } from '../model/types.js' */

const CHART = { width: 396, height: 200 };

export class Drawer {
  /** @param {Page} page */
  constructor(page) {
    const { data, tooltip, set, retry } = page;
    this._page = page;
    this._data = data;
    this._gallery = new DrawerGallery(data);
    this._images = new DrawerImages(page);
    this._tooltip = tooltip;
    this._retry = retry;
    this._name = el('h2', { id: 'drawer-title' });
    this._body = el('div', { class: 'drawer-body' });
    this._close = el(
      'button',
      {
        type: 'button',
        class: 'icon-button',
        'aria-label': 'Close',
        title: 'Close (Esc)',
        onclick: () => set({ open: null }),
      },
      '✕',
    );
    /** @type {Series[]} */
    this._series = [];
    this._chart = new LineChart({
      onHover: (step, event) => this._hover(step, event),
      onPick: (step) => set({ step: step === this._steps.at(-1) ? null : step }),
    });
    this._pr = new PrChart(tooltip);
    /** @type {number[]} */
    this._steps = [];
    this.element = el(
      'div',
      { class: 'drawer', role: 'dialog', 'aria-labelledby': 'drawer-title', hidden: true },
      el('header', {}, this._name, this._close),
      this._body,
    );
  }

  /** Show `row`, or close. @param {View} view @param {Row | undefined} row */
  update(view, row) {
    const opens = this.element.hidden && row !== undefined;
    this.element.hidden = row === undefined;
    if (!row) return;
    this._steps = view.steps;
    fill(this._name, nameOf(row.name));
    const sides = sidesOf(view, row);
    const wanted = view.means.filter((metric) => sides.some(({ run }) => run.info.columns.includes(metric)));
    const histories = new Map(wanted.map((metric) => [metric, sides.map((side) => this._points(view, side, metric))]));
    const faults = [...histories.values()].flat().flatMap(({ fault }) => (fault ? [fault] : []));
    fill(
      this._body,
      this._facts(row),
      el('h3', {}, `${metricText(view.classMetric).label} over training`),
      faults.length ? this._fault(faults[0].error) : this._curves(view, histories.get(view.classMetric) ?? []),
      ...this._prCurve(view, sides, row.name),
      ...confusionsOf(this._page, view, sides, this._images),
      ...this._images.of(view, sides, row.name),
      ...diagnosisOf(this._data, view, sides),
      ...this._gallery.of(view, sides),
      el('h3', {}, `At ${view.step === null ? 'no step' : `step ${count(view.step)}`}`),
      metricTable(histories),
    );
    if (opens) this._close.focus({ preventScroll: true });
    if (!this._body.querySelector('.skeleton')) this._images.reveal();
  }

  /** Open the true class of a confusion at the images of that confusion. @param {{label: string, predicted: string | null}} pair */
  openImages(pair) {
    this._images.choose(pair.label, pair);
    this._page.set({ open: pair.label });
  }

  /** @param {Row} row */
  _facts(row) {
    const facts = [
      ['Group', groupBadge(row.group)],
      ['Training examples', count(row.count)],
      ['Positives in validation', count(row.support)],
    ];
    return el('dl', { class: 'facts' }, ...facts.flatMap(([term, value]) => [el('dt', {}, term), el('dd', {}, value)]));
  }

  /**
   * One metric of the class over steps, with its interval if recorded.
   * @param {View} view @param {Side} side @param {string} metric
   */
  _points(view, side, metric) {
    const columns = [metric, `${metric}_lower`, `${metric}_upper`].filter((column) =>
      side.run.info.columns.includes(column),
    );
    const answers = columns.map((column) => this._data.history(side.run, view.attribute, side.index, column));
    return { side, fault: answers.find(({ fault }) => fault)?.fault ?? null, points: pointsOf(answers) };
  }

  /** @param {View} view @param {ReturnType<Drawer['_points']>[]} histories */
  _curves(view, histories) {
    if (histories.some(({ points }) => points === null)) return skeleton();
    this._series = histories.map(({ side, points }) => ({
      label: side.run.run,
      badge: side.letter,
      style: side.run.style,
      band: true,
      points: points ?? [],
      nRuns: 1,
    }));
    const values = this._series.flatMap(({ points }) => points.flatMap((p) => [p.y, p.lower, p.upper]));
    if (!values.some((value) => value !== null))
      return nothing('Undefined at every step: the class has no positives in the validation set.');
    const content = {
      series: this._series,
      steps: view.steps,
      step: view.step,
      yDomain: niceDomain(extent(values), { bounds: [0, 1] }),
      zeroLine: false,
      label: `${metricText(view.classMetric).label} of this class over training`,
    };
    this._chart.draw(content, CHART.width, CHART.height);
    const banded = this._series.some(({ points }) => points.some((p) => p.lower !== null));
    return el(
      'div',
      {},
      this._chart.element,
      el(
        'p',
        { class: 'caption' },
        banded
          ? 'Bands: 95 % interval from the number of validation examples.'
          : 'No interval is recorded for this metric.',
      ),
    );
  }

  /** @param {View} view @param {Side[]} sides @param {string} name */
  _prCurve(view, sides, name) {
    const known = sides.filter(({ run }) => run.info.kinds.includes('curves') && run.step !== null);
    if (!known.length) return [];
    const answers = known.map((side) => ({
      side,
      answer: this._data.classCurve(side.run, view.attribute, side.index),
    }));
    const heading = el('h3', {}, 'Precision-recall curve');
    if (answers.some(({ answer }) => answer.status === 'loading')) return [heading, skeleton()];
    const lines = answers
      .flatMap(({ side, answer }) => classLine(side.letter, side.run, answer.value, name))
      .map((line) => ({ ...line, dotted: false }));
    if (!lines.length) return [];
    this._pr.draw(lines, CHART.width, 230, 'Precision-recall curve of this class');
    const notes = answers.flatMap(({ side, answer }) => {
      const decision = answer.value?.at;
      if (!decision || decision.best_f1 === null) return [];
      const used =
        decision.threshold === null
          ? 'the most likely class is predicted'
          : `threshold in use ${number(decision.threshold)}`;
      const text = ` best F1 ${number(decision.best_f1)} at threshold ${number(decision.best_threshold)}; ${used}`;
      return [el('li', {}, sideBadge(side.letter), text)];
    });
    return [
      heading,
      el(
        'div',
        {},
        this._pr.element,
        el('p', { class: 'caption' }, curveCaption(answers.map(({ answer }) => answer.value))),
        el('ul', { class: 'notes' }, ...notes),
      ),
    ];
  }

  /** @param {string} error */
  _fault(error) {
    return el(
      'div',
      { class: 'notice', role: 'alert' },
      el('p', {}, error),
      el('button', { type: 'button', class: 'button', onclick: this._retry }, 'Retry'),
    );
  }

  /** @param {Maybe} step @param {PointerEvent | null} event */
  _hover(step, event) {
    this._chart.mark(step);
    if (step === null || !event) {
      this._tooltip.hide();
      return;
    }
    const rows = this._series.map(({ badge, points }) => ({ badge, point: pointAt(points, step) }));
    this._tooltip.show(
      event.clientX,
      event.clientY,
      el('p', { class: 'tooltip-title' }, `step ${count(step)}`),
      el(
        'table',
        {},
        ...rows.map(({ badge, point }) =>
          el(
            'tr',
            {},
            el('td', {}, badge && sideBadge(badge)),
            el('td', { class: 'number' }, number(point?.y)),
            el('td', { class: 'muted' }, interval(point?.lower, point?.upper)),
          ),
        ),
      ),
    );
  }
}

/** @param {(ClassCurveAnswer | undefined)[]} answers */
function curveCaption(answers) {
  const few = answers.find(isFew)?.at.support ?? 0;
  const note =
    few === 1
      ? ' A single positive has a precision where it is found (✚), and no curve; its AP is too high on average.'
      : few
        ? ` ${few} positives are ${few} steps; the AP of so few is too high on average.`
        : '';
  return `● the decision rule in use, ◆ best F1.${note}`;
}

/** The runs that have the class. @param {View} view @param {Row} row @returns {Side[]} */
function sidesOf({ a, b }, row) {
  return [
    ...(a && row.indexA >= 0 ? [{ letter: /** @type {const} */ ('A'), run: a, index: row.indexA }] : []),
    ...(b && row.indexB >= 0 ? [{ letter: /** @type {const} */ ('B'), run: b, index: row.indexB }] : []),
  ];
}

/** Points of a metric, or null until all columns have arrived. @param {Resource<HistoryAnswer>[]} answers @returns {Point[] | null} */
function pointsOf(answers) {
  const [value, lower, upper] = answers.map((answer) => answer.value);
  if (!value || answers.some((answer) => !answer.value)) return null;
  return value.steps.map((x, i) => ({
    x,
    y: value.values[i],
    lower: lower?.values[i] ?? null,
    upper: upper?.values[i] ?? null,
    n: null,
  }));
}

/** @param {Map<string, ReturnType<Drawer['_points']>[]>} histories */
function metricTable(histories) {
  const sides = [...(histories.values().next().value ?? [])].map(({ side }) => side);
  const both = sides.length === 2;
  const rows = [...histories].map(([metric, series]) => {
    const points = series.map(({ side, points: p }) => (p ? pointAt(p, side.run.step) : null));
    const [a, b] = points.map((point) => point?.y ?? null);
    const difference = both && a !== null && b !== null ? b - a : null;
    const cells = points.map((point) =>
      el(
        'td',
        { class: 'number' },
        number(point?.y),
        el('span', { class: 'interval' }, interval(point?.lower, point?.upper)),
      ),
    );
    return el(
      'tr',
      {},
      el('th', { scope: 'row' }, metricText(metric).label),
      ...cells,
      both && el('td', { class: 'number' }, signed(difference)),
    );
  });
  const head = sides.map(({ letter, run }) => el('th', { scope: 'col' }, sideBadge(letter), nameOf(run.run)));
  return el(
    'table',
    { class: 'metric-table' },
    el('thead', {}, el('tr', {}, el('td', {}), ...head, both && el('th', { scope: 'col' }, 'B − A'))),
    el('tbody', {}, ...rows),
  );
}
