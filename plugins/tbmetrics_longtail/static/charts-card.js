// @ts-check
/** The four charts over steps: head, medium and tail on one scale, and the gap between head and tail. */

import { Card, nothing } from './card.js';
import { el, fill, groupBadge, groupTitle, nameOf, runSwatch, sideBadge } from './dom.js';
import { count, interval, MEANS, metricText, number, plural } from './format.js';
import { LineChart } from './line-chart.js';
import { badgeOf, groupPoints, pointAt } from './model.js';
import { extent, niceDomain } from './scale.js';

/** @import { Data } from './data.js' */
/** @import { Tooltip } from './tooltip.js' */
/** @import { GroupsAnswer, Maybe, Resource, RunView, Series, State, View } from './types.js' */

const CHARTS = /** @type {const} */ (['head', 'medium', 'tail', 'gap']);
const HEIGHT = 190;
const ALL_BANDS_UP_TO = 3;
const MOST_IN_LEGEND = 8;
const MOST_IN_TOOLTIP = 14;

export class ChartsCard {
  /** @param {{data: Data, tooltip: Tooltip, set: (patch: Partial<State>) => void, retry: () => void}} page */
  constructor({ data, tooltip, set, retry }) {
    this._data = data;
    this._tooltip = tooltip;
    this._card = new Card({ title: 'Over training', className: 'charts-card', onRetry: retry });
    this.element = this._card.element;
    /** @type {View | null} */
    this._view = null;
    this._key = '';
    this._legend = el('ul', { class: 'legend' });
    this._charts = CHARTS.map((group) => {
      const chart = new LineChart({
        onHover: (step, event) => this._hover(group, step, event),
        onPick: (step) => set({ step: step === this._view?.steps.at(-1) ? null : step }),
      });
      const heading = el('h3', {});
      return { group, chart, heading, box: el('figure', { class: 'chart' }, heading, chart.element) };
    });
    this._grid = el('div', { class: 'chart-grid' }, ...this._charts.map(({ box }) => box));
  }

  /** @param {View} view */
  update(view) {
    this._view = view;
    this._card.title.textContent = `${metricText(view.metric).label} over training`;
    this._card.caption(captionOf(view));
    const parts = view.charted.map((run) => ({
      name: run.run,
      run,
      resource: this._data.groups(run, view.attribute, view.metric),
    }));
    if (!this._card.ready(parts)) return;
    if (!view.charted.length) {
      fill(this._card.body, nothing('No run is drawn: tick one in the list of runs.'));
      return;
    }
    if (this._grid.parentElement !== this._card.body) fill(this._card.body, this._legend, this._grid);
    this._draw(view, parts);
  }

  /** @param {View} view @param {{run: RunView, resource: Resource<GroupsAnswer>}[]} parts */
  _draw(view, parts) {
    const width = this._chartWidth();
    const drawn = parts.filter(({ resource }) => resource.value);
    const key = [
      view.attribute,
      view.metric,
      view.step,
      view.steps.length,
      view.a?.run,
      view.b?.run,
      width,
      ...drawn.map(({ run, resource }) => [run.run, run.version, run.style.index, resource.stale]),
    ].join('\n');
    if (key === this._key || !width) return;
    this._key = key;
    this._series = Object.fromEntries(
      CHARTS.map((group) => [
        group,
        drawn.map(({ run, resource }) => seriesOf(view, run, /** @type {GroupsAnswer} */ (resource.value), group)),
      ]),
    );
    this._drawLegend(view);
    const shared = niceDomain(rangeOf(CHARTS.slice(0, 3).flatMap((group) => this._series?.[group] ?? [])), {
      bounds: [0, 1],
    });
    for (const { group, chart, heading } of this._charts) {
      const series = this._series[group];
      const yDomain = group === 'gap' ? niceDomain(rangeOf(series), { zero: true }) : shared;
      fill(heading, ...headingOf(group, view));
      chart.draw(
        {
          series,
          steps: view.steps,
          step: view.step,
          yDomain,
          zeroLine: group === 'gap',
          label: describe(group, view, series),
        },
        width,
        HEIGHT,
      );
    }
  }

  /** @param {View} view */
  _drawLegend(view) {
    const shown = view.charted.slice(0, MOST_IN_LEGEND);
    const more = view.charted.length - shown.length;
    const entries = shown.map((run) => {
      const badge = badgeOf(view, run.run);
      return el('li', {}, runSwatch(run.style), badge && sideBadge(badge), nameOf(run.run));
    });
    fill(
      this._legend,
      ...entries,
      more > 0 && el('li', { class: 'muted' }, `and ${more} more, as in the list of runs`),
    );
  }

  _chartWidth() {
    const styles = window.getComputedStyle(this._grid);
    const columns = styles.gridTemplateColumns.split(' ').length;
    const gap = Number.parseFloat(styles.columnGap) || 0;
    return Math.max(0, Math.floor((this._grid.clientWidth - gap * (columns - 1)) / columns));
  }

  /** @param {typeof CHARTS[number]} group @param {Maybe} step @param {PointerEvent | null} event */
  _hover(group, step, event) {
    for (const { chart } of this._charts) chart.mark(step);
    if (step === null || !event) {
      this._tooltip.hide();
      return;
    }
    const rows = (this._series?.[group] ?? [])
      .map((series) => ({ series, point: pointAt(series.points, step) }))
      .filter(({ point }) => point)
      .sort((p, q) => (q.point?.y ?? -Infinity) - (p.point?.y ?? -Infinity));
    this._tooltip.show(
      event.clientX,
      event.clientY,
      el(
        'p',
        { class: 'tooltip-title' },
        group === 'gap' ? 'Gap' : groupBadge(group, groupTitle(group)),
        ` · step ${count(step)}`,
      ),
      el('table', {}, ...rows.slice(0, MOST_IN_TOOLTIP).map(({ series, point }) => tooltipRow(series, point))),
      rows.length > MOST_IN_TOOLTIP ? el('p', { class: 'muted' }, `and ${rows.length - MOST_IN_TOOLTIP} more`) : '',
      rows.length ? '' : el('p', { class: 'muted' }, 'no run was validated at this step'),
    );
  }
}

/** @param {View} view @param {RunView} run @param {GroupsAnswer} answer @param {string} group @returns {Series} */
function seriesOf(view, run, answer, group) {
  const badge = badgeOf(view, run.run);
  const band = view.charted.length <= ALL_BANDS_UP_TO || badge !== '';
  return { label: run.run, badge, style: run.style, band, points: groupPoints(answer, group, view.metric) };
}

/** @param {Series[]} series */
function rangeOf(series) {
  return extent(series.flatMap(({ points, band }) => points.flatMap((p) => (band ? [p.y, p.lower, p.upper] : [p.y]))));
}

/** @param {typeof CHARTS[number]} group @param {View} view */
function headingOf(group, view) {
  if (group === 'gap') return ['Gap', el('span', { class: 'muted' }, 'head − tail')];
  const size = (view.a ?? view.charted[0]).info.group_sizes[group] ?? 0;
  return [groupBadge(group, groupTitle(group)), el('span', { class: 'muted' }, plural(size, 'class', 'classes'))];
}

/** @param {View} view */
function captionOf(view) {
  if (!MEANS.includes(view.metric)) return metricText(view.metric).meaning;
  const bands = view.charted.length > ALL_BANDS_UP_TO ? 'Bands (of A and B)' : 'Bands';
  const interval95 = '95 % interval of this validation set; other seeds may differ more';
  return `Mean over the group’s classes that have a value. ${bands}: ${interval95}.`;
}

/** @param {string} group @param {View} view @param {Series[]} series */
function describe(group, view, series) {
  const values = series.map((s) => `${shortName(s.label)} ${number(pointAt(s.points, stepOf(view, s.label))?.y)}`);
  return `${metricText(view.metric).label}, ${groupTitle(group)}, at step ${view.step}: ${values.join(', ')}`;
}

/** @param {View} view @param {string} run */
function stepOf(view, run) {
  return view.charted.find((r) => r.run === run)?.step ?? null;
}

/** @param {string} name */
function shortName(name) {
  return name.length > 40 ? `${name.slice(0, 39)}…` : name;
}

/** @param {Series} series @param {ReturnType<typeof pointAt>} point */
function tooltipRow(series, point) {
  const n = point?.n ?? null;
  return el(
    'tr',
    {},
    el('td', {}, runSwatch(series.style)),
    el('td', {}, series.badge && sideBadge(series.badge)),
    el('td', { class: 'tooltip-name' }, nameOf(series.label)),
    el('td', { class: 'number' }, number(point?.y)),
    el('td', { class: 'muted' }, interval(point?.lower, point?.upper)),
    el('td', { class: 'muted' }, n !== null && plural(n, 'class', 'classes')),
  );
}
