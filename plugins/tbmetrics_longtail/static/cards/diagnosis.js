// @ts-check
/** Why the tail fails: findings with their evidence, and what known remedies would gain without training. */

import { Card, Width } from './card.js';
import { el, fill, nameOf, sideBadge } from '../charts/dom.js';
import { runEntry } from '../charts/picture.js';
import { REMEDY_NAMES, RemedyChart } from '../charts/remedy-chart.js';
import { keyOf, partsOf, SideAnswers } from '../host/resources.js';
import { isDefined, number, signed } from '../model/format.js';

/** @import { Page } from './card.js' */
/** @import { SideAnswer } from '../host/resources.js' */
/** @import { DiagnosisAnswer, FindingAnswer, RemedyAnswer } from '../model/answers.js' */
/** @import { RunView, Table, View } from '../model/types.js' */

const HEIGHT = 300;
const REMEDIES = 'Remedies without training';
const MARKS = Object.freeze([
  '✚ as trained',
  '● logit adjustment',
  '◆ τ-normalisation',
  '▲ thresholds by class',
  'ringed: the best',
]);
const WORDS = Object.freeze(['not found', '▲ noted', '▲▲ strong']);

/** @typedef {SideAnswer<DiagnosisAnswer>} Side */

export class DiagnosisCard {
  /** @param {Page} page */
  constructor(page) {
    this._page = page;
    this._card = this.frame = new Card({
      id: 'diagnosis',
      title: 'Why the tail fails, and what would help',
      className: 'diagnosis-card',
      page,
      table: () => this._table(),
      picture: () => this._picture(),
    });
    this.element = this._card.element;
    this.element.hidden = true; // until a run has findings
    this._chart = new RemedyChart(page.tooltip);
    this._plot = el('figure', { class: 'chart' }, el('h3', {}, REMEDIES), this._chart.element);
    this._plot.append(el('p', { class: 'caption' }, `Along their τ: ${MARKS.join(', ')}.`));
    this._findings = el('div', { class: 'finding-sides' });
    this._layout = el('div', { class: 'diagnosis' }, this._findings, this._plot);
    this._width = new Width(this._plot, page.redraw);
    /** @type {SideAnswers<DiagnosisAnswer>} */
    this._answers = new SideAnswers();
    /** @type {Side[]} */
    this._sides = [];
  }

  /** @param {View} view */
  update(view) {
    this._sides = this._answers.of(view, 'findings', (run) => this._page.data.diagnosis(run, view.attribute));
    this.element.hidden = !this._sides.length;
    if (this.element.hidden || !this._card.ready(partsOf(this._sides))) return;
    const objective = this._sides.map(({ resource }) => resource.value?.objective).find(Boolean);
    this._card.caption(
      'By the groups recorded with the run. Rules point at causes; they prove none.' +
        (objective ? ` The best remedy is chosen for ${objective}, on samples that it is not judged by.` : ''),
    );
    if (this._layout.parentElement !== this._card.body) fill(this._card.body, this._layout);
    const key = [view.attribute, this._width.value, this._card.height(HEIGHT, 60)]
      .concat(keyOf(this._sides))
      .join('\n');
    if (this._width.value && this._card.isNew(key)) this._draw();
  }

  _draw() {
    fill(this._findings, ...this._sides.map(({ letter, run, resource }) => findingsOf(letter, run, resource.value)));
    const drawn = this._sides.flatMap(({ letter, run, resource }) =>
      resource.value?.remedies.length ? [{ letter, run, remedies: resource.value.remedies }] : [],
    );
    this._plot.hidden = !drawn.length;
    if (drawn.length) this._chart.draw(drawn, this._width.value, this._card.height(HEIGHT, 60));
  }

  _picture() {
    if (this._plot.hidden || !this._sides.length) return null;
    return {
      title: REMEDIES,
      legend: [...this._sides.map(({ letter, run }) => runEntry(letter, run)), ...MARKS.map((text) => ({ text }))],
      panels: [{ heading: null, chart: this._chart.element }],
      columns: 1,
    };
  }

  /** @returns {Table} */
  _table() {
    const rows = this._sides.flatMap(({ letter, run, resource }) => [
      ...(resource.value?.findings ?? []).map((f) => [
        letter,
        run.run,
        'finding',
        f.name,
        f.severity,
        f.value,
        f.head,
        f.tail,
      ]),
      ...(resource.value?.remedies ?? []).map((r) => [
        letter,
        run.run,
        r.best ? 'best remedy' : 'remedy',
        r.remedy,
        r.tau,
        r.balanced_accuracy,
        r.head_recall,
        r.tail_recall,
      ]),
    ]);
    return { columns: ['side', 'run', 'what', 'name', 'severity_or_tau', 'value', 'head', 'tail'], rows };
  }
}

/** @param {'A' | 'B'} letter @param {RunView} run @param {DiagnosisAnswer | undefined} answer */
function findingsOf(letter, run, answer) {
  const findings = answer?.findings.filter((f) => Number(f.severity) > 0) ?? [];
  const untold = answer?.findings.filter((f) => f.severity === null && f.applies !== 0) ?? [];
  const clear = answer?.findings.filter((f) => f.severity === 0).map((f) => f.title.toLowerCase()) ?? [];
  const trained = answer?.remedies.find((r) => r.remedy === 'none');
  const best = answer?.remedies.filter((r) => r.best && isDefined(r.tail_gain)) ?? [];
  return el(
    'section',
    { class: 'finding-side', 'data-side': letter },
    el(
      'h3',
      {},
      sideBadge(letter),
      ' ',
      nameOf(run.run),
      answer ? el('span', { class: 'muted' }, ` step ${answer.step}`) : null,
    ),
    findings.length ? el('ul', { class: 'findings' }, ...findings.map(findingOf)) : el('p', {}, 'Nothing was found.'),
    ...best.map((r) => el('p', { class: 'remedy' }, remedyText(r, trained))),
    untold.length
      ? el(
          'p',
          { class: 'hint' },
          'Could not be told: ',
          ...untold.flatMap((f, i) => [i ? ', ' : '', untoldOf(f)]),
          '.',
        )
      : null,
    clear.length ? el('p', { class: 'hint' }, `Looked for and not found: ${clear.join(', ')}.`) : null,
  );
}

/** @param {FindingAnswer} finding */
function findingOf(finding) {
  const { name, title, advice, reference, severity, rests_on: basis, errors } = finding;
  return el(
    'li',
    { 'data-finding': name },
    el('p', {}, el('strong', {}, title), ' ', el('span', { class: 'severity' }, WORDS[Number(severity)] ?? '')),
    el('p', {}, finding.says ? `${sentenceOf(finding.says)}.` : numbersOf(finding)),
    el('p', {}, '→ ', advice),
    el(
      'details',
      { class: 'hint' },
      el('summary', {}, 'Evidence'),
      ...[basis, errors && `${errors}.`, reference].flatMap((text) => (text ? [el('p', {}, text)] : [])),
    ),
  );
}

/** What the samples leave open, on hover with what is known. @param {FindingAnswer} finding */
function untoldOf({ title, says, errors }) {
  const hover = [says && `the samples do not decide: ${says}.`, errors].filter(Boolean).join(' ');
  return el('span', { title: hover || null }, title);
}

/** The numbers of a finding in logs without sentences. @param {FindingAnswer} finding */
function numbersOf({ value, noted_at: limit, head, tail, n_classes: n }) {
  const compared = head !== null && tail !== null ? `head ${number(head)}, tail ${number(tail)}; ` : '';
  const noted = limit === null ? '' : `, noted from ${number(limit)}`;
  const judged = value === null ? '' : `${number(value)}${noted}`;
  return `${compared}${judged}${n === null ? '' : ` (${n} classes)`}`;
}

/** @param {string} text */
function sentenceOf(text) {
  const written = text.replace(/(^|[\s(])-(?=\d)/g, '$1−');
  return written.startsWith('τ') ? written : written.charAt(0).toUpperCase() + written.slice(1);
}

/**
 * What a remedy would do, in a sentence.
 * @param {RemedyAnswer} remedy @param {RemedyAnswer | undefined} trained the model as it is
 */
function remedyText(remedy, trained) {
  const name = REMEDY_NAMES[remedy.remedy] ?? remedy.remedy;
  if (remedy.tau === 0) return `${name} would not help: no τ is better than the model as trained.`;
  const tau = remedy.tau === null ? '' : ` with τ = ${number(remedy.tau, 2)}`;
  const changes = /** @type {const} */ (['tail', 'head']).flatMap((group) => changeText(remedy, trained, group) ?? []);
  if (changes.every(({ isClear }) => !isClear)) return `${name}${tau}: no change of head or tail recall can be told.`;
  return `${name}${tau} would ${changes.map(({ text }) => text).join(' and ')}.`;
}

/** @param {RemedyAnswer} remedy @param {RemedyAnswer | undefined} trained @param {'head' | 'tail'} group */
function changeText(remedy, trained, group) {
  const [gain, low, high] = ['', '_lower', '_upper'].map((end) => remedy[`${group}_gain${end}`]);
  const [before, after] = [trained, remedy].map((row) => row?.[`${group}_recall`]);
  if (!isDefined(gain) || !isDefined(after)) return null;
  const hasEnds = isDefined(low) && isDefined(high);
  const isClear = hasEnds ? Number(low) > 0 || Number(high) < 0 : Math.abs(Number(gain)) >= 0.005;
  const ends = hasEnds ? ` (${signed(low, 2)} to ${signed(high, 2)})` : '';
  if (!isClear) return { isClear, text: `leave ${group} recall near ${number(before, 2)}${ends}` };
  const verb = Number(gain) > 0 ? 'raise' : 'lower';
  return { isClear, text: `${verb} ${group} recall from ${number(before, 2)} to ${number(after, 2)}${ends}` };
}
