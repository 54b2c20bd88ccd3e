// @ts-check
/** Numbers, counts and metric names as text. */

/** @import { Maybe } from './types.js' */

export const UNDEFINED = '–';

/**
 * @typedef {object} MetricText
 * @property {string} label
 * @property {string} meaning one sentence
 * @property {boolean} [lowerIsBetter]
 * @property {string} [classColumn] the per-class column behind it, where it has another name
 * @property {boolean} [isSecondary] listed after the others
 */

/** @type {Readonly<Record<string, MetricText>>} */
const METRICS = Object.freeze({
  precision: { label: 'Precision', meaning: 'Share of the predictions of a class that are right.' },
  recall: { label: 'Recall', meaning: 'Share of the examples of a class that are found.' },
  f1: { label: 'F1', meaning: 'Harmonic mean of precision and recall at the decision rule.' },
  ap: {
    label: 'Average precision',
    meaning: 'Area under the precision-recall curve, exact and free of any threshold.',
  },
  iou: {
    label: 'IoU',
    meaning: 'Places that are of a class and predicted as it, over those that are either (intersection over union).',
  },
  recall_geometric_mean: {
    label: 'Recall, geometric mean',
    meaning: 'Geometric mean of the recalls: one class never found makes it zero.',
    classColumn: 'recall',
    isSecondary: true,
  },
  recall_harmonic_mean: {
    label: 'Recall, harmonic mean',
    meaning: 'Harmonic mean of the recalls: dominated by the classes found least.',
    classColumn: 'recall',
    isSecondary: true,
  },
  worst_f1: { label: 'Worst F1', meaning: 'F1 of the worst class of the group.', classColumn: 'f1' },
  worst_recall: { label: 'Worst recall', meaning: 'Recall of the worst class of the group.', classColumn: 'recall' },
  accuracy: { label: 'Accuracy', meaning: 'Share of the group’s samples predicted right.', classColumn: 'recall' },
  balanced_accuracy: {
    label: 'Balanced accuracy',
    meaning: 'Mean recall of all classes with samples; defined for all classes together only.',
    classColumn: 'recall',
  },
  ece: {
    label: 'Calibration error (ECE)',
    meaning:
      'Mean distance between confidence and how often the model is right, by predicted class, its bias taken off (so it may be slightly negative); lower is better. Older logs: by true class, with the bias.',
    lowerIsBetter: true,
  },
});

/** The order in which means over classes are listed; others follow. */
const USUAL_MEANS = Object.freeze(['f1', 'ap', 'recall', 'precision']);

/** Means over classes in the order in which they are listed. @param {readonly string[]} means */
export function inUsualOrder(means) {
  return [...USUAL_MEANS.filter((m) => means.includes(m)), ...means.filter((m) => !USUAL_MEANS.includes(m))];
}

/** @param {string} metric @returns {MetricText} */
export function metricText(metric) {
  if (Object.hasOwn(METRICS, metric)) return METRICS[metric];
  const topK = /^recall_at_(\d+)$/.exec(metric);
  if (!topK) return { label: metric.replaceAll('_', ' '), meaning: '' };
  const meaning = `Share of the examples of a class whose label is among the ${topK[1]} highest scores.`;
  return { label: `Recall at ${topK[1]}`, meaning };
}

/** @param {Maybe | undefined} value */
export function isDefined(value) {
  return value !== null && value !== undefined && Number.isFinite(value);
}

/**
 * A metric's value with three decimals, `–` where undefined.
 * @param {Maybe | undefined} value @param {number} [digits]
 */
export function number(value, digits = 3) {
  if (!isDefined(value)) return UNDEFINED;
  const text = Math.abs(/** @type {number} */ (value)).toFixed(digits);
  return /** @type {number} */ (value) < 0 && Number(text) !== 0 ? `−${text}` : text;
}

/** A difference with its sign. @param {Maybe | undefined} value @param {number} [digits] */
export function signed(value, digits = 3) {
  const text = number(value, digits);
  return isDefined(value) && /** @type {number} */ (value) > 0 && Number(text) !== 0 ? `+${text}` : text;
}

/**
 * A count with thousands separators. As `Intl.NumberFormat` writes it, whose data would take 20 ms to load.
 * @param {Maybe | undefined} value
 */
export function count(value) {
  if (!isDefined(value)) return UNDEFINED;
  const [whole, decimals] = String(Number(Number(value).toFixed(3))).split('.');
  return whole.replace(/\B(?=(\d{3})+$)/g, ',') + (decimals ? `.${decimals}` : '');
}

/** @param {number} n @param {string} singular @param {string} [pluralForm] */
export function plural(n, singular, pluralForm = `${singular}s`) {
  return `${count(n)} ${n === 1 ? singular : pluralForm}`;
}

/** Classes with fewer positives than this have an average precision that is too high on average. */
export const FEW_POSITIVES = 5;

/**
 * How many classes a mean covers: "6 classes", or "4 of 6 classes".
 * @param {Maybe | undefined} covered @param {Maybe | undefined} size of the group
 */
export function coverage(covered, size) {
  if (!isDefined(covered)) return isDefined(size) ? plural(Number(size), 'class', 'classes') : '';
  const whole = isDefined(size) && Number(size) > Number(covered); // more classes: a run with a longer list than A's
  return `${whole ? `${count(covered)} of ` : ''}${plural(Number(whole ? size : covered), 'class', 'classes')}`;
}

/** @param {Maybe | undefined} lower @param {Maybe | undefined} upper */
export function interval(lower, upper) {
  return isDefined(lower) && isDefined(upper) ? `[${number(lower)}, ${number(upper)}]` : '';
}

/** A share as a percentage. @param {Maybe | undefined} share */
export function percent(share) {
  if (!isDefined(share)) return UNDEFINED;
  const value = 100 * /** @type {number} */ (share);
  return value > 0 && value < 1 ? '<1 %' : `${Math.round(value)} %`;
}

/** A p-value; never shown as zero. @param {Maybe | undefined} p */
export function pValue(p) {
  if (!isDefined(p)) return '';
  return /** @type {number} */ (p) < 0.001
    ? 'p\u00a0<\u00a00.001'
    : `p\u00a0=\u00a0${/** @type {number} */ (p).toFixed(3)}`;
}

/** An axis label for a step: 1,200,000 as 1.2M. @param {number} value */
export function compact(value) {
  const size = Math.abs(value);
  for (const [unit, suffix] of /** @type {[number, string][]} */ ([
    [1e9, 'G'],
    [1e6, 'M'],
    [1e4, 'k'],
  ])) {
    const scale = suffix === 'k' ? 1e3 : unit;
    if (size >= unit) return `${trimmed(value / scale)}${suffix}`;
  }
  return trimmed(value).replace('-', '−');
}

/** @param {number} value */
function trimmed(value) {
  return String(Number(value.toFixed(3)));
}

/**
 * `text` cut in the middle to at most `length` characters, for where nothing else can shorten it (options of a select).
 * Characters are whole code points, so that no emoji is torn.
 * @param {string} text @param {number} [length]
 */
export function shorten(text, length = 60) {
  const characters = Array.from(text);
  if (characters.length <= length) return text;
  const head = Math.ceil((length - 1) / 2);
  return `${characters.slice(0, head).join('')}…${characters.slice(characters.length - (length - 1 - head)).join('')}`;
}

/** @param {Date} time */
export function clock(time) {
  return time.toTimeString().slice(0, '00:00:00'.length);
}

/** @type {Readonly<Record<string, string>>} */
const RULES = Object.freeze({
  decoupling: 'head > 100, medium 20 to 100, tail < 20 training examples',
  oltr: 'head ≥ 100, medium 21 to 99, tail ≤ 20 training examples',
  dbl: 'head ≥ 100, medium 20 to 99, tail < 20 training examples',
  lvis: 'head ≥ 100, medium 10 to 99, tail < 10 training examples',
  terciles: 'thirds at the 33rd and 67th percentile of the training counts',
  given: 'as given',
});

/** A rule of groups in words. @param {string} rule */
export function ruleText(rule) {
  return Object.hasOwn(RULES, rule) ? `${RULES[rule]}${rule === 'given' ? '' : ` (“${rule}”)`}` : rule;
}
