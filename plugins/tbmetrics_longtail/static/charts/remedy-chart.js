// @ts-check
/** Head against tail recall of each remedy along its τ, from the model as trained. */

import { el, fill, runColor, setSize, sideBadge, svg } from './dom.js';
import { nearest, plot, pointerIn } from './plot.js';
import { number } from '../model/format.js';
import { extent, linePath, markerPath, niceDomain } from '../model/scale.js';

/** @import { Tooltip } from './plot.js' */
/** @import { RemedyAnswer } from '../model/answers.js' */
/** @import { Marker, RunView } from '../model/types.js' */

/** @typedef {{letter: 'A' | 'B', run: RunView, remedies: RemedyAnswer[]}} Drawn */
/** @typedef {{letter: 'A' | 'B', x: number, y: number, answer: RemedyAnswer}} Spot */

/** @type {Readonly<Record<string, string>>} */
export const REMEDY_NAMES = Object.freeze({
  none: 'As trained',
  logit_adjustment: 'Logit adjustment',
  tau_normalization: 'τ-normalisation',
  class_thresholds: 'Thresholds by class',
});

/** @type {Readonly<Record<string, Marker>>} */
const MARKERS = Object.freeze({
  none: 'cross',
  logit_adjustment: 'circle',
  tau_normalization: 'diamond',
  class_thresholds: 'triangle',
});
const REACH = 22;

export class RemedyChart {
  /** @param {Tooltip} tooltip */
  constructor(tooltip) {
    this._tooltip = tooltip;
    this.element = svg('svg', { class: 'plot', role: 'img', onpointerleave: () => tooltip.hide() });
  }

  /** @param {Drawn[]} sides @param {number} width @param {number} height */
  draw(sides, width, height) {
    const spots = sides.flatMap(({ letter, remedies }) =>
      remedies.flatMap((answer) =>
        answer.head_recall === null || answer.tail_recall === null
          ? []
          : [{ letter, x: answer.head_recall, y: answer.tail_recall, answer }],
      ),
    );
    const domain = (/** @type {'x' | 'y'} */ axis) => niceDomain(extent(spots.map((s) => s[axis])), { bounds: [0, 1] });
    const frame = plot({
      width,
      height,
      xDomain: domain('x'),
      yDomain: domain('y'),
      xLabel: 'Recall, head',
      yLabel: 'Recall, tail',
    });
    const { x, y } = frame;
    setSize(this.element, width, height);
    this.element.setAttribute('aria-label', describe(spots));
    fill(
      this.element,
      ...frame.axes,
      ...sides.map((side) =>
        drawn(
          side,
          spots.filter((s) => s.letter === side.letter),
          x,
          y,
        ),
      ),
    );
    this.element.onpointermove = (event) => {
      const spot = nearest(spots, (s) => ({ x: x(s.x), y: y(s.y) }), pointerIn(this.element, event, width), REACH);
      if (spot) this._tell(spot, event);
      else this._tooltip.hide();
    };
  }

  /** @param {Spot} spot @param {PointerEvent} event */
  _tell({ letter, answer }, event) {
    const tau =
      answer.remedy === 'none' || answer.tau === null
        ? ''
        : `, τ = ${number(answer.tau, 2)}${answer.best ? ' (best)' : ''}`;
    const row = (/** @type {string} */ group) =>
      el(
        'tr',
        {},
        el('td', {}, group),
        el('td', { class: 'number' }, number(answer[`${group}_recall`])),
        el(
          'td',
          { class: 'muted' },
          `[${number(answer[`${group}_recall_lower`])}, ${number(answer[`${group}_recall_upper`])}]`,
        ),
      );
    this._tooltip.show(
      event.clientX,
      event.clientY,
      el('p', { class: 'tooltip-title' }, sideBadge(letter), ` ${REMEDY_NAMES[answer.remedy] ?? answer.remedy}${tau}`),
      el('table', {}, row('head'), row('medium'), row('tail'), row('all')),
    );
  }
}

/** @param {Drawn} side @param {Spot[]} spots @param {(v: number) => number} x @param {(v: number) => number} y */
function drawn({ letter, run }, spots, x, y) {
  const base = spots.find((s) => s.answer.remedy === 'none');
  const remedies = [...new Set(spots.map((s) => s.answer.remedy))].filter((remedy) => remedy !== 'none');
  return svg(
    'g',
    { class: 'run compared', 'data-side': letter, ...runColor(run.style) },
    ...remedies.flatMap((remedy) => {
      const alongTau = spots
        .filter((s) => s.answer.remedy === remedy && !s.answer.best)
        .sort((p, q) => Number(p.answer.tau) - Number(q.answer.tau));
      const best = spots.find((s) => s.answer.remedy === remedy && s.answer.best);
      const line = [...(base ? [base] : []), ...alongTau].map((s) => ({
        x: s.x,
        y: s.y,
        lower: null,
        upper: null,
        n: null,
      }));
      const marker = MARKERS[remedy] ?? 'square';
      return [
        svg('path', { class: 'run-line thin', d: linePath(line, x, y), 'stroke-dasharray': run.style.dash || null }),
        svg('path', { class: 'run-marker', d: alongTau.map((s) => markerPath(marker, x(s.x), y(s.y), 3)).join('') }),
        best && svg('path', { class: 'ring', d: markerPath('circle', x(best.x), y(best.y), 8) }),
        best && svg('path', { class: 'run-marker', d: markerPath(marker, x(best.x), y(best.y), 4.4) }),
      ];
    }),
    base && svg('path', { class: 'run-marker', d: markerPath('cross', x(base.x), y(base.y), 5) }),
    base && svg('text', { class: 'end-label', x: x(base.x) - 10, y: y(base.y) + 5, 'text-anchor': 'end' }, letter),
  );
}

/** @param {Spot[]} spots */
function describe(spots) {
  const texts = spots
    .filter((s) => s.answer.best || s.answer.remedy === 'none')
    .map(
      (s) =>
        `${s.letter}, ${REMEDY_NAMES[s.answer.remedy] ?? s.answer.remedy}: head ${number(s.x)}, tail ${number(s.y)}`,
    );
  return `Recall of head against tail under remedies. ${texts.join('; ')}`;
}
