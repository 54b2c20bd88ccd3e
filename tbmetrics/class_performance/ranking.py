"""Everything that depends on the scores: average precision, best thresholds, precision at recall, binned curves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from tbmetrics.class_performance.binned_scores import BinnedScores
from tbmetrics.class_performance.positives import (
    RankedPositives,
    add_ap_influence,
    ap_bias,
    average_precision,
    best_thresholds,
    mean_precisions,
    rank_positives,
)
from tbmetrics.class_performance.scores import ExactScores
from tbmetrics.class_performance.state import AttributeState
from tbmetrics.classes.groups import CountBuckets
from tbmetrics.records import CALIBRATION_BINS, RECALL_LEVELS, SINGLE_LABEL, Float32Array, FloatArray, IntArray

#: Thresholds of the curves: a multiple of the calibration bins, plus one, so that one pass serves both.
THRESHOLDS = CALIBRATION_BINS * 14 + 1


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
        rows = slice(first, first + len(block))
        positive, unknown = labels > 0, (labels < 0).sum(axis=1)
        ranks = rank_positives(block, positive, unknown)
        columns["ap"][rows] = average_precision(ranks)
        curves.precision_at_recall[rows] = mean_precisions(ranks.precision, ranks.support)
        for buckets, by_row in zip(bucketings, by_rows, strict=True):
            variance[rows] = add_ap_influence(by_row, buckets.of_class[rows], ranks)
        bias[rows] = ap_bias(ranks)
        best, columns["best_f1"][rows] = best_thresholds(ranks)
        columns["best_threshold"][rows] = best if state.decision == SINGLE_LABEL else state.activation.sigmoid(best)
        _bin_block(state, block, unknown, ranks, curves, rows)
    return [APInfluence(by_row, variance, bias) for by_row in by_rows]


def _bin_block(
    state: AttributeState,
    block: NDArray[np.floating],
    unknown: IntArray,
    ranks: RankedPositives,
    curves: CurveCounts,
    rows: slice,
) -> None:
    """Fill in the counts by bin of a block of classes; what is unknown has a probability of 0."""
    p = block if state.decision == SINGLE_LABEL else state.activation.sigmoid(block)
    shape = len(block), THRESHOLDS
    bins = (_fine_bins(p) + np.arange(len(block))[:, None] * THRESHOLDS).ravel()
    size = len(block) * THRESHOLDS
    curves.samples[rows] = np.bincount(bins, minlength=size).reshape(shape)
    curves.samples[rows, 0] -= unknown
    of_positives = bins[ranks.classes[ranks.owner] * block.shape[1] + ranks.samples]
    curves.positives[rows] = np.bincount(of_positives, minlength=size).reshape(shape)
    if state.decision != SINGLE_LABEL:
        curves.probability[rows] = np.bincount(bins, weights=p.ravel(), minlength=size).reshape(shape)


def _rank_binned(
    state: AttributeState, scores: BinnedScores, columns: dict[str, FloatArray], curves: CurveCounts
) -> None:
    negatives, middles = scores.negative_bins(), scores.middles()
    tied = scores.tied_scores()
    columns["ap_at_least"], columns["ap_at_most"] = np.full((2, state.num_classes), np.nan)
    middle_precisions, support = [np.zeros(0)], np.zeros(state.num_classes, dtype=np.int64)
    for c, (positives, bins) in enumerate(scores.positives(state.num_classes)):
        wide = positives.astype(np.float64)
        p_positive = wide if state.decision == SINGLE_LABEL else state.activation.sigmoid(wide)
        bounds = precision_bounds(positives, bins, negatives[c], tied[c])
        columns["ap"][c], columns["ap_at_least"][c], columns["ap_at_most"][c] = average_precision_bounds(*bounds)
        support[c] = len(positives)
        middle_precisions.append((bounds[0] + bounds[1]) / 2)
        fine, fine_negative = _fine_bins(p_positive), _fine_bins(middles[c])
        curves.positives[c] = _counted(fine)
        curves.samples[c] = curves.positives[c] + _counted(fine_negative, negatives[c])
        curves.probability[c] = _counted(fine, p_positive) + _counted(fine_negative, negatives[c] * middles[c])
        columns["best_threshold"][c], columns["best_f1"][c] = _best_of_grid(curves.positives[c], curves.samples[c])
    curves.precision_at_recall[:] = mean_precisions(np.concatenate(middle_precisions), support)


def _best_of_grid(positives: FloatArray, samples: FloatArray) -> tuple[float, float]:
    support = positives.sum()
    if not support:
        return float("nan"), float("nan")
    f1 = 2 * from_above(positives[None])[0] / (from_above(samples[None])[0] + support)
    best = THRESHOLDS - 1 - int(np.argmax(f1[::-1]))
    return best / (THRESHOLDS - 1), float(f1[best])


def _fine_bins(p: NDArray[np.floating]) -> IntArray:
    """Fine bin of each probability: bin k holds p in [k, k + 1) / (T - 1)."""
    bins: IntArray = (torch.from_numpy(p) * (THRESHOLDS - 1)).long().numpy()
    return bins


def _counted(bins: IntArray, weights: NDArray[np.number] | None = None) -> FloatArray:
    """Numbers (or sums of the weights) by fine bin, (thresholds,)."""
    return np.bincount(bins, weights=weights, minlength=THRESHOLDS).astype(np.float64)


def from_above(bins: FloatArray) -> FloatArray:
    """Counts at or above each threshold from counts by bin: (classes, thresholds)."""
    return np.cumsum(bins[:, ::-1], axis=1)[:, ::-1]


# ------------------------------------------------------------------------------- what is known only in bins


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
