// @ts-check
/** Thousands of marks on a canvas: A filled, B hollow, so that colour is not all that tells them apart. */

import { el, HOST_COLORS } from './dom.js';

/** @import { RunView } from './types.js' */

const MOST_LARGE = 600; // beyond it marks get smaller

export class Scatter {
  constructor() {
    this.element = el('canvas', { class: 'scatter', 'aria-hidden': 'true' });
  }

  /**
   * @param {readonly {letter: 'A' | 'B', run: RunView, points: {x: number, y: number}[]}[]} sides
   * @param {{x: (v: number) => number, y: (v: number) => number}} scales @param {number} width @param {number} height
   */
  draw(sides, { x, y }, width, height) {
    const ratio = window.devicePixelRatio || 1;
    this.element.width = Math.round(width * ratio);
    this.element.height = Math.round(height * ratio);
    this.element.style.width = `${width}px`;
    this.element.style.height = `${height}px`;
    const canvas = this.element.getContext('2d');
    if (!canvas) return;
    canvas.setTransform(ratio, 0, 0, ratio, 0, 0);
    canvas.clearRect(0, 0, width, height);
    const styles = window.getComputedStyle(document.documentElement);
    for (const { letter, run, points } of sides) {
      const size = points.length > MOST_LARGE ? 1.3 : points.length > 150 ? 2.2 : 3;
      const color = styles.getPropertyValue(`--run-${run.style.index % HOST_COLORS}`).trim();
      canvas.fillStyle = color;
      canvas.strokeStyle = color;
      canvas.lineWidth = points.length > MOST_LARGE ? 0.8 : 1.2;
      canvas.globalAlpha = points.length > MOST_LARGE ? 0.5 : 0.75;
      for (const point of points) {
        const [left, top] = [x(point.x) - size, y(point.y) - size];
        if (letter === 'A') canvas.fillRect(left, top, 2 * size, 2 * size);
        else canvas.strokeRect(left, top, 2 * size, 2 * size);
      }
    }
    canvas.globalAlpha = 1;
  }
}
