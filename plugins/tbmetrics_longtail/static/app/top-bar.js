// @ts-check
/** The line above the cards: what is shown, how fresh it is, what could not be read, and the list of keys. */

import { problemList } from './empty.js';
import { el, fill, nameOf, setText } from '../charts/dom.js';
import { clock, plural, ruleText } from '../model/format.js';
import { problemsOf } from '../model/view.js';

/** @import { Resource } from '../host/resources.js' */
/** @import { RunsAnswer } from '../model/answers.js' */
/** @import { View } from '../model/types.js' */

export class TopBar {
  /** @param {{onHelp: () => void, onReload: () => void}} actions */
  constructor({ onHelp, onReload }) {
    this._heading = el('h1', {});
    this._caption = el('p', { class: 'caption' });
    this._status = el('span', { role: 'status' });
    this.element = el(
      'header',
      { class: 'bar' },
      el('div', {}, this._heading, this._caption),
      el(
        'div',
        { class: 'tools' },
        this._status,
        el('button', { type: 'button', class: 'button', onclick: onHelp }, 'Keys'),
        el('button', { type: 'button', class: 'button live-only', onclick: onReload }, 'Reload'),
      ),
    );
    this.problems = el('div', {});
    this._key = '';
  }

  /** @param {View} view @param {Resource<RunsAnswer>} runs @param {number} loadedAt */
  update(view, runs, loadedAt) {
    const { info } = view.a ?? view.runs[0];
    const kinds = { single_label: ', one label per example', multi_label: ', several labels per example' };
    const decision = kinds[/** @type {keyof typeof kinds} */ (info.decision)] ?? ''; // none: metrics computed elsewhere
    const status = runs.fault
      ? `Reloading failed: ${runs.fault.error}. Shown is the state of ${clock(new Date(loadedAt))}.`
      : `Updated ${clock(new Date(loadedAt))}`;
    const { grouping } = view;
    const rule = grouping
      ? `head from ${grouping.headMin}, tail up to ${grouping.tailMax} training examples (recorded: “${info.rule}”)`
      : ruleText(info.rule);
    setText(this._caption, `${plural(info.n_classes, 'class', 'classes')}${decision}. Groups: ${rule}.`);
    setText(this._status, status);
    const key = JSON.stringify([view.attribute, runs.fault !== null, problemsOf(runs.value?.runs ?? [])]);
    if (key === this._key) return;
    this._key = key;
    fill(this._heading, nameOf(view.attribute));
    this._status.className = `live-only ${runs.fault ? 'error' : 'muted'}`;
    const problems = (runs.value?.runs ?? []).filter((run) => run.problem);
    fill(this.problems, problems.length > 0 && problemList(problems));
  }
}

const KEYS = Object.freeze([
  ['/', 'search classes'],
  ['← →', 'step before, step after'],
  ['a, b', 'choose run A, run B'],
  ['↑ ↓', 'in the table: from class to class; Enter opens'],
  ['Esc', 'close what is open'],
  ['?', 'this list'],
]);

/** The keys, in a dialog. */
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
