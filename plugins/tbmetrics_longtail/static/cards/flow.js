// @ts-check
/** Where the examples of each group go: true group against predicted group, and the classes confused most. */

import { Card, NO_VALIDATION, nothing } from './card.js';
import { el, fill, groupBadge, groupTitle, nameOf, setOptions, sideBadge } from '../charts/dom.js';
import { Latest } from '../host/resources.js';
import { count, percent, plural } from '../model/format.js';
import { pairsByEvidence } from '../model/evidence.js';
import { flowByGroup, groupsOfClasses, isExact } from '../model/grouping.js';

/** @import { Page } from './card.js' */
/** @import { Part } from '../host/resources.js' */
/** @import { State } from '../model/state.js' */
/**
 * @import { ClassesAnswer, ConfusionAnswer, ConfusionsAnswer, FlowAnswer, Group, RunView, Table, View
 * } from '../model/types.js'
 */

/** Names for narrow columns. */
const LETTERS = new Map([
  ['head', 'H'],
  ['medium', 'M'],
  ['tail', 'T'],
  ['unknown', '?'],
]);
const ALWAYS = new Set(['head', 'medium', 'tail']);
const LISTED = 8;

/**
 * @typedef {object} Side one run
 * @property {'A' | 'B'} letter
 * @property {RunView} run
 * @property {ConfusionAnswer | undefined} matrix
 * @property {ConfusionsAnswer | undefined} pairs
 * @property {ClassesAnswer | undefined} classes
 * @property {boolean} exact whether the thresholds lie between buckets
 * @property {Part[]} parts
 */

export class FlowCard {
  /** @param {Page} page */
  constructor(page) {
    this._page = page;
    this._card = this.frame = new Card({
      id: 'flow',
      title: 'Where examples go',
      className: 'flow-card',
      page,
      table: () => this._table(),
    });
    this.element = this._card.element;
    this._from = el('select', {
      'aria-label': 'Mistakes listed',
      onchange: () => page.set({ pairs: this._from.value }),
    });
    fill(this._card.tools, this._from);
    this._latest = { A: latestSide(), B: latestSide() };
    /** @type {Side[]} */
    this._sides = [];
  }

  /** @param {View} view @param {State} state */
  update(view, state) {
    this._view = view;
    this._sides = /** @type {const} */ (['A', 'B']).flatMap((letter) => {
      const run = letter === 'A' ? view.a : view.b;
      return run && run.step !== null ? [this._side(letter, run, view)] : [];
    });
    const choices = [{ value: '', label: 'All mistakes' }].concat(
      ['head', 'medium', 'tail'].map((group) => ({ value: group, label: `Mistakes of ${group} classes` })),
    );
    setOptions(this._from, choices, state.pairs);
    if (!this._card.ready(this._sides.flatMap(({ parts }) => parts))) return;
    this._card.caption(captionOf(view, this._sides));
    if (!this._sides.some(({ matrix }) => matrix)) {
      this._card.put(nothing(NO_VALIDATION));
      return;
    }
    const key = JSON.stringify([
      view.attribute,
      view.grouping?.key,
      state.pairs,
      this._sides.map(({ run, parts }) => [
        run.run,
        run.step,
        run.version,
        parts.map((p) => [p.resource.status, p.resource.stale]),
      ]),
    ]);
    if (this._card.isNew(key)) this._draw(view, state);
  }

  /** @param {'A' | 'B'} letter @param {RunView} run @param {View} view @returns {Side} */
  _side(letter, run, view) {
    const { data } = this._page;
    const scope = `${run.run}\n${view.attribute}`;
    const latest = this._latest[letter];
    const has = (/** @type {string} */ kind) => run.info.kinds.includes(kind);
    const flow = has('flow') ? latest.flow.take(data.flow(run, view.attribute), scope) : null;
    const recorded = flow ? null : latest.matrix.take(data.confusion(run, view.attribute), scope);
    const pairs = has('confusions') ? latest.pairs.take(data.confusions(run, view.attribute), scope) : null;
    const classes = data.classes(run, view.attribute);
    const parts = [flow, recorded, pairs, classes].flatMap((resource) =>
      resource ? [{ name: run.run, resource }] : [],
    );
    return {
      letter,
      run,
      matrix: flow?.value ? flowByGroup(flow.value, view.grouping) : recorded?.value,
      pairs: pairs?.value,
      classes: classes.value,
      exact: flow?.value ? isExact(flow.value.buckets, view.grouping) : !view.grouping,
      parts,
    };
  }

  /** @param {View} view @param {State} state */
  _draw(view, state) {
    const answers = this._sides.flatMap(({ matrix }) => (matrix ? [matrix] : []));
    const [from, to] = [namesOf(answers, 'rows'), namesOf(answers, 'columns')];
    fill(
      this._card.body,
      el(
        'div',
        { class: 'flows' },
        ...this._sides.map((side) =>
          el(
            'div',
            { class: 'flow-side' },
            side.matrix && matrixTable(side.letter, side.run, side.matrix, from, to),
            this._pairs(side, view, state),
          ),
        ),
      ),
    );
  }

  /** @param {Side} side @param {View} view @param {State} state */
  _pairs({ letter, pairs, classes }, view, state) {
    if (!pairs || !classes)
      return el('p', { class: 'hint' }, pairs ? '' : 'Pairs of classes were not recorded by this version.');
    const groups = groupsOfClasses(classes, view.grouping);
    const chosen = pairsByEvidence(pairs).filter(
      ({ pair: [trueClass] }) => !state.pairs || groups[trueClass] === state.pairs,
    );
    if (!chosen.length)
      return el(
        'p',
        { class: 'hint' },
        pairs.n_pairs ? 'No such mistakes among the most frequent pairs.' : 'No mistakes are recorded.',
      );
    const whose = state.pairs ? `${groupTitle(state.pairs)} classes` : 'Classes';
    return el(
      'table',
      { class: 'pairs', 'data-side': letter },
      el('caption', {}, `${whose} mistaken most, by evidence`),
      el('colgroup', {}, el('col'), el('col'), el('col', { class: 'share' }), el('col', { class: 'n' })),
      el(
        'thead',
        { class: 'for-readers' },
        el(
          'tr',
          {},
          ...['True class', 'Predicted class', 'Share', 'Examples'].map((t) => el('th', { scope: 'col' }, t)),
        ),
      ),
      el(
        'tbody',
        {},
        ...chosen
          .slice(0, LISTED)
          .map(({ pair: [trueClass, predicted, n], share, isChance, title }) =>
            el(
              'tr',
              { class: isChance ? 'chance' : '', title },
              el('td', {}, this._className(classes.names[trueClass], groups[trueClass])),
              el(
                'td',
                {},
                el('span', { class: 'muted', 'aria-hidden': 'true' }, '→ '),
                predicted < 0 ? 'nothing predicted' : this._className(classes.names[predicted], groups[predicted]),
              ),
              el(
                'td',
                { class: 'number' },
                el('span', { class: 'mark', 'aria-hidden': 'true' }, isChance ? '○' : '●'),
                percent(share),
                isChance && el('span', { class: 'for-readers' }, ', could be chance'),
              ),
              el('td', { class: 'number' }, count(n)),
            ),
          ),
      ),
    );
  }

  /** @param {string} name @param {Group} group */
  _className(name, group) {
    return el(
      'button',
      { type: 'button', class: 'class-link', onclick: () => this._page.set({ open: name }) },
      groupBadge(group, ''),
      nameOf(name),
    );
  }

  /** @returns {Table} */
  _table() {
    const rows = this._sides.flatMap(({ letter, run, matrix, pairs, classes }) => [
      ...(matrix?.rows ?? []).flatMap((from, r) =>
        (matrix?.columns ?? []).map((to, c) => [letter, run.run, 'group', from, to, matrix?.values[r][c] ?? null]),
      ),
      ...(pairs && classes
        ? pairsByEvidence(pairs).map(({ pair: [trueClass, predicted, n], share, lower, upper, isChance }) => [
            letter,
            run.run,
            'class',
            classes.names[trueClass],
            classes.names[predicted] ?? 'none',
            n,
            share,
            lower,
            upper,
            isChance ? 'yes' : 'no',
          ])
        : []),
    ]);
    const columns = [
      'side',
      'run',
      'of',
      'true',
      'predicted',
      'examples',
      'share',
      'lower',
      'upper',
      'could_be_chance',
    ];
    return { columns, rows: rows.map((row) => columns.map((_, i) => row[i] ?? null)) };
  }
}

function latestSide() {
  return {
    flow: /** @type {Latest<FlowAnswer>} */ (new Latest()),
    matrix: /** @type {Latest<ConfusionAnswer>} */ (new Latest()),
    pairs: /** @type {Latest<ConfusionsAnswer>} */ (new Latest()),
  };
}

/** @param {View} view @param {Side[]} sides */
function captionOf({ a, b }, sides) {
  const single = (a ?? b)?.info.decision === 'single_label';
  const what = single
    ? 'A wrong class of the right group counts as right.'
    : 'Positives found stay in their group; those missed go to what was wrongly predicted instead.';
  const cut = sides.some(({ exact }) => !exact);
  const mistakes = sides
    .map(({ letter, pairs }) => (pairs ? `${letter} ${plural(pairs.n_mistakes ?? 0, 'mistake')}` : ''))
    .filter(Boolean);
  const evidence = sides.some(({ pairs }) => pairs?.shares)
    ? ' Pairs of classes are ranked by the lower end of their share of the true class; ○ grey: could be chance, no more than other examples are predicted as that class (each pair alone, at 95 %).'
    : '';
  return `Rows: true group; columns: predicted group; share of each row. ${what}${mistakes.length ? ` ${mistakes.join(', ')}.` : ''}${
    cut ? ' Classes of like training count are recorded together, so these thresholds are rounded here.' : ''
  }${evidence}`;
}

/**
 * The names of the rows or columns to show: head, medium and tail always, others ("unknown", "none") where they hold
 * any example.
 * @param {ConfusionAnswer[]} answers @param {'rows' | 'columns'} axis
 */
function namesOf(answers, axis) {
  const all = [...new Set(answers.flatMap((answer) => answer[axis]))];
  return all.filter((name) => ALWAYS.has(name) || answers.some((answer) => holds(answer, axis, name)));
}

/** @param {ConfusionAnswer} answer @param {'rows' | 'columns'} axis @param {string} name */
function holds(answer, axis, name) {
  const index = answer[axis].indexOf(name);
  return axis === 'rows'
    ? (answer.values[index] ?? []).some(Boolean)
    : answer.values.some((row) => Boolean(row[index]));
}

/**
 * @param {'A' | 'B'} letter @param {RunView} run @param {ConfusionAnswer} answer
 * @param {readonly string[]} from @param {readonly string[]} to
 */
function matrixTable(letter, run, answer, from, to) {
  const examples = (/** @type {string} */ row, /** @type {string} */ column) =>
    answer.values[answer.rows.indexOf(row)]?.[answer.columns.indexOf(column)] ?? 0;
  const header = (/** @type {string} */ name) =>
    el(
      'th',
      { scope: 'col', title: name },
      groupBadge(name, LETTERS.get(name) ?? name),
      el('span', { class: 'for-readers' }, name),
    );
  const row = (/** @type {string} */ name) => {
    const total = to.reduce((sum, column) => sum + examples(name, column), 0);
    return el(
      'tr',
      {},
      el('th', { scope: 'row' }, groupBadge(name)),
      ...to.map((column) => cell(name, column, examples(name, column), total)),
    );
  };
  return el(
    'table',
    { class: 'matrix', 'data-side': letter },
    el('caption', {}, sideBadge(letter), nameOf(run.run)),
    el('thead', {}, el('tr', {}, el('td', {}), ...to.map(header))),
    el('tbody', {}, ...from.map(row)),
  );
}

/** @param {string} from @param {string} to @param {number} value @param {number} total */
function cell(from, to, value, total) {
  const share = total > 0 ? value / total : null;
  const title = `${from}, predicted ${to}: ${count(Math.round(value))} of ${count(Math.round(total))}`;
  const element = el('td', { class: share !== null && share >= 0.75 ? 'cell strong' : 'cell', title }, percent(share));
  element.style.setProperty('--share', `${Math.round(100 * (share ?? 0))}%`);
  return element;
}
