// @ts-check
/** Shares over steps as stacked areas, or bars of a single step, one panel a run, each area with its name. */

import { svg } from './dom.js';
import { compact, percent } from '../model/format.js';
import { linear, spread, ticks } from '../model/scale.js';
import { PARTS } from '../model/tail-flow.js';

/** @import { TailShares } from '../model/tail-flow.js' */
/** @import { Maybe } from '../model/types.js' */

/** @typedef {{letter: 'A' | 'B', step: Maybe, shares: TailShares[]}} FlowPanel */

const MARGIN = Object.freeze({ top: 6, right: 150, bottom: 36, left: 62 });
const BETWEEN = 20; // pixels between panels
const LINE = 14;
const BAR = 56; // pixels of a bar, at most
const NAMES = Object.freeze({
  right: 'right',
  tail: 'other tail class',
  medium: 'medium',
  head: 'head',
  unknown: 'none',
});

/** What the parts are called. @param {typeof PARTS[number]} part */
export function partName(part) {
  return NAMES[part];
}

/**
 * The marks of all panels on one scale, and where steps lie.
 * @param {readonly FlowPanel[]} panels @param {number} width @param {number} height
 */
export function flowAreas(panels, width, height) {
  const [left, right] = [MARGIN.left, width - MARGIN.right];
  const steps = panels.flatMap(({ shares }) => shares.map(({ step }) => step));
  const domain = /** @type {[number, number]} */ ([Math.min(...steps), Math.max(...steps)]);
  const x = linear(domain, [left, right]);
  const each = (height - MARGIN.top - MARGIN.bottom - (panels.length - 1) * BETWEEN) / panels.length;
  const marks = panels.flatMap((panel, i) => {
    const top = MARGIN.top + i * (each + BETWEEN);
    return panelMarks(panel, x, linear([0, 1], [top + each, top]), [left, right]);
  });
  const bottom = height - MARGIN.bottom;
  const xTicks = domain[0] === domain[1] ? [domain[0]] : ticks(...domain, Math.max(2, (right - left) / 64), true);
  return {
    x,
    marks: [
      ...marks,
      ...xTicks.map((step) =>
        svg(
          'g',
          { class: 'tick x' },
          svg('text', { x: x(step), y: bottom + 16, 'text-anchor': 'middle' }, compact(step)),
        ),
      ),
      svg('text', { class: 'axis-label', x: (left + right) / 2, y: height - 3, 'text-anchor': 'middle' }, 'Step'),
    ],
  };
}

/**
 * @param {FlowPanel} panel @param {(v: number) => number} x @param {(v: number) => number} y
 * @param {[number, number]} range
 */
function panelMarks({ letter, step, shares }, x, y, [left, right]) {
  const upTo = shares.map((at) => at.shares.reduce((sums, share) => [...sums, sums[sums.length - 1] + share], [0]));
  const isSingle = shares.length === 1;
  const half = Math.min(BAR, right - left) / 2;
  const columns = isSingle
    ? [-half, half].map((by) => ({ x: x(shares[0].step) + by, sums: upTo[0] }))
    : shares.map((at, i) => ({ x: x(at.step), sums: upTo[i] }));
  const present = PARTS.filter((_, part) => shares.some((at) => at.shares[part] > 0));
  const end = columns[columns.length - 1];
  const middles = present.map((part) => {
    const i = PARTS.indexOf(part);
    return y((end.sums[i] + end.sums[i + 1]) / 2) - i / 1000; // of equal places, in the order of the areas
  });
  const places = spread(middles, LINE, [y(1) + 5, y(0) - 5]);
  const last = shares[shares.length - 1];
  return [
    ...[0, 0.5, 1].map((share) =>
      svg(
        'g',
        { class: 'tick' },
        svg('line', { x1: left, x2: right, y1: y(share), y2: y(share) }),
        svg('text', { x: left - 7, y: y(share), dy: '0.32em', 'text-anchor': 'end' }, `${100 * share} %`),
      ),
    ),
    svg('text', { class: 'panel-label', x: 4, y: y(0.5), dy: '0.32em' }, letter),
    ...present.map((part) => {
      const i = PARTS.indexOf(part);
      const there = columns.map((column) => `${column.x.toFixed(1)} ${y(column.sums[i + 1]).toFixed(1)}`);
      const back = columns.map((column) => `${column.x.toFixed(1)} ${y(column.sums[i]).toFixed(1)}`).reverse();
      return svg('path', {
        class: 'flow-area',
        'data-part': part,
        'data-side': letter,
        d: `M${[...there, ...back].join('L')}Z`,
      });
    }),
    !isSingle && step !== null && svg('line', { class: 'flow-step', x1: x(step), x2: x(step), y1: y(1), y2: y(0) }),
    ...present.map((part, i) =>
      svg(
        'text',
        { class: 'flow-label', x: end.x + 8, y: places[i], dy: '0.32em' },
        `${percent(last.shares[PARTS.indexOf(part)])} ${NAMES[part]}`,
      ),
    ),
  ].filter((mark) => mark !== false);
}
