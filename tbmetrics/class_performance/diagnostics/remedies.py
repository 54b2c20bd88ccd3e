"""What remedies without training would change: fixed amounts as they are, chosen ones cross-fitted on two halves."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tbmetrics.class_performance.evaluation import group_means
from tbmetrics.classes.groups import AttributeClasses, macro_mean
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
from tbmetrics.statistics.intervals import percentile_interval
from tbmetrics.statistics.scores import scores_of

NONE, BEST = "none", "best"
SHOWN_GROUPS = (HEAD, MEDIUM, TAIL, ALL)
_SAMPLES_AT_ONCE = 65536


class RemedyRow(NamedTuple):
    """One row of the table: a remedy with one amount, or (`tau` None) with the amounts that the halves chose."""

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
        """Whether the amount was chosen on one half of the samples and judged on the other."""
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
        halves: remedy → the amounts that the two halves chose.
        gap: head recall minus tail recall as trained, with its paired interval.
        n_samples: number of samples judged.
    """

    rows: tuple[RemedyRow, ...]
    values: FloatArray
    halves: dict[str, tuple[float, float]] = field(default_factory=dict)
    gap: tuple[float, float, float] = (float("nan"),) * 3
    n_samples: int = 0

    @classmethod
    def untried(cls, rows: tuple[RemedyRow, ...], n_samples: int) -> RemedyTable:
        """A table without results."""
        return cls(rows, np.full((len(rows), len(REMEDY_COLUMNS)), np.nan), n_samples=n_samples)

    def value(self, row: RemedyRow, column: str) -> float:
        """One number of the table."""
        return float(self.values[self.rows.index(row), REMEDY_COLUMNS.index(column)])

    def row(self, remedy: str, tau: float | None) -> RemedyRow | None:
        """The row of a remedy, or None if the table has none."""
        return next((r for r in self.rows if r == (remedy, tau)), None)


Objective = Mapping[str, float]  # group → weight

#: Replicates of group means: group → (rows, replicates).
Replicates = dict[str, FloatArray]


def halves_of(labels: IntArray, seed: int = 0) -> NDArray[np.bool_]:
    """Split samples in two halves, each class as evenly as possible: True for the second half.

    Args:
        labels: the class of each sample, (samples,).
    """
    rng = np.random.default_rng(seed)
    shuffled = rng.permutation(labels.size)
    order = shuffled[np.argsort(labels[shuffled], kind="stable")]
    ranked = labels[order]
    first = np.searchsorted(ranked, ranked, side="left")
    flip = rng.integers(0, 2, size=int(labels.max(initial=0)) + 1)  # chance assigns the extra sample of an odd class
    second = np.zeros(labels.size, dtype=np.bool_)
    second[order] = ((np.arange(labels.size) - first + flip[ranked]) % 2).astype(np.bool_)
    return second


def cross_fitted(score: Callable[[NDArray[np.bool_]], FloatArray], second: NDArray[np.bool_]) -> tuple[int, int, int]:
    """The best candidate on all samples, on the first half, and on the second; the first one of equals.

    Args:
        score: the objective of every candidate on the chosen samples, (candidates,).
        second: which samples are the second half.
    """
    chosen = [score(mask) for mask in (np.ones_like(second), ~second, second)]
    best = [int(np.nanargmax(np.append(s, -np.inf))) if not np.isnan(s).all() else 0 for s in chosen]
    return best[0], best[1], best[2]


# ------------------------------------------------------------------------------------------------ single label


def judge_single(
    labels: IntArray,
    predictions: NDArray[np.integer],
    rows: tuple[RemedyRow, ...],
    classes: AttributeClasses,
    objective: Objective,
    n_bootstrap: int,
) -> RemedyTable:
    """The table of a single-label attribute.

    Args:
        labels: class indices, (samples,).
        predictions: of the rows with an amount, in their order, (samples, amounts); -1 if untried.
        rows: as from `remedy_rows`.
        classes: of the attribute.
        objective: weight of each group's mean recall.
        n_bootstrap: replicates behind the intervals.
    """
    table = RemedyTable.untried(rows, labels.size)
    if not labels.size:
        return table
    decisions = np.full((labels.size, len(rows)), -1, dtype=np.int64)
    decisions[:, : predictions.shape[1]] = predictions
    second = halves_of(labels)
    for index, row in enumerate(rows):
        if row.cross_fitted:
            _choose(table, decisions, labels, second, index, classes, objective)
        elif row.remedy != NONE:
            table.values[index, 0] = row.tau
    table.values[0, 0] = 0.0
    usable = [i for i in range(len(rows)) if decisions[0, i] >= 0]
    _fill_single(table, labels, decisions, usable, classes, n_bootstrap)
    return table


def _choose(
    table: RemedyTable,
    decisions: NDArray[np.int64],
    labels: IntArray,
    second: NDArray[np.bool_],
    index: int,
    classes: AttributeClasses,
    objective: Objective,
) -> None:
    """Fill in the predictions of a cross-fitted row: each half with the amount that is best on the other."""
    rows, remedy = table.rows, table.rows[index].remedy
    candidates = [0, *(i for i, row in enumerate(rows) if row.remedy == remedy and not row.cross_fitted)]
    if decisions[0, candidates[-1]] < 0:
        return

    def score(mask: NDArray[np.bool_]) -> FloatArray:
        hits = decisions[mask][:, candidates] == labels[mask, None]
        return weighted_recall(_recalls(labels[mask], hits, len(classes)), classes, objective)

    best, on_first, on_second = cross_fitted(score, second)
    decisions[:, index] = np.where(second, decisions[:, candidates[on_first]], decisions[:, candidates[on_second]])
    taus = [float(rows[c].tau or 0.0) for c in candidates]
    table.values[index, 0] = taus[best]
    table.halves[remedy] = (taus[on_first], taus[on_second])


def _recalls(labels: IntArray, hits: NDArray[np.bool_], num_classes: int) -> FloatArray:
    """Recall of each class for every column of hits: (columns, classes), NaN without samples."""
    support = np.bincount(labels, minlength=num_classes)
    counts = [np.bincount(labels[column], minlength=num_classes) for column in hits.T]
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(support > 0, np.stack(counts) / support, np.nan)


def weighted_recall(recalls: FloatArray, classes: AttributeClasses, objective: Objective) -> FloatArray:
    """The objective of every row of `recalls` (rows, classes): the weighted mean of its groups' means, (rows,)."""
    total, weight = np.zeros(len(recalls)), 0.0
    for group, share in objective.items():
        members = classes.members(group)
        means = group_means(recalls, members)
        if share and not np.isnan(means).all():
            total, weight = total + share * means, weight + share
    return total / weight if weight else np.full(len(recalls), np.nan)


def _fill_single(
    table: RemedyTable,
    labels: IntArray,
    decisions: NDArray[np.int64],
    usable: list[int],
    classes: AttributeClasses,
    n_bootstrap: int,
) -> None:
    hits = decisions[:, usable] == labels[:, None]
    support = np.bincount(labels, minlength=len(classes)).astype(np.float64)
    recalls = _recalls(labels, hits, len(classes))
    calls = np.stack([np.bincount(decisions[:, i], minlength=len(classes)) for i in usable]).astype(np.float64)
    precision, _, f1 = scores_of(recalls * support, calls, support)
    replicates = _resampled(labels, hits, support, classes, n_bootstrap)
    per_class = {"recall": recalls, "precision": precision, "f1": f1}
    fill(table, usable, per_class, {"recall": replicates}, classes)
    for i, row in enumerate(usable):
        put(table, row, "balanced_accuracy", macro_mean(recalls[i], classes.members(ALL))[0])
        put(table, row, "accuracy", float(hits[:, i].mean()))


def _resampled(
    labels: IntArray, hits: NDArray[np.bool_], support: FloatArray, classes: AttributeClasses, n_bootstrap: int
) -> Replicates:
    """Mean recall of each group under the Bayesian bootstrap: group → (rows, replicates).

    The weights are shared by all rows, so that differences between them are paired. They are drawn twice, a chunk of
    samples at a time: once for the classes' totals, once for the hits.
    """
    totals = np.zeros((n_bootstrap, support.size))
    for rows, weights in _weights(labels.size, n_bootstrap):
        for replicate, row in zip(totals, weights, strict=True):
            replicate += np.bincount(labels[rows], weights=row, minlength=support.size)
    shape = (hits.shape[1], n_bootstrap)
    replicates = {g: np.zeros(shape) for g in SHOWN_GROUPS if (support[classes.members(g)] > 0).any()}
    for rows, weights in _weights(labels.size, n_bootstrap):
        share = weights / totals[:, labels[rows]]
        for group, sums in replicates.items():
            members = classes.members(group)
            inside = np.isin(labels[rows], members)
            sums += (share[:, inside] @ hits[rows][inside]).T / (support[members] > 0).sum()
    return replicates


def _weights(samples: int, replicates: int, seed: int = 0) -> Iterator[tuple[slice, FloatArray]]:
    rng = np.random.default_rng(seed)
    for first in range(0, samples, _SAMPLES_AT_ONCE):
        rows = slice(first, min(first + _SAMPLES_AT_ONCE, samples))
        yield rows, rng.exponential(size=(replicates, rows.stop - first))


# ------------------------------------------------------------------------------------------------- the table


def put(table: RemedyTable, row: int, column: str, value: float) -> None:
    """Set one number of the table."""
    table.values[row, REMEDY_COLUMNS.index(column)] = value


def fill(
    table: RemedyTable,
    usable: Sequence[int],
    per_class: Mapping[str, FloatArray],
    replicates: Mapping[str, Replicates],
    classes: AttributeClasses,
) -> None:
    """Fill in group means, their intervals, gains over the model as trained, and the gap.

    Args:
        table: the table.
        usable: its rows that could be tried, row 0 first.
        per_class: metric → (usable, classes).
        replicates: metric → group → (usable, replicates).
        classes: of the attribute.
    """
    for metric, values in per_class.items():
        for group in SHOWN_GROUPS:
            means = replicates.get(metric, {}).get(group)
            for i, row in enumerate(usable):
                put(table, row, f"{group}_{metric}", macro_mean(values[i], classes.members(group))[0])
                if means is not None:
                    low, high = percentile_interval(means[i])
                    put(table, row, f"{group}_{metric}_lower", low)
                    put(table, row, f"{group}_{metric}_upper", high)
    recalls = replicates.get("recall", {})
    for group in (HEAD, TAIL):
        for i, row in enumerate(usable if group in recalls else ()):
            put(
                table, row, f"{group}_gain", table.value(table.rows[row], f"{group}_recall") - _as_trained(table, group)
            )
            low, high = percentile_interval(recalls[group][i] - recalls[group][0])
            put(table, row, f"{group}_gain_lower", low)
            put(table, row, f"{group}_gain_upper", high)
    if HEAD in recalls and TAIL in recalls:
        interval = percentile_interval(recalls[HEAD][0] - recalls[TAIL][0])
        table.gap = (_as_trained(table, HEAD) - _as_trained(table, TAIL), *interval)


def _as_trained(table: RemedyTable, group: str) -> float:
    return table.value(table.rows[0], f"{group}_recall")


def objective_weights(objective: str | Mapping[str, float]) -> Objective:
    """`objective` as a weight for each group; "balanced_accuracy" is the mean over all classes."""
    return {ALL: 1.0} if isinstance(objective, str) else {g: float(objective.get(g, 0.0)) for g in GROUPS}
