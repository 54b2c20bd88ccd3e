// @ts-check
/** The plugin's routes as methods; answers are fetched once, and again when their run has grown. */

import { canRegroup, groupMeans } from '../model/grouping.js';
import { address, floats, hostRunsAddress, json, packed, Together } from './requests.js';
import { Resources } from './resources.js';

/** @import { Resource } from './resources.js' */
/** @import { GalleryAnswer } from '../model/gallery.js' */
/** @import { TableAnswer } from '../model/board.js' */
/** @import { ByCountAnswer } from '../model/by-count.js' */
/** @import { SettingsAnswer } from '../model/settings.js' */
/** @import { Flows } from '../model/tail-flow.js' */
/**
 * @import { BucketSums, BucketUncertainty, CalibrationAnswer, ClassCurveAnswer, ClassDiagnosisAnswer,
 *   ClassesAnswer, CompareAnswer, ConfusionAnswer, ConfusionsAnswer, CurvesAnswer, DiagnosisAnswer,
 *   FlowAnswer, LiftSumsAnswer, GroupsAnswer, Histories, HistoryAnswer, RunsAnswer } from '../model/answers.js'
 */
/** @import { Grouping, RunView, View } from '../model/types.js' */

export class Data {
  /** @param {() => void} changed called after every arrival */
  constructor(changed) {
    this._resources = new Resources(changed);
    this._together = new Together();
    this._round = 0;
  }

  /** Fetch the list of runs again, and then the answers of runs that have grown. */
  refresh() {
    this._round += 1;
  }

  /** Fetch everything again: a log may have been rewritten. */
  refreshAll() {
    this._resources.refreshAll();
  }

  retryFailed() {
    this._resources.retryFailed();
  }

  /** @returns {Resource<RunsAnswer>} */
  runs() {
    return this._resources.get(address('runs'), String(this._round), json);
  }

  /** All of TensorBoard's runs in its order. @returns {Resource<string[]>} */
  hostRuns() {
    return this._resources.get(hostRunsAddress(), String(this._round), json);
  }

  /**
   * Without steps if the run has none of the metric.
   * @param {RunView} run @param {string} attribute @param {string} metric @returns {Resource<GroupsAnswer>}
   */
  groups(run, attribute, metric) {
    if (run.info.metrics.length && !run.info.metrics.includes(metric)) return nothing(run.run, attribute);
    const query = { attribute, metric };
    const read = () => this._together.ask('groups', run.run, query);
    return this._resources.get(address('groups', { run: run.run, ...query }), run.version, read);
  }

  /** @param {RunView} run @param {string} attribute @returns {Resource<ClassesAnswer>} */
  classes(run, attribute) {
    return this._of(run, 'classes', { attribute });
  }

  /**
   * @param {RunView} run @param {string} attribute @param {number} classIndex @param {string} column
   * @returns {Resource<HistoryAnswer>}
   */
  history(run, attribute, classIndex, column) {
    return this._of(run, 'history', { attribute, class_index: classIndex, column });
  }

  /** At the run's step. @param {RunView} run @param {string} attribute @returns {Resource<ConfusionAnswer>} */
  confusion(run, attribute) {
    return this._of(run, 'confusion', { attribute, step: run.step ?? 0 });
  }

  /** @param {RunView} run @param {string} attribute @returns {Resource<FlowAnswer>} */
  flow(run, attribute) {
    return this._of(run, 'flow', { attribute, step: run.step ?? 0 });
  }

  /** Over steps. @param {RunView} run @param {string} attribute @returns {Resource<Flows>} */
  flows(run, attribute) {
    return this._resources.get(address('flows', { run: run.run, attribute }), run.version, packed);
  }

  /** @param {RunView} run @param {string} attribute @returns {Resource<LiftSumsAnswer>} */
  liftSums(run, attribute) {
    return this._of(run, 'lift_sums', { attribute, step: run.step ?? 0 });
  }

  /** @param {RunView} run @param {string} attribute @returns {Resource<CalibrationAnswer>} */
  calibration(run, attribute) {
    return this._of(run, 'calibration', { attribute, step: run.step ?? 0 });
  }

  /**
   * Confusions of all classes, or of the class at an index.
   * @param {RunView} run @param {string} attribute @param {number} [classIndex] @returns {Resource<ConfusionsAnswer>}
   */
  confusions(run, attribute, classIndex) {
    /** @type {Record<string, number>} */
    const query = classIndex === undefined ? {} : { class_index: classIndex };
    return this._of(run, 'confusions', { attribute, step: run.step ?? 0, ...query });
  }

  /** @param {RunView} run @param {string} attribute @param {Grouping | null} bounds @returns {Resource<CurvesAnswer>} */
  curves(run, attribute, bounds) {
    return this._of(run, 'curves', { attribute, step: run.step ?? 0, ...boundsQuery(bounds) });
  }

  /** @param {RunView} run @param {string} attribute @param {number} classIndex @returns {Resource<ClassCurveAnswer>} */
  classCurve(run, attribute, classIndex) {
    return this._of(run, 'class_curve', { attribute, step: run.step ?? 0, class_index: classIndex });
  }

  /** @param {RunView} run @param {string} attribute @returns {Resource<DiagnosisAnswer>} */
  diagnosis(run, attribute) {
    return this._of(run, 'diagnosis', { attribute, step: run.step ?? 0 });
  }

  /** @param {RunView} run @param {string} attribute @param {number} index @returns {Resource<ClassDiagnosisAnswer>} */
  classDiagnosis(run, attribute, index) {
    return this._of(run, 'class_diagnosis', { attribute, step: run.step ?? 0, class_index: index });
  }

  /** @param {RunView} run @param {string} attribute @param {number} index @returns {Resource<GalleryAnswer>} */
  gallery(run, attribute, index) {
    return this._of(run, 'gallery', { attribute, step: run.step ?? 0, class_index: index });
  }

  /** @param {RunView} run @param {string} attribute @param {string} metric @returns {Resource<BucketSums>} */
  bucketSums(run, attribute, metric) {
    return this._resources.get(address('bucket_sums', { run: run.run, attribute, metric }), run.version, packed);
  }

  /**
   * Null if the run has none of the metric.
   * @param {RunView} run @param {string} attribute @param {string} metric @returns {Resource<BucketUncertainty> | null}
   */
  bucketUncertainty(run, attribute, metric) {
    if (!run.info.uncertain.includes(metric)) return null;
    return this._resources.get(address('bucket_uncertainty', { run: run.run, attribute, metric }), run.version, packed);
  }

  /**
   * One column of several classes, by index, over steps.
   * @param {RunView} run @param {string} attribute @param {number[]} classes @param {string} column
   * @returns {Resource<Histories>}
   */
  histories(run, attribute, classes, column) {
    const query = { run: run.run, attribute, column, class_index: classes.map(String) };
    return this._resources.get(address('histories', query), run.version, packed);
  }

  /**
   * At the run's step, columns one after the other.
   * @param {RunView} run @param {string} attribute @param {string[]} columns
   */
  values(run, attribute, columns) {
    const url = address('values', { run: run.run, attribute, step: run.step ?? 0, column: columns });
    return this._resources.get(url, run.version, floats);
  }

  /**
   * B against A, each at its step.
   * @param {RunView} a @param {RunView} b @param {string} attribute @param {string} metric
   * @param {Grouping | null} bounds @param {'family'} [by] instead of head, medium and tail
   * @returns {Resource<CompareAnswer>}
   */
  compare(a, b, attribute, metric, bounds, by) {
    const query = { run_a: a.run, step_a: a.step ?? 0, run_b: b.run, step_b: b.step ?? 0, ...boundsQuery(bounds) };
    const asked = address('compare', { ...query, attribute, metric, ...(by ? { by } : {}) });
    return this._resources.get(asked, `${a.version}|${b.version}`, json);
  }

  /**
   * B against A along the training count, each at its step.
   * @param {RunView} a @param {RunView} b @param {string} attribute @param {string} metric
   * @returns {Resource<ByCountAnswer>}
   */
  byCount(a, b, attribute, metric) {
    const query = { run_a: a.run, step_a: a.step ?? 0, run_b: b.run, step_b: b.step ?? 0, attribute, metric };
    return this._resources.get(address('by_count', query), `${a.version}|${b.version}`, json);
  }

  /** Hyperparameters by name. @param {RunView} run @returns {Resource<SettingsAnswer>} */
  settings(run) {
    return this._of(run, 'settings', {});
  }

  /**
   * The table of runs. All of them are asked for without their names.
   * @param {View} view @param {RunView[]} runs @param {{metric: string, step: string, by: string}} choice
   * @returns {Resource<TableAnswer>}
   */
  table(view, runs, { metric, step, by }) {
    const names = runs.map(({ run }) => run);
    const { experimentOf } = view;
    const isAll = names.length === view.runs.length && !experimentOf;
    const chosen = isAll ? {} : { run: names, ...(experimentOf ? { experiment: names.map(experimentOf) } : {}) };
    const query = { attribute: view.attribute, metric, ...(step ? { step } : {}), by, ...chosen };
    const versions = runs.map(({ version }) => version).join('|');
    return this._resources.get(address('table', { ...query, ...boundsQuery(view.grouping) }), versions, json);
  }

  /**
   * @param {RunView} run @param {string} route @param {Record<string, string | number>} query
   * @returns {Resource<any>}
   */
  _of(run, route, query) {
    return this._resources.get(address(route, { run: run.run, ...query }), run.version, json);
  }
}

/** @param {Grouping | null} bounds @returns {Record<string, number>} */
function boundsQuery(bounds) {
  return bounds ? { head_min: bounds.headMin, tail_max: bounds.tailMax } : {};
}

/** An answer that is there without having been asked for. @param {string} run @param {string} attribute @returns {Resource<GroupsAnswer>} */
function nothing(run, attribute) {
  const value = { run, attribute, steps: [], wall_times: [], groups: {} };
  return { status: 'ready', value, stale: false, fault: null };
}

/** Whether both are of the same steps; while a log grows one may arrive first. @param {BucketSums} sums @param {BucketUncertainty} [uncertainty] */
function alike(sums, uncertainty) {
  return String(uncertainty?.steps) === String(sums.steps);
}

/** @type {WeakMap<BucketSums, {key: string, spread: BucketUncertainty | null, answer: GroupsAnswer}>} */
const worked = new WeakMap();

/** @param {Data} data @param {RunView} run @param {View} view @returns {Resource<GroupsAnswer>} */
export function groupsOf(data, run, view) {
  const { attribute, metric, grouping } = view;
  const isMissing = !run.info.metrics.includes(metric) && !run.info.means.includes(metric);
  if (!grouping || !canRegroup(metric) || isMissing) return data.groups(run, attribute, metric);
  const resource = data.bucketSums(run, attribute, metric);
  const uncertainty = data.bucketUncertainty(run, attribute, metric);
  const sums = resource.value;
  if (!sums) return { ...resource, value: undefined };
  if (uncertainty && !uncertainty.value) return { ...uncertainty, value: undefined };
  const spread = alike(sums, uncertainty?.value) ? (uncertainty?.value ?? null) : null;
  const key = `${grouping.key}|${metric}`;
  let known = worked.get(sums);
  if (known?.key !== key || known.spread !== spread) {
    const means = { run: run.run, attribute, wall_times: [], ...groupMeans(sums, grouping, metric, spread) };
    known = { key, spread, answer: means };
    worked.set(sums, known);
  }
  return { ...resource, value: known.answer };
}
