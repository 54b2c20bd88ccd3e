"""What depends on the order of the scores: AP, best thresholds, and counts along fine bins of the probability."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tbmetrics.class_performance.curves import (
    average_precision,
    average_precision_bounds,
    best_threshold,
    counts_at_positives,
    precision_at_recalls,
    resampled_average_precision,
)
from tbmetrics.class_performance.scores import BINS, BinnedScores, ExactScores
from tbmetrics.class_performance.state import SINGLE_LABEL, AttributeState
from tbmetrics.records import CALIBRATION_BINS, RECALL_LEVELS, FloatArray

#: Thresholds of the curves: a multiple of the calibration bins, plus one, so that one pass serves both.
THRESHOLDS = CALIBRATION_BINS * 14 + 1


@dataclass(slots=True)
class Along:
    """Per class: all and positive samples, and the sum of probabilities, by fine bin of the probability; and the
    precision at each of `RECALL_LEVELS`."""

    everything: FloatArray
    positives: FloatArray
    probability: FloatArray
    precision_at_recall: FloatArray

    @classmethod
    def empty(cls, classes: int) -> Along:
        """Nothing counted yet."""
        everything, positives, probability = np.zeros((3, classes, THRESHOLDS))
        return cls(everything, positives, probability, np.full((classes, len(RECALL_LEVELS)), np.nan))


def rank(state: AttributeState, columns: dict[str, FloatArray], weights: FloatArray) -> tuple[Along, FloatArray]:
    """Fills in what depends on the ranking; returns the binned probabilities and AP under resampling."""
    classes = state.num_classes
    for name in ("ap", "best_threshold", "best_f1"):
        columns[name] = np.full(classes, np.nan)
    along = Along.empty(classes)
    if state.n_samples and isinstance(state.scores, ExactScores):
        return along, _rank_exact(state, state.scores, columns, along, weights)
    if isinstance(state.scores, BinnedScores):
        _rank_binned(state, state.scores, columns, along)
    return along, np.full((len(weights), classes), np.nan)


def _rank_exact(
    state: AttributeState, scores: ExactScores, columns: dict[str, FloatArray], along: Along, weights: FloatArray
) -> FloatArray:
    resampled = np.full((len(weights), state.num_classes), np.nan)
    for first, block, labels in scores.blocks(state.num_classes):
        for row in range(len(block)):
            counts = counts_at_positives(block[row], labels[row] > 0)
            columns["ap"][first + row] = average_precision(counts)
            along.precision_at_recall[first + row] = precision_at_recalls(
                counts.true_positives, counts.predicted, RECALL_LEVELS
            )
            resampled[:, first + row] = resampled_average_precision(counts, weights)
            best = best_threshold(counts)
            columns["best_threshold"][first + row] = _probability(np.float64(best.score), state.decision)
            columns["best_f1"][first + row] = best.f1
        rows = slice(first, first + len(block))
        p = _probability(block, state.decision)
        known = labels >= 0
        along.everything[rows] = _by_bin(p, known)
        along.positives[rows] = _by_bin(p, labels > 0)
        if state.decision != SINGLE_LABEL:
            along.probability[rows] = _by_bin(p, known, weigh=True)
    return resampled


def _rank_binned(state: AttributeState, scores: BinnedScores, columns: dict[str, FloatArray], along: Along) -> None:
    low, width = scores.low.cpu().numpy(), scores.width.cpu().numpy()
    negatives = scores.negative_bins()
    columns["ap_at_least"], columns["ap_at_most"] = np.full((2, state.num_classes), np.nan)
    for c, own in enumerate(scores.positives(state.num_classes)):
        ap = average_precision_bounds(own, negatives[c], float(low[c]), float(width[c]))
        columns["ap"][c], columns["ap_at_least"][c], columns["ap_at_most"][c] = ap
        middles = low[c] + width[c] * (np.arange(BINS) + 0.5)
        p_own = _probability(own.astype(np.float64), state.decision)[None]
        p_negative = _probability(middles, state.decision)[None]
        along.positives[c] = _by_bin(p_own, np.ones_like(p_own, dtype=bool))[0]
        along.everything[c] = along.positives[c] + _weighted_bins(p_negative[0], negatives[c])
        along.probability[c] = _by_bin(p_own, np.ones_like(p_own, dtype=bool), weigh=True)[0]
        along.probability[c] += _weighted_bins(p_negative[0], negatives[c] * p_negative[0])
        columns["best_threshold"][c], columns["best_f1"][c] = _best_of_grid(along.positives[c], along.everything[c])
        true_positives, predicted = from_above(np.stack((along.positives[c], along.everything[c])))
        along.precision_at_recall[c] = precision_at_recalls(true_positives, predicted, RECALL_LEVELS)


def _best_of_grid(positives: FloatArray, everything: FloatArray) -> tuple[float, float]:
    support = positives.sum()
    if not support:
        return float("nan"), float("nan")
    f1 = 2 * from_above(positives[None])[0] / (from_above(everything[None])[0] + support)
    best = THRESHOLDS - 1 - int(np.argmax(f1[::-1]))
    return best / (THRESHOLDS - 1), float(f1[best])


def _probability(scores: NDArray[np.floating], decision: str | None) -> NDArray[np.floating]:
    """Softmax scores are log-probabilities, multi-label scores are logits."""
    if decision == SINGLE_LABEL:
        return np.minimum(np.exp(scores), 1)
    with np.errstate(over="ignore"):
        return 1 / (1 + np.exp(-np.asarray(scores, dtype=np.promote_types(scores.dtype, np.float32))))


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
