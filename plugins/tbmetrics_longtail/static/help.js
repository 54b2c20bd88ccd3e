// @ts-check
/** The keys, in a dialog. */

import { el } from './dom.js';

const KEYS = Object.freeze([
  ['/', 'search classes'],
  ['← →', 'step before, step after'],
  ['a, b', 'choose run A, run B'],
  ['↑ ↓', 'in the table: from class to class; Enter opens'],
  ['Esc', 'close what is open'],
  ['?', 'this list'],
]);

export class Help {
  constructor() {
    const rows = KEYS.map(([key, what]) =>
      el('tr', {}, el('th', { scope: 'row' }, el('kbd', {}, key)), el('td', {}, what)),
    );
    this.element = el(
      'dialog',
      { class: 'help', 'aria-labelledby': 'help-title' },
      el('h2', { id: 'help-title' }, 'Keys'),
      el('table', {}, el('tbody', {}, ...rows)),
      el('button', { type: 'button', class: 'button', onclick: () => this.element.close() }, 'Close'),
    );
  }

  open() {
    this.element.showModal();
  }
}
