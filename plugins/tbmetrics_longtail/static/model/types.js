// @ts-check
/** Types shared by the tab's modules; this file has no code. */

/** @import { AttributeInfo } from './answers.js' */

/** @typedef {'head' | 'medium' | 'tail' | 'unknown' | 'all' | 'gap'} Group */
/** @typedef {'circle' | 'diamond' | 'triangle' | 'square' | 'cross'} Marker */
/** @typedef {number | null} Maybe a number, or null where it is undefined */
/** @typedef {[number, number]} Interval its lower and upper end */

/**
 * @typedef {object} Grouping bounds other than the recorded ones
 * @property {string} rule
 * @property {number} headMin
 * @property {number} tailMax
 * @property {string} key
 */

/**
 * @typedef {object} Experiment runs that differ in their seed only
 * @property {string} label
 * @property {RunStyle} style
 * @property {RunView[]} runs
 */

/**
 * @typedef {object} Table a card's numbers, for downloads
 * @property {string[]} columns
 * @property {(string | number | null)[][]} rows
 */

/**
 * @typedef {object} RunStyle
 * @property {number} index which of the host's colours: its place among the host's runs
 * @property {string} dash SVG dash pattern, '' = solid
 * @property {Marker} marker
 */

/**
 * @typedef {object} RunView one run that has the chosen attribute
 * @property {string} run
 * @property {RunStyle} style
 * @property {AttributeInfo} info
 * @property {boolean} ticked
 * @property {boolean} matches whether the filter lets it through
 * @property {Maybe} step its step nearest to, and not after, the chosen one
 * @property {string} version changes when its log has grown
 */

/**
 * @typedef {object} View what is shown, resolved from the state and what there is
 * @property {string} attribute
 * @property {string[]} attributes
 * @property {string} metric
 * @property {string[]} metrics
 * @property {string[]} means those of them that are means over classes
 * @property {string} classMetric the per-class column shown for `metric`
 * @property {RunView[]} runs
 * @property {RunView[]} charted ticked and let through by the filter
 * @property {RunView | null} a
 * @property {RunView | null} b
 * @property {number[]} steps all steps of the charted and compared runs
 * @property {Maybe} step
 * @property {'last' | 'best' | null} pick which step of each run; null = a common one
 * @property {Maybe} usual the step without a choice: the last that A and B have, or else the newest
 * @property {string | null} filterError
 * @property {Grouping | null} grouping null = as recorded
 * @property {ReadonlyMap<string, number>} sizes classes of A in each group, as shown
 * @property {boolean} moving while a threshold is being dragged: nothing is asked of the server
 * @property {Experiment[] | null} experiments the charted runs by experiment; null = each for itself
 * @property {((run: string) => string) | null} experimentOf
 * @property {string | null} seedsError
 */

/**
 * @typedef {object} Row one class in the table
 * @property {string} name
 * @property {Group} group as in A, or in B where A lacks the class
 * @property {Group | null} regrouped the group in B where it is another
 * @property {Maybe} count training examples
 * @property {Maybe} support positives in the validation set
 * @property {Maybe} a
 * @property {Maybe} b
 * @property {Maybe} difference b − a
 * @property {Interval | null} intervalA 95 %
 * @property {Interval | null} intervalB
 * @property {Interval | null} interval of the difference
 * @property {number} rank by training count, 1 = the most frequent; 0 = count unknown
 * @property {number} indexA place in A's class list, −1 = not there
 * @property {number} indexB
 */

/**
 * @typedef {object} Point
 * @property {number} x
 * @property {Maybe} y
 * @property {Maybe} lower
 * @property {Maybe} upper
 * @property {Maybe} n classes in the mean, or seeds at this step
 * @property {boolean} [approximate] whether the interval takes the classes as independent
 */

/**
 * @typedef {object} Series one line of a chart
 * @property {string} label
 * @property {'A' | 'B' | ''} badge
 * @property {RunStyle} style
 * @property {boolean} band whether its interval is drawn
 * @property {number} nRuns how many runs it is the mean of
 * @property {Point[]} points
 */

export {};
