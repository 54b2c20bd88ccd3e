// @ts-check
/** Where the examples of each group go: true group against predicted group, and the classes confused most. */

import { Card, NO_VALIDATION, NOT_RECORDED, nothing } from './card.js';
import { comparedLifts, liftTable } from './lift-table.js';
import { pairTable } from './pair-list.js';
import { comparedTable, matrixTable } from './share-table.js';
import { el, fill, setOptions } from '../charts/dom.js';
import { Latest } from '../host/resources.js';
import { plural } from '../model/format.js';
import { pairsByEvidence } from '../model/evidence.js';
import { flowByGroup, groupsOfClasses, isExact } from '../model/grouping.js';
import { liftsByGroup } from '../model/lifts.js';
import { joinedPairs } from '../model/pairs.js';

/** @import { Page } from './card.js' */
/** @import { LiftRow } from '../model/lifts.js' */
/** @import { ClassPair } from '../model/pairs.js' */
/** @import { Part } from '../host/resources.js' */
/** @import { State } from '../model/state.js' */
/**
 * @import { ClassesAnswer, ConfusionAnswer,
 *   ConfusionsAnswer, FlowAnswer, LiftSumsAnswer } from '../model/answers.js'
 */
/** @import { RunView, Table, View } from '../model/types.js' */

const ALWAYS = new Set(['head', 'medium', 'tail']);
const LISTED = 10;
const COLUMNS = [
  ...['side', 'run', 'of', 'true', 'predicted', 'examples', 'expected', 'lift'],
  ...['share', 'lower', 'upper', 'could_be_chance'],
];

/**
 * @typedef {object} Side one run
 * @property {'A' | 'B'} letter
 * @property {RunView} run
 * @property {ConfusionAnswer | undefined} matrix shares of where the examples go
 * @property {LiftRow[] | null} lifts with several labels per example, instead of shares
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
    /** Whether a pair is still asked for. */
    this._isIncomplete = false;
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
    if (!this._sides.some(({ matrix, lifts }) => matrix || lifts)) {
      const isRecorded = !this._sides.length || this._sides.some(({ parts }) => parts.length > 1);
      this._card.put(nothing(isRecorded ? NO_VALIDATION : `These runs have no confusions: ${NOT_RECORDED}`));
      return;
    }
    const key = JSON.stringify([
      view.attribute,
      view.grouping?.key,
      state.pairs,
      this._card.lines(LISTED),
      this._sides.map(({ run, parts }) => [
        run.run,
        run.step,
        run.version,
        parts.map((p) => [p.resource.status, p.resource.stale]),
      ]),
    ]);
    if (this._card.isNew(key) || this._isIncomplete) this._draw(view, state);
    if (this._isIncomplete) this.element.setAttribute('aria-busy', 'true');
  }

  /** @param {'A' | 'B'} letter @param {RunView} run @param {View} view @returns {Side} */
  _side(letter, run, view) {
    const { data } = this._page;
    const scope = `${run.run}\n${view.attribute}`;
    const latest = this._latest[letter];
    const has = (/** @type {string} */ kind) => run.info.kinds.includes(kind);
    const sums = has('lift_sums') ? latest.sums.take(data.liftSums(run, view.attribute), scope) : null;
    const flow = has('flow') && !sums ? latest.flow.take(data.flow(run, view.attribute), scope) : null;
    const recorded =
      flow || sums || !has('confusion') ? null : latest.matrix.take(data.confusion(run, view.attribute), scope);
    const pairs = has('confusions') ? latest.pairs.take(data.confusions(run, view.attribute), scope) : null;
    const classes = data.classes(run, view.attribute);
    const parts = [sums, flow, recorded, pairs, classes].flatMap((resource) =>
      resource ? [{ name: run.run, resource }] : [],
    );
    const buckets = sums?.value?.buckets ?? flow?.value?.buckets;
    return {
      letter,
      run,
      lifts: sums?.value ? liftsByGroup(sums.value, view.grouping) : null,
      matrix: flow?.value ? flowByGroup(flow.value, view.grouping) : recorded?.value,
      pairs: pairs?.value,
      classes: classes.value,
      exact: buckets ? isExact(buckets, view.grouping) : !view.grouping,
      parts,
    };
  }

  /** @param {View} view @param {State} state */
  _draw(view, state) {
    this._isIncomplete = false;
    fill(this._card.body, el('div', { class: 'flow' }, this._groups(), el('div', {}, this._pairs(view, state))));
  }

  /** Between groups: one table of A and B where both have the same, otherwise one each. */
  _groups() {
    const sides = this._sides;
    const answers = sides.flatMap(({ matrix }) => (matrix ? [matrix] : []));
    const [from, to] = [namesOf(answers, 'rows'), namesOf(answers, 'columns')];
    const groups = liftGroups(sides);
    const [a, b] = sides;
    if (a?.matrix && b?.matrix) return comparedTable(a.matrix, b.matrix, from, to);
    if (a?.lifts && b?.lifts) return comparedLifts(a.lifts, b.lifts, groups);
    const tables = sides.map((side) =>
      side.lifts
        ? liftTable(side.letter, side.run, side.lifts, groups)
        : side.matrix && matrixTable(side.letter, side.run, side.matrix, from, to),
    );
    return el('div', { class: 'flow-sides' }, ...tables);
  }

  /** @param {View} view @param {State} state */
  _pairs(view, state) {
    const sides = this._sides.flatMap(({ letter, run, pairs, classes }) =>
      pairs && classes ? [{ letter, run, answer: pairs, classes }] : [],
    );
    if (!sides.length) {
      const isOld = this._sides.every(({ run }) => !run.info.kinds.includes('confusions'));
      return el('p', { class: 'hint' }, isOld ? 'Pairs of classes were not recorded by this version.' : '');
    }
    const groupOf = groupsByName(
      sides.map(({ classes }) => classes),
      view,
    );
    const pairs = joinedPairs(sides).filter(({ from }) => !state.pairs || groupOf(from) === state.pairs);
    if (!pairs.length) {
      const any = sides.some(({ answer }) => answer.n_pairs);
      return el('p', { class: 'hint' }, any ? 'No pair was confused twice.' : 'No mistakes are recorded.');
    }
    const listed = pairs.slice(0, this._card.lines(LISTED)).map((pair) => this._completed(pair, sides, view));
    return pairTable(
      listed,
      sides.map(({ letter }) => letter),
      {
        groupOf,
        whose: state.pairs,
        open: (name) => this._page.set({ open: name }),
        openImages: sides.some(({ run }) => run.info.kinds.includes('class_images')) ? this._page.openImages : null,
      },
    );
  }

  /**
   * A pair with what a run says of it that does not rank it high enough to be listed.
   * @param {ClassPair} pair @param {{run: RunView, classes: ClassesAnswer}[]} sides @param {View} view
   * @returns {ClassPair}
   */
  _completed(pair, sides, view) {
    const completed = sides.map(({ run, classes }, place) => {
      const index = classes.names.indexOf(pair.from);
      if (pair.sides[place] || index < 0) return pair.sides[place];
      const { status, value: answer } = this._page.data.confusions(run, view.attribute, index);
      if (status === 'loading') this._isIncomplete = true;
      if (!answer) return null;
      const same = joinedPairs([{ answer, classes }], 1).find(({ from, to }) => from === pair.from && to === pair.to);
      return same?.sides[0] ?? (isComplete(answer) ? NEVER : null);
    });
    return { ...pair, sides: completed };
  }

  /** @returns {Table} */
  _table() {
    const rows = this._sides.flatMap(({ letter, run, matrix, lifts, pairs, classes }) => [
      ...(lifts ?? []).flatMap(({ group, lifts: byGroup }) =>
        Object.entries(byGroup).map(([to, { observed, expected, lift, lower, upper }]) => [
          letter,
          run.run,
          'group',
          group,
          to,
          observed,
          expected,
          lift,
          null,
          lower,
          upper,
        ]),
      ),
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
            null,
            null,
            share,
            lower,
            upper,
            isChance ? 'yes' : 'no',
          ])
        : []),
    ]);
    return { columns: COLUMNS, rows: rows.map((row) => COLUMNS.map((_, i) => row[i] ?? null)) };
  }
}

/** A pair that no example has. */
const NEVER = Object.freeze({ n: 0, share: 0, lower: 0, upper: null, isChance: true, title: null });

/** Whether every mistake is in a recorded pair. @param {ConfusionsAnswer} answer */
function isComplete({ n_recorded, n_mistakes }) {
  return n_mistakes !== null && n_recorded >= n_mistakes;
}

function latestSide() {
  return {
    flow: /** @type {Latest<FlowAnswer>} */ (new Latest()),
    sums: /** @type {Latest<LiftSumsAnswer>} */ (new Latest()),
    matrix: /** @type {Latest<ConfusionAnswer>} */ (new Latest()),
    pairs: /** @type {Latest<ConfusionsAnswer>} */ (new Latest()),
  };
}

/** @param {View} view @param {Side[]} sides */
function captionOf({ a, b }, sides) {
  const cut = sides.some(({ exact }) => !exact);
  const mistakes = sides.flatMap(({ letter, pairs }) =>
    pairs ? [`${letter} ${plural(pairs.n_mistakes ?? 0, 'mistake')}`] : [],
  );
  return [
    whatIsShown((a ?? b)?.info.decision === 'single_label', sides),
    mistakes.length ? `${mistakes.join(', ')}.` : '',
    '○ grey: could be chance.',
    cut ? 'Classes of like training count are recorded together, so these thresholds are rounded here.' : '',
  ]
    .filter(Boolean)
    .join(' ');
}

/** @param {boolean} single @param {Side[]} sides */
function whatIsShown(single, sides) {
  const shares = 'Rows: true group; columns: predicted group; share of each row.';
  if (single) return `${shares} A wrong class of the right group counts as right.`;
  if (sides.some(({ lifts }) => lifts))
    return (
      'Rows: labels missed; columns: labels wrongly predicted in the same examples. 2.0× = twice as often as in ' +
      'examples without the missed label, 1.0× = independent.'
    );
  return `${shares} Positives missed go to what was wrongly predicted in the same example: by chance alone that is a large share.`;
}

/**
 * The group of a class by its name, as in the first of the runs that has it.
 * @param {ClassesAnswer[]} answers @param {View} view
 */
function groupsByName(answers, view) {
  const lists = answers.map((classes) => ({ classes, groups: groupsOfClasses(classes, view.grouping) }));
  const known = new Map(
    lists.reverse().flatMap(({ classes, groups }) => classes.names.map((name, i) => [name, groups[i]])),
  );
  return (/** @type {string} */ name) => known.get(name) ?? 'unknown';
}

/** Head, medium and tail, and "unknown" where it has examples. @param {Side[]} sides */
function liftGroups(sides) {
  const rows = sides.flatMap(({ lifts }) => lifts ?? []);
  const known = rows.some(({ group, positives }) => group === 'unknown' && positives > 0);
  return known ? [...ALWAYS, 'unknown'] : [...ALWAYS];
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
