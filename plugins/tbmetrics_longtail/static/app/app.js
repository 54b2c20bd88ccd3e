// @ts-check
/** The tab: holds the state, draws the view, and reloads while it is visible. */

import { Cards } from './cards.js';
import { emptyPage, faultPage, loadingPage } from './empty.js';
import { Headline } from './headline.js';
import { PairSettings } from './pair-settings.js';
import { Sidebar } from './sidebar.js';
import { Help, TopBar } from './top-bar.js';
import { Drawer } from '../cards/drawer.js';
import { el, fill } from '../charts/dom.js';
import { Tooltip } from '../charts/plot.js';
import { ClassRows } from '../host/class-rows.js';
import { Data } from '../host/data.js';
import {
  isVisible,
  linkedCard,
  linkTo,
  loadState,
  onHostReload,
  onNavigated,
  onShown,
  saveState,
} from '../host/tensorboard.js';
import { groupingOf, groupsOfClasses, recordedBounds } from '../model/grouping.js';
import { atSteps, bestStep } from '../model/steps.js';
import { movedStep, resolve, runOrder, sizesOfGroups } from '../model/view.js';

/** @import { How, Page } from '../cards/card.js' */
/** @import { Resource } from '../host/resources.js' */
/** @import { State } from '../model/state.js' */
/** @import { RunsAnswer } from '../model/answers.js' */
/** @import { Maybe, View } from '../model/types.js' */

const RELOAD_MS = 30_000;
const SETTLED_MS = 200;

export class App {
  /** @param {HTMLElement} root */
  constructor(root) {
    this._root = root;
    this._state = loadState();
    this._started = false;
    this._scheduled = false;
    this._moving = false;
    this._isPainted = false;
    this._loadedAt = Date.now();
    /** @type {View | null} */
    this._view = null;
    /** What had the focus when a class was opened. @type {Element | null} */
    this._opener = null;
    /** @type {RunsAnswer | undefined} */
    this._lastRuns = undefined;
    this._data = new Data(() => this._arrived());
    this._ask(); // while the page is made
    /** @type {Page} */
    const page = {
      data: this._data,
      tooltip: new Tooltip(),
      set: (patch, how) => this.set(patch, how),
      state: () => this._state,
      retry: () => this._retry(),
      redraw: () => this._schedule(),
      openImages: (pair) => this._drawer.openImages(pair),
      linkTo: (card) => linkTo(this._state, card),
      about: (card) => this._about(card),
    };
    this._sidebar = new Sidebar(page.set);
    this._rows = new ClassRows(this._data);
    this._cards = new Cards(page, this._rows, () => this._schedule());
    this._drawer = new Drawer(page);
    this._help = new Help();
    this._headline = new Headline(this._data);
    this._settings = new PairSettings(this._data);
    this._tooltip = page.tooltip;
    this._bar = new TopBar({ onHelp: () => this._help.open(), onReload: () => this._reload() });
    this._layout = this._layOut();
    /** @type {string | null} */
    this._linked = linkedCard();
  }

  /** Ask for what the first charts begin with, before anything can be drawn. */
  _ask() {
    this._data.runs();
    this._data.hostRuns();
  }

  start() {
    this._started = true;
    fill(this._root, loadingPage());
    saveState(this._state);
    this._draw();
    window.setInterval(() => this._refresh(), RELOAD_MS);
    onHostReload(() => this._refresh());
    onNavigated((state) => this._navigated(state));
    window.addEventListener('pagehide', () => saveState(this._state));
    document.addEventListener('keydown', (event) => this._key(event));
    onShown(() => {
      this._schedule();
      this._refreshIfOld();
    });
  }

  /** @param {Partial<State>} patch @param {How} [how] */
  set(patch, { replace = false, moving = false } = {}) {
    const closes = this._state.open !== null && patch.open === null ? this._state.open : null;
    if (this._state.open === null && patch.open) this._opener = document.activeElement;
    this._state = { ...this._state, ...patch };
    this._save(!replace && !moving);
    if (moving) {
      this._movesOn();
      this._schedule();
    } else this._draw();
    if (closes !== null) this._focusAgain(closes);
  }

  /** Put the focus back on what opened a class, without moving the page. @param {string} name */
  _focusAgain(name) {
    const opener = this._opener;
    if (opener instanceof HTMLElement && opener.isConnected && opener !== document.body)
      opener.focus({ preventScroll: true });
    else this._cards.table.focus(name);
  }

  /**
   * A deliberate change is pushed to the browser's history at once. Others are written after they settle, because
   * browsers limit how often the address may change.
   * @param {boolean} push
   */
  _save(push) {
    window.clearTimeout(this._saving);
    if (push) saveState(this._state, true);
    else this._saving = window.setTimeout(() => saveState(this._state), SETTLED_MS);
  }

  _movesOn() {
    this._moving = true;
    window.clearTimeout(this._stopping);
    this._stopping = window.setTimeout(() => {
      this._moving = false;
      this._schedule();
    }, SETTLED_MS);
  }

  /** Back or forward in the browser's history. @param {State} state */
  _navigated(state) {
    window.clearTimeout(this._saving);
    this._state = state;
    this._draw();
  }

  /** @param {string} card */
  _about(card) {
    const view = this._view;
    return {
      card,
      attribute: view?.attribute ?? null,
      metric: view?.metric ?? null,
      class_metric: view?.classMetric ?? null,
      step: view?.step ?? null,
      a: view?.a?.run ?? null,
      b: view?.b?.run ?? null,
      head_min: view?.grouping?.headMin ?? null,
      tail_max: view?.grouping?.tailMax ?? null,
      rule: view?.grouping?.rule ?? view?.a?.info.rule ?? null,
      log_directory: this._lastRuns?.logdir ?? null,
      link: linkTo(this._state, card),
    };
  }

  _layOut() {
    const top = [this._bar.element, this._bar.problems, this._headline.element, this._settings.element];
    const main = this._cards.layOut(...top);
    const floating = [this._drawer.element, this._tooltip.element, this._help.element];
    return el('div', { class: 'layout' }, this._sidebar.element, main, ...floating);
  }

  /** What the first charts need is asked for as soon as it is known, without waiting for a frame. */
  _arrived() {
    if (this._view) this._schedule();
    else this._draw();
  }

  /** Draw once in the next frame, no matter how many answers arrive before. */
  _schedule() {
    if (this._scheduled) return;
    this._scheduled = true;
    this._cards.setBusy(true);
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
      if (this._started) this._show(faultPage(runs.fault ?? { error: 'Nothing came', hint: '' }, () => this._retry()));
      return;
    }
    if (runs.value !== this._lastRuns) this._loadedAt = Date.now();
    this._lastRuns = runs.value;
    const order = runOrder(
      host.value ?? [],
      runs.value.runs.map((run) => run.run),
    );
    this._view = this._stepped(this._grouped(resolve(this._state, runs.value.runs, order)));
    if (this._view) this._cards.ask(this._view);
    if (!this._started) return;
    if (!this._view) this._show(emptyPage(runs.value.logdir, runs.value.runs, () => this._retry()));
    else this._drawView(this._view, runs);
  }

  /** The view with the chosen groups, once the training counts have arrived. @param {View | null} view */
  _grouped(view) {
    if (!view) return null;
    const run = view.a ?? view.runs[0];
    // The recorded groups need no counts, so that the first charts do not wait for these.
    const isNeeded = this._state.rule !== null || this._cards.drawn;
    const classes = isNeeded ? this._data.classes(run, view.attribute).value : undefined;
    /** @type {readonly Maybe[]} */
    this._counts = classes?.counts ?? [];
    this._recorded = classes ? recordedBounds(classes) : null;
    const grouping = groupingOf(this._state, this._counts);
    const sizes = grouping && classes ? sizesOfGroups(groupsOfClasses(classes, grouping)) : view.sizes;
    return { ...view, grouping, sizes, moving: this._moving };
  }

  /** The view with every run at its best step, once what tells those of A and B has arrived. @param {View | null} view */
  _stepped(view) {
    if (view?.pick !== 'best') return view;
    const { attribute, metric } = view;
    const drawn = new Set([...view.charted, view.a, view.b]);
    const answers = new Map(
      view.runs.flatMap((run) => (drawn.has(run) ? [[run.run, this._data.groups(run, attribute, metric)]] : [])),
    );
    const waits = [view.a, view.b].some((run) => run && answers.get(run.run)?.status === 'loading');
    if (waits) return view;
    return atSteps(view, ({ run }) => {
      const answer = answers.get(run)?.value;
      return answer ? bestStep(answer, metric) : null;
    });
  }

  /** @param {View} view @param {Resource<RunsAnswer>} runs */
  _drawView(view, runs) {
    if (this._layout.parentElement !== this._root) fill(this._root, this._layout);
    this._bar.update(view, runs, this._loadedAt);
    this._sidebar.update(view, this._state, this._counts ?? [], this._recorded ?? null);
    if (!this._cards.updateFirst(view)) return;
    if (!this._isPainted) {
      this._isPainted = true; // the first charts come into sight before the other cards are drawn
      this._schedule();
      return;
    }
    this._settings.update(view);
    this._headline.update(view);
    this._rows.update(view);
    this._cards.update(view, this._state);
    this._drawer.update(view, this._rows.find(this._state.open));
    this._showLinked();
    this._tooltip.follow();
    this._cards.setBusy(this._moving || this._scheduled);
  }

  /** Scroll once to the card that the address points to. */
  _showLinked() {
    if (this._linked === null) return;
    this._cards.scrollTo(this._linked);
    this._linked = null;
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
    if (event.ctrlKey || event.metaKey || event.altKey || !this._view || this._help.element.open) return;
    const typing = event.target instanceof Element && event.target.matches('input, select, textarea');
    if (event.key === 'Escape') this._escape();
    else if (typing) return;
    else if (event.key === '/') {
      event.preventDefault();
      this._cards.table.search.focus();
    } else if (event.key === 'a' || event.key === 'b') {
      event.preventDefault();
      this._sidebar.focusRun(event.key);
    } else if (event.key === '?') this._help.open();
    else if (event.key === 'ArrowLeft' || event.key === 'ArrowRight') {
      event.preventDefault();
      this.set({ pick: null, step: movedStep(this._view, event.key === 'ArrowLeft' ? -1 : 1) }, { replace: true });
    }
  }

  /** Close the innermost open element. */
  _escape() {
    if (this._state.open !== null) this.set({ open: null });
    else if (this._state.full !== null) this.set({ full: null });
    else if (this._state.brush !== null) this.set({ brush: null });
  }
}
