"""Scores of dense predictions in bins of the log-odds: what average precision needs, in memory that does not grow."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from tbmetrics.class_performance.ranking import THRESHOLDS, CurveCounts, from_above
from tbmetrics.records import RECALL_LEVELS, FloatArray

#: Log-odds of ±16 (a probability of 1e-7 from 0 or 1) in 2,048 bins; what lies beyond shares the outermost ones.
BINS, FARTHEST = 2048, 16.0


class DenseScores:
    """How many places have a score in each bin, by class.

    Within a bin the order is unknown: its positives are taken to lie evenly among its places, as they do on average.

    Args:
        num_classes: C.
    """

    def __init__(self, num_classes: int) -> None:
        self.num_classes = num_classes
        self._counts = torch.zeros(2, num_classes * BINS, dtype=torch.int64)  # of all places, and of positives

    def add(self, probabilities: Tensor, labels: Tensor) -> None:
        """Add some places.

        Args:
            probabilities: float64 (C, places).
            labels: class indices, integers (places,).
        """
        odds = torch.logit(probabilities).clamp_(-FARTHEST, FARTHEST)
        bins = odds.add_(FARTHEST).mul_(BINS / (2 * FARTHEST)).long().clamp_(max=BINS - 1)
        bins += torch.arange(self.num_classes, device=bins.device)[:, None] * BINS
        positives, size = bins.gather(0, labels.long()[None]), self.num_classes * BINS
        counts = [torch.bincount(some.flatten(), minlength=size) for some in (bins, positives)]
        self._counts = self._counts.to(bins.device) + torch.stack(counts)

    def state(self) -> Tensor:
        """The counts on the host, int64 (2, C · bins)."""
        return self._counts.cpu()

    def merge(self, state: Tensor) -> None:
        """Add the counts of another rank."""
        self._counts = self._counts.cpu() + state

    def fill(self, columns: dict[str, FloatArray], curves: CurveCounts) -> None:
        """Fill in average precision, the threshold of the best F1, and the curves."""
        samples, positives = self.state().numpy().reshape(2, self.num_classes, BINS).astype(np.float64)
        predicted, hits = from_above(samples), from_above(positives)
        support = hits[:, 0]
        with np.errstate(divide="ignore", invalid="ignore"):
            precision = (hits - (positives - 1) / 2) / (predicted - (samples - 1) / 2)  # in the middle of the bin
            precision[positives == 0] = 0
            columns["ap"] = (precision * positives).sum(axis=1) / support
            f1 = 2 * hits / (predicted + support[:, None])
        has_any = support > 0
        best = BINS - 1 - f1[:, ::-1].argmax(axis=1)
        columns["best_f1"] = np.where(has_any, f1[np.arange(len(f1)), best], np.nan)
        columns["best_threshold"] = np.where(has_any, _probability(best / BINS), np.nan)
        curves.precision_at_recall[has_any] = _mean_precisions(precision[has_any], positives[has_any])
        fine = (_probability((np.arange(BINS) + 0.5) / BINS) * (THRESHOLDS - 1)).astype(np.int64)
        for total, by_bin in ((curves.samples, samples), (curves.positives, positives)):
            np.add.at(total.T, fine, by_bin.T)


def _probability(place: FloatArray) -> FloatArray:
    """The probability at a place on the scale of the bins, from 0 to 1."""
    probability: FloatArray = 1 / (1 + np.exp(FARTHEST * (1 - 2 * place)))
    return probability


def _mean_precisions(precision: FloatArray, positives: FloatArray) -> FloatArray:
    """Mean precision while recall rises to each of `RECALL_LEVELS`, (classes, levels); see `CURVE_COLUMNS`.

    Args:
        precision, positives: at and in each bin, by ascending score, (classes, bins).
    """
    levels = np.array([0.0, *RECALL_LEVELS])
    counted = np.cumsum(positives[:, ::-1], axis=1)
    area = np.cumsum((precision * positives)[:, ::-1], axis=1)
    means = np.empty((len(positives), len(RECALL_LEVELS)))
    for row, (number, summed) in enumerate(zip(counted, area, strict=True)):
        at_levels = np.interp(levels * number[-1], np.append(0, number), np.append(0, summed))
        means[row] = np.diff(at_levels) / number[-1] * len(RECALL_LEVELS)
    return means
