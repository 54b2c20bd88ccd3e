// @ts-check
/** The left side: which attribute, metric and step, which two runs are compared, which runs are drawn. */

import { GroupsControl } from './groups-control.js';
import { el, fill, nameOf, runSwatch, setOptions, sideBadge } from '../charts/dom.js';
import { count, metricText, plural, shorten } from '../model/format.js';
import { badgeOf, experimentsInNames, movedStep, USUAL_PATTERN } from '../model/view.js';

/** @import { SetState } from './groups-control.js' */
/** @import { State } from '../model/state.js' */
/** @import { Grouping, Maybe, RunView, View } from '../model/types.js' */

const PICKS = Object.freeze([
  { value: '', label: 'Last that A and B have' },
  { value: 'last', label: 'Last of each run' },
  { value: 'best', label: 'Best of each run' },
]);
const SETTLE_MS = 80; // a slider on the move asks for nothing until it rests this long

export class Sidebar {
  /** @param {SetState} set */
  constructor(set) {
    this._set = set;
    /** @type {View | null} */
    this._view = null;
    /** @type {number | undefined} */
    this._sliding = undefined;
    this._groups = new GroupsControl(set);
    this._attribute = picker((value) => set({ attribute: value, step: null, open: null, brush: null }));
    this._metric = picker((value) => set({ metric: value }));
    this._a = picker((value) => set({ a: value }));
    this._b = picker((value) => set({ b: value }));
    this._meaning = el('p', { class: 'hint' });
    this._pick = picker((value) => set({ pick: value === 'last' || value === 'best' ? value : null, step: null }));
    this._pick.setAttribute('aria-label', 'Which step');
    this._slider = el('input', { type: 'range', id: 'step', min: 0, step: 1, oninput: () => this._slide() });
    this._stepText = el('output', { for: 'step', class: 'step-text' });
    this._stepsAB = el('p', { class: 'hint' });
    this._filter = el('input', {
      type: 'search',
      id: 'run-filter',
      placeholder: 'Filter runs (regex)',
      'aria-label': 'Filter runs by regular expression',
      autocomplete: 'off',
      spellcheck: 'false',
      oninput: () => set({ filter: this._filter.value }, { replace: true }),
    });
    this._seeds = el('input', {
      type: 'search',
      id: 'seeds',
      placeholder: 'off',
      autocomplete: 'off',
      spellcheck: 'false',
      'aria-describedby': 'seeds-hint',
      oninput: () => set({ seeds: this._seeds.value }, { replace: true }),
    });
    this._seedsHint = el('p', { class: 'hint', id: 'seeds-hint', role: 'status' });
    this._usual = el(
      'button',
      { type: 'button', class: 'button small', onclick: () => set({ seeds: this._seeds.value ? '' : USUAL_PATTERN }) },
      'Use “seed1”, “s2”, …',
    );
    this._filterError = el('p', { class: 'hint error', role: 'status' });
    this._all = el('input', {
      type: 'checkbox',
      'aria-label': 'Draw all listed runs',
      onchange: () => this._tickAll(this._all.checked),
    });
    this._runCount = el('span', { class: 'count' });
    this._runs = el('ul', { class: 'runs' });
    this.element = el('aside', { class: 'sidebar', 'aria-label': 'Settings' }, ...this._sections());
  }

  _sections() {
    return [
      el('section', {}, field('Attribute', this._attribute), field('Metric', this._metric), this._meaning),
      el(
        'section',
        {},
        el('div', { class: 'row' }, el('label', { for: 'step' }, 'Step'), this._stepText),
        this._pick,
        this._slider,
        this._stepsAB,
      ),
      el('section', {}, el('h2', {}, 'Compare'), side('A', this._a), side('B', this._b)),
      this._groups.element,
      el(
        'section',
        { class: 'run-section' },
        el('div', { class: 'row' }, el('h2', {}, 'Runs'), this._runCount),
        el('div', { class: 'filter' }, this._all, this._filter),
        this._filterError,
        this._runs,
        el(
          'div',
          { class: 'field' },
          el('label', { for: 'seeds' }, 'Seeds: what differs in names (regex)'),
          this._seeds,
        ),
        el('div', { class: 'row' }, this._usual),
        this._seedsHint,
      ),
    ];
  }

  /** Focus the choice of a run. @param {'a' | 'b'} letter */
  focusRun(letter) {
    (letter === 'a' ? this._a : this._b).focus();
  }

  /** @param {View} view @param {State} state @param {readonly Maybe[]} counts @param {Grouping | null} recorded */
  update(view, state, counts, recorded) {
    this._view = view;
    this._groups.update(view, state, counts, view.sizes, recorded);
    if (view.moving) return; // nothing else here depends on a threshold
    this._updateSeeds(view, state);
    setOptions(
      this._attribute,
      view.attributes.map((a) => ({ value: a, label: shorten(a), title: a })),
      view.attribute,
    );
    setOptions(
      this._metric,
      view.metrics.map((m) => ({
        value: m,
        label: metricText(m).label,
        ...(metricText(m).isSecondary ? { heading: 'More' } : {}),
      })),
      view.metric,
    );
    this._meaning.textContent = metricText(view.metric).meaning;
    const runs = view.runs.map((r) => ({ value: r.run, label: shorten(r.run), title: r.run }));
    setOptions(this._a, runs, view.a?.run ?? '');
    setOptions(this._b, [{ value: '', label: 'none' }, ...runs], view.b?.run ?? '');
    this._updateStep(view, state);
    this._updateRuns(view, state);
  }

  /** @param {View} view @param {State} state */
  _updateSeeds(view, state) {
    if (this._seeds.value !== state.seeds) this._seeds.value = state.seeds;
    this._seeds.setAttribute('aria-invalid', String(view.seedsError !== null));
    this._seedsHint.classList.toggle('error', view.seedsError !== null);
    const inNames = experimentsInNames(view.runs.map(({ run }) => run));
    this._usual.textContent = state.seeds ? 'Each run for itself' : 'Use “seed1”, “s2”, …';
    this._usual.hidden = !state.seeds && inNames === null;
    const many = view.experiments?.filter((e) => e.runs.length > 1).length ?? 0;
    this._seedsHint.textContent =
      view.seedsError ??
      (view.experiments
        ? `${plural(view.experiments.length, 'experiment')}, ${count(many)} with several seeds.`
        : inNames === null
          ? ''
          : `${plural(view.runs.length, 'run')} look like the seeds of ${plural(inNames, 'experiment')}.`);
  }

  /** @param {View} view @param {State} state */
  _updateStep(view, state) {
    if (this._sliding !== undefined) return;
    const isChosen = state.step !== null;
    setOptions(
      this._pick,
      [...PICKS, ...(isChosen ? [{ value: 'chosen', label: 'As chosen' }] : [])],
      isChosen ? 'chosen' : (state.pick ?? ''),
    );
    const index = view.step === null ? 0 : view.steps.indexOf(view.step);
    this._slider.max = String(Math.max(0, view.steps.length - 1));
    this._slider.value = String(index);
    this._slider.disabled = view.steps.length < 2;
    this._stepText.textContent = stepText(view, index);
    this._slider.setAttribute('aria-valuetext', stepText(view, index));
    this._stepsAB.textContent = differingSteps(view);
  }

  _slide() {
    const view = this._view;
    if (!view) return;
    const index = Number(this._slider.value);
    this._stepText.textContent = stepText(view, index);
    window.clearTimeout(this._sliding);
    this._sliding = window.setTimeout(() => {
      this._sliding = undefined;
      this._set({ pick: null, step: movedStep(view, index - view.steps.indexOf(view.step ?? NaN)) });
    }, SETTLE_MS);
  }

  /** @param {View} view @param {State} state */
  _updateRuns(view, state) {
    if (this._filter.value !== state.filter) this._filter.value = state.filter;
    this._filter.setAttribute('aria-invalid', String(view.filterError !== null));
    this._filterError.textContent = view.filterError ?? '';
    const listed = view.runs.filter((run) => run.matches);
    const ticked = listed.filter((run) => run.ticked).length;
    this._all.checked = ticked > 0 && ticked === listed.length;
    this._all.indeterminate = ticked > 0 && ticked < listed.length;
    this._runCount.textContent = `${count(ticked)} of ${count(view.runs.length)} drawn`;
    const key = JSON.stringify(listed.map((r) => [r.run, r.ticked, r.style.index, badgeOf(view, r.run)]));
    if (this._runs.dataset.key === key) return;
    this._runs.dataset.key = key;
    const focused = /** @type {HTMLInputElement | null} */ (this._runs.querySelector('input:focus'))?.value;
    fill(this._runs, ...listed.map((run) => this._run(view, run)));
    if (!listed.length) fill(this._runs, el('li', { class: 'hint' }, 'No run matches the filter.'));
    if (focused !== undefined)
      [...this._runs.querySelectorAll('input')].find((input) => input.value === focused)?.focus();
  }

  /** @param {View} view @param {RunView} run */
  _run(view, run) {
    const badge = badgeOf(view, run.run);
    const tick = el('input', {
      type: 'checkbox',
      'aria-label': run.run,
      value: run.run,
      checked: run.ticked,
      onchange: () => this._tick(run.run, tick.checked),
    });
    return el('li', {}, el('label', {}, tick, runSwatch(run.style), nameOf(run.run), badge && sideBadge(badge)));
  }

  /** @param {string} run @param {boolean} ticked */
  _tick(run, ticked) {
    const shown = this._shown().filter((other) => other !== run);
    this._set({ shown: ticked ? [...shown, run] : shown });
  }

  /** @param {boolean} ticked */
  _tickAll(ticked) {
    const listed = (this._view?.runs ?? []).filter((run) => run.matches).map((run) => run.run);
    const others = this._shown().filter((run) => !listed.includes(run));
    this._set({ shown: ticked ? [...others, ...listed] : others });
  }

  _shown() {
    return (this._view?.runs ?? []).filter((run) => run.ticked).map((run) => run.run);
  }
}

/** @param {(value: string) => void} onPick */
function picker(onPick) {
  const select = el('select', { onchange: () => onPick(select.value) });
  return select;
}

/** @param {string} label @param {HTMLElement} control */
function field(label, control) {
  return el('label', { class: 'field' }, el('span', {}, label), control);
}

/** @param {'A' | 'B'} letter @param {HTMLSelectElement} control */
function side(letter, control) {
  control.setAttribute('aria-label', `Run ${letter}`);
  return el('div', { class: 'side-field' }, sideBadge(letter), control);
}

/** @param {View} view @param {number} index */
function stepText(view, index) {
  const step = view.steps[index];
  if (step === undefined) return 'none yet';
  if (view.pick === 'best' && index === view.steps.indexOf(view.step ?? NaN)) return 'the best of each';
  if (step === view.usual && index < view.steps.length - 1) return `${count(step)} (last that A and B have)`;
  return index === view.steps.length - 1
    ? `${count(step)} (latest)`
    : `${count(step)} (${index + 1} of ${view.steps.length})`;
}

/** The steps of A and B if they differ from the chosen one. @param {View} view */
function differingSteps(view) {
  const texts = /** @type {const} */ (['a', 'b']).flatMap((letter) => {
    const run = view[letter];
    if (!run || run.step === view.step) return [];
    return [`${letter.toUpperCase()} ${run.step === null ? 'has none so early' : `at its step ${count(run.step)}`}`];
  });
  if (view.pick === 'best') return bestSteps(view);
  return texts.length ? `${texts.join(', ')}.` : '';
}

/** The best steps of A and B, and by what. @param {View} view */
function bestSteps({ a, b, metric }) {
  const at = (/** @type {string} */ letter, /** @type {RunView | null} */ run) =>
    run && run.step !== null ? [`${letter} at ${count(run.step)}`] : [];
  return `${[...at('A', a), ...at('B', b)].join(', ')}: best ${metricText(metric).label}, all classes.`;
}
