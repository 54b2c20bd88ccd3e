// @ts-check
/** All cards: their layout, and which of them are drawn. */

import { BoundaryCard } from '../cards/boundary.js';
import { CalibrationCard } from '../cards/calibration.js';
import { TableCard } from '../cards/classes.js';
import { DiagnosisCard } from '../cards/diagnosis.js';
import { FamiliesCard } from '../cards/families.js';
import { FlowCard } from '../cards/flow.js';
import { FrequencyCard } from '../cards/frequency.js';
import { LeaderboardCard } from '../cards/leaderboard.js';
import { MoversCard } from '../cards/movers.js';
import { PayersCard } from '../cards/payers.js';
import { PrCard } from '../cards/pr.js';
import { SummaryCard } from '../cards/summary.js';
import { TailFlowCard } from '../cards/tail-flow.js';
import { TradeoffCard } from '../cards/tradeoff.js';
import { ChartsCard } from '../cards/training.js';
import { el } from '../charts/dom.js';

/** @import { Page } from '../cards/card.js' */
/** @import { ClassRows } from '../host/class-rows.js' */
/** @import { State } from '../model/state.js' */
/** @import { View } from '../model/types.js' */

/** Cards within this distance of the window are drawn. */
const AHEAD = '500px 0px';

export class Cards {
  /** @param {Page} page @param {ClassRows} rows @param {() => void} seen called when other cards have come into sight */
  constructor(page, rows, seen) {
    this.table = new TableCard(page, rows);
    this._seenNow = seen;
    /** From top to bottom; a further card is a further line. */
    this._cards = {
      leaderboard: new LeaderboardCard(page),
      training: new ChartsCard(page),
      summary: new SummaryCard(page),
      boundary: new BoundaryCard(page, rows),
      payers: new PayersCard(page, rows),
      tradeoff: new TradeoffCard(page),
      movers: new MoversCard(page, rows),
      families: new FamiliesCard(page),
      diagnosis: new DiagnosisCard(page),
      frequency: new FrequencyCard(page, rows),
      pr: new PrCard(page, rows),
      calibration: new CalibrationCard(page),
      flow: new FlowCard(page),
      tailflow: new TailFlowCard(page),
      classes: this.table,
    };
    this.drawn = false;
    this._turn = 0;
    /** @type {Set<Element>} */
    this._inSight = new Set();
    /** @type {Set<Element>} */
    this._near = new Set();
  }

  /** Lay out the cards below `top`. @param {...HTMLElement} top */
  layOut(...top) {
    const { boundary, payers, tradeoff, movers, ...alone } = this._cards;
    const [leaderboard, training, summary, ...below] = Object.values(alone).map(({ element }) => element);
    const pairs = [
      [boundary, payers],
      [tradeoff, movers],
    ].map((cards) => el('div', { class: 'pair' }, ...cards.map(({ element }) => element)));
    const main = el(
      'main',
      { class: 'main', 'aria-busy': 'true' },
      ...top,
      leaderboard,
      training,
      summary,
      ...pairs,
      ...below,
    );
    const near = new IntersectionObserver((entries) => this._note(entries, this._near), {
      root: main,
      rootMargin: AHEAD,
    });
    const inSight = new IntersectionObserver((entries) => this._note(entries, this._inSight), { root: main });
    for (const card of Object.values(this._cards)) {
      near.observe(card.element);
      inSight.observe(card.element);
    }
    this._main = main;
    return main;
  }

  /** Say whether anything near the window is still to come. @param {boolean} changes whether a redraw will follow */
  setBusy(changes) {
    const waits = () => [...this._near].some((card) => card.getAttribute('aria-busy') === 'true');
    this._main?.setAttribute('aria-busy', String(changes || waits()));
  }

  /** Ask for what the first charts show. @param {View} view */
  ask(view) {
    if (!this.drawn) this._cards.training.ask(view);
  }

  /**
   * Update the first charts, which need little data, but not out of sight while a threshold moves. Returns whether they
   * are drawn or have failed.
   * @param {View} view
   */
  updateFirst(view) {
    const { training } = this._cards;
    if (!view.moving || this._inSight.has(training.element)) training.update(view);
    return this.drawn || !training.frame.waits;
  }

  /** @param {IntersectionObserverEntry[]} entries @param {Set<Element>} into */
  _note(entries, into) {
    for (const { target, isIntersecting } of entries) {
      if (isIntersecting) into.add(target);
      else into.delete(target);
    }
    this._seenNow();
  }

  /**
   * Those in sight or near it, and the table, which the keyboard may be in. While a threshold moves: the charts in every
   * frame (`updateFirst`), of the others in sight one after the other, so that none waits for all.
   * @param {View} view @param {State} state
   */
  update(view, state) {
    this.drawn = true;
    const wanted = Object.entries(this._cards).filter(([id, card]) => {
      card.frame.setFull(id === state.full);
      card.element.inert = Boolean(state.full) && id !== state.full; // what is covered takes no keys
      if (view.moving) return this._inSight.has(card.element) && id !== 'training';
      if (state.full && card !== this.table) return id === state.full;
      // What is hidden is never in sight, and must be asked whether it still has nothing to show.
      return card === this.table || card.element.hidden || this._near.has(card.element);
    });
    this._turn += 1;
    const now = view.moving ? wanted.slice(this._turn % wanted.length).slice(0, 1) : wanted;
    for (const [, card] of now) card.update(view, state);
  }

  /** @param {string} id */
  scrollTo(id) {
    const entry = Object.entries(this._cards).find(([known]) => known === id);
    entry?.[1].element.scrollIntoView({ block: 'start' });
  }
}
