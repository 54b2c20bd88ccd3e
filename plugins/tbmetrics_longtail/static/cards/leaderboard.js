// @ts-check
/** The leaderboard: a row for each run, or each experiment with its seeds; its numbers and texts are the server's. */

import { Card } from './card.js';
import { barOf, boardScale } from '../charts/board-bar.js';
import { el, fill, groupBadge, nameOf, runSwatch, setOptions, sideBadge } from '../charts/dom.js';
import { differing, MARK_TEXTS, rowsByEvaluation, runsOfBoard, settingText } from '../model/board.js';
import { count, metricText, number } from '../model/format.js';

/** @import { Page } from './card.js' */
/** @import { BoardRow, BoardSort, TableAnswer } from '../model/board.js' */
/** @import { Table, View } from '../model/types.js' */

const STEPS = Object.freeze([
  { value: '', label: 'last that all have' },
  { value: 'best', label: 'best of each' },
  { value: 'last', label: 'last of each' },
]);
const GROUPINGS = Object.freeze([
  { value: 'frequency', label: 'frequency' },
  { value: 'family', label: 'family' },
]);
/** Hyperparameters in sight; downloads of HParams have all. */
const MOST_SETTINGS = 6;

export class LeaderboardCard {
  /** @param {Page} page */
  constructor(page) {
    this._page = page;
    this._card = this.frame = new Card({
      id: 'leaderboard',
      title: 'All runs',
      className: 'leaderboard-card',
      page,
      table: () => this._table(),
      texts: () => this._answer?.texts ?? null,
      metric: 'class_metric',
    });
    this.element = this._card.element;
    /** @type {TableAnswer | undefined} */
    this._answer = undefined;
    /** @type {BoardSort} */
    this._sort = { column: 'all', descending: true };
    this._step = this._select('Step', 'board-step');
    this._by = this._select('Group by', 'board-by');
    this._byLabel = this._labelled('Group by', this._by);
    fill(this._card.tools, this._labelled('Step', this._step), this._byLabel);
    setOptions(this._step, [...STEPS], '');
    setOptions(this._by, [...GROUPINGS], 'frequency');
  }

  /** @param {string} label @param {string} id */
  _select(label, id) {
    return el('select', { id, 'aria-label': `${label}, all runs`, onchange: () => this._page.redraw() });
  }

  /** @param {string} text @param {HTMLSelectElement} select */
  _labelled(text, select) {
    return el('label', { class: 'tool', for: select.id }, `${text} `, select);
  }

  /** @param {View} view */
  update(view) {
    if (view.moving) return;
    const runs = runsOfBoard(view);
    this._byLabel.hidden = !runs.some(({ info }) => info.kinds.includes('families'));
    const by = this._byLabel.hidden ? 'frequency' : this._by.value;
    const metric = [view.metric, view.classMetric].find((m) => view.means.includes(m)) ?? view.means[0];
    this.element.hidden = !metric;
    if (!metric) return;
    const resource = this._page.data.table(view, runs, { metric, step: this._step.value, by });
    this._card.caption(
      `${metricText(metric).label}, mean over the classes. Click a run to make it A, shift-click for B.`,
    );
    if (!this._card.ready([{ name: '', resource }]) || !resource.value) return;
    this._answer = resource.value;
    const sides = [view.a?.run, view.b?.run];
    const key = [this._answer, sides, this._sort, view.runs.map((r) => [r.run, r.style.index]), this._card.width];
    if (!this._card.isNew(JSON.stringify(key))) return;
    this._draw(view, this._answer);
  }

  /** @param {View} view @param {TableAnswer} answer */
  _draw(view, answer) {
    const focused = /** @type {HTMLElement | null} */ (this._card.body.querySelector(':focus'))?.dataset.focus;
    const settings = differing(answer.rows).slice(0, MOST_SETTINGS);
    const scales = answer.columns.map((column, i) => boardScale(answer, i, column));
    const parts = [...rowsByEvaluation(answer, this._sort)].map(([evaluation, rows], _, all) =>
      el(
        'tbody',
        {},
        all.length > 1 && evaluationHeading(evaluation),
        ...rows.map((row) => this._row(row, view, answer, scales, settings)),
      ),
    );
    fill(
      this._card.body,
      el(
        'div',
        { class: 'table-scroll plain board-scroll', tabindex: 0, role: 'region', 'aria-label': 'All runs, scrollable' },
        el('table', { class: 'board' }, el('thead', {}, this._head(answer, settings)), ...parts),
      ),
      el('div', { class: 'notes muted' }, ...answer.notes.map((note) => el('p', {}, note))),
    );
    const again = [...this._card.body.querySelectorAll('button')].find((b) => b.dataset.focus === focused);
    if (focused !== undefined) again?.focus();
  }

  /** @param {TableAnswer} answer @param {readonly string[]} settings */
  _head(answer, settings) {
    const facts = factsOf(answer).map(({ name }) => this._heading(name, name));
    const groups = answer.columns.map((column, i) => {
      const size = answer.sizes[i];
      const text = answer.by_frequency ? groupBadge(column) : nameOf(column);
      return this._heading(column, el('span', {}, text, size === null ? '' : ` (${count(size)})`), 'number');
    });
    const others = settings.map((name) => this._heading(`hparam:${name}`, nameOf(name)));
    return el('tr', {}, this._heading('run', 'run'), ...facts, ...groups, ...others);
  }

  /** @param {string} column @param {Node | string} content @param {string} [className] */
  _heading(column, content, className = '') {
    const { column: current, descending } = this._sort;
    const isChosen = column === current;
    const choose = () => {
      this._sort = { column, descending: isChosen ? !descending : !['run', 'gap'].includes(column) };
      this._page.redraw();
    };
    return el(
      'th',
      { scope: 'col', class: className, 'aria-sort': isChosen ? (descending ? 'descending' : 'ascending') : null },
      el(
        'button',
        { type: 'button', class: 'sort', 'data-focus': `sort:${column}`, onclick: choose },
        content,
        el('span', { class: 'arrow', 'aria-hidden': 'true' }, isChosen ? (descending ? ' ↓' : ' ↑') : ''),
      ),
    );
  }

  /**
   * @param {BoardRow} row @param {View} view @param {TableAnswer} answer @param {ReturnType<typeof boardScale>[]} scales
   * @param {readonly string[]} settings
   */
  _row(row, view, answer, scales, settings) {
    const badge = row.runs.includes(view.a?.run ?? '') ? 'A' : row.runs.includes(view.b?.run ?? '') ? 'B' : null;
    const run = view.runs.find((known) => known.run === row.runs[0]);
    const choose = (/** @type {MouseEvent} */ event) => this._page.set({ [event.shiftKey ? 'b' : 'a']: row.runs[0] });
    const name = el(
      'button',
      { type: 'button', class: 'class-link', 'data-focus': `run:${row.name}`, title: 'A; with shift: B' },
      nameOf(row.name),
    );
    const known = new Map(row.hparams);
    return el(
      'tr',
      { class: badge ? 'open' : '', onclick: choose },
      el(
        'th',
        { scope: 'row' },
        el('div', { class: 'board-run' }, run ? runSwatch(run.style) : '', badge ? sideBadge(badge) : '', name),
      ),
      ...factsOf(answer).map(({ of }) => el('td', { class: 'number' }, of(row))),
      ...row.cells.map((cell, i) =>
        el(
          'td',
          { class: 'number', 'data-mark': cell.mark || null },
          el('span', { class: 'board-number' }, number(cell.mean), markOf(cell.mark)),
          barOf(cell, answer.columns[i], scales[i], answer.by_frequency),
        ),
      ),
      ...settings.map((setting) => el('td', {}, nameOf(settingText(known.get(setting))))),
    );
  }

  /** @returns {Table | null} */
  _table() {
    const answer = this._answer;
    if (!answer) return null;
    const ends = /** @type {const} */ (['mean', 'lower', 'upper', 'deviation', 'n_classes', 'mark']);
    const columns = answer.columns.flatMap((column) =>
      ends.map((end) => (end === 'mean' ? column : `${column}_${end}`)),
    );
    const rows = answer.rows.map((row) => [
      row.name,
      row.evaluation,
      row.runs.length,
      row.steps.join(' '),
      ...row.cells.flatMap((cell) => ends.map((end) => cell[end])),
    ]);
    return { columns: ['run', 'evaluation', 'n_runs', 'step', ...columns], rows };
  }
}

/** @param {string} evaluation */
function evaluationHeading(evaluation) {
  const text = el('span', { class: 'board-evaluation-text' }, 'Evaluation: ', nameOf(evaluation));
  return el('tr', { class: 'board-evaluation' }, el('th', { scope: 'rowgroup', colspan: 99 }, text));
}

/** What rows differ in besides their numbers. @param {TableAnswer} answer */
function factsOf({ rows }) {
  const steps = new Set(rows.flatMap((row) => row.steps));
  const facts = [
    {
      name: 'runs',
      shown: rows.some((row) => row.runs.length > 1),
      of: (/** @type {BoardRow} */ r) => count(r.runs.length),
    },
    { name: 'step', shown: steps.size > 1, of: stepText },
  ];
  return facts.filter(({ shown }) => shown);
}

/** @param {BoardRow} row */
function stepText({ steps }) {
  const [first, last] = [Math.min(...steps), Math.max(...steps)];
  return first === last ? count(first) : `${count(first)}–${count(last)}`;
}

/** @param {string} mark */
function markOf(mark) {
  const [sign, words] = MARK_TEXTS[mark] ?? [' ', ''];
  return el(
    'span',
    { class: 'board-mark', title: words || null, role: words ? 'img' : null, 'aria-label': words || null },
    sign,
  );
}
