// @ts-check
/** Who gains and who pays: every class, or bin of like training count, on its way from A to B. */

import { Card, nothing } from './card.js';
import { el, fill, groupBadge, groupTitle, nameOf, setSize, sideBadge, svg } from '../charts/dom.js';
import { groupEntry, pairEntries } from '../charts/picture.js';
import { MOST_ARROWS, moveMarks, placesOf } from '../charts/move-chart.js';
import { nearest, plot, pointerIn } from '../charts/plot.js';
import { Latest } from '../host/resources.js';
import { hasBoundaries, movesOfBins, movesOfClasses } from '../model/by-count.js';
import { count, metricText, number, plural, signed } from '../model/format.js';
import { extent, niceDomain } from '../model/scale.js';
import { GROUPS, unlikeness } from '../model/view.js';

/** @import { Page } from './card.js' */
/** @import { PlacedMove } from '../charts/move-chart.js' */
/** @import { ClassRows } from '../host/class-rows.js' */
/** @import { ByCountAnswer, Move } from '../model/by-count.js' */
/** @import { Table, View } from '../model/types.js' */

const HEIGHT = 300;
const MARGIN = Object.freeze({ top: 12, right: 20, bottom: 38, left: 54 });
const REACH = 16;

export class PayersCard {
  /** @param {Page} page @param {ClassRows} rows */
  constructor(page, rows) {
    this._page = page;
    this._rows = rows;
    this._card = this.frame = new Card({
      id: 'payers',
      title: 'Who gains, who pays',
      className: 'payers-card',
      page,
      table: () => this._table(),
      picture: () => this._picture(),
      metric: 'class_metric',
    });
    this.element = this._card.element;
    /** @type {Latest<ByCountAnswer>} */
    this._latest = new Latest();
    /** @type {PlacedMove[]} */
    this._places = [];
    this._width = 0;
    /** @type {Pick<View, 'a' | 'b'>} */
    this._pair = { a: null, b: null };
    this._hint = el('p', { class: 'hint' });
    this._svg = svg('svg', {
      class: 'plot',
      role: 'img',
      onpointermove: (/** @type {PointerEvent} */ event) => this._hover(event),
      onpointerleave: () => page.tooltip.hide(),
      onclick: (/** @type {PointerEvent} */ event) => {
        const name = this._under(event)?.move.name;
        if (name) page.set({ open: name });
      },
    });
  }

  /** @param {View} view */
  update(view) {
    const { a, b, attribute, classMetric } = view;
    const classes = a && this._page.data.classes(a, attribute).value;
    this.element.hidden = !a || !b || (classes && !hasBoundaries(classes.counts)) || false;
    if (!a || !b || this.element.hidden) return;
    this._pair = { a, b };
    const label = metricText(classMetric).label;
    const isMany = a.info.n_classes > MOST_ARROWS;
    this._card.title.textContent = `${label}: who gains, who pays`;
    this._card.caption(
      `From A to B’s mark${isMany ? ', means of classes of like count' : ''}. Grey and hollow: could be chance.`,
    );
    const scope = JSON.stringify([a.run, a.step, b.run, b.step, attribute, classMetric]);
    const hasMeans = a.step !== null && b.step !== null && [a, b].every(({ info }) => info.means.includes(classMetric));
    const resource =
      isMany && hasMeans ? this._latest.take(this._page.data.byCount(a, b, attribute, classMetric), scope) : null;
    const rows = this._card.rowsOf(this._rows);
    if (!rows || !this._card.ready([...this._rows.parts, ...(resource ? [{ name: 'Bins', resource }] : [])])) return;
    if (resource && !resource.value) return;
    const bins = resource?.value?.bins;
    const unlike = unlikeness(a, b);
    const [width, height] = [Math.max(260, this._card.width), this._card.height(HEIGHT, 60)];
    const key = [this._rows.key, scope, a.version, b.version, bins?.length, resource?.stale, width, height].join('|');
    if (!this._card.isNew(key)) return;
    const moves = bins ? movesOfBins(bins, rows) : isMany ? [] : movesOfClasses(rows);
    const basis = unlike ? `No verdict: ${unlike}.` : (resource?.value?.basis ?? '');
    this._draw(unlike ? moves.map((move) => ({ ...move, isChance: true })) : moves, basis, { width, height, label });
  }

  /** @param {Move[]} moves @param {string} basis @param {{width: number, height: number, label: string}} size */
  _draw(moves, basis, { width, height, label }) {
    this._places = [];
    if (!moves.length) {
      this._card.put(nothing(basis || 'No class has a value in both runs.'));
      return;
    }
    const counts = moves.flatMap(({ lowest, highest }) => [lowest, highest]);
    const [low, high] = extent(counts) ?? [1, 1];
    const frame = plot({
      width,
      height,
      xDomain: [low / 1.15, high * 1.15],
      yDomain: niceDomain(extent(moves.flatMap(({ a, b }) => [a, b])), { bounds: [0, 1] }),
      xLabel: 'Training examples',
      yLabel: label,
      logX: true,
      margin: MARGIN,
    });
    this._width = width;
    this._places = placesOf(moves, frame);
    fill(this._svg, ...frame.axes, ...moveMarks(this._places, frame.right));
    setSize(this._svg, width, height);
    const text = clearText(moves);
    this._svg.setAttribute('aria-label', `${label} from A to B by training examples. ${text}`);
    fill(this._hint, [text, basis].filter(Boolean).join(' '));
    fill(this._card.body, this._svg, this._legend(), this._hint);
  }

  _groups() {
    return GROUPS.filter((group) => this._places.some(({ move }) => move.group === group));
  }

  _legend() {
    const badges = this._groups().map((group) => el('li', {}, groupBadge(group, groupTitle(group))));
    return el('ul', { class: 'legend' }, ...badges);
  }

  /** @param {PointerEvent} event */
  _under(event) {
    return nearest(this._places, ({ x, to }) => ({ x, y: to }), pointerIn(this._svg, event, this._width || 1), REACH);
  }

  /** @param {PointerEvent} event */
  _hover(event) {
    const move = this._under(event)?.move;
    if (!move) {
      this._page.tooltip.hide();
      return;
    }
    const row = (/** @type {Node | string} */ head, /** @type {string} */ value, /** @type {string} */ note = '') =>
      el('tr', {}, el('td', {}, head), el('td', { class: 'number' }, value), el('td', { class: 'muted' }, note));
    const ends = move.interval ? move.interval.map((end) => signed(end)).join(' to ') : '';
    this._page.tooltip.show(
      event.clientX,
      event.clientY,
      el(
        'p',
        { class: 'tooltip-title' },
        groupBadge(move.group, ''),
        move.name === null ? plural(move.n, 'class', 'classes') : nameOf(move.name),
        el('span', { class: 'muted' }, ` ${rangeText(move)}`),
      ),
      el(
        'table',
        {},
        row(sideBadge('A'), number(move.a)),
        row(sideBadge('B'), number(move.b)),
        row('B − A', signed(move.b - move.a), `${ends}${move.isChance ? ' ○' : ''}`),
      ),
    );
  }

  _picture() {
    if (!this._places.length) return null;
    return {
      legend: [
        ...pairEntries(this._pair),
        { text: 'from A to B’s mark; grey and hollow: could be chance' },
        ...this._groups().map((group) => groupEntry(group, '', groupTitle(group))),
        { text: this._hint.textContent ?? '' },
      ],
      panels: [{ heading: null, chart: this._svg }],
      columns: 1,
    };
  }

  /** @returns {Table} */
  _table() {
    const columns = ['class', 'group', 'lowest_count', 'highest_count', 'n_classes', 'a', 'b', 'difference'];
    const rows = this._places.map(({ move: { name, group, lowest, highest, n, a, b, interval, isChance } }) => [
      ...[name, group, lowest, highest, n, a, b, b - a],
      ...[interval?.[0] ?? null, interval?.[1] ?? null, isChance ? 'yes' : 'no'],
    ]);
    return { columns: [...columns, 'lower', 'upper', 'could_be_chance'], rows };
  }
}

/** @param {Move} move */
function rangeText({ lowest, highest }) {
  return lowest === highest
    ? plural(lowest, 'training example')
    : `${count(lowest)} to ${count(highest)} training examples`;
}

/** How many clearly moved, in words. @param {readonly Move[]} moves */
function clearText(moves) {
  const clear = moves.filter(({ isChance }) => !isChance);
  const up = clear.filter(({ a, b }) => b > a).length;
  const what = moves[0].name === null ? plural(moves.length, 'bin') : plural(moves.length, 'class', 'classes');
  return `Of ${what} ${count(up)} clearly up, ${count(clear.length - up)} clearly down.`;
}
