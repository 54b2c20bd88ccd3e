"""Everything that depends on the order of the scores: average precision, best thresholds, precision at recall.

Average precision and the best F1 of a class follow from two counts at each positive: how many scores, and how many
positives, lie at or above it. In a long tail positives are few, so no curve is ever sorted as a whole.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tbmetrics.class_performance.arguments import SINGLE_LABEL
from tbmetrics.class_performance.scores import BinnedScores, ExactScores
from tbmetrics.class_performance.state import AttributeState
from tbmetrics.records import CALIBRATION_BINS, RECALL_LEVELS, FloatArray

FEW_POSITIVES = 12  # up to here comparing beats sorting
#: Thresholds of the curves: a multiple of the calibration bins, plus one, so that one pass serves both.
THRESHOLDS = CALIBRATION_BINS * 14 + 1


@dataclass(slots=True)
class CurveCounts:
    """Counts behind the curves of every class.

    Attributes:
        samples, positives, probability: numbers of all samples and of positives, and the sum of probabilities, by fine
            bin of the probability, (classes, `THRESHOLDS`).
        precision_at_recall: precision at each of `RECALL_LEVELS`, (classes, levels).
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


def rank(state: AttributeState, columns: dict[str, FloatArray], weights: FloatArray) -> tuple[CurveCounts, FloatArray]:
    """Fill in the columns that depend on the ranking; returns the binned probabilities and AP under resampling."""
    classes = state.num_classes
    for name in ("ap", "best_threshold", "best_f1"):
        columns[name] = np.full(classes, np.nan)
    curves = CurveCounts.empty(classes)
    if state.n_samples and isinstance(state.scores, ExactScores):
        return curves, _rank_exact(state, state.scores, columns, curves, weights)
    if isinstance(state.scores, BinnedScores):
        _rank_binned(state, state.scores, columns, curves)
    return curves, np.full((len(weights), classes), np.nan)


def _rank_exact(
    state: AttributeState, scores: ExactScores, columns: dict[str, FloatArray], curves: CurveCounts, weights: FloatArray
) -> FloatArray:
    resampled = np.full((len(weights), state.num_classes), np.nan)
    for first, block, labels in scores.blocks(state.num_classes):
        known = labels >= 0
        unknown = labels.shape[1] - known.sum(axis=1)
        p = block if state.decision == SINGLE_LABEL else state.activation.sigmoid(block)
        for row in range(len(block)):
            counts = counts_at_positives(block[row], labels[row] > 0, int(unknown[row]))
            columns["ap"][first + row] = average_precision(counts)
            curves.precision_at_recall[first + row] = precision_at_recalls(
                counts.true_positives, counts.predicted, RECALL_LEVELS
            )
            resampled[:, first + row] = resampled_average_precision(counts, weights)
            score, columns["best_f1"][first + row] = best_threshold(counts)
            threshold = score if state.decision == SINGLE_LABEL else state.activation.sigmoid(np.float64(score))
            columns["best_threshold"][first + row] = threshold
        rows = slice(first, first + len(block))
        curves.samples[rows] = _by_bin(p, known)
        curves.positives[rows] = _by_bin(p, labels > 0)
        if state.decision != SINGLE_LABEL:
            curves.probability[rows] = _by_bin(p, known, weigh=True)
    return resampled


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
        ap = average_precision_bounds(positives, bins, negatives[c], tied[c])
        columns["ap"][c], columns["ap_at_least"][c], columns["ap_at_most"][c] = ap
        every = np.ones_like(p_positive, dtype=bool)
        curves.positives[c] = _by_bin(p_positive, every)[0]
        curves.samples[c] = curves.positives[c] + _weighted_bins(p_negative, negatives[c])
        curves.probability[c] = _by_bin(p_positive, every, weigh=True)[0]
        curves.probability[c] += _weighted_bins(p_negative, negatives[c] * p_negative)
        columns["best_threshold"][c], columns["best_f1"][c] = _best_of_grid(curves.positives[c], curves.samples[c])
        true_positives, predicted = from_above(np.stack((curves.positives[c], curves.samples[c])))
        curves.precision_at_recall[c] = precision_at_recalls(true_positives, predicted, RECALL_LEVELS)


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
    """Counts at the positives' scores, which ascend; each of shape (positives,)."""

    scores: NDArray[np.floating]
    samples: NDArray[np.int64]  # which sample each is
    true_positives: NDArray[np.int64]  # positives at or above each score
    predicted: NDArray[np.int64]  # all samples at or above each score


def resampled_average_precision(counts: CountsAtPositives, weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """Average precision with weighted positives, (replicates,); the many negatives keep weight 1.

    Args:
        counts: of one class.
        weights: one per replicate and sample, (replicates, samples).
    """
    if counts.scores.size == 0:
        return np.full(len(weights), np.nan)
    weights = weights[:, counts.samples]
    at_or_above = np.cumsum(weights[:, ::-1], axis=1)[:, ::-1]
    first_of_ties = np.searchsorted(counts.scores, counts.scores, side="left")
    true_positives = at_or_above[:, first_of_ties]
    precision = true_positives / (true_positives + (counts.predicted - counts.true_positives))
    resampled: NDArray[np.float64] = (weights * precision).sum(axis=1) / weights.sum(axis=1)
    return resampled


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
    samples = np.flatnonzero(positive)
    samples = samples[np.argsort(scores[samples], kind="stable")]
    ascending = scores[samples]
    if ascending.size <= FEW_POSITIVES:
        predicted = np.array([np.count_nonzero(scores >= s) for s in ascending], dtype=np.int64)
    else:
        predicted = scores.size - np.searchsorted(np.sort(scores), ascending, side="left")
    predicted = predicted - np.where(np.isneginf(ascending), ignored, 0) if ignored else predicted
    true_positives = ascending.size - np.searchsorted(ascending, ascending, side="left")
    return CountsAtPositives(ascending, samples, true_positives, predicted)


def average_precision(counts: CountsAtPositives) -> float:
    """The mean over positives of the precision at their score, ties included; NaN without positives.

    Equal to `sklearn.metrics.average_precision_score`: there the sum over thresholds of precision × recall gained.
    """
    if counts.scores.size == 0:
        return float("nan")
    return float(np.mean(counts.true_positives / counts.predicted))


def best_threshold(counts: CountsAtPositives) -> BestThreshold:
    """Where F1 is largest (the highest such score); NaN without positives. F1 peaks at a positive's score."""
    positives = counts.scores.size
    if positives == 0:
        return BestThreshold(float("nan"), float("nan"))
    f1 = 2 * counts.true_positives / (counts.predicted + positives)
    best = positives - 1 - int(np.argmax(f1[::-1]))
    return BestThreshold(float(counts.scores[best]), float(f1[best]))


def precision_at_recalls(
    true_positives: NDArray[Any], predicted: NDArray[Any], levels: Sequence[float]
) -> NDArray[np.float64]:
    """Precision at the highest threshold where recall reaches each of `levels`, (levels,); NaN without positives.

    Args:
        true_positives, predicted: counts at or above ascending thresholds, the lowest of which finds every positive.
        levels: recalls in (0, 1].
    """
    positives = true_positives[0] if true_positives.size else 0
    if not positives:
        return np.full(len(levels), np.nan)
    needed = np.ceil(np.asarray(levels) * positives - 1e-9)
    reached = len(true_positives) - 1 - np.searchsorted(true_positives[::-1], needed, side="left")
    precision: NDArray[np.float64] = true_positives[reached] / predicted[reached]
    return precision


class APBounds(NamedTuple):
    """Average precision known only between bounds; `ap` is their middle."""

    ap: float
    lower: float
    upper: float


def average_precision_bounds(
    scores: NDArray[np.floating], bins: NDArray[np.int64], negatives: NDArray[np.int64], tied: float = float("nan")
) -> APBounds:
    """Average precision from exact positives and binned negatives.

    Args:
        scores: of the positives, (positives,).
        bins: which bin each positive is in, (positives,).
        negatives: negatives per bin, the lowest scores first, (bins,).
        tied: the score that all negatives of bin 0 have; NaN = they differ, or it is unknown.
    """
    if scores.size == 0:
        return APBounds(float("nan"), float("nan"), float("nan"))
    true_positives = scores.size - np.searchsorted(np.sort(scores), scores, side="left")
    at_or_above = np.cumsum(negatives[::-1])[::-1]
    most, least = at_or_above[bins], at_or_above[bins] - negatives[bins]
    if tied == tied:
        lowest = bins == 0
        most[lowest] = least[lowest] = least[lowest] + np.where(scores[lowest] <= tied, negatives[0], 0)
    lower = float(np.mean(true_positives / (true_positives + most)))
    upper = float(np.mean(true_positives / (true_positives + least)))
    return APBounds((lower + upper) / 2, lower, upper)
