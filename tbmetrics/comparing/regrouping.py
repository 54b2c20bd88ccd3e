"""Group means for thresholds other than the recorded ones, from the per-class tables."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tbmetrics.classes.groups import AttributeClasses, CountBuckets
from tbmetrics.classes.rules import GroupRule
from tbmetrics.records import MEAN_METRICS, Float32Array, FloatArray
from tbmetrics.statistics.intervals import Z95, f1_interval

#: Buckets of training counts that the tab adds up while a threshold is dragged.
FINE_BUCKETS = 512

#: How sums over classes become the metric. "mean": sum / weight; "exp_mean": e to the power of that; "inverse_mean":
#: weight / sum; "min": the minimum, not the sum.
COMBINATIONS: Mapping[str, str] = {
    **dict.fromkeys(MEAN_METRICS, "mean"),
    "recall_geometric_mean": "exp_mean",
    "recall_harmonic_mean": "inverse_mean",
    "worst_f1": "min",
    "worst_recall": "min",
    "accuracy": "mean",
}
#: Metrics that combine a transformed column: the column, and the transform.
_TRANSFORMED = {
    "recall_geometric_mean": ("recall", np.log),
    "recall_harmonic_mean": ("recall", np.reciprocal),
    "worst_f1": ("f1", np.positive),
    "worst_recall": ("recall", np.positive),
}

Column = Callable[[str], FloatArray]


def rule_of_bounds(head_min: float, tail_max: float) -> GroupRule:
    """Head from `head_min` training examples on, tail up to `tail_max`.

    Raises:
        ValueError: the bounds cross, or are not finite numbers.
    """
    name = f"head >= {head_min:g}, tail <= {tail_max:g}"
    if not (math.isfinite(head_min) and math.isfinite(tail_max)):
        raise ValueError(f"rule {name!r}: the tail must end below the head, both at finite numbers")
    return GroupRule(name, head_min, tail_max)


def regrouped(classes: AttributeClasses, rule: GroupRule | None) -> tuple[str, ...]:
    """The group of each class by `rule`, or the recorded one if there is no rule; unknown counts stay unknown."""
    return classes.groups if rule is None else rule.groups(classes.counts)


def bucket_sums(
    values: Float32Array, columns: tuple[str, ...], metric: str, buckets: CountBuckets
) -> NDArray[np.float32]:
    """What each bucket adds to its group's `metric`: sum, its variance, and weight, float32 (3, steps, buckets).

    The variance is that of the classes' own intervals, taken as independent. NaN = unknown.

    Args:
        values: the per-class table over steps, (steps, classes, columns).
        columns: names of its columns.
        metric: one of `COMBINATIONS`.
        buckets: of the classes.

    Raises:
        ValueError: a column that the metric needs is missing; the message names it.
    """

    def column(name: str) -> FloatArray:
        if name not in columns:
            raise ValueError(name)
        return values[:, :, columns.index(name)].astype(np.float64)

    terms = _terms(metric, column)
    order = np.argsort(buckets.of_class, kind="stable")
    starts = np.searchsorted(buckets.of_class[order], np.arange(len(buckets)))
    reduce = np.minimum.reduceat if COMBINATIONS[metric] == "min" else np.add.reduceat
    neutral = np.inf if COMBINATIONS[metric] == "min" else 0.0
    known = ~np.isnan(terms.value)
    # A class without a value adds nothing; one without an interval makes the variance of its bucket unknown.
    summands = (
        reduce(np.where(known, terms.value, neutral)[:, order], starts, axis=1),
        np.add.reduceat(np.where(known, terms.variance, 0.0)[:, order], starts, axis=1),
        np.add.reduceat(np.where(known, terms.weight, 0.0)[:, order], starts, axis=1),
    )
    return np.stack(summands).astype(np.float32)


class _Terms(NamedTuple):
    """What each class adds to its bucket, each (steps, classes): a summand, its variance, a weight."""

    value: FloatArray
    variance: FloatArray
    weight: FloatArray


def _terms(metric: str, column: Column) -> _Terms:
    if metric in MEAN_METRICS:
        value = column(metric)
        lower, upper = _class_interval(metric, column)
        return _Terms(value, ((upper - lower) / (2 * Z95)) ** 2, _is_defined(value))
    if metric == "accuracy":
        value, weight = column("true_positives"), column("support")
    else:
        name, transform = _TRANSFORMED[metric]
        with np.errstate(divide="ignore", invalid="ignore"):
            value = transform(column(name))
        weight = _is_defined(column(name))
    return _Terms(value, np.full_like(value, np.nan), weight)


def _class_interval(metric: str, column: Column) -> tuple[FloatArray, FloatArray]:
    if metric != "f1":
        return column(f"{metric}_lower"), column(f"{metric}_upper")
    tp, fp, fn = (column(name) for name in ("true_positives", "false_positives", "false_negatives"))
    return f1_interval(tp, tp + fp, tp + fn)


def _is_defined(values: FloatArray) -> FloatArray:
    return (~np.isnan(values)).astype(np.float64)
