// @ts-check
/** The tab in a file, without a server: the same requests, answered from the data in the file. */

import { App } from '../app/app.js';
import { el } from '../charts/dom.js';
import { answerWith } from '../host/requests.js';
import { followTheme } from '../host/tensorboard.js';
import { groupOfCount } from '../model/grouping.js';
import { curvePoints, groupCurves } from './curves.js';
import { compareOffline, NO_INTERVALS, sliceTable } from './tables.js';
import { unlikeness } from '../model/view.js';

/** @import { AttributeInfo, RunInfo } from '../model/answers.js' */
/** @import { Grouping, Maybe } from '../model/types.js' */
/** @import { OfflineTable } from './tables.js' */

/**
 * @typedef {object} Held the data in the file
 * @property {Record<string, any>} answers by address, as the server would give them
 * @property {Record<string, {about: any, first: number, size: number}>} packed the same with numbers of their own
 * @property {OfflineTable[]} tables
 * @property {Float32Array} values
 */

const ROOT = 'file:///longtail/';
const FAULT = Object.freeze({ error: 'the file does not hold it', hint: 'Open the log in TensorBoard for it.' });

/**
 * Show the tab with the data in `text`, gzip in base64.
 * @param {string} text
 */
export async function show(text) {
  document.documentElement.lang = 'en';
  document.documentElement.classList.add('offline');
  followTheme();
  const held = await unpacked(text);
  answerWith(async (url) => respond(held, url));
  const root = el('div', { id: 'longtail' });
  document.body.append(root);
  new App(root).start();
}

/** @param {string} text @returns {Promise<Held>} */
async function unpacked(text) {
  const zipped = Uint8Array.from(atob(text.trim()), (c) => c.charCodeAt(0));
  const stream = new Blob([zipped]).stream().pipeThrough(new DecompressionStream('gzip'));
  const bytes = await new Response(stream).arrayBuffer();
  const length = new DataView(bytes).getUint32(0, true);
  const about = JSON.parse(new TextDecoder().decode(new Uint8Array(bytes, 4, length)));
  return { ...about, values: new Float32Array(bytes, 4 + length) };
}

/** @param {Held} held @param {string} url @returns {Response} */
function respond(held, url) {
  const address = url.startsWith(ROOT) ? url.slice(ROOT.length) : url;
  if (Object.hasOwn(held.answers, address)) return Response.json(held.answers[address]);
  if (Object.hasOwn(held.packed, address)) {
    const { about, first, size } = held.packed[address];
    return binary(about, held.values.subarray(first, first + size));
  }
  const [route, query] = address.split('?', 2);
  const answer = ROUTES[route]?.(held, new URLSearchParams(query));
  return answer ?? Response.json(FAULT, { status: 404 });
}

/** As the server packs them. @param {any} about @param {Float32Array} values */
function binary(about, values) {
  const text = new TextEncoder().encode(JSON.stringify(about));
  const length = Math.ceil(text.length / 4) * 4;
  const bytes = new Uint8Array(4 + length + values.byteLength).fill(32);
  new DataView(bytes.buffer).setUint32(0, length, true);
  bytes.set(text, 4);
  bytes.set(new Uint8Array(values.buffer, values.byteOffset, values.byteLength), 4 + length);
  return new Response(bytes);
}

/** @param {Held} held @param {URLSearchParams} query @param {string} kind */
function tableOf({ tables }, query, kind) {
  const [run, attribute] = [query.get('run'), query.get('attribute')];
  return tables.find((t) => t.run === run && t.attribute === attribute && t.kind === kind);
}

/** Undefined as null. @param {ArrayLike<number>} values @returns {Maybe[]} */
function nullable(values) {
  return Array.from(values, (value) => (Number.isFinite(value) ? value : null));
}

/** @type {Record<string, (held: Held, query: URLSearchParams) => Response | undefined>} */
const ROUTES = {
  values(held, query) {
    const table = tableOf(held, query, 'classes');
    const columns = query.getAll('column').map((name) => table?.columns.indexOf(name) ?? -1);
    const step = table?.steps.indexOf(Number(query.get('step'))) ?? -1;
    if (!table || step < 0 || columns.includes(-1)) return undefined;
    const slices = columns.map((column) => sliceTable(held.values, table, { step, column }));
    return new Response(Float32Array.from(slices.flatMap((values) => Array.from(values))));
  },
  history(held, query) {
    const table = tableOf(held, query, 'classes');
    const column = table?.columns.indexOf(query.get('column') ?? '') ?? -1;
    if (!table || column < 0) return undefined;
    const values = sliceTable(held.values, table, { row: Number(query.get('class_index')), column });
    return Response.json({ steps: table.steps, values: nullable(values) });
  },
  histories(held, query) {
    const table = tableOf(held, query, 'classes');
    const column = table?.columns.indexOf(query.get('column') ?? '') ?? -1;
    if (!table || column < 0) return undefined;
    const classes = query.getAll('class_index').map(Number);
    const values = classes.flatMap((row) => Array.from(sliceTable(held.values, table, { row, column })));
    return binary({ steps: table.steps, classes }, Float32Array.from(values));
  },
  class_curve(held, query) {
    const [curves, classes] = [tableOf(held, query, 'curves'), tableOf(held, query, 'classes')];
    const row = Number(query.get('class_index'));
    const step = Number(query.get('step'));
    const curveIndex = curves?.steps.indexOf(step) ?? -1;
    const tableIndex = classes?.steps.indexOf(step) ?? -1;
    if (!curves || !classes || curveIndex < 0 || tableIndex < 0) return undefined;
    const values = sliceTable(held.values, classes, { step: tableIndex, row });
    const points = Object.fromEntries(classes.columns.map((name, i) => [name, nullable([values[i]])[0]]));
    const names = held.answers[`classes?run=${part(query, 'run')}&attribute=${part(query, 'attribute')}`].names;
    const precision = nullable(sliceTable(held.values, curves, { step: curveIndex, row }));
    const about = { class: names[row], class_index: row, at: points };
    return Response.json({ ...about, ...curvePoints(curves.columns, precision) });
  },
  curves(held, query) {
    const [curves, classes] = [tableOf(held, query, 'curves'), tableOf(held, query, 'classes')];
    const step = Number(query.get('step'));
    const curveIndex = curves?.steps.indexOf(step) ?? -1;
    const bounds = boundsOf(query);
    if (!curves || !classes || curveIndex < 0 || !bounds) return undefined;
    const { counts } = held.answers[`classes?run=${part(query, 'run')}&attribute=${part(query, 'attribute')}`];
    return Response.json(
      groupCurves(
        { columns: curves.columns, values: sliceTable(held.values, curves, { step: curveIndex }) },
        { columns: classes.columns, values: sliceTable(held.values, classes, { step: classes.steps.indexOf(step) }) },
        counts.map((/** @type {Maybe} */ count) => groupOfCount(bounds, count)),
      ),
    );
  },
  confusions(held, query) {
    const pairs = tableOf(held, query, 'confusions');
    const step = pairs?.steps.indexOf(Number(query.get('step'))) ?? -1;
    const classIndex = Number(query.get('class_index'));
    if (!pairs || step < 0) return undefined;
    const flat = sliceTable(held.values, pairs, { step });
    const rows = Array.from({ length: flat.length / 3 }, (_, i) => Array.from(flat.subarray(3 * i, 3 * i + 3)));
    const known = rows.filter(([trueClass]) => !Number.isNaN(trueClass));
    const recorded = known.reduce((sum, [, , n]) => sum + n, 0);
    const matching = known.filter(([trueClass, predicted]) => trueClass === classIndex || predicted === classIndex);
    return Response.json({
      pairs: matching.slice(0, 200),
      n_pairs: known.length,
      n_mistakes: null,
      n_recorded: recorded,
    });
  },
  /** Of several runs; the file holds the answer for each. */
  groups(held, query) {
    const [attribute, metric] = [part(query, 'attribute'), part(query, 'metric')];
    const runs = query.getAll('run').map(encodeURIComponent);
    if (runs.length === 1) return undefined;
    const answers = runs.map((run) => held.answers[`groups?run=${run}&attribute=${attribute}&metric=${metric}`]);
    return Response.json({ answers: answers.map((answer) => answer ?? FAULT) });
  },
  flows(held, query) {
    const [run, attribute] = [part(query, 'run'), part(query, 'attribute')];
    const steps = tableOf(held, query, 'classes')?.steps ?? [];
    const known = steps.flatMap((step) => {
      const answer = held.answers[`flow?run=${run}&attribute=${attribute}&step=${step}`];
      return answer ? [{ step, answer }] : [];
    });
    if (!known.length) return undefined;
    const values = known.flatMap(({ answer }) => answer.values.flat().map((/** @type {Maybe} */ n) => n ?? NaN));
    const about = { steps: known.map(({ step }) => step), buckets: known[0].answer.buckets };
    return binary(about, Float32Array.from(values));
  },
  /** Those that the file holds were answered before. */
  table() {
    const notes = ['The table for these thresholds, runs or seeds is in TensorBoard only.'];
    return Response.json({ columns: [], sizes: [], by_frequency: true, rows: [], notes, texts: null });
  },
  /** Those that the file holds were answered before. */
  by_count() {
    return Response.json({ is_paired: false, is_withheld: true, basis: NO_INTERVALS, tails: null, bins: [] });
  },
  compare(held, query) {
    if (query.has('by')) return undefined; // the file holds those of families
    const side = (/** @type {string} */ letter) => {
      const run = query.get(`run_${letter}`) ?? '';
      const classQuery = new URLSearchParams({ run, attribute: query.get('attribute') ?? '' });
      const table = tableOf(held, classQuery, 'classes');
      const column = table?.columns.indexOf(query.get('metric') ?? '') ?? -1;
      const step = table?.steps.indexOf(Number(query.get(`step_${letter}`))) ?? -1;
      const classes = held.answers[`classes?run=${part(classQuery, 'run')}&attribute=${part(classQuery, 'attribute')}`];
      if (!table || column < 0 || step < 0) return null;
      const values = sliceTable(held.values, table, { step, column });
      return { classes, values, info: infoOf(held, classQuery), step: table.steps[step] };
    };
    const [a, b] = [side('a'), side('b')];
    return a && b ? Response.json(compareOffline(a, b, boundsOf(query), unlikeness(a, b))) : undefined;
  },
};

/** @param {Held} held @param {URLSearchParams} query of a run and an attribute @returns {AttributeInfo} */
function infoOf({ answers }, query) {
  const { attributes } = answers.runs.runs.find((/** @type {RunInfo} */ { run }) => run === query.get('run'));
  return attributes.find((/** @type {AttributeInfo} */ { attribute }) => attribute === query.get('attribute'));
}

/** @param {URLSearchParams} query @param {string} name */
function part(query, name) {
  return encodeURIComponent(query.get(name) ?? '');
}

/** @param {URLSearchParams} query @returns {Grouping | null} */
function boundsOf(query) {
  const [headMin, tailMax] = [query.get('head_min'), query.get('tail_max')].map(Number);
  return query.has('head_min') ? { rule: '', headMin, tailMax, key: '' } : null;
}
