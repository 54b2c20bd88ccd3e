// @ts-check
/** The four charts over steps: head, medium and tail on one scale, and the gap between head and tail. */

import { Card, nothing, Width } from './card.js';
import { el, fill, groupBadge, groupTitle, nameOf, runSwatch, setText, sideBadge } from '../charts/dom.js';
import { LineChart } from '../charts/line-chart.js';
import { groupEntry } from '../charts/picture.js';
import { groupsOf } from '../host/data.js';
import { count, coverage, interval, metricText, number, plural, shorten } from '../model/format.js';
import { canRegroup } from '../model/grouping.js';
import { extent, niceDomain, rangeOfPoints } from '../model/scale.js';
import { meanLine, rangeOfGroup } from '../model/seeds.js';
import { badgeOf, groupPoints, pointAt } from '../model/view.js';

/** @import { Page } from './card.js' */
/** @import { Resource } from '../host/resources.js' */
/** @import { GroupsAnswer } from '../model/answers.js' */
/** @import { Experiment, Maybe, RunView, Series, Table, View } from '../model/types.js' */

const CHARTS = /** @type {const} */ (['head', 'medium', 'tail', 'gap']);
const HEIGHT = 204;
const ALL_BANDS_UP_TO = 3;
const MOST_IN_LEGEND = 8;
const MOST_IN_TOOLTIP = 14;

export class ChartsCard {
  /** @param {Page} page */
  constructor(page) {
    const { data, tooltip, set } = page;
    this._data = data;
    this._tooltip = tooltip;
    this._card = this.frame = new Card({
      id: 'training',
      title: 'Over training',
      className: 'charts-card',
      page,
      table: () => this._table(),
      picture: () => this._picture(),
      metric: 'metric',
    });
    this.element = this._card.element;
    /** @type {View | null} */
    this._view = null;
    this._legend = el('ul', { class: 'legend' });
    this._charts = CHARTS.map((group) => {
      const chart = new LineChart({
        onHover: (step, event) => this._hover(group, step, event),
        onPick: (step) => set({ pick: null, step: step === this._view?.steps.at(-1) ? null : step }),
      });
      const size = el('span', { class: 'muted' }, group === 'gap' ? 'head − tail' : '');
      const heading = el('h3', {}, group === 'gap' ? 'Gap' : groupBadge(group, groupTitle(group)), size);
      return { group, chart, size, box: el('figure', { class: 'chart' }, heading, chart.element) };
    });
    this._chart = new Width(this._charts[0].box, page.redraw);
    this._grid = el('div', { class: 'chart-grid' }, ...this._charts.map(({ box }) => box));
  }

  /** Ask for what the charts show. @param {View} view */
  ask(view) {
    return view.charted.map((run) => ({ name: run.run, run, resource: groupsOf(this._data, run, view) }));
  }

  /** @param {View} view */
  update(view) {
    this._view = view;
    setText(this._card.title, `${metricText(view.metric).label} over training`);
    this._card.caption(captionOf(view));
    const parts = this.ask(view);
    if (!this._card.ready(parts)) return;
    if (!view.charted.length) {
      this._card.put(nothing('No run is drawn: tick one in the list of runs.'));
      return;
    }
    if (this._grid.parentElement !== this._card.body) fill(this._card.body, this._legend, this._grid);
    this._draw(view, parts);
  }

  /** @param {View} view @param {{run: RunView, resource: Resource<GroupsAnswer>}[]} parts */
  _draw(view, parts) {
    const width = this._chart.value;
    const drawn = parts.filter(({ resource }) => resource.value);
    const key = [
      view.attribute,
      view.metric,
      view.step,
      view.steps.length,
      view.a?.run,
      view.b?.run,
      view.grouping?.key,
      view.experiments?.map((e) => `${e.label}:${e.runs.length}`).join(),
      width,
      this._height(),
      ...drawn.map(({ run, resource }) => [run.run, run.version, run.style.index, resource.stale]),
    ].join('\n');
    if (!width || !this._card.isNew(key)) return;
    this._series = Object.fromEntries(
      CHARTS.map((group) => [
        group,
        seriesOf(
          view,
          drawn.map(({ run, resource }) => ({ run, answer: /** @type {GroupsAnswer} */ (resource.value) })),
          group,
        ),
      ]),
    );
    this._drawLegend();
    const shared = niceDomain(rangeOf(CHARTS.slice(0, 3).flatMap((group) => this._series?.[group] ?? [])), {
      bounds: [0, 1],
    });
    for (const { group, chart, size, box } of this._charts) {
      const series = this._series[group];
      box.hidden = group !== CHARTS[0] && !rangeOf(series); // the width is that of the first
      const yDomain = group === 'gap' ? niceDomain(rangeOf(series), { zero: true }) : shared;
      if (group !== 'gap') setText(size, sizeText(group, view, series));
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
        this._height(),
      );
    }
  }

  /** Of each chart; in full size there are two rows of them. */
  _height() {
    return this._card.height(HEIGHT, 54, 2);
  }

  _drawLegend() {
    const lines = sidesFirst(this._series?.head ?? []);
    const key = JSON.stringify(
      lines.map((line) => [line.label, line.badge, line.style.index, line.nRuns > 1 && seedsOf(line)]),
    );
    if (this._legend.dataset.key === key) return;
    this._legend.dataset.key = key;
    const shown = lines.slice(0, MOST_IN_LEGEND);
    const more = lines.length - shown.length;
    const entries = shown.map((series) =>
      el(
        'li',
        {},
        runSwatch(series.style),
        series.badge && sideBadge(series.badge),
        nameOf(series.label),
        series.nRuns > 1 && el('span', { class: 'muted' }, seedsOf(series)),
      ),
    );
    fill(
      this._legend,
      ...entries,
      more > 0 && el('li', { class: 'muted' }, `and ${more} more, as in the list of runs`),
    );
  }

  /** @returns {Table} */
  _table() {
    const rows = CHARTS.flatMap((group) =>
      (this._series?.[group] ?? []).flatMap(({ label, badge, points }) =>
        points.map((p) => [label, badge, group, p.x, p.y, p.lower, p.upper, p.n]),
      ),
    );
    return { columns: ['run', 'side', 'group', 'step', 'value', 'lower', 'upper', 'n'], rows };
  }

  _picture() {
    const view = this._view;
    if (!this._series || !view) return null;
    const lines = sidesFirst(this._series.head);
    const legend = lines.slice(0, MOST_IN_LEGEND).map((series) => ({
      mark: runSwatch(series.style),
      strong: series.badge,
      text: `${shorten(series.label)}${series.nRuns > 1 ? ` (${seedsOf(series)})` : ''}`,
    }));
    const more = lines.length - legend.length;
    const notes = [more > 0 ? `and ${more} more` : '', bandText(view), view.step === null ? '' : '┊ chosen step'];
    return {
      legend: [...legend, ...notes.filter(Boolean).map((text) => ({ text }))],
      panels: this._charts
        .filter(({ box }) => !box.hidden)
        .map(({ group, chart }) => ({
          heading:
            group === 'gap'
              ? { strong: 'Gap', text: 'head − tail' }
              : groupEntry(group, groupTitle(group), sizeText(group, view, this._series?.[group] ?? [])),
          chart: chart.element,
        })),
      columns: 2,
    };
  }

  /** @param {typeof CHARTS[number]} group @param {Maybe} step @param {PointerEvent | null} event */
  _hover(group, step, event) {
    for (const { chart } of this._charts) chart.mark(step);
    if (step === null || !event) {
      this._tooltip.hide();
      return;
    }
    const view = this._view;
    const rows = (this._series?.[group] ?? [])
      .map((series) => ({ series, point: pointAt(series.points, step) }))
      .filter(({ point }) => point)
      .sort((p, q) => (q.point?.y ?? -Infinity) - (p.point?.y ?? -Infinity))
      .sort((p, q) => Number(q.series.badge !== '') - Number(p.series.badge !== ''));
    this._tooltip.show(
      event.clientX,
      event.clientY,
      el(
        'p',
        { class: 'tooltip-title' },
        group === 'gap' ? 'Gap' : groupBadge(group, groupTitle(group)),
        ` · step ${count(step)}`,
      ),
      el(
        'table',
        {},
        ...rows
          .slice(0, MOST_IN_TOOLTIP)
          .map(({ series, point }) => tooltipRow(series, point, view?.sizes.get(group) ?? null)),
      ),
      rows.length > MOST_IN_TOOLTIP ? el('p', { class: 'muted' }, `and ${rows.length - MOST_IN_TOOLTIP} more`) : '',
      rows.length ? '' : el('p', { class: 'muted' }, 'no run was validated at this step'),
    );
  }
}

/**
 * One line per run, or per experiment: the mean of its seeds.
 * @param {View} view @param {{run: RunView, answer: GroupsAnswer}[]} drawn @param {string} group @returns {Series[]}
 */
function seriesOf(view, drawn, group) {
  const lineOf = (/** @type {GroupsAnswer} */ answer) => groupPoints(answer, group, view.metric);
  if (!view.experiments) {
    return drawn.map(({ run, answer }) => {
      const badge = badgeOf(view, run.run);
      const band = view.charted.length <= ALL_BANDS_UP_TO || badge !== '';
      return { label: run.run, badge, style: run.style, band, points: lineOf(answer), nRuns: 1 };
    });
  }
  return view.experiments.flatMap((experiment) => {
    const lines = drawn.filter(({ run }) => experiment.runs.includes(run)).map(({ answer }) => lineOf(answer));
    if (!lines.length) return [];
    const badge = badgeOfExperiment(view, experiment);
    const { label, style } = experiment;
    return [{ label, badge, style, band: true, points: meanLine(lines, rangeOfGroup(group)), nRuns: lines.length }];
  });
}

/** A and B before the others, so that no cap hides them. @param {readonly Series[]} series */
function sidesFirst(series) {
  return ['A', 'B', ''].flatMap((badge) => series.filter((line) => line.badge === badge));
}

/** How many seeds a line is the mean of, and how many steps lack one. @param {Series} series */
function seedsOf({ nRuns, points }) {
  const lacking = points.filter(({ n }) => n !== null && n < nRuns);
  if (!lacking.length) return plural(nRuns, 'seed');
  const least = lacking.reduce((low, { n }) => Math.min(low, Number(n)), nRuns);
  const steps = plural(lacking.length, 'step', 'steps');
  return `${plural(nRuns, 'seed')}; at ${steps} only ${least === nRuns - 1 ? '' : 'down to '}${least} of ${nRuns}: no mean`;
}

/** @param {View} view @param {Experiment} experiment @returns {'A' | 'B' | ''} */
function badgeOfExperiment(view, { runs }) {
  const has = (/** @type {RunView | null} */ run) => run !== null && runs.some((r) => r.run === run.run);
  return has(view.a) ? 'A' : has(view.b) ? 'B' : '';
}

/** @param {Series[]} series */
function rangeOf(series) {
  return extent(series.flatMap(({ points, band }) => rangeOfPoints(points, band) ?? []));
}

/** How many classes A’s mean covers at its step. @param {typeof CHARTS[number]} group @param {View} view @param {Series[]} series */
function sizeText(group, view, series) {
  const ofA = view.experiments ? undefined : series.find(({ badge }) => badge === 'A');
  const size = view.sizes.get(group) ?? 0;
  return coverage((ofA && pointAt(ofA.points, view.a?.step ?? null)?.n) ?? size, size);
}

/** @param {View} view */
function bandText(view) {
  return view.experiments ? 'bands: 95 % t-interval over seeds' : 'bands: 95 % interval';
}

/** @param {View} view */
function captionOf(view) {
  if (view.grouping && !canRegroup(view.metric))
    return `${metricText(view.metric).meaning} Recorded for the run’s own groups only, so not by these thresholds.`;
  if (!view.means.includes(view.metric)) return metricText(view.metric).meaning;
  if (view.experiments) return 'Lines: mean of an experiment’s seeds; bands: its 95 % t-interval over seeds.';
  const bands = view.steps.length > 1 ? 'Bands' : 'Bars';
  const whose = view.charted.length > ALL_BANDS_UP_TO ? ' (of A and B)' : '';
  return `Mean of the group’s classes. ${bands}${whose}: 95 % interval of this validation set; other seeds may differ more.`;
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

/** @param {number} n @param {number} all */
function seedsAt(n, all) {
  return n === all ? plural(n, 'seed') : `${n} of ${plural(all, 'seed')}: no mean`;
}

/** @param {Series} series @param {ReturnType<typeof pointAt>} point @param {Maybe} size classes of the group */
function tooltipRow(series, point, size) {
  const n = point?.n ?? null;
  return el(
    'tr',
    {},
    el('td', {}, runSwatch(series.style)),
    el('td', {}, series.badge && sideBadge(series.badge)),
    el('td', { class: 'tooltip-name' }, nameOf(series.label)),
    el('td', { class: 'number' }, number(point?.y)),
    el('td', { class: 'muted' }, interval(point?.lower, point?.upper)),
    el('td', { class: 'muted' }, n !== null && (series.nRuns > 1 ? seedsAt(n, series.nRuns) : coverage(n, size))),
  );
}
