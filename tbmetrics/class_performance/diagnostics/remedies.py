"""The table of what remedies without training would change, and the intervals in it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tbmetrics.class_performance.evaluation import group_means
from tbmetrics.classes.attributes import AttributeClasses
from tbmetrics.records import (
    ALL,
    CLASS_THRESHOLDS,
    GROUPS,
    HEAD,
    LOGIT_ADJUSTMENT,
    MEDIUM,
    REMEDY_COLUMNS,
    TAIL,
    TAU_NORMALIZATION,
    FloatArray,
    IntArray,
)
from tbmetrics.statistics.intervals import Z95, smoothed_variance

NONE, BEST = "none", "best"
SHOWN_GROUPS = (HEAD, MEDIUM, TAIL, ALL)


class Estimate(NamedTuple):
    """A number and its 95 % interval."""

    value: float
    lower: float
    upper: float

    @classmethod
    def normal(cls, value: float, variance: float) -> Estimate:
        """With the interval of a normal distribution."""
        half = Z95 * float(np.sqrt(variance))
        return cls(value, value - half, value + half)

    def within(self, least: float, most: float) -> Estimate:
        """With an interval that does not leave the metric's range."""
        return self._replace(lower=max(least, self.lower), upper=min(most, self.upper))


UNKNOWN_ESTIMATE = Estimate(float("nan"), float("nan"), float("nan"))


class Estimates(NamedTuple):
    """Numbers and their 95 % intervals, each (decisions,)."""

    value: FloatArray
    lower: FloatArray
    upper: FloatArray

    @classmethod
    def normal(cls, value: FloatArray, variance: FloatArray) -> Estimates:
        """With the intervals of normal distributions."""
        half = Z95 * np.sqrt(variance)
        return cls(value, value - half, value + half)

    @classmethod
    def unknown(cls, size: int) -> Estimates:
        """NaN throughout."""
        return cls(*np.full((3, size), np.nan))

    def within(self, least: float, most: float) -> Estimates:
        """With intervals that do not leave the metric's range."""
        return self._replace(lower=np.maximum(least, self.lower), upper=np.minimum(most, self.upper))

    def estimate(self, index: int) -> Estimate:
        """One of them."""
        return Estimate(*(float(values[index]) for values in self))


class Lean(NamedTuple):
    """How much of the training prior is in the logits, and what balanced accuracy would gain without it.

    Attributes:
        temperature: the logits divided by it are calibrated.
        tau: of the prior, to be taken off the calibrated logits.
        gain: in balanced accuracy, each sample judged with a fit without it.
    """

    temperature: float
    tau: float
    gain: Estimate


class RemedyRow(NamedTuple):
    """One row of the table: a remedy with one amount, or (`tau` None) with the amounts that other samples chose."""

    remedy: str
    tau: float | None

    @property
    def name(self) -> str:
        """As in the table: "none", "logit_adjustment/0.5", "logit_adjustment/best"."""
        if self.remedy == NONE:
            return NONE
        return f"{self.remedy}/{BEST}" if self.tau is None else f"{self.remedy}/{self.tau:g}"

    @property
    def cross_fitted(self) -> bool:
        """Whether each sample is judged with an amount that was chosen without it."""
        return self.tau is None


def remedy_rows(single_label: bool, taus: Sequence[float]) -> tuple[RemedyRow, ...]:
    """The rows of the table: scaling never changes a multi-label decision, thresholds no single-label one."""
    kinds = (LOGIT_ADJUSTMENT, TAU_NORMALIZATION) if single_label else (LOGIT_ADJUSTMENT,)
    fixed = [RemedyRow(kind, tau) for kind in kinds for tau in taus]
    chosen = [RemedyRow(kind, None) for kind in (kinds if single_label else (*kinds, CLASS_THRESHOLDS))]
    return (RemedyRow(NONE, 0.0), *fixed, *chosen)


@dataclass(slots=True)
class RemedyTable:
    """What the remedies of one validation would do.

    Attributes:
        rows: their names and amounts.
        values: float64 (rows, `REMEDY_COLUMNS`), NaN if a remedy could not be tried.
        chosen: remedy → the smallest and the largest amount that was chosen without one sample (or one fifth of them).
        gap: head recall minus tail recall as trained, with its interval.
        lean: of a single-label attribute's decisions towards frequent classes; None if the training counts are unknown.
        n_classes: number of classes in the objective.
        n_samples: number of samples judged.
        shifts: multi-label, the best threshold of each class on all samples less the one in use, as logits, (C,).
    """

    rows: tuple[RemedyRow, ...]
    values: FloatArray
    chosen: dict[str, tuple[float, float]] = field(default_factory=dict)
    gap: Estimate = field(default_factory=lambda: UNKNOWN_ESTIMATE)
    lean: Lean | None = None
    n_classes: int = 0
    n_samples: int = 0
    shifts: FloatArray | None = None

    @classmethod
    def untried(cls, rows: tuple[RemedyRow, ...], n_samples: int, gap: Estimate = UNKNOWN_ESTIMATE) -> RemedyTable:
        """A table without results."""
        return cls(rows, np.full((len(rows), len(REMEDY_COLUMNS)), np.nan), gap=gap, n_samples=n_samples)

    def value(self, row: RemedyRow, column: str) -> float:
        """One number of the table."""
        return float(self.values[self.rows.index(row), REMEDY_COLUMNS.index(column)])

    def estimate(self, row: RemedyRow, column: str) -> Estimate:
        """A number of the table with its interval."""
        return Estimate(*(self.value(row, f"{column}{suffix}") for suffix in ("", "_lower", "_upper")))

    def row(self, remedy: str, tau: float | None) -> RemedyRow | None:
        """The row of a remedy, or None if the table has none."""
        return next((r for r in self.rows if r == (remedy, tau)), None)

    def best(self, remedy: str, column: str) -> float:
        """A number of the remedy with the amount that was chosen; NaN if the table has no such row."""
        row = self.row(remedy, None)
        return float("nan") if row is None else self.value(row, column)

    def put(self, row: int | list[int], column: str, value: float | FloatArray) -> None:
        """Set one number of a row, or of each of several."""
        self.values[row, REMEDY_COLUMNS.index(column)] = value

    def put_estimate(self, row: int | list[int], column: str, estimate: Estimate | Estimates) -> None:
        """Set a number of a row, or of several, and its interval."""
        ends: tuple[float | FloatArray, ...] = tuple(estimate)
        for suffix, value in zip(("", "_lower", "_upper"), ends, strict=True):
            self.put(row, f"{column}{suffix}", value)


Objective = Mapping[str, float]  # group → weight


def objective_weights(objective: str | Mapping[str, float]) -> Objective:
    """`objective` as a weight for each group; "balanced_accuracy" is the mean over all classes."""
    return {ALL: 1.0} if isinstance(objective, str) else {g: float(objective.get(g, 0.0)) for g in GROUPS}


def class_weights(defined: NDArray[np.bool_], classes: AttributeClasses, objective: Objective) -> FloatArray:
    """The weight of each class in an objective, (classes,), with sum 1; all 0 if it is undefined.

    Args:
        defined: the classes whose metric is known, (classes,).
        classes: of the attribute.
        objective: weight of each group's mean.
    """
    weights = np.zeros(len(classes))
    for group, share in objective.items():
        members = classes.members(group)
        members = members[defined[members]]
        weights[members] += share / max(members.size, 1)
    total = weights.sum()
    return weights / total if total else weights


def weighted_mean(values: FloatArray, classes: AttributeClasses, objective: Objective) -> FloatArray:
    """The objective of every row of `values` (rows, classes): the weighted mean of its groups' means, (rows,)."""
    total, weight = np.zeros(len(values)), 0.0
    for group, share in objective.items():
        means = group_means(values, classes.members(group))
        if share and not np.isnan(means).all():
            total, weight = total + share * means, weight + share
    return total / weight if weight else np.full(len(values), np.nan)


def recall_mean(hits: FloatArray, support: FloatArray, weights: FloatArray) -> Estimate:
    """A weighted mean of the recalls of classes, or a difference of such means, from counts (classes,)."""
    return recall_means(hits[None], support, weights).estimate(0)


def recall_means(hits: FloatArray, support: FloatArray, weights: FloatArray) -> Estimates:
    """`recall_mean` of several decisions, from hits (decisions, classes).

    The variance of each recall is taken at (hits + 1) / (samples + 2), so that it is not 0 if all samples agree.
    """
    used = (weights != 0) & (support > 0)
    if not used.any():
        return Estimates.unknown(len(hits))
    hits, support, weights = hits[:, used], support[used], weights[used]
    return Estimates.normal(hits / support @ weights, smoothed_variance(hits, support) @ weights**2)


def paired_mean(differences: FloatArray, labels: IntArray, weights: FloatArray) -> Estimate:
    """A weighted mean over classes of the mean difference of each class's samples.

    Args:
        differences: of each sample, −1 to 1, (samples,).
        labels: class of each sample.
        weights: of the classes, (classes,), at least 0.
    """
    n, sums, squares = (
        np.bincount(labels, weights=values, minlength=len(weights)).astype(np.float64)
        for values in (None, differences, differences**2)
    )
    return paired_means(sums[None], squares[None], n, weights).estimate(0)


def paired_means(sums: FloatArray, squares: FloatArray, n: FloatArray, weights: FloatArray) -> Estimates:
    """`paired_mean` of several decisions.

    The variance within a class is shrunk towards the mean square of all differences, as if the class had one more
    sample, and that mean square as if one more sample had changed: a class of one sample has a variance, too, and no
    interval has no width.

    Args:
        sums, squares: sums of the differences, and of their squares, (decisions, classes).
        n: samples of each class.
        weights: of the classes, (classes,), at least 0.
    """
    used = (weights > 0) & (n > 0)
    if not used.any():
        return Estimates.unknown(len(sums))
    sums, squares, n, weights = sums[:, used], squares[:, used], n[used], weights[used]
    typical = (squares.sum(1, keepdims=True) + 1) / (n.sum() + 2)
    variance = (squares - sums**2 / n + typical) / n
    return Estimates.normal(sums / n @ weights, variance / n @ weights**2)
