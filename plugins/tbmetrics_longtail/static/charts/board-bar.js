// @ts-check
/** The small bars of the leaderboard: a mean with its interval, groups on one scale, the gap on its own. */

import { svg } from './dom.js';
import { spreadText } from '../model/board.js';
import { extent, linear, niceDomain } from '../model/scale.js';

/** @import { BoardCell, TableAnswer } from '../model/board.js' */
/** @import { Interval } from '../model/types.js' */

const [WIDTH, HEIGHT] = [84, 10];

/**
 * The domain of a column: all groups share one; that of the gap contains zero.
 * @param {TableAnswer} answer @param {number} index @param {string} column @returns {Interval}
 */
export function boardScale({ columns, rows, by_frequency: byFrequency }, index, column) {
  const isGap = byFrequency && column === 'gap';
  const shown = isGap ? [index] : columns.map((_, i) => i).filter((i) => !byFrequency || columns[i] !== 'gap');
  const values = rows.flatMap(({ cells }) => shown.flatMap((i) => [cells[i].mean, cells[i].lower, cells[i].upper]));
  const bounds = /** @type {Interval} */ (isGap ? [-1, 1] : [0, 1]);
  return niceDomain(extent(values), { bounds, zero: isGap });
}

/** @param {BoardCell} cell @param {string} column @param {Interval} domain @param {boolean} byFrequency */
export function barOf(cell, column, domain, byFrequency) {
  const x = linear(domain, [3, WIDTH - 3]);
  const { mean, lower, upper } = cell;
  const middle = HEIGHT / 2;
  const line = (/** @type {string} */ name, /** @type {number} */ x1, /** @type {number} */ x2) =>
    svg('line', { class: name, x1, x2, y1: middle, y2: middle });
  return svg(
    'svg',
    {
      class: 'board-bar',
      width: WIDTH,
      height: HEIGHT,
      viewBox: `0 0 ${WIDTH} ${HEIGHT}`,
      role: 'img',
      'aria-label': spreadText(cell) || 'no interval',
      'data-group': byFrequency ? column : null,
    },
    svg('title', {}, spreadText(cell)),
    line('board-track', 0, WIDTH),
    domain[0] < 0 && svg('line', { class: 'board-zero', x1: x(0), x2: x(0), y1: 1, y2: HEIGHT - 1 }),
    lower !== null && upper !== null && line('board-interval', x(lower), x(upper)),
    mean !== null && svg('circle', { class: 'board-mean', cx: x(mean), cy: middle, r: 3 }),
  );
}
