// @ts-check
/** Types of the server's answers; this file has no code. */

/** @import { Maybe } from './types.js' */

/**
 * @typedef {object} AttributeInfo what the route `runs` says of one attribute of one run
 * @property {string} attribute
 * @property {number} n_classes
 * @property {Record<string, number>} group_sizes
 * @property {string} rule
 * @property {string} decision
 * @property {string} evaluation what the run holds, such as "test", or "validation"
 * @property {number[]} steps ascending
 * @property {string[]} columns of the per-class table
 * @property {string[]} metrics of the groups
 * @property {string[]} means metrics that are means over classes
 * @property {string[]} uncertain those of them whose uncertainty was recorded
 * @property {string[]} kinds the tables that were recorded
 */

/**
 * @typedef {object} RunInfo
 * @property {string} run
 * @property {AttributeInfo[]} attributes
 * @property {string} [problem]
 */

/**
 * @typedef {object} RunsAnswer
 * @property {number} schema_version
 * @property {string} logdir
 * @property {RunInfo[]} runs
 */

/**
 * @typedef {object} GroupsAnswer
 * @property {string} run
 * @property {string} attribute
 * @property {number[]} steps
 * @property {number[]} wall_times
 * @property {Record<string, Record<string, Maybe[]>>} groups by group, by column
 * @property {boolean} [approximate] whether intervals take the classes as independent: groups drawn anew, older log
 */

/**
 * @typedef {object} ClassesAnswer
 * @property {string[]} names
 * @property {Maybe[]} counts
 * @property {string[]} groups
 * @property {string} rule
 * @property {string} decision
 */

/**
 * @typedef {object} HistoryAnswer
 * @property {number[]} steps
 * @property {Maybe[]} values
 */

/**
 * @typedef {object} ConfusionAnswer
 * @property {string[]} rows
 * @property {string[]} columns
 * @property {Maybe[][]} values
 */

/**
 * @typedef {object} Bucket classes of like training count
 * @property {string} group by the run's own rule
 * @property {number} lowest training count, −1 = unknown
 * @property {number} highest
 * @property {number} n_classes
 */

/**
 * @typedef {object} BucketSums what each bucket adds to its group's metric
 * @property {number[]} steps
 * @property {Bucket[]} buckets
 * @property {string} combine how sums become the metric
 * @property {Float32Array} values (3, steps, buckets): sum, its variance, weight
 */

/**
 * @typedef {object} BucketUncertainty what the intervals of groups drawn anew need
 * @property {number[]} steps those of the sums
 * @property {Bucket[]} buckets each a union of those of the sums
 * @property {Float32Array} values (steps, columns): positives of each bucket or NaN, biases, triangle of the covariance
 */

/**
 * @typedef {object} Histories one column of several classes over steps
 * @property {number[]} steps
 * @property {number[]} classes
 * @property {Float32Array} values (classes, steps)
 */

/**
 * @typedef {object} OperatingPoint
 * @property {Maybe} precision
 * @property {Maybe} recall
 */

/**
 * @typedef {object} GroupCurve the mean of the classes’ curves at each recall
 * @property {number} n_classes
 * @property {number} n_few_positives those of them with fewer than 5 positives
 * @property {boolean} is_point whether no class has more than one positive: a precision at recall 1, and no curve
 * @property {Maybe[]} precision
 * @property {OperatingPoint & {precision_n_classes: number, recall_n_classes: number}} at
 */

/**
 * @typedef {object} CurvesAnswer
 * @property {number[]} recall
 * @property {Record<string, GroupCurve>} groups
 */

/**
 * @typedef {object} ClassCurveAnswer
 * @property {string} class
 * @property {number[]} recall
 * @property {Maybe[]} precision
 * @property {OperatingPoint & {threshold: Maybe, best_threshold: Maybe, best_f1: Maybe, support: Maybe}} at
 */

/**
 * @typedef {object} ConfusionsAnswer
 * @property {[number, number, number][]} pairs true class, predicted class (−1 = none), count; most evidence first
 * @property {[Maybe, Maybe, Maybe][]} [shares] of the true class’s positives, with its interval
 * @property {Maybe[]} [by_chance] share of all other examples that are predicted as that class
 * @property {number} n_pairs
 * @property {Maybe} n_mistakes
 * @property {number} n_recorded
 */

/**
 * @typedef {object} FlowAnswer
 * @property {Bucket[]} buckets
 * @property {Maybe[][]} values (buckets, buckets + 1), the last column "none"
 */

/**
 * @typedef {object} LiftSumsAnswer what adds up to lifts, by bucket of the class missed
 * @property {Bucket[]} buckets
 * @property {Maybe[]} positives
 * @property {Maybe[]} missed
 * @property {Maybe[]} absent_share share of the rows that lack a missed class, summed over the misses
 * @property {Maybe[]} false_positives of the bucket’s classes
 * @property {Maybe[][]} observed false positives in rows with a miss: (missed, predicted)
 * @property {Maybe[][]} expected if they were as frequent as in rows without the class
 * @property {Maybe[][]} variance of `observed`
 */

/**
 * @typedef {object} CalibrationAnswer sums by bucket and confidence bin
 * @property {Bucket[]} buckets
 * @property {'predicted_class' | 'class' | null} by whose group an example counts for; null = its true class (older logs)
 * @property {Maybe[][]} n
 * @property {Maybe[][]} confidence
 * @property {Maybe[][]} right
 */

/**
 * @typedef {object} FindingAnswer one rule of the verdict
 * @property {string} name
 * @property {string} title
 * @property {string} advice
 * @property {string} reference
 * @property {Maybe} severity 0 = not found, 1 = noted, 2 = strong, null = could not be told
 * @property {Maybe} value
 * @property {Maybe} noted_at
 * @property {Maybe} head
 * @property {Maybe} tail
 * @property {Maybe} n_classes
 * @property {string} says its numbers in a sentence; "" in logs that recorded none
 * @property {string} rests_on
 * @property {string} errors how often the rule was wrong where the truth is known
 * @property {Maybe | undefined} applies 0 = what it rests on was not given, or cannot be for the attribute
 */

/** @typedef {{remedy: string, best: boolean} & Record<string, any>} RemedyAnswer */

/**
 * @typedef {object} DiagnosisAnswer
 * @property {number} step
 * @property {FindingAnswer[]} findings strongest first
 * @property {RemedyAnswer[]} remedies
 * @property {string} objective
 */

/**
 * @typedef {object} ClassDiagnosisAnswer
 * @property {string} class
 * @property {number} step
 * @property {Record<string, string | number | null>} values
 */

/**
 * @typedef {object} GroupComparison
 * @property {number} n_classes
 * @property {number} n_defined
 * @property {Maybe} mean_a
 * @property {Maybe} mean_b
 * @property {Maybe} lower_a
 * @property {Maybe} upper_a
 * @property {Maybe} lower_b
 * @property {Maybe} upper_b
 * @property {Maybe} difference
 * @property {Maybe} lower of the difference
 * @property {Maybe} upper
 * @property {string} verdict
 * @property {string} verdict_text
 * @property {string} agreement whether other classes would agree, in words
 * @property {number} n_higher
 * @property {number} n_lower
 * @property {Maybe} sign_flip_p
 * @property {Maybe} least_p
 */

/**
 * @typedef {object} CompareAnswer
 * @property {Record<string, GroupComparison>} groups
 * @property {number} n_joined
 * @property {number} n_regrouped
 * @property {string[]} only_in_a
 * @property {string[]} only_in_b
 * @property {boolean} is_paired
 * @property {boolean} is_withheld
 * @property {string} [sentence] what B gains and loses, in one
 * @property {string} basis on what verdicts rest, or why there are none
 * @property {string} about_classes over which classes the means are, if the runs have different ones
 */
