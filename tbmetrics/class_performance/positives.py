"""Where the positives of each class stand among all samples, and what follows: average precision, the best threshold.

Everything about a ranking follows from two counts at each positive: how many scores, and how many positives, lie at or
above it. They are made for a block of classes at a time, in flat arrays.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from tbmetrics.records import RECALL_LEVELS, FloatArray, IntArray

_RANGES = np.array((0.0, *RECALL_LEVELS))
_IS_NEGATIVE = 2**31  # in a sort key, between the score and the sample
_MAGNITUDE = 2**31 - 1


class RankedPositives(NamedTuple):
    """The positives of a block of classes, class by class and in each by ascending score.

    Attributes:
        n_classes: classes of the block, some of which may lack positives.
        classes: those that have positives, ascending, (present,).
        starts: the first positive of each of these, (present,).
        owner: index into `classes` of each positive, (positives,).
        scores, samples: of each positive, (positives,).
        true_positives, predicted: positives, and all samples, at or above each score, (positives,).
        last_tied: index of the last positive of the same class and score, (positives,).
        ranked: samples at or above the lowest positive of their class, class by class, (ranked,).
        nearest: index of the highest positive at or below each of these, (ranked,).
    """

    n_classes: int
    classes: IntArray
    starts: IntArray
    owner: IntArray
    scores: NDArray[np.floating]
    samples: IntArray
    true_positives: IntArray
    predicted: IntArray
    last_tied: IntArray
    ranked: IntArray
    nearest: IntArray

    @property
    def precision(self) -> FloatArray:
        """Precision at the score of each positive, (positives,)."""
        return self.true_positives / self.predicted

    @property
    def sizes(self) -> IntArray:
        """Positives of each class that has some, (present,)."""
        return np.diff(self.starts, append=len(self.owner))

    @property
    def support(self) -> IntArray:
        """Positives of each class of the block, (classes,)."""
        return np.bincount(self.classes, weights=self.sizes, minlength=self.n_classes).astype(np.int64)

    @property
    def is_highest(self) -> NDArray[np.bool_]:
        """Whether each positive is the last of its class, (positives,)."""
        return np.append(self.owner[1:], -1) != self.owner

    def by_class(self, values: NDArray[np.floating]) -> FloatArray:
        """Values (present,) as (classes of the block,), NaN without positives."""
        result = np.full(self.n_classes, np.nan)
        result[self.classes] = values
        return result

    def sums(self, values: NDArray[np.number]) -> FloatArray:
        """Sums of the values (positives,) of each class that has some, (present,)."""
        return np.add.reduceat(values, self.starts, dtype=np.float64) if len(self.starts) else np.zeros(0)


class BestThresholds(NamedTuple):
    """The score that maximises F1 when everything at or above it is called positive, and that F1, each (classes,)."""

    score: FloatArray
    f1: FloatArray


def rank_positives(
    scores: NDArray[np.floating], positive: NDArray[np.bool_], ignored: IntArray | None = None
) -> RankedPositives:
    """Exact counts of a block of classes.

    Args:
        scores: (classes, samples), higher = more positive; entries that are not to count hold -inf.
        positive: (classes, samples), whether each is a positive.
        ignored: number of entries of each class that are not to count; a positive may have -inf, too; None = none.
    """
    order = _by_sorting(scores, positive) if scores.itemsize <= 4 else _by_search(scores, positive)
    n, values = len(order.of_class), scores[order.of_class, order.samples]
    starts = _starts(order.of_class)
    classes, sizes = order.of_class[starts], np.diff(starts, append=n)
    owner = np.repeat(np.arange(len(starts)), sizes)
    is_first = np.zeros(n, dtype=bool)
    is_first[starts] = is_first[_starts(values)] = True
    firsts = is_first.nonzero()[0]
    tied = np.diff(firsts, append=n)
    first_tied, last_tied = np.repeat(firsts, tied), np.repeat(firsts + tied - 1, tied)
    ends = np.append(starts, n)[owner + 1]
    from_here = np.append(np.bincount(order.nearest, minlength=n)[::-1].cumsum()[::-1], 0)
    predicted = from_here[first_tied] - from_here[ends]
    if ignored is not None and ignored.any():
        predicted = predicted - np.where(np.isneginf(values), ignored[order.of_class], 0)
    counts = (ends - first_tied, predicted, last_tied, order.ranked, order.nearest)
    return RankedPositives(len(scores), classes, starts, owner, values, order.samples, *counts)


def _starts(values: NDArray[np.generic]) -> IntArray:
    """Where the runs of equal values start."""
    is_start = np.ones(len(values), dtype=bool)
    is_start[1:] = values[1:] != values[:-1]
    return is_start.nonzero()[0]


class _Order(NamedTuple):
    """Class and sample of each positive, in order; the samples at or above, and the nearest positive of each."""

    of_class: IntArray
    samples: IntArray
    ranked: IntArray
    nearest: IntArray


def _by_sorting(scores: NDArray[np.floating], positive: NDArray[np.bool_]) -> _Order:
    """Sort all samples of each class by whole numbers made of score, label and place; positives come first in ties."""
    count = scores.shape[1]
    bits = (torch.from_numpy(scores).float() + 0.0).view(torch.int32)  # + 0.0: -0.0 equals 0.0
    keys = (bits ^ ((bits >> 31) & _MAGNITUDE)).long().bitwise_left_shift_(32)
    keys |= torch.where(torch.from_numpy(positive), 0, _IS_NEGATIVE) | torch.arange(count)
    sorted_keys = keys.numpy()
    sorted_keys.sort(axis=1)
    places = ((sorted_keys & _IS_NEGATIVE) == 0).ravel().nonzero()[0]
    of_class, n = places // count, len(places)
    row_ends = (of_class + 1) * count
    followers = np.minimum(row_ends, np.append(places[1:], row_ends[-1:])) - places
    ranked = sorted_keys.ravel()[_runs(places, followers)] & _MAGNITUDE
    samples = sorted_keys.ravel()[places] & _MAGNITUDE
    return _Order(of_class, samples, ranked, np.repeat(np.arange(n), followers))


def _runs(starts: IntArray, lengths: IntArray) -> IntArray:
    """The numbers `start` … `start + length - 1` of each run."""
    ends = lengths.cumsum()
    return np.repeat(starts - ends + lengths, lengths) + np.arange(ends[-1] if len(ends) else 0)


def _by_search(scores: NDArray[np.floating], positive: NDArray[np.bool_]) -> _Order:
    """Look each sample up among the positives: for float64, and quick where positives are few and rank high."""
    of_class, samples = _cells(positive)
    values = scores[of_class, samples]
    order = np.lexsort((values, of_class))
    samples, values = samples[order], values[order]
    starts = _starts(of_class)
    classes = of_class[starts]
    lowest = np.full((len(scores), 1), np.nan)
    lowest[classes, 0] = values[starts]
    ranked_class, ranked = _cells(scores >= lowest)
    looked_up = scores[ranked_class, ranked]
    nearest = np.empty(len(ranked), dtype=np.int64)
    ends, first_ranked = np.append(starts, len(values))[1:], np.searchsorted(ranked_class, [*classes, len(scores)])
    for start, end, first, last in zip(starts, ends, first_ranked[:-1], first_ranked[1:], strict=True):
        nearest[first:last] = values[start:end].searchsorted(looked_up[first:last], side="right") + (start - 1)
    return _Order(of_class, samples, ranked, nearest)


def _cells(mask: NDArray[np.bool_]) -> tuple[IntArray, IntArray]:
    """Rows and columns of what is set, as `mask.nonzero()`, which takes several times as long in two dimensions."""
    places = np.flatnonzero(mask)
    rows = places // mask.shape[1] if mask.size else places
    return rows, places - rows * mask.shape[1]


# ------------------------------------------------------------------------------------------------- what follows


def average_precision(ranks: RankedPositives) -> FloatArray:
    """The mean over positives of the precision at their score, ties included, (classes,); NaN without positives.

    Equal to `sklearn.metrics.average_precision_score`: there the sum over thresholds of precision × recall gained.
    """
    return ranks.by_class(ranks.sums(ranks.precision) / ranks.sizes)


def add_ap_influence(total: NDArray[np.floating], rows: IntArray, ranks: RankedPositives) -> FloatArray:
    """Add the influence of each sample on the AP of each class to `total`; return sums of their squares, (classes,).

    A negative lowers the precision at every positive at or below it. So does a positive, of which it is one more, too;
    and its own precision joins the mean.

    Args:
        total: (sums, samples), contiguous.
        rows: the row of `total` that each class adds to, (classes,).
        ranks: of the classes.
    """
    n, precision = ranks.sizes[ranks.owner], ranks.precision
    step = 1 / (n * ranks.predicted)
    lost = _running_sums(precision * step, ranks)[ranks.last_tied]
    mean = (ranks.sums(precision) / ranks.sizes)[ranks.owner]
    at_positives = _running_sums(step, ranks)[ranks.last_tied] + (precision - mean) / n
    first_cell = (rows[ranks.classes] * total.shape[1])[ranks.owner]
    cells = torch.from_numpy(total).view(-1)
    for places, values in (
        (first_cell[ranks.nearest] + ranks.ranked, -lost[ranks.nearest]),
        (first_cell + ranks.samples, at_positives),
    ):
        cells.scatter_add_(0, torch.from_numpy(places), torch.from_numpy(values.astype(total.dtype)))
    above = np.append(ranks.predicted - ranks.true_positives, 0)  # negatives
    negatives = above[:-1] - np.where(ranks.is_highest, 0, above[1:])
    squares = ranks.sums(negatives * lost**2 + (at_positives - lost) ** 2)
    return np.nan_to_num(ranks.by_class(squares))


def _running_sums(values: FloatArray, ranks: RankedPositives) -> FloatArray:
    """Cumulative sums of the values (positives,) within each class."""
    sums: FloatArray = values.cumsum()
    return sums - (sums[ranks.starts] - values[ranks.starts])[ranks.owner]


def ap_bias(ranks: RankedPositives) -> FloatArray:
    """How much AP is too high, for each positive is counted at its own score, (classes,); NaN without positives.

    One and a half times what a positive adds to the precision at its own score: the first-order term, and a half for
    the curvature; within 0.01 from three positives on (benchmarks/coverage.py).
    """
    gained = (ranks.predicted - ranks.true_positives) / ranks.predicted**2
    return ranks.by_class(1.5 * ranks.sums(gained) / ranks.sizes)


def best_thresholds(ranks: RankedPositives) -> BestThresholds:
    """Where F1 is largest (the highest such score); NaN without positives. F1 peaks at a positive's score."""
    if not len(ranks.starts):
        return BestThresholds(*np.full((2, ranks.n_classes), np.nan))
    f1 = 2 * ranks.true_positives / (ranks.predicted + ranks.sizes[ranks.owner])
    best = np.maximum.reduceat(f1, ranks.starts)
    places = np.where(f1 == best[ranks.owner], np.arange(len(f1)), -1)
    highest = np.maximum.reduceat(places, ranks.starts)
    return BestThresholds(ranks.by_class(ranks.scores[highest]), ranks.by_class(best))


def mean_precisions(precision: FloatArray, support: IntArray) -> FloatArray:
    """Mean precision while recall rises to each of `RECALL_LEVELS`, (classes, levels); NaN without positives.

    Precision over recall is a step function, with a step for each positive; its mean over all recalls, hence that of
    the result, is the average precision.

    Args:
        precision: at the score of each positive, class by class and in each by ascending score, (positives,).
        support: positives of each class, (classes,).
    """
    area = np.zeros(len(precision) + 1, dtype=np.longdouble)  # of all positives from each on
    area[:-1] = precision[::-1].cumsum(dtype=np.longdouble)[::-1]
    has_any = support > 0
    sizes, ends = support[has_any, None], support.cumsum()[has_any, None]
    taken = _RANGES * sizes  # positives, from the top, at the edges of the ranges
    whole = np.minimum(taken.astype(np.int64), sizes - 1)
    sums = area[ends - whole] + (taken - whole) * (area[ends - whole - 1] - area[ends - whole]) - area[ends]
    means = np.full((len(support), len(RECALL_LEVELS)), np.nan)
    means[has_any] = np.diff((sums / sizes).astype(np.float64), axis=1) * len(RECALL_LEVELS)
    return means
