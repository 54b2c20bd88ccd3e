// @ts-check
/** The tab: holds the state, draws the view that follows from it, reloads while someone looks. */

import { ChartsCard } from './charts-card.js';
import { ConfusionCard } from './confusion-card.js';
import { Data } from './data.js';
import { DistributionCard } from './distribution-card.js';
import { el, fill, nameOf } from './dom.js';
import { Drawer } from './drawer.js';
import { emptyPage, faultPage, loadingPage, problemList } from './empty.js';
import { clock, plural, ruleText } from './format.js';
import { isVisible, loadState, onHostReload, onShown, saveState } from './host.js';
import { movedStep, problemsOf, resolve, runOrder } from './model.js';
import { Sidebar } from './sidebar.js';
import { SummaryCard } from './summary-card.js';
import { TableCard } from './table-card.js';
import { Tooltip } from './tooltip.js';

/** @import { Resource, RunsAnswer, State, View } from './types.js' */

const RELOAD_MS = 30_000;
const SETTLED_MS = 200;

export class App {
  /** @param {HTMLElement} root */
  constructor(root) {
    this._root = root;
    this._state = loadState();
    this._scheduled = false;
    this._loadedAt = Date.now();
    /** @type {View | null} */
    this._view = null;
    /** @type {RunsAnswer | undefined} */
    this._lastRuns = undefined;
    this._data = new Data(() => this._schedule());
    const page = {
      data: this._data,
      tooltip: new Tooltip(),
      set: (/** @type {Partial<State>} */ patch) => this.set(patch),
      retry: () => this._retry(),
    };
    this._sidebar = new Sidebar(page.set);
    this._table = new TableCard(page);
    this._drawer = new Drawer(page);
    this._cards = [
      new ChartsCard(page),
      new SummaryCard(page),
      new DistributionCard(page),
      new ConfusionCard(page),
      this._table,
    ];
    this._tooltip = page.tooltip;
    this._bar = el('header', { class: 'bar' });
    this._problems = el('div', {});
    this._layout = this._layOut();
  }

  start() {
    fill(this._root, loadingPage());
    this._draw();
    window.setInterval(() => this._refresh(), RELOAD_MS);
    onHostReload(() => this._refresh());
    window.addEventListener('pagehide', () => saveState(this._state));
    document.addEventListener('keydown', (event) => this._key(event));
    onShown(() => {
      this._schedule();
      this._refreshIfOld();
    });
  }

  /** @param {Partial<State>} patch */
  set(patch) {
    const closes = this._state.open !== null && patch.open === null ? this._state.open : null;
    this._state = { ...this._state, ...patch };
    this._save();
    this._draw();
    if (closes !== null) this._table.focus(closes);
  }

  /** Writes the state once things have settled: browsers limit how often the address may change. */
  _save() {
    window.clearTimeout(this._saving);
    this._saving = window.setTimeout(() => saveState(this._state), SETTLED_MS);
  }

  _layOut() {
    const [charts, summary, distribution, confusion, table] = this._cards;
    const lower = el('div', { class: 'pair' }, distribution.element, confusion.element);
    const main = el(
      'main',
      { class: 'main' },
      this._bar,
      this._problems,
      charts.element,
      summary.element,
      lower,
      table.element,
    );
    return el('div', { class: 'layout' }, this._sidebar.element, main, this._drawer.element, this._tooltip.element);
  }

  /** Draws once in the next frame, however many answers arrive before. */
  _schedule() {
    if (this._scheduled) return;
    this._scheduled = true;
    window.requestAnimationFrame(() => {
      this._scheduled = false;
      this._draw();
    });
  }

  _draw() {
    const runs = this._data.runs();
    const host = this._data.hostRuns();
    if (host.status === 'loading' || runs.status === 'loading') return;
    if (!runs.value) {
      this._show(faultPage(runs.fault ?? { error: 'Nothing came', hint: '' }, () => this._retry()));
      return;
    }
    if (runs.value !== this._lastRuns) this._loadedAt = Date.now();
    this._lastRuns = runs.value;
    const order = runOrder(
      host.value ?? [],
      runs.value.runs.map((run) => run.run),
    );
    this._view = resolve(this._state, runs.value.runs, order);
    if (!this._view) this._show(emptyPage(runs.value.logdir, runs.value.runs, () => this._retry()));
    else this._drawView(this._view, runs);
  }

  /** @param {View} view @param {Resource<RunsAnswer>} runs */
  _drawView(view, runs) {
    if (this._layout.parentElement !== this._root) fill(this._root, this._layout);
    this._drawBar(view, runs);
    this._sidebar.update(view, this._state);
    for (const card of this._cards) card.update(view, this._state);
    const row = this._state.open === null ? undefined : this._table.rows.find(({ name }) => name === this._state.open);
    this._layout.classList.toggle('with-drawer', this._drawer.update(view, row));
  }

  /** @param {View} view @param {Resource<RunsAnswer>} runs */
  _drawBar(view, runs) {
    const { info } = view.a ?? view.runs[0];
    const decision = info.decision === 'single_label' ? 'one label per example' : 'several labels per example';
    const status = runs.fault
      ? `Reloading failed: ${runs.fault.error}. Shown is the state of ${clock(new Date(this._loadedAt))}.`
      : `Updated ${clock(new Date(this._loadedAt))}`;
    const key = JSON.stringify([
      view.attribute,
      info.n_classes,
      decision,
      info.rule,
      status,
      problemsOf(runs.value?.runs ?? []),
    ]);
    if (this._bar.dataset.key === key) return;
    this._bar.dataset.key = key;
    fill(
      this._bar,
      el(
        'div',
        {},
        el('h1', {}, nameOf(view.attribute)),
        el(
          'p',
          { class: 'caption' },
          `${plural(info.n_classes, 'class', 'classes')}, ${decision}. Groups: ${ruleText(info.rule)}.`,
        ),
      ),
      el(
        'div',
        { class: 'tools' },
        el('span', { class: runs.fault ? 'error' : 'muted', role: 'status' }, status),
        el('button', { type: 'button', class: 'button', onclick: () => this._reload() }, 'Reload'),
      ),
    );
    const problems = (runs.value?.runs ?? []).filter((run) => run.problem);
    fill(this._problems, problems.length > 0 && problemList(problems));
  }

  /** @param {HTMLElement} page */
  _show(page) {
    if (this._root.textContent === page.textContent) return; // the same page again: keep what is selected or focused
    fill(this._root, page);
  }

  _refresh() {
    if (!isVisible()) return;
    this._data.refresh();
    this._requestedAt = Date.now();
    this._schedule();
  }

  _refreshIfOld() {
    if (Date.now() - (this._requestedAt ?? this._loadedAt) >= RELOAD_MS) this._refresh();
  }

  _reload() {
    this._data.refreshAll();
    this._refresh();
  }

  _retry() {
    this._data.retryFailed();
    this._data.refresh();
    this._schedule();
  }

  /** @param {KeyboardEvent} event */
  _key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || !this._view) return;
    const typing = event.target instanceof Element && event.target.matches('input, select, textarea');
    if (event.key === 'Escape' && this._state.open !== null) this.set({ open: null });
    else if (typing) return;
    else if (event.key === '/') {
      event.preventDefault();
      this._table.search.focus();
    } else if (event.key === 'ArrowLeft' || event.key === 'ArrowRight') {
      event.preventDefault();
      this.set({ step: movedStep(this._view, event.key === 'ArrowLeft' ? -1 : 1) });
    }
  }
}
