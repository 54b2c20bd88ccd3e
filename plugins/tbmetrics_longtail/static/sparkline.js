// @ts-check
/** A line small enough for a cell of a table. */

import { runColor, svg } from './dom.js';
import { extent, linear, linePath } from './scale.js';

/** @import { Maybe, RunStyle } from './types.js' */

const WIDTH = 92;
const HEIGHT = 24;

/**
 * One line a run over the steps, on one scale of their own.
 * @param {readonly ({x: number, y: Maybe}[] | null)[]} lines @param {readonly RunStyle[]} styles
 */
export function sparkline(lines, styles) {
  const known = lines.flatMap((line) => line ?? []);
  const steps = extent(known.map((p) => p.x)) ?? [0, 1];
  const values = extent(known.map((p) => p.y)) ?? [0, 1];
  const x = linear(steps, [2, WIDTH - 2]);
  const y = linear(values, [HEIGHT - 3, 3]);
  return svg(
    'svg',
    { class: 'sparkline', width: WIDTH, height: HEIGHT, viewBox: `0 0 ${WIDTH} ${HEIGHT}`, 'aria-hidden': 'true' },
    ...lines.flatMap((line, i) =>
      line && styles[i]
        ? [
            svg('path', {
              class: 'run-line',
              d: linePath(
                line.map((p) => ({ ...p, lower: null, upper: null, n: null })),
                x,
                y,
              ),
              'stroke-dasharray': styles[i].dash || null,
              ...runColor(styles[i]),
            }),
          ]
        : [],
    ),
  );
}
