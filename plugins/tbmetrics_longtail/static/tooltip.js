// @ts-check
/** One floating box beside the pointer. */

import { el, fill } from './dom.js';

export class Tooltip {
  constructor() {
    this.element = el('div', { class: 'tooltip', role: 'tooltip', hidden: true });
  }

  /** @param {number} clientX @param {number} clientY @param {...(Node | string)} content */
  show(clientX, clientY, ...content) {
    fill(this.element, ...content);
    this.element.hidden = false;
    const { width, height } = this.element.getBoundingClientRect();
    const fits = clientX + 16 + width < document.documentElement.clientWidth;
    const top = Math.min(clientY + 12, document.documentElement.clientHeight - height - 8);
    this.element.style.left = `${fits ? clientX + 16 : Math.max(8, clientX - 16 - width)}px`;
    this.element.style.top = `${Math.max(8, top)}px`;
  }

  hide() {
    this.element.hidden = true;
  }
}
