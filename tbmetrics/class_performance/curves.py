"""Ranking metrics of one class at a time, from exact counts at its positives: average precision and the best threshold.

All that average precision and the best F1 need is, for each positive, how many scores and how many positives lie at or
above it. In a long tail positives are few, so few numbers are needed, and no curve is ever sorted as a whole.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

FEW_POSITIVES = 12  # up to here comparing beats sorting


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
    own = weights[:, counts.samples]
    at_or_above = np.cumsum(own[:, ::-1], axis=1)[:, ::-1]
    first_of_ties = np.searchsorted(counts.scores, counts.scores, side="left")
    true_positives = at_or_above[:, first_of_ties]
    precision = true_positives / (true_positives + (counts.predicted - counts.true_positives))
    resampled: NDArray[np.float64] = (own * precision).sum(axis=1) / own.sum(axis=1)
    return resampled


class BestThreshold(NamedTuple):
    """The score that maximises F1 when everything at or above it is called positive, and that F1."""

    score: float
    f1: float


def counts_at_positives(scores: NDArray[np.floating], positive: NDArray[np.bool_]) -> CountsAtPositives:
    """Exact counts of one class.

    Args:
        scores: (samples,), higher = more positive; entries that are not to count hold -inf.
        positive: (samples,), whether each is a positive.
    """
    samples = np.flatnonzero(positive)
    samples = samples[np.argsort(scores[samples], kind="stable")]
    own = scores[samples]
    if own.size <= FEW_POSITIVES:
        predicted = np.array([np.count_nonzero(scores >= s) for s in own], dtype=np.int64)
    else:
        predicted = scores.size - np.searchsorted(np.sort(scores), own, side="left")
    true_positives = own.size - np.searchsorted(own, own, side="left")
    return CountsAtPositives(own, samples, true_positives, predicted)


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
    wanted = np.ceil(np.asarray(levels) * positives - 1e-9)
    at = len(true_positives) - 1 - np.searchsorted(true_positives[::-1], wanted, side="left")
    precision: NDArray[np.float64] = true_positives[at] / predicted[at]
    return precision


class APBounds(NamedTuple):
    """Average precision known only between bounds; `ap` is their middle."""

    ap: float
    lower: float
    upper: float


def average_precision_bounds(
    own: NDArray[np.floating], negatives: NDArray[np.int64], low: float, width: float
) -> APBounds:
    """Average precision from exact positives and binned negatives.

    Args:
        own: scores of the positives, (positives,).
        negatives: negatives per bin, (bins,); bin b holds scores in [low + b·width, low + (b + 1)·width), the first and
            last also what lies beyond.
        low, width: where the bins lie.
    """
    if own.size == 0:
        return APBounds(float("nan"), float("nan"), float("nan"))
    ascending = np.sort(own)
    true_positives = own.size - np.searchsorted(ascending, ascending, side="left")
    bins = np.clip(np.floor((ascending - low) / width), 0, negatives.size - 1).astype(np.int64)
    at_or_above = np.cumsum(negatives[::-1])[::-1]
    most, least = at_or_above[bins], at_or_above[bins] - negatives[bins]
    lower = float(np.mean(true_positives / (true_positives + most)))
    upper = float(np.mean(true_positives / (true_positives + least)))
    return APBounds((lower + upper) / 2, lower, upper)
