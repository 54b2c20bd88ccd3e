"""Everything that depends on the order of the scores: average precision, best thresholds, precision at recall.

Average precision and the best F1 of a class follow from two counts at each positive: how many scores, and how many
positives, lie at or above it. In a long tail positives are few, so no curve is ever sorted as a whole: each sample is
looked up among the positives.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tbmetrics.class_performance.scores import BinnedScores, ExactScores
from tbmetrics.class_performance.state import AttributeState
from tbmetrics.classes.groups import CountBuckets
from tbmetrics.records import CALIBRATION_BINS, RECALL_LEVELS, SINGLE_LABEL, Float32Array, FloatArray

#: Thresholds of the curves: a multiple of the calibration bins, plus one, so that one pass serves both.
THRESHOLDS = CALIBRATION_BINS * 14 + 1
_RANGES = np.array((0.0, *RECALL_LEVELS))


@dataclass(slots=True)
class CurveCounts:
    """Counts behind the curves of every class.

    Attributes:
        samples, positives, probability: numbers of all samples and of positives, and the sum of probabilities, by fine
            bin of the probability, (classes, `THRESHOLDS`).
        precision_at_recall: mean precision up to each of `RECALL_LEVELS`, (classes, levels); see `CURVE_COLUMNS`.
    """

    samples: FloatArray
    positives: FloatArray
    probability: FloatArray
    precision_at_recall: FloatArray

    @classmethod
    def empty(cls, classes: int) -> CurveCounts:
        """Without any counts."""
        samples, positives, probability = np.zeros((3, classes, THRESHOLDS))
        return cls(samples, positives, probability, np.full((classes, len(RECALL_LEVELS)), np.nan))


@dataclass(slots=True)
class APInfluence:
    """The influence of the samples on average precision.

    Attributes:
        by_row: on the sum over the classes of each bucket, (buckets, rows).
        variance: of each class, (classes,).
        bias: estimated bias of each class, (classes,).
    """

    by_row: Float32Array
    variance: FloatArray
    bias: FloatArray


def rank(
    state: AttributeState, columns: dict[str, FloatArray], bucketings: Sequence[CountBuckets]
) -> tuple[CurveCounts, list[APInfluence]]:
    """Fill in the columns that depend on the ranking.

    Args:
        state: the validation.
        columns: by name, each (classes,).
        bucketings: each puts the classes into buckets, for the influences.

    Returns:
        the binned probabilities, and the influences on AP for each of `bucketings`; none if scores are missing.
    """
    classes = state.num_classes
    for name in ("ap", "best_threshold", "best_f1"):
        columns[name] = np.full(classes, np.nan)
    curves = CurveCounts.empty(classes)
    if state.activation.takes_classes:
        return curves, []
    if state.n_samples and isinstance(state.scores, ExactScores):
        return curves, _rank_exact(state, state.scores, columns, curves, bucketings)
    if isinstance(state.scores, BinnedScores):
        _rank_binned(state, state.scores, columns, curves)
    return curves, []


def _rank_exact(
    state: AttributeState,
    scores: ExactScores,
    columns: dict[str, FloatArray],
    curves: CurveCounts,
    bucketings: Sequence[CountBuckets],
) -> list[APInfluence]:
    variance, bias = np.full((2, state.num_classes), np.nan)
    by_rows = [np.zeros((len(buckets), state.n_samples), dtype=np.float32) for buckets in bucketings]
    for first, block, labels in scores.blocks(state.num_classes):
        p = block if state.decision == SINGLE_LABEL else state.activation.sigmoid(block)
        known, positive = labels >= 0, labels > 0
        unknown = labels.shape[1] - known.sum(axis=1)
        for row in range(len(block)):
            c = first + row
            counts = counts_at_positives(block[row], positive[row], int(unknown[row]))
            columns["ap"][c] = average_precision(counts)
            curves.precision_at_recall[c] = mean_precisions(counts.true_positives / counts.predicted)
            for buckets, by_row in zip(bucketings, by_rows, strict=True):
                variance[c] = add_ap_influence(by_row[buckets.of_class[c]], counts)
            bias[c] = ap_bias(counts)
            score, columns["best_f1"][c] = best_threshold(counts)
            threshold = score if state.decision == SINGLE_LABEL else state.activation.sigmoid(np.float64(score))
            columns["best_threshold"][c] = threshold
        rows = slice(first, first + len(block))
        curves.samples[rows] = _by_bin(p, known)
        curves.positives[rows] = _by_bin(p, positive)
        if state.decision != SINGLE_LABEL:
            curves.probability[rows] = _by_bin(p, known, weigh=True)
    return [APInfluence(by_row, variance, bias) for by_row in by_rows]


def _rank_binned(
    state: AttributeState, scores: BinnedScores, columns: dict[str, FloatArray], curves: CurveCounts
) -> None:
    negatives, middles = scores.negative_bins(), scores.middles()
    tied = scores.tied_scores()
    columns["ap_at_least"], columns["ap_at_most"] = np.full((2, state.num_classes), np.nan)
    is_single = state.decision == SINGLE_LABEL
    for c, (positives, bins) in enumerate(scores.positives(state.num_classes)):
        p_positive = positives if is_single else state.activation.sigmoid(positives.astype(np.float64))
        p_positive, p_negative = p_positive[None], middles[c]
        bounds = precision_bounds(positives, bins, negatives[c], tied[c])
        columns["ap"][c], columns["ap_at_least"][c], columns["ap_at_most"][c] = average_precision_bounds(*bounds)
        curves.precision_at_recall[c] = mean_precisions((bounds[0] + bounds[1]) / 2)
        every = np.ones_like(p_positive, dtype=bool)
        curves.positives[c] = _by_bin(p_positive, every)[0]
        curves.samples[c] = curves.positives[c] + _weighted_bins(p_negative, negatives[c])
        curves.probability[c] = _by_bin(p_positive, every, weigh=True)[0]
        curves.probability[c] += _weighted_bins(p_negative, negatives[c] * p_negative)
        columns["best_threshold"][c], columns["best_f1"][c] = _best_of_grid(curves.positives[c], curves.samples[c])


def _best_of_grid(positives: FloatArray, samples: FloatArray) -> tuple[float, float]:
    support = positives.sum()
    if not support:
        return float("nan"), float("nan")
    f1 = 2 * from_above(positives[None])[0] / (from_above(samples[None])[0] + support)
    best = THRESHOLDS - 1 - int(np.argmax(f1[::-1]))
    return best / (THRESHOLDS - 1), float(f1[best])


def _by_bin(p: NDArray[np.floating], chosen: NDArray[np.bool_], weigh: bool = False) -> FloatArray:
    """Chosen entries (or their probabilities, summed) per row and fine bin: bin k holds p in [k, k + 1) / (T - 1)."""
    bins = (p * (THRESHOLDS - 1)).astype(np.int64) + np.arange(len(p))[:, None] * THRESHOLDS
    weights = p[chosen].astype(np.float64) if weigh else None
    counted = np.bincount(bins[chosen], weights=weights, minlength=len(p) * THRESHOLDS)
    return counted.reshape(len(p), THRESHOLDS).astype(np.float64)


def _weighted_bins(p: NDArray[np.floating], weights: NDArray[np.number]) -> FloatArray:
    counted = np.bincount((p * (THRESHOLDS - 1)).astype(np.int64), weights=weights, minlength=THRESHOLDS)
    return counted.astype(np.float64)


def from_above(bins: FloatArray) -> FloatArray:
    """Counts at or above each threshold from counts by bin: (classes, thresholds)."""
    return np.cumsum(bins[:, ::-1], axis=1)[:, ::-1]


# -------------------------------------------------------------------------------- one class


class CountsAtPositives(NamedTuple):
    """Counts at the positives' scores, which ascend; the first four of shape (positives,).

    The last two are of the samples at or above the lowest positive: which they are, and the index of the highest
    positive at or below each.
    """

    scores: NDArray[np.floating]
    samples: NDArray[np.int64]  # which sample each is
    true_positives: NDArray[np.int64]  # positives at or above each score
    predicted: NDArray[np.int64]  # all samples at or above each score
    ranked: NDArray[np.int64]
    nearest: NDArray[np.int64]


class BestThreshold(NamedTuple):
    """The score that maximises F1 when everything at or above it is called positive, and that F1."""

    score: float
    f1: float


def counts_at_positives(
    scores: NDArray[np.floating], positive: NDArray[np.bool_], ignored: int = 0
) -> CountsAtPositives:
    """Exact counts of one class.

    Args:
        scores: (samples,), higher = more positive; entries that are not to count hold -inf.
        positive: (samples,), whether each is a positive.
        ignored: number of entries that are not to count; a positive may have -inf, too.
    """
    samples = positive.nonzero()[0]
    samples = samples[scores[samples].argsort(kind="stable")]
    ascending = scores[samples]
    n = ascending.size
    ranked = (scores >= ascending[0]).nonzero()[0] if n else samples
    nearest = ascending.searchsorted(scores[ranked], side="right") - 1
    predicted = np.bincount(nearest, minlength=n)[::-1].cumsum()[::-1]
    predicted = predicted - np.where(np.isneginf(ascending), ignored, 0) if ignored else predicted
    true_positives = n - ascending.searchsorted(ascending, side="left")
    return CountsAtPositives(ascending, samples, true_positives, predicted, ranked, nearest)


def average_precision(counts: CountsAtPositives) -> float:
    """The mean over positives of the precision at their score, ties included; NaN without positives.

    Equal to `sklearn.metrics.average_precision_score`: there the sum over thresholds of precision × recall gained.
    """
    if counts.scores.size == 0:
        return float("nan")
    return float((counts.true_positives / counts.predicted).sum()) / counts.scores.size


def add_ap_influence(total: NDArray[np.floating], counts: CountsAtPositives) -> float:
    """Add the influence of each sample on the class's AP to `total`; return the sum of their squares.

    A negative lowers the precision at every positive at or below it. So does a positive, of which it is one more, too;
    and its own precision joins the mean.

    Args:
        total: (samples,).
        counts: of the class.
    """
    n = counts.scores.size
    if not n:
        return 0.0
    precision = counts.true_positives / counts.predicted
    step = 1 / (n * counts.predicted)
    lost = (precision * step).cumsum()
    total[counts.ranked] -= lost[counts.nearest]
    nearest = counts.scores.searchsorted(counts.scores, side="right") - 1
    at_positives = step.cumsum()[nearest] + (precision - precision.sum() / n) / n
    total[counts.samples] += at_positives
    negatives = counts.predicted - counts.true_positives
    negatives[:-1] -= negatives[1:].copy()
    of_positives = at_positives - lost[nearest]
    return float(negatives @ lost**2 + of_positives @ of_positives)


def ap_bias(counts: CountsAtPositives) -> float:
    """How much AP is too high, for each positive is counted at its own score; NaN without positives.

    One and a half times what a positive adds to the precision at its own score: the first-order term, and a half for
    the curvature; within 0.01 from three positives on (benchmarks/coverage.py).
    """
    n = counts.scores.size
    return 1.5 * float(((counts.predicted - counts.true_positives) / counts.predicted**2).sum()) / n if n else np.nan


def best_threshold(counts: CountsAtPositives) -> BestThreshold:
    """Where F1 is largest (the highest such score); NaN without positives. F1 peaks at a positive's score."""
    positives = counts.scores.size
    if positives == 0:
        return BestThreshold(float("nan"), float("nan"))
    f1 = 2 * counts.true_positives / (counts.predicted + positives)
    best = positives - 1 - int(np.argmax(f1[::-1]))
    return BestThreshold(float(counts.scores[best]), float(f1[best]))


def mean_precisions(precision: FloatArray) -> FloatArray:
    """Mean precision while recall rises to each of `RECALL_LEVELS`, (levels,); NaN without positives.

    Precision over recall is a step function, with a step for each positive; its mean over all recalls, hence that of
    the result, is the average precision.

    Args:
        precision: at the score of each positive, scores ascending, (positives,).
    """
    n = precision.size
    if not n:
        return np.full(len(RECALL_LEVELS), np.nan)
    area = np.zeros(n + 1)
    np.cumsum(precision[::-1], out=area[1:])
    means: FloatArray = np.diff(np.interp(_RANGES * n, np.arange(n + 1), area / n)) * len(RECALL_LEVELS)
    return means


class APBounds(NamedTuple):
    """Average precision known only between bounds; `ap` is their middle."""

    ap: float
    lower: float
    upper: float


def precision_bounds(
    scores: NDArray[np.floating], bins: NDArray[np.int64], negatives: NDArray[np.int64], tied: float = float("nan")
) -> tuple[FloatArray, FloatArray]:
    """Least and largest precision at each positive from exact positives and binned negatives, scores ascending.

    Args:
        scores: of the positives, (positives,).
        bins: which bin each positive is in, (positives,).
        negatives: negatives per bin, the lowest scores first, (bins,).
        tied: the score that all negatives of bin 0 have; NaN = they differ, or it is unknown.
    """
    order = np.argsort(scores, kind="stable")
    scores, bins = scores[order], bins[order]
    true_positives = scores.size - np.searchsorted(scores, scores, side="left")
    at_or_above = np.cumsum(negatives[::-1])[::-1]
    most, least = at_or_above[bins], at_or_above[bins] - negatives[bins]
    if tied == tied:
        lowest = bins == 0
        most[lowest] = least[lowest] = least[lowest] + np.where(scores[lowest] <= tied, negatives[0], 0)
    return true_positives / (true_positives + most), true_positives / (true_positives + least)


def average_precision_bounds(least: FloatArray, largest: FloatArray) -> APBounds:
    """Average precision from bounds of the precision at each positive, both (positives,); NaN without positives."""
    if least.size == 0:
        return APBounds(float("nan"), float("nan"), float("nan"))
    lower, upper = float(least.mean()), float(largest.mean())
    return APBounds((lower + upper) / 2, lower, upper)
