"""Names and order of the columns and rows of every table."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from tbmetrics.classes.rules import ALL, GAP, GROUPS, HEAD, MEDIUM, TAIL, UNKNOWN

#: Columns of the per-class table (`Table` of kind "classes"), one row per class in the order of the `ClassList`.
#: Counts are exact up to 2**24 in float32. Undefined values are NaN. Further metrics follow, each with its interval.
CLASS_COLUMNS = (
    "support",  # positives in the validation set
    "true_positives",
    "false_positives",
    "false_negatives",
    "precision",
    "recall",
    "f1",
    "ap",  # average precision, scikit-learn's definition
    "precision_lower",  # Wilson interval, 95 %
    "precision_upper",
    "recall_lower",  # Wilson interval, 95 %
    "recall_upper",
    "ap_lower",  # logit-binomial interval, 95 %
    "ap_upper",
    "threshold",  # decision threshold in use, as a probability; NaN if the rule is argmax
    "best_threshold",  # threshold, as a probability, that maximizes this class's F1
    "best_f1",  # F1 at that threshold
    "f1_lower",  # Wilson interval of TP / (TP + FP + FN), transformed, 95 %
    "f1_upper",
)

#: Columns of the "curves" table, one row per class: mean precision while recall rises from the level before (0 at
#: first) to each level, as float16. Their mean is the average precision.
RECALL_LEVELS = tuple(level / 20 for level in range(1, 21))
CURVE_COLUMNS = tuple(f"mean_precision_up_to_recall_{level:.2f}" for level in RECALL_LEVELS)
#: The columns in older logs: precision where recall first reaches each level.
OLDER_CURVE_COLUMNS = tuple(f"precision_at_recall_{level:.2f}" for level in RECALL_LEVELS)
#: A class with fewer positives in the validation set has an average precision that is biased upward.
FEW_POSITIVES = 5

#: Columns of the "confusions" table, one row per pair of classes confused, by descending count; unused rows are NaN.
PAIR_COLUMNS = ("true_class", "predicted_class", "count")

#: Columns of the "lifts" table, one row per group of the class missed: positives, how many were missed, and for each
#: group of the class falsely predicted the lift with its 95 % interval, and the counts observed and expected.
LIFT_COLUMNS = (
    "positives",
    "missed",
    *(f"{what}_{group}" for group in (*GROUPS, UNKNOWN) for what in
      ("lift", "lift_lower", "lift_upper", "observed", "expected")),
)  # fmt: skip


def lift_sum_columns(buckets: Sequence[str]) -> tuple[str, ...]:
    """Columns of the "lift_sums" table, one row per bucket of the class missed, for buckets of these names."""
    by_bucket = (f"{what} {name}" for what in ("observed", "expected", "variance") for name in buckets)
    return ("positives", "missed", "absent_share", "false_positives", *by_bucket)


#: Predicted class if nothing was predicted.
NO_CLASS = -1

#: Number of equal-width confidence bins behind every calibration error.
CALIBRATION_BINS = 15
#: What the rows of a "calibration" table go by, in its details; logs without it went by the true class.
BY_PREDICTED_CLASS, BY_CLASS = "predicted_class", "class"
#: Columns of the "calibration" table, one row per bucket of training counts: sums over the examples in each bin.
CALIBRATION_COLUMNS = tuple(
    f"{quantity}_{bin_}" for quantity in ("n", "confidence", "right") for bin_ in range(CALIBRATION_BINS)
)

#: Metrics whose macro mean over a group's classes is always recorded, each with `_lower`, `_upper` and `_n_classes`.
#: A table may have more, see `mean_metrics`.
MEAN_METRICS = ("precision", "recall", "f1", "ap")
#: Endings of the columns that belong to the mean of a metric.
MEAN_ENDINGS = ("", "_lower", "_upper", "_n_classes")


def mean_metrics(columns: Collection[str]) -> tuple[str, ...]:
    """The metrics whose means over classes are among the columns of a "groups" table, in their order."""
    return tuple(c for c in columns if c in MEAN_METRICS or f"{c}_n_classes" in columns)


def main_metric(columns: Collection[str]) -> str:
    """The metric to show if there is room for one: F1, or the first of those in a "groups" table."""
    return "f1" if "f1" in columns else mean_metrics(columns)[0]


#: Rows whose interval of the main metric is also written as scalars, for the margin charts of Custom Scalars.
ROWS_WITH_MARGIN = (TAIL, GAP)


def scalar_metrics(metrics: Collection[str]) -> tuple[str, ...]:
    """The metrics whose means are also scalars: all, but not precision beside F1, which contains it."""
    return tuple(metric for metric in metrics if metric != "precision" or "f1" not in metrics)


def mean_columns(metrics: Iterable[str]) -> tuple[str, ...]:
    """Columns of the "groups" table for these metrics."""
    return tuple(f"{metric}{end}" for metric in metrics for end in MEAN_ENDINGS)


def recall_at(k: int) -> str:
    """Column of the share of a class's samples whose label is among the `k` highest scores."""
    return f"recall_at_{k}"


def metric_name(metric: str) -> str:
    """A metric as headings and axes name it."""
    names = {"precision": "Precision", "recall": "Recall", "f1": "F1", "ap": "AP", "iou": "IoU"}
    is_top_k = metric.startswith("recall_at_")
    return names.get(metric) or (metric.replace("_", " ").capitalize() if is_top_k else metric)


#: Columns of the "uncertainty" table, whose details describe buckets of training counts. The first rows, one a bucket,
#: are the estimated bias of the sum over the bucket's classes; then come the covariances of these sums, the upper
#: triangle of (buckets, buckets) row by row. NaN = unknown. Further measured metrics follow.
UNCERTAINTY_COLUMNS = MEAN_METRICS

#: Metrics of a group other than means of a class column.
GROUP_METRICS = (
    "recall_geometric_mean",
    "recall_harmonic_mean",
    "worst_f1",
    "worst_recall",
    "accuracy",  # single-label: share of the group's samples predicted correctly; NaN for multi-label
    "balanced_accuracy",  # single-label, group "all": mean recall of the classes with samples; otherwise NaN
    "ece",  # expected calibration error, 15 equal-width bins (Guo et al., 2017)
)

#: Counts recorded with the metrics of a group.
GROUP_COUNTS = (
    "n_classes",  # classes in the group
    "n_samples",  # single-label: samples of the group's classes; multi-label: rows
    "n_skipped",  # rows left out for non-finite logits
    "scores_exact",  # 1 if AP and curves come from all scores, 0 if from bounded-memory bins
)


def _group_columns() -> tuple[str, ...]:
    return (*mean_columns(MEAN_METRICS), *GROUP_METRICS, *GROUP_COUNTS, "ap_n_few_positives")


#: Columns of the "groups" table; those of further metrics follow. "ap_n_few_positives": classes in the mean AP with
#: fewer than `FEW_POSITIVES`.
GROUP_COLUMNS = _group_columns()


#: Columns of the "parameters" table, one row per parameter of the model; one table per sampled step.
PARAMETER_COLUMNS = (
    "gradient_norm",  # Euclidean norm of the gradient used by the optimizer
    "weight_norm",  # Euclidean norm of the parameter before the step
    "update_ratio",  # norm of the step's change, divided by `weight_norm`
    "gradient_cosine",  # cosine between this gradient and that of the previous detailed sample
)

#: Columns of the "attention_heads" table of a module, one row per head.
ATTENTION_HEAD_COLUMNS = (
    "entropy",  # of a query's attention ÷ the largest possible, mean over queries
    "keys_for_90_percent",  # smallest share of the keys that holds 90 % of the attention, mean over queries
)

#: Columns of the "activations" table, one row per watched module; shares lie in 0..1.
ACTIVATION_COLUMNS = (
    "zero_share",  # values that are exactly zero
    "dead_share",  # units (channels) that are zero for the whole batch
    "saturated_share",  # values within 1 % of a bound of sigmoid, tanh and the like; NaN for other modules
    "nonfinite_share",  # values that are NaN or infinite
)


#: Columns of the "class_images" table, one row per image of the sheet; empty rows are NaN.
CLASS_IMAGE_COLUMNS = (
    "label",  # index of the true class; multi-label: of the class in question if it is a label, or -1
    "predicted",  # index of the predicted class, or -1
    "probability",  # of what was predicted; multi-label: of the class in question
    "left",  # place in the sheet, in pixels
    "top",
    "width",
    "height",
)

#: Columns of the "diagnostics" table, one row per class in the order of the `ClassList`: what explains its recall.
#: Training columns cover the steps since the previous validation. Undefined and unknown values are NaN.
DIAGNOSTIC_COLUMNS = (
    "support",  # positives in the validation set
    "recall",  # of the model as trained
    "weight_norm",  # Euclidean norm of the class's row of the classifier
    "bias",
    "nearest_weight_cosine",  # largest cosine between the class's row and another class's
    "nearest_weight_class",  # index of that class
    "own_logit",  # mean logit of the class on its own validation samples
    "other_logit",  # mean logit of the class on the samples of all other classes
    "samples_seen",  # training samples (positives) since the session began
    "training_loss",  # mean loss of its training samples
    "training_accuracy",  # share of its training samples predicted correctly in their batch
    "positive_gradient",  # sum of |gradient| on the class's logit over its own training samples
    "negative_gradient",  # the same sum over all other training samples
    "gradient_ratio",  # positive_gradient / negative_gradient
    "half_recall_step",  # optimizer step of the first validation that reached half of the latest recall
    "forgetting_events",  # times a validation sample went from correct to wrong, mean per sample; it grows with time
    "nc1",  # within-class variance of the classifier's input divided by that between class means
    "mean_norm",  # distance of the class's mean from the mean of all class means
    "nearest_mean_cosine",  # largest cosine between the class's centred mean and another
    "nearest_mean_class",  # index of the class whose mean is nearest
    "separation",  # distance to the nearest mean, in standard deviations along the line between them
    "nearest_head_class",  # index of the head class whose mean is nearest
    "head_separation",  # `separation` from that class
    "suspect_share",  # share of its validation samples confidently predicted as another class
    "forgetting_rate",  # share of its correct validation samples that were wrong at the next validation
)

#: Remedies that need no retraining, in the order of the "remedies" table.
LOGIT_ADJUSTMENT, TAU_NORMALIZATION, CLASS_THRESHOLDS = "logit_adjustment", "tau_normalization", "class_thresholds"
REMEDIES = (LOGIT_ADJUSTMENT, TAU_NORMALIZATION, CLASS_THRESHOLDS)


def _remedy_columns() -> tuple[str, ...]:
    groups = (HEAD, MEDIUM, TAIL, ALL)
    with_interval = [f"{g}_{m}{end}" for m in ("recall", "f1") for g in groups for end in ("", "_lower", "_upper")]
    gains = [f"{g}_gain{end}" for g in (HEAD, TAIL) for end in ("", "_lower", "_upper")]
    objective = ("objective", *(f"objective_gain{end}" for end in ("", "_lower", "_upper")))
    columns = (*with_interval, *(f"{g}_precision" for g in groups), "balanced_accuracy", "accuracy", *gains)
    return ("tau", *columns, *objective, "temperature")


#: Columns of the "remedies" table. `…_gain` is a group's recall minus that of the model as trained, with its paired
#: interval; `objective_gain` is that of the objective. Logit adjustment takes tau × temperature × the log prior off.
#: "balanced_accuracy" and "accuracy" are NaN for multi-label attributes. Rows are "none" (as trained), "{remedy}/{tau}"
#: (a fixed tau) and "{remedy}/best" (each sample judged with what others chose; `tau` is the choice on all samples).
REMEDY_COLUMNS = _remedy_columns()

#: Columns of the "findings" table, one row per rule of the verdict.
FINDING_COLUMNS = (
    "severity",  # 0 not found, 1 noted, 2 strong; NaN if it could not be judged
    "value",  # the value that the rule judges
    "noted_at",  # threshold for severity 1
    "strong_at",  # threshold for severity 2
    "head",  # the value for head classes, if the rule compares
    "tail",  # the value for tail classes
    "n_classes",  # number of tail classes (or all classes) behind the value
    "lower",  # 95 % interval of the value, if the rule has one
    "upper",
    "applies",  # 0 if what the rule rests on was not given, or cannot be for this attribute
    "tau",  # amount of the remedy
    "remedy",  # index of the remedy in `REMEDIES`
)
