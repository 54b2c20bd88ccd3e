// @ts-check
/** Where the examples of the tail go over training, A above B. */

import { Card } from './card.js';
import { el, fill, nameOf, setSize, sideBadge, svg } from '../charts/dom.js';
import { flowAreas, partName } from '../charts/flow-areas.js';
import { runEntry } from '../charts/picture.js';
import { pointerIn } from '../charts/plot.js';
import { SideAnswers, keyOf, partsOf } from '../host/resources.js';
import { count, percent, plural } from '../model/format.js';
import { isExact } from '../model/grouping.js';
import { PARTS, tailShares } from '../model/tail-flow.js';

/** @import { Page } from './card.js' */
/** @import { FlowPanel } from '../charts/flow-areas.js' */
/** @import { Flows } from '../model/tail-flow.js' */
/** @import { BucketSums } from '../model/answers.js' */
/** @import { Maybe, RunView, Table, View } from '../model/types.js' */

/** @typedef {FlowPanel & {run: RunView}} Side */

const HEIGHT_OF_PANEL = 134;
const AROUND = 42;

export class TailFlowCard {
  /** @param {Page} page */
  constructor(page) {
    this._page = page;
    this._card = this.frame = new Card({
      id: 'tailflow',
      title: 'Where tail examples go over training',
      className: 'tail-flow-card',
      page,
      table: () => this._table(),
      picture: () => this._picture(),
    });
    this.element = this._card.element;
    this._flows = /** @type {SideAnswers<Flows>} */ (new SideAnswers());
    this._hits = /** @type {SideAnswers<BucketSums>} */ (new SideAnswers());
    /** @type {Side[]} */
    this._sides = [];
    this._svg = svg('svg', {
      class: 'plot over-ranks',
      role: 'img',
      onpointermove: (/** @type {PointerEvent} */ event) => this._hover(event),
      onpointerleave: () => page.tooltip.hide(),
      onclick: (/** @type {PointerEvent} */ event) => {
        const step = this._stepUnder(event);
        if (step !== null) page.set({ pick: null, step });
      },
    });
  }

  /** @param {View} view */
  update(view) {
    const { data } = this._page;
    const { attribute } = view;
    const runs = [view.a, view.b].filter((run) => run !== null);
    this.element.hidden = !runs.some((run) => isRecorded(run) && run.step !== null) || view.sizes.get('tail') === 0;
    if (this.element.hidden) return;
    const flows = this._flows.of(view, 'flow', (run) => data.flows(run, attribute));
    const hits = this._hits.of(view, 'flow', (run) => data.bucketSums(run, attribute, 'accuracy'));
    const recorded = [...flows, ...hits].filter(({ run }) => isRecorded(run));
    if (!this._card.ready(partsOf(recorded))) return;
    const exact = flows.every(({ resource }) => !resource.value || isExact(resource.value.buckets, view.grouping));
    this._card.caption(
      `Share of the examples of tail classes, by what they are predicted as.${exact ? '' : ' These thresholds are rounded here.'}`,
    );
    const height = this._card.height(HEIGHT_OF_PANEL * runs.length + AROUND, 30);
    const [width, key] = [Math.max(320, this._card.width), keyOf(recorded)];
    if (!this._card.isNew([attribute, view.grouping?.key, width, height, key].join('\n'))) return;
    this._sides = flows.flatMap(({ letter, run, resource }) => {
      const sums = hits.find((side) => side.letter === letter)?.resource.value;
      const shares = resource.value && sums ? tailShares(resource.value, sums, view.grouping) : [];
      return shares.length ? [{ letter, run, step: run.step, shares }] : [];
    });
    if (this._sides.length) this._draw(width, height);
  }

  /** @param {number} width @param {number} height */
  _draw(width, height) {
    const { x, marks } = flowAreas(this._sides, width, height);
    this._x = x;
    this._width = width;
    fill(this._svg, ...marks);
    setSize(this._svg, width, height);
    this._svg.setAttribute('aria-label', this._sides.map(describe).join(' '));
    const legend = this._sides.map(({ letter, run }) => el('li', {}, sideBadge(letter), nameOf(run.run)));
    fill(this._card.body, this._svg, el('ul', { class: 'legend' }, ...legend));
  }

  /** The step nearest to the pointer. @param {PointerEvent} event @returns {Maybe} */
  _stepUnder(event) {
    const x = this._x;
    const steps = this._sides.flatMap(({ shares }) => shares.map(({ step }) => step));
    if (!x || !steps.length) return null;
    const pointer = pointerIn(this._svg, event, this._width ?? 1);
    return steps.reduce((best, step) => (Math.abs(x(step) - pointer.x) < Math.abs(x(best) - pointer.x) ? step : best));
  }

  /** @param {PointerEvent} event */
  _hover(event) {
    const step = this._stepUnder(event);
    if (step === null) return;
    const known = this._sides.map(({ letter, shares }) => ({ letter, at: shares.find((s) => s.step === step) }));
    this._page.tooltip.show(
      event.clientX,
      event.clientY,
      el('p', { class: 'tooltip-title' }, `Tail · step ${count(step)}`),
      el(
        'table',
        {},
        el('tr', {}, el('td', {}), ...known.map(({ letter }) => el('td', { class: 'number' }, sideBadge(letter)))),
        ...[...PARTS]
          .reverse()
          .map((part) =>
            el(
              'tr',
              {},
              el('td', {}, partName(part)),
              ...known.map(({ at }) => el('td', { class: 'number' }, percent(at?.shares[PARTS.indexOf(part)]))),
            ),
          ),
        el(
          'tr',
          {},
          el('td', { class: 'muted' }, 'examples'),
          ...known.map(({ at }) => el('td', { class: 'number muted' }, count(at?.n))),
        ),
      ),
    );
  }

  _picture() {
    if (!this._sides.length) return null;
    return {
      legend: this._sides.map(({ letter, run }) => runEntry(letter, run)),
      panels: [{ heading: null, chart: this._svg }],
      columns: 1,
    };
  }

  /** @returns {Table} */
  _table() {
    const rows = this._sides.flatMap(({ letter, run, shares }) =>
      shares.map(({ step, n, shares: values }) => [letter, run.run, step, n, ...values]),
    );
    const parts = ['predicted_right', 'other_tail_class', 'medium', 'head', 'unknown_or_none'];
    return { columns: ['side', 'run', 'step', 'examples', ...parts], rows };
  }
}

/** Whether a run says where examples go: of several labels it is not known. @param {RunView} run */
function isRecorded({ info }) {
  return info.decision === 'single_label' && info.kinds.includes('flow') && info.columns.includes('true_positives');
}

/** @param {Side} side */
function describe({ letter, shares }) {
  const last = shares[shares.length - 1];
  const texts = PARTS.map((part, i) => `${percent(last.shares[i])} ${partName(part)}`);
  return `${letter}, ${plural(last.n, 'example')} of the tail at step ${count(last.step)}: ${texts.join(', ')}.`;
}
