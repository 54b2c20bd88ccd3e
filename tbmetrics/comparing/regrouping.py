"""Group means and their intervals for thresholds other than the recorded ones, from the recorded tables."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tbmetrics.classes.attributes import AttributeClasses
from tbmetrics.classes.groups import CountBuckets
from tbmetrics.classes.rules import GroupRule
from tbmetrics.records import (
    ALL,
    GAP,
    GROUP_ROWS,
    HEAD,
    MEAN_METRICS,
    TAIL,
    UNCERTAINTY_COLUMNS,
    Float32Array,
    FloatArray,
)
from tbmetrics.statistics.bucket_means import BIASED_BY_FEW, MeanUncertainty, column_length, has_too_few
from tbmetrics.statistics.intervals import Z95, f1_interval

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


def combination(metric: str, columns: Collection[str]) -> str | None:
    """How sums over classes become `metric`, see `COMBINATIONS`; None if it is no sum over these class columns."""
    return COMBINATIONS.get(metric) or ("mean" if f"{metric}_lower" in columns else None)


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


class GroupInterval(NamedTuple):
    """The mean of a group, or the gap, and its 95 % interval; NaN if undefined."""

    mean: float
    lower: float = math.nan
    upper: float = math.nan


@dataclass(frozen=True, slots=True, eq=False)
class RecordedUncertainty:
    """An "uncertainty" table.

    Attributes:
        table: float (rows, metrics), see `UNCERTAINTY_COLUMNS`.
        of_class: bucket of each class, int64 (classes,).
        size: number of buckets.
        metrics: the columns of the table.
    """

    table: Float32Array
    of_class: NDArray[np.int64]
    size: int
    metrics: Sequence[str] = UNCERTAINTY_COLUMNS

    @classmethod
    def read(
        cls,
        table: Float32Array,
        described: Sequence[Any],
        classes: AttributeClasses,
        metrics: Sequence[str] = UNCERTAINTY_COLUMNS,
    ) -> RecordedUncertainty:
        """From the recorded table, its description of the buckets and its columns.

        Raises:
            ValueError: they do not fit each other, or the classes.
        """
        if table.shape != (column_length(len(described)), len(metrics)):
            raise ValueError(f"a table of shape {table.shape} does not fit {len(described)} buckets")
        return cls(table, buckets_of_classes(described, classes), len(described), metrics)

    def of_metric(self, metric: str, values: FloatArray) -> MeanUncertainty:
        """The uncertainty of means of `metric`, one of `metrics`, whose values by class are `values`."""
        column = self.table[:, self.metrics.index(metric)].astype(np.float64)
        return MeanUncertainty.from_column(column, self.members(~np.isnan(values)))

    def members(self, chosen: NDArray[np.bool_]) -> FloatArray:
        """Number of `chosen` classes by bucket."""
        return np.bincount(self.of_class[chosen], minlength=self.size).astype(np.float64)


def buckets_of_classes(described: Sequence[Any], classes: AttributeClasses) -> NDArray[np.int64]:
    """Index of the bucket that each class is in, by its recorded group and training count.

    Raises:
        ValueError: a class is in none.
    """
    of_class = np.full(len(classes), -1, dtype=np.int64)
    groups = np.array(classes.groups, dtype=object)
    for index, (group, lowest, highest) in enumerate(map(_bounds, described)):
        of_class[(groups == group) & (lowest <= classes.counts) & (classes.counts <= highest)] = index
    if (of_class < 0).any():
        raise ValueError(f"class {classes.names[int(np.argmin(of_class))]!r} is in no bucket")
    return of_class


def _bounds(bucket: Any) -> tuple[str, int, int]:
    try:
        return str(bucket["group"]), int(bucket["lowest"]), int(bucket["highest"])
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise ValueError(f"a bucket has a group, a lowest and a highest count, got {bucket!r:.200}") from error


class ClassMeans:
    """Means of one metric over any of a run's classes, with intervals if their uncertainty was recorded.

    Args:
        metric: a mean over classes.
        values: of the classes, (classes,); NaN if undefined.
        recorded: without it, or the metric in it, there are no intervals.
        positives: number of positives of each class of a multi-label attribute, (classes,).
    """

    def __init__(
        self,
        metric: str,
        values: FloatArray,
        recorded: RecordedUncertainty | None,
        positives: FloatArray | None = None,
    ) -> None:
        self._values, self._is_defined = values, ~np.isnan(values)
        self._positives = positives if metric in BIASED_BY_FEW else None
        self._recorded = recorded if recorded is not None and metric in recorded.metrics else None
        self._uncertainty = None if self._recorded is None else self._recorded.of_metric(metric, values)

    def over(self, chosen: NDArray[np.bool_], subtracted: NDArray[np.bool_] | None = None) -> GroupInterval:
        """The mean over the chosen classes, or what it is above that over the subtracted ones; bool (classes,)."""
        parts = [part & self._is_defined for part in (chosen, subtracted) if part is not None]
        if not all(part.any() for part in parts):
            return GroupInterval(math.nan)
        means = [float(self._values[part].mean()) for part in parts]
        mean = means[0] - sum(means[1:])
        if self._recorded is None or self._uncertainty is None or any(map(self._has_too_few, parts)):
            return GroupInterval(mean)
        return GroupInterval(mean, *self._uncertainty.interval(mean, *map(self._recorded.members, parts)))

    def by_group(self, groups: Sequence[str]) -> dict[str, GroupInterval]:
        """The mean of every group of `GROUP_ROWS` that has the metric, from the group of each class."""
        by_class = np.array(groups, dtype=object)
        chosen = {group: (by_class == group) | (group == ALL) for group in GROUP_ROWS if group != GAP}
        intervals = {group: self.over(inside) for group, inside in chosen.items()}
        intervals[GAP] = self.over(chosen[HEAD], chosen[TAIL])
        return {group: interval for group, interval in intervals.items() if not math.isnan(interval.mean)}

    def _has_too_few(self, part: NDArray[np.bool_]) -> bool:
        if self._positives is None:
            return False
        positives = self._positives[part]
        return has_too_few(float(np.count_nonzero(positives)), float(positives.sum()))


def bucket_sums(
    values: Float32Array, columns: tuple[str, ...], metric: str, buckets: CountBuckets
) -> NDArray[np.float32]:
    """What each bucket adds to its group's `metric`: sum, its variance, and weight, float32 (3, steps, buckets).

    The variance is that of the classes' own intervals, taken as independent: for logs that lack a
    `RecordedUncertainty`. NaN = unknown.

    Args:
        values: the per-class table over steps, (steps, classes, columns).
        columns: names of its columns.
        metric: one that has a `combination`.
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
    is_least = combination(metric, columns) == "min"
    reduce, neutral = (np.minimum.reduceat, np.inf) if is_least else (np.add.reduceat, 0.0)
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
    if metric == "accuracy":
        value, weight = column("true_positives"), column("support")
    elif metric in _TRANSFORMED:
        name, transform = _TRANSFORMED[metric]
        with np.errstate(divide="ignore", invalid="ignore"):
            value = transform(column(name))
        weight = _is_defined(column(name))
    else:
        value = column(metric)
        lower, upper = class_interval(metric, column)
        return _Terms(value, ((upper - lower) / (2 * Z95)) ** 2, _is_defined(value))
    return _Terms(value, np.full_like(value, np.nan), weight)


def class_interval(metric: str, column: Column) -> tuple[FloatArray, FloatArray]:
    """The 95 % interval of a metric of every class, from the columns of the per-class table."""
    try:
        return column(f"{metric}_lower"), column(f"{metric}_upper")
    except (KeyError, ValueError):
        if metric != "f1":
            raise
    # older logs
    tp, fp, fn = (column(name) for name in ("true_positives", "false_positives", "false_negatives"))
    return f1_interval(tp, tp + fp, tp + fn)


def _is_defined(values: FloatArray) -> FloatArray:
    return (~np.isnan(values)).astype(np.float64)
