// @ts-check
/** Precision-recall curves: the mean of each group in A and B, and any class over them. */

import { Card, NOT_RECORDED, nothing, Width } from './card.js';
import { el, fill, groupBadge, groupTitle, nameOf, sideBadge } from '../charts/dom.js';
import { groupEntry, runEntry } from '../charts/picture.js';
import { PrChart } from '../charts/pr-chart.js';
import { keyOf, partsOf, SideAnswers } from '../host/resources.js';
import { count, coverage, FEW_POSITIVES, number, plural, shorten } from '../model/format.js';

/** @import { Page } from './card.js' */
/** @import { PrLine } from '../charts/pr-chart.js' */
/** @import { ClassRows } from '../host/class-rows.js' */
/** @import { Resource } from '../host/resources.js' */
/** @import { State } from '../model/state.js' */
/** @import { ClassCurveAnswer, CurvesAnswer } from '../model/answers.js' */
/** @import { RunView, Table, View } from '../model/types.js' */

const GROUPS = /** @type {const} */ (['head', 'medium', 'tail']);
const HEIGHT = 250;
/** Nothing is asked of the server while a threshold moves. @type {Resource<CurvesAnswer>} */
const WAITING = Object.freeze({ status: 'loading', value: undefined, stale: true, fault: null });

/** @typedef {{letter: 'A' | 'B', run: RunView, resource: Resource<CurvesAnswer>, classCurve: Resource<ClassCurveAnswer> | null}} Side */

export class PrCard {
  /** @param {Page} page @param {ClassRows} rows */
  constructor(page, rows) {
    this._page = page;
    this._rows = rows;
    this._card = this.frame = new Card({
      id: 'pr',
      title: 'Precision-recall curves',
      className: 'pr-card',
      page,
      table: () => this._table(),
      picture: () => this._picture(),
    });
    this.element = this._card.element;
    this._charts = GROUPS.map((group) => {
      const chart = new PrChart(page.tooltip);
      const heading = el('h3', {});
      return { group, chart, heading, box: el('figure', { class: 'chart' }, heading, chart.element) };
    });
    this._chart = new Width(this._charts[0].box, page.redraw);
    this._grid = el('div', { class: 'three-grid' }, ...this._charts.map(({ box }) => box));
    /** @type {SideAnswers<CurvesAnswer>} */
    this._answers = new SideAnswers();
    /** @type {Side[]} */
    this._sides = [];
  }

  /** @param {View} view @param {State} state */
  update(view, state) {
    const open = this._rows.find(state.open);
    const ask = (/** @type {RunView} */ run) =>
      view.moving ? WAITING : this._page.data.curves(run, view.attribute, view.grouping);
    this._sides = this._answers.of(view, 'curves', ask).map((side) => {
      const index = open ? (side.letter === 'A' ? open.indexA : open.indexB) : -1;
      const classCurve = index >= 0 ? this._page.data.classCurve(side.run, view.attribute, index) : null;
      return { ...side, classCurve };
    });
    const curves = this._sides.flatMap(({ resource }) => Object.values(resource.value?.groups ?? {}));
    const hasFew = curves.some(({ n_few_positives: n }) => n > 0);
    this._card.caption(captionOf(open?.name ?? null, hasFew));
    if (!this._sides.length) {
      this._card.ready([]);
      this._card.put(nothing(`These runs have no curves of single classes: ${NOT_RECORDED}`));
      return;
    }
    if (!this._card.ready(partsOf(this._sides))) return;
    if (this._grid.parentElement !== this._card.body) fill(this._card.body, this._grid);
    this._draw(view, open?.group ?? null, open?.name ?? null);
  }

  /** @param {View} view @param {string | null} groupOfOpen @param {string | null} open */
  _draw(view, groupOfOpen, open) {
    this._view = view;
    const width = this._chart.value;
    const key = [view.attribute, view.grouping?.key, width, this._card.height(HEIGHT, 26), open]
      .concat(keyOf(this._sides), ...this._sides.map(({ classCurve }) => String(classCurve?.status)))
      .join('\n');
    if (!width || !this._card.isNew(key)) return;
    for (const { group, chart, heading } of this._charts) {
      const lines = this._sides.flatMap(({ letter, run, resource, classCurve }) => [
        ...groupLine(letter, run, resource.value, group),
        ...(open && group === groupOfOpen ? classLine(letter, run, classCurve?.value, open) : []),
      ]);
      fill(heading, groupBadge(group, groupTitle(group)), el('span', { class: 'muted' }, this._sizeText(group, view)));
      chart.draw(lines, width, this._card.height(HEIGHT, 26), `Precision-recall curve, ${groupTitle(group)}`);
    }
  }

  _picture() {
    const view = this._view;
    if (!this._sides.length || !view) return null;
    const open = this._sides.map(({ classCurve }) => classCurve?.value?.class).find(Boolean);
    const notes = [
      'area = mean AP',
      '● means of the decision rule',
      ...(open ? [`dotted: ${shorten(open)}, ◆ its best F1`] : []),
    ];
    return {
      legend: [...this._sides.map(({ letter, run }) => runEntry(letter, run)), ...notes.map((text) => ({ text }))],
      panels: this._charts.map(({ group, chart }) => ({
        heading: groupEntry(group, groupTitle(group), this._sizeText(group, view)),
        chart: chart.element,
      })),
      columns: this._charts.length,
    };
  }

  /** How many classes each curve is the mean of, and how many of them have few positives. @param {typeof GROUPS[number]} group @param {View} view */
  _sizeText(group, view) {
    const texts = this._sides.flatMap(({ letter, resource }) => {
      const curve = resource.value?.groups[group];
      if (!curve) return [];
      const few = curve.n_few_positives ? ` (${count(curve.n_few_positives)} few)` : '';
      return [{ letter, text: coverage(curve.n_classes, view.sizes.get(group)) + few }];
    });
    if (new Set(texts.map(({ text }) => text)).size === 1) return texts[0].text;
    return `classes: ${texts.map(({ letter, text }) => `${letter} ${text.replace(/ class(es)?/u, '')}`).join(', ')}`;
  }

  /** @returns {Table} */
  _table() {
    const rows = this._sides.flatMap(({ letter, run, resource, classCurve }) => [
      ...GROUPS.flatMap((group) =>
        (resource.value?.groups[group].precision ?? []).map((precision, i) => [
          letter,
          run.run,
          group,
          resource.value?.recall[i] ?? null,
          precision,
          resource.value?.groups[group].n_classes ?? null,
          resource.value?.groups[group].n_few_positives ?? null,
        ]),
      ),
      ...(classCurve?.value?.precision ?? []).map((precision, i) => [
        letter,
        run.run,
        `class: ${classCurve?.value?.class}`,
        classCurve?.value?.recall[i] ?? null,
        precision,
        1,
        Number(isFew(classCurve?.value)),
      ]),
    ]);
    const columns = ['side', 'run', 'of', 'recall', 'precision', 'n_classes', 'n_few_positives'];
    return { columns, rows };
  }
}

/** @param {string | null} open @param {boolean} hasFew whether classes have few positives */
function captionOf(open, hasFew) {
  const few = `, too high on average for classes with few positives (under ${FEW_POSITIVES})`;
  const area = `the area is their mean AP${hasFew ? few : ''}`;
  const what = `Mean precision of the group’s classes at each recall; ${area}. ● the decision rule in use.`;
  return open ? el('span', {}, `${what} Dotted: `, nameOf(open), ', ◆ where its F1 is best.') : what;
}

/** @param {'A' | 'B'} letter @param {RunView} run @param {CurvesAnswer | undefined} answer @param {string} group @returns {PrLine[]} */
function groupLine(letter, run, answer, group) {
  const curve = answer?.groups[group];
  if (!answer || !curve?.n_classes) return [];
  return [
    {
      letter,
      style: run.style,
      dotted: false,
      steps: false,
      isPoint: curve.is_point,
      words: curve.is_point ? 'one positive a class: no curve' : coverage(curve.n_classes, null),
      recall: answer.recall,
      precision: curve.precision,
      decision: { ...curve.at, nClasses: [curve.at.precision_n_classes, curve.at.recall_n_classes] },
      best: null,
      title: el('span', {}, sideBadge(letter), ' ', nameOf(run.run)),
    },
  ];
}

/**
 * @param {'A' | 'B'} letter @param {RunView} run @param {ClassCurveAnswer | undefined} answer @param {string} name
 * @returns {PrLine[]}
 */
export function classLine(letter, run, answer, name) {
  if (!answer || answer.class !== name || answer.precision.every((p) => p === null)) return [];
  return [
    {
      letter,
      style: run.style,
      dotted: true,
      steps: true,
      isPoint: answer.at.support === 1,
      words: isFew(answer) ? plural(Number(answer.at.support), 'positive') : '',
      recall: answer.recall,
      precision: answer.precision,
      decision: answer.at,
      best: answer.at.support === 1 ? null : bestPoint(answer),
      title: el('span', {}, sideBadge(letter), ' ', nameOf(name)),
    },
  ];
}

/** Whether a class has so few positives that its curve has but a few steps. @param {ClassCurveAnswer | undefined} answer */
export function isFew(answer) {
  const support = answer?.at.support ?? 0;
  return support > 0 && support < FEW_POSITIVES;
}

/**
 * Where on the curve F1 is largest.
 * @param {ClassCurveAnswer} answer @returns {{recall: number, precision: number, words: string} | null}
 */
export function bestPoint({ recall, precision, at: decision }) {
  const f1 = recall.map((r, i) => {
    const p = precision[i];
    return p === null || p + r === 0 ? -1 : (2 * p * r) / (p + r);
  });
  const best = f1.indexOf(Math.max(...f1));
  const value = precision[best];
  if (best < 0 || value === null) return null;
  const threshold = decision.best_threshold === null ? '' : ` at threshold ${number(decision.best_threshold)}`;
  return { recall: recall[best], precision: value, words: `best F1 ${number(decision.best_f1)}${threshold}` };
}
