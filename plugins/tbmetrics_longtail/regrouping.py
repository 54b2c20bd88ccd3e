"""Groups drawn anew: what a per-class table gives for any head/medium/tail bounds; numpy only."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tbmetrics.classes.buckets import CountBuckets
from tbmetrics.classes.groups import AttributeClasses
from tbmetrics.classes.rules import GroupRule
from tbmetrics.records import MEAN_METRICS, Float32Array, FloatArray
from tbmetrics.statistics.intervals import Z95, f1_interval

#: Buckets of training counts that the tab adds up while a threshold is dragged.
FINE_BUCKETS = 512

Column = Callable[[str], FloatArray]


@dataclass(frozen=True, slots=True)
class Bounds:
    """Head where a class has at least `head_min` training examples, tail where it has at most `tail_max`.

    Raises:
        ValueError: the bounds cross, or are no finite numbers.
    """

    head_min: float
    tail_max: float

    def __post_init__(self) -> None:
        if not (math.isfinite(self.head_min) and math.isfinite(self.tail_max) and self.tail_max < self.head_min):
            raise ValueError(
                f"the tail must end below the head, got tail <= {self.tail_max} and head >= {self.head_min}"
            )


def regrouped(classes: AttributeClasses, bounds: Bounds | None) -> tuple[str, ...]:
    """The group of each class by `bounds`, or as recorded where there are none; unknown counts stay unknown."""
    if bounds is None:
        return classes.groups
    return GroupRule("bounds", bounds.head_min, bounds.tail_max).groups(classes.counts)


@dataclass(frozen=True, slots=True)
class _Terms:
    """What each class adds to its bucket, each (steps, classes): a summand, its variance, a weight; NaN = nothing."""

    value: FloatArray
    variance: FloatArray
    weight: FloatArray


def _mean(metric: str, of: Column) -> _Terms:
    value = of(metric)
    if metric == "f1":
        tp, fp, fn = (of(name) for name in ("true_positives", "false_positives", "false_negatives"))
        lower, upper = f1_interval(tp, tp + fp, tp + fn)
    else:
        lower, upper = of(f"{metric}_lower"), of(f"{metric}_upper")
    defined = (~np.isnan(value)).astype(np.float64)
    return _Terms(value, ((upper - lower) / (2 * Z95)) ** 2, defined)


def _transformed(column: str, transform: Callable[[FloatArray], FloatArray]) -> Callable[[Column], _Terms]:
    def terms(of: Column) -> _Terms:
        value = of(column)
        with np.errstate(divide="ignore", invalid="ignore"):
            summand = transform(value)
        return _Terms(summand, np.full_like(value, np.nan), (~np.isnan(value)).astype(np.float64))

    return terms


def _accuracy(of: Column) -> _Terms:
    right, support = of("true_positives"), of("support")
    return _Terms(right, np.full_like(right, np.nan), support)


#: Metric → what each class adds to its group. How sums become the metric: see `COMBINATIONS`.
_TERMS: Mapping[str, Callable[[Column], _Terms]] = {
    **{metric: (lambda of, metric=metric: _mean(metric, of)) for metric in MEAN_METRICS},  # type: ignore[misc]
    "recall_geometric_mean": _transformed("recall", np.log),
    "recall_harmonic_mean": _transformed("recall", lambda recall: 1 / recall),
    "worst_f1": _transformed("f1", lambda f1: f1),
    "worst_recall": _transformed("recall", lambda recall: recall),
    "accuracy": _accuracy,
}

#: "mean": sum / weight; "exp_mean": e to that; "inverse_mean": weight / sum; "min": the smallest, not the sum.
COMBINATIONS: Mapping[str, str] = {
    **dict.fromkeys(MEAN_METRICS, "mean"),
    "recall_geometric_mean": "exp_mean",
    "recall_harmonic_mean": "inverse_mean",
    "worst_f1": "min",
    "worst_recall": "min",
    "accuracy": "mean",
}


def bucket_sums(
    values: Float32Array, columns: tuple[str, ...], metric: str, buckets: CountBuckets
) -> NDArray[np.float32]:
    """What each bucket adds to its group's `metric`: float32 (3, steps, buckets): sum, variance of it, weight.

    The variance is that of the classes' own intervals, taken as independent. NaN = unknown.

    Args:
        values: the per-class table over steps, (steps, classes, columns).
        columns: names of its columns.
        metric: one of `COMBINATIONS`.
        buckets: of the classes.
    """

    def column(name: str) -> FloatArray:
        return values[:, :, columns.index(name)].astype(np.float64)

    terms = _TERMS[metric](column)
    order = np.argsort(buckets.of_class, kind="stable")
    starts = np.searchsorted(buckets.of_class[order], np.arange(len(buckets)))
    reduce = np.minimum.reduceat if COMBINATIONS[metric] == "min" else np.add.reduceat
    nothing = np.inf if COMBINATIONS[metric] == "min" else 0.0
    known = ~np.isnan(terms.value)
    # Where a class has no value it adds nothing; where it has no interval the variance of the whole is unknown.
    summands = (
        reduce(np.where(known, terms.value, nothing)[:, order], starts, axis=1),
        np.add.reduceat(np.where(known, terms.variance, 0.0)[:, order], starts, axis=1),
        np.add.reduceat(np.where(known, terms.weight, 0.0)[:, order], starts, axis=1),
    )
    return np.stack(summands).astype(np.float32)
