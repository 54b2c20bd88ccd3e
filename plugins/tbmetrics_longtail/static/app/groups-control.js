// @ts-check
/** The thresholds of head and tail: a named rule, or two sliders over the training counts. */

import { el, fill, groupBadge, setOptions, setText } from '../charts/dom.js';
import { count, plural, ruleText } from '../model/format.js';
import { RULES } from '../model/grouping.js';
import { GROUPS } from '../model/view.js';

/** @import { How } from '../cards/card.js' */
/** @import { State } from '../model/state.js' */
/** @import { Grouping, Maybe, View } from '../model/types.js' */

/** @typedef {(patch: Partial<State>, how?: How) => void} SetState */

export class GroupsControl {
  /** @param {SetState} set */
  constructor(set) {
    this._set = set;
    /** @type {number[]} */
    this._stops = [];
    /** What the stops are of. @type {readonly Maybe[] | null} */
    this._counts = null;
    /** @type {Grouping | null} */
    this._shown = null;
    this._rule = el('select', { 'aria-label': 'Rule of the groups', onchange: () => this._choose() });
    this._head = this._slider('head', 'Head from');
    this._tail = this._slider('tail', 'Tail up to');
    this._sizes = el('ul', { class: 'sizes', 'aria-label': 'Classes in each group' });
    this._hint = el('p', { class: 'hint' });
    this._sliders = el('div', { class: 'thresholds' }, this._head.element, this._tail.element);
    this.element = el(
      'section',
      { class: 'groups-control' },
      el('h2', {}, 'Groups'),
      this._rule,
      this._sliders,
      this._sizes,
      this._hint,
    );
  }

  /** @param {'head' | 'tail'} which @param {string} label */
  _slider(which, label) {
    const slider = el('input', {
      type: 'range',
      min: 0,
      step: 1,
      'aria-label': `${label}: training examples`,
      oninput: () => this._move(which, this._stops[Number(slider.value)] ?? 0),
    });
    const box = el('input', {
      type: 'number',
      min: 0,
      step: 1,
      'aria-label': `${label}: number of training examples`,
      onchange: () => {
        if (box.value !== '' && Number.isFinite(box.valueAsNumber)) this._move(which, Math.round(box.valueAsNumber));
      },
    });
    const element = el('div', { class: 'threshold' }, el('span', {}, groupBadge(which, label)), box, slider);
    return { slider, box, element };
  }

  _choose() {
    const rule = this._rule.value || null;
    if (rule !== 'custom') this._set({ rule });
    else if (this._shown) this._set({ rule, head: this._shown.headMin, tail: this._shown.tailMax });
  }

  /** @param {'head' | 'tail'} which @param {number} value */
  _move(which, value) {
    if (!this._shown) return;
    let { headMin, tailMax } = this._shown;
    if (which === 'head') [headMin, tailMax] = [Math.max(1, value), Math.min(tailMax, Math.max(1, value) - 1)];
    else [headMin, tailMax] = [Math.max(headMin, value + 1), value];
    this._set({ rule: 'custom', head: headMin, tail: tailMax }, { moving: true });
  }

  /**
   * @param {View} view @param {State} state @param {readonly Maybe[]} counts training counts of run A's classes
   * @param {ReadonlyMap<string, number>} sizes classes by group as shown @param {Grouping | null} recorded its bounds
   */
  update(view, state, counts, sizes, recorded) {
    const info = (view.a ?? view.runs[0]).info;
    if (counts !== this._counts) this._stops = stopsOf(counts);
    this._counts = counts;
    const can = this._stops.length > 0;
    setOptions(
      this._rule,
      [
        { value: '', label: `As recorded: ${ruleText(info.rule)}` },
        ...Object.entries(RULES).map(([value, { label }]) => ({ value, label })),
        { value: 'terciles', label: 'Thirds of the classes' },
        { value: 'custom', label: 'Own thresholds' },
      ],
      view.grouping ? (state.rule ?? '') : '',
    );
    this._rule.disabled = !can;
    this._sliders.hidden = !can;
    this._hint.textContent = can ? '' : 'The training counts are not known: the groups are as recorded.';
    this._shown = view.grouping ?? recorded;
    if (this._shown) {
      this._place(this._head, this._shown.headMin);
      this._place(this._tail, this._shown.tailMax);
    }
    const listed = GROUPS.filter((group) => group !== 'unknown' || sizes.get(group));
    const all = [...sizes.values()].reduce((sum, n) => sum + n, 0);
    const key = JSON.stringify([listed, all]);
    if (this._sizes.dataset.key !== key) {
      this._sizes.dataset.key = key;
      this._sizes.title = plural(all, 'class', 'classes');
      fill(this._sizes, ...listed.map((group) => el('li', {}, groupBadge(group), el('span', { 'data-size': group }))));
    }
    for (const size of this._sizes.querySelectorAll('span[data-size]'))
      setText(size, count(sizes.get(size.getAttribute('data-size') ?? '') ?? 0));
  }

  /** @param {{slider: HTMLInputElement, box: HTMLInputElement}} control @param {number} value */
  _place({ slider, box }, value) {
    slider.max = String(this._stops.length - 1);
    let index = this._stops.findIndex((stop) => stop >= value);
    if (index < 0) index = this._stops.length - 1;
    slider.value = String(index);
    slider.setAttribute('aria-valuetext', `${count(value)} training examples`);
    if (document.activeElement !== box) box.value = String(value);
  }
}

/**
 * Positions of a slider: every count below 20, then at most about 200 of the counts of the classes.
 * @param {readonly Maybe[]} counts
 */
export function stopsOf(counts) {
  const known = [...new Set(counts.filter((n) => n !== null && n >= 0))].map(Number).sort((p, q) => p - q);
  if (!known.length) return [];
  const largest = known[known.length - 1];
  const small = Array.from({ length: Math.min(20, largest) + 1 }, (_, i) => i);
  const large = known.filter((n) => n > 20);
  const every = Math.max(1, large.length / 180);
  const some = Array.from({ length: Math.ceil(large.length / every) }, (_, i) => large[Math.floor(i * every)]);
  return [...new Set([...small, ...some, largest, largest + 1])].sort((p, q) => p - q);
}
