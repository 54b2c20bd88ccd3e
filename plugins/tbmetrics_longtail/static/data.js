// @ts-check
/** The plugin's answers by what is wanted, each fetched once and again when its run has grown. */

import { address, floats, hostRunsAddress, json, packed } from './api.js';
import { Resources } from './resources.js';

/**
 * @import { BucketSums, CalibrationAnswer, ClassDiagnosisAnswer, DiagnosisAnswer, ClassCurveAnswer, ClassesAnswer, CompareAnswer, ConfusionAnswer,
 * ConfusionsAnswer, CurvesAnswer, FlowAnswer, GalleryAnswer, Grouping, GroupsAnswer, Histories, HistoryAnswer, OverviewAnswer,
 * Resource, RunsAnswer, RunView } from './types.js'
 */

export class Data {
  /** @param {() => void} changed called after every arrival */
  constructor(changed) {
    this._resources = new Resources(changed);
    this._round = 0;
  }

  /** The list of runs is asked for again; the rest follows for the runs that have grown. */
  refresh() {
    this._round += 1;
  }

  /** Everything is asked for again: a log may have been rewritten. */
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

  /** @param {RunView} run @param {string} attribute @param {string} metric @returns {Resource<GroupsAnswer>} */
  groups(run, attribute, metric) {
    return this._of(run, 'groups', { attribute, metric });
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

  /** @param {RunView} run @param {string} attribute @returns {Resource<CalibrationAnswer>} */
  calibration(run, attribute) {
    return this._of(run, 'calibration', { attribute, step: run.step ?? 0 });
  }

  /**
   * Of all classes, or of one, by its place.
   * @param {RunView} run @param {string} attribute @param {number} [classIndex] @returns {Resource<ConfusionsAnswer>}
   */
  confusions(run, attribute, classIndex) {
    /** @type {Record<string, number>} */
    const of = classIndex === undefined ? {} : { class_index: classIndex };
    return this._of(run, 'confusions', { attribute, step: run.step ?? 0, ...of });
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

  /** @param {RunView} run @param {string} metric @returns {Resource<OverviewAnswer>} */
  overview(run, metric) {
    return this._of(run, 'overview', { metric, step: run.step ?? 0 });
  }

  /** @param {RunView} run @param {string} attribute @param {string} metric @returns {Resource<BucketSums>} */
  bucketSums(run, attribute, metric) {
    return this._resources.get(address('bucket_sums', { run: run.run, attribute, metric }), run.version, packed);
  }

  /**
   * One column of several classes, by their places, over steps.
   * @param {RunView} run @param {string} attribute @param {number[]} classes @param {string} column
   * @returns {Resource<Histories>}
   */
  histories(run, attribute, classes, column) {
    const of = { run: run.run, attribute, column, class_index: classes.map(String) };
    return this._resources.get(address('histories', of), run.version, packed);
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
   * @param {Grouping | null} bounds @returns {Resource<CompareAnswer>}
   */
  compare(a, b, attribute, metric, bounds) {
    const of = { run_a: a.run, step_a: a.step ?? 0, run_b: b.run, step_b: b.step ?? 0, ...boundsQuery(bounds) };
    return this._resources.get(address('compare', { ...of, attribute, metric }), `${a.version}|${b.version}`, json);
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
