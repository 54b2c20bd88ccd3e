"""The scores of a validation, kept exactly or, beyond a byte budget, with negatives in bins and positives exact."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

BINS = 2048
CLASSES_AT_ONCE = 128
_LARGE = 1e300


class ScoreBlock(NamedTuple):
    """The scores of the classes `first` … `first + len(scores) - 1`.

    `scores` has shape (classes, samples), -inf where the label is unknown; `labels` the same shape, 1, 0 or -1.
    """

    first: int
    scores: NDArray[np.floating]
    labels: NDArray[np.int8]


class ExactScores:
    """Every score, in its own dtype, on the device it came from."""

    exact = True

    def __init__(self) -> None:
        self._scores: list[Tensor] = []
        self._labels: list[Tensor] = []
        self.bytes = 0

    def add(self, scores: Tensor, labels: Tensor) -> None:
        """Keeps a batch: scores (N, C), labels (N,) of class indices or (N, C) of 1, 0, -1."""
        kept = labels.to(torch.int8) if labels.ndim == 2 else labels.to(torch.int32)
        self._scores.append(scores)
        self._labels.append(kept)
        self.bytes += scores.numel() * scores.element_size() + kept.numel() * kept.element_size()

    def batches(self) -> Iterator[tuple[Tensor, Tensor]]:
        """The batches as they were added."""
        return zip(self._scores, self._labels, strict=True)

    def blocks(self, classes: int) -> Iterator[ScoreBlock]:
        """All scores by class, a block of classes at a time, on the host."""
        for first in range(0, classes, CLASSES_AT_ONCE):
            last = min(first + CLASSES_AT_ONCE, classes)
            scores = np.concatenate([_host(chunk[:, first:last]) for chunk in self._scores]).T
            labels = np.concatenate([self._label_block(chunk, first, last) for chunk in self._labels]).T
            contiguous = np.where(labels < 0, -np.inf, scores).astype(scores.dtype) if (labels < 0).any() else scores
            yield ScoreBlock(first, np.ascontiguousarray(contiguous), np.ascontiguousarray(labels))

    @staticmethod
    def _label_block(labels: Tensor, first: int, last: int) -> NDArray[np.int8]:
        if labels.ndim == 2:
            columns: NDArray[np.int8] = labels[:, first:last].cpu().numpy()
            return columns
        indices: NDArray[np.int32] = labels.cpu().numpy()
        return (indices[:, None] == np.arange(first, last)).astype(np.int8)


class BinnedScores:
    """Positives exactly; negatives counted per class in bins over the range that the first scores had."""

    exact = False

    def __init__(self, first: ExactScores) -> None:
        batches = list(first.batches())
        low = torch.stack([_finite_min(scores) for scores, _ in batches]).amin(0)
        high = torch.stack([_finite_max(scores) for scores, _ in batches]).amax(0)
        low, high = low.where(low <= high, 0.0), high.where(low <= high, 0.0)  # no finite score at all
        margin = 0.25 * (high - low) + 1e-3
        self.low = low - margin
        self.width = (high - low + 2 * margin) / BINS
        self.negatives = torch.zeros(len(low) * BINS, dtype=torch.int64, device=low.device)
        self._positives: list[tuple[Tensor, Tensor]] = []
        for scores, labels in batches:
            self.add(scores, labels)

    def add(self, scores: Tensor, labels: Tensor) -> None:
        """Counts a batch; arguments as for `ExactScores.add`."""
        dense = labels if labels.ndim == 2 else torch.nn.functional.one_hot(labels.long(), scores.shape[1])
        positive = dense > 0
        bins = ((scores.double() - self.low) / self.width).floor().clamp_(0, BINS - 1).long()
        bins += torch.arange(scores.shape[1], device=scores.device) * BINS
        negative = bins[dense == 0]
        self.negatives.scatter_add_(0, negative, torch.ones_like(negative))
        _, classes = positive.nonzero(as_tuple=True)
        self._positives.append((classes, scores[positive]))

    def positives(self, classes: int) -> list[NDArray[np.floating]]:
        """The positives' scores of each class."""
        of = torch.cat([c for c, _ in self._positives]).cpu().numpy()
        scores = _host(torch.cat([s for _, s in self._positives]))
        order = np.argsort(of, kind="stable")
        return np.split(scores[order], np.searchsorted(of[order], np.arange(1, classes)))

    def negative_bins(self) -> NDArray[np.int64]:
        """Negatives per class and bin, (classes, bins)."""
        counts: NDArray[np.int64] = self.negatives.cpu().numpy().reshape(-1, BINS)
        return counts


def _finite_min(scores: Tensor) -> Tensor:
    """Smallest finite score of each class (-inf: the label is unknown); a large number where there is none."""
    wide = scores.double()
    return wide.masked_fill(~wide.isfinite(), _LARGE).amin(0)


def _finite_max(scores: Tensor) -> Tensor:
    wide = scores.double()
    return wide.masked_fill(~wide.isfinite(), -_LARGE).amax(0)


def _host(tensor: Tensor) -> NDArray[np.floating]:
    """On the host as numpy; bfloat16, which numpy lacks, as float32 (exact)."""
    return (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).cpu().numpy()
