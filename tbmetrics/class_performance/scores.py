"""The scores of a validation, kept exactly or, beyond a byte budget, with negatives in bins and positives exact."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

BINS = 2048
ELEMENTS_AT_ONCE = 2**22  # scores looked at together: 16 MiB of float32


class ScoreBlock(NamedTuple):
    """The scores of the classes `first` … `first + len(scores) - 1`, on the host.

    `scores` is float32 or float64 (classes, rows), -inf where the label is unknown; `labels` int8 of the same shape,
    1, 0 or -1.
    """

    first: int
    scores: NDArray[np.floating]
    labels: NDArray[np.int8]


class Decisions(NamedTuple):
    """Multi-label decisions of the rows `first_row` …: bool (rows, classes) each, False where the label is unknown."""

    first_row: int
    predicted: Tensor
    positive: Tensor


class ExactScores:
    """Every score, in its own dtype, on the device it came from.

    Args:
        decide: which of a batch of scores count as predicted; None for single-label attributes.
    """

    exact = True

    def __init__(self, decide: Callable[[Tensor], Tensor] | None = None) -> None:
        self.decide = decide
        self.n_rows = 0
        self.bytes = 0
        self._scores: list[Tensor] = []
        self._labels: list[Tensor] = []

    def add(self, scores: Tensor, labels: Tensor) -> None:
        """Keeps a batch: scores (N, C); labels int32 (N,) of class indices or int8 (N, C) of 1, 0; -1 = unknown."""
        self._scores.append(scores)
        self._labels.append(labels)
        self.n_rows += len(scores)
        self.bytes += scores.numel() * scores.element_size() + labels.numel() * labels.element_size()

    def batches(self) -> Iterator[tuple[Tensor, Tensor]]:
        """The batches as they were added."""
        return zip(self._scores, self._labels, strict=True)

    def blocks(self, classes: int) -> Iterator[ScoreBlock]:
        """All scores by class, a block of classes at a time."""
        at_once = max(16, ELEMENTS_AT_ONCE // max(self.n_rows, 1))
        for first in range(0, classes, at_once):
            last = min(first + at_once, classes)
            scores = torch.cat([chunk[:, first:last] for chunk in self._scores]).T
            labels = torch.cat([_label_columns(chunk, first, last) for chunk in self._labels]).T
            known = _wide(scores).masked_fill(labels < 0, -torch.inf).contiguous()
            yield ScoreBlock(first, known.cpu().numpy(), labels.contiguous().cpu().numpy())

    def decisions(self) -> Iterator[Decisions]:
        """What was predicted and what was true, a few rows at a time; for multi-label attributes."""
        if self.decide is None:
            return
        row = 0
        for scores, labels in self.batches():
            at_once = max(1, ELEMENTS_AT_ONCE // scores.shape[1])
            for few, their_labels in zip(scores.split(at_once), labels.split(at_once), strict=True):
                yield Decisions(row, self.decide(few), their_labels > 0)
                row += len(few)


class Positives(NamedTuple):
    """The positives of one class: score, bin and row of each, (positives,) each."""

    scores: NDArray[np.floating]
    bins: NDArray[np.int64]
    rows: NDArray[np.int64]


class BinnedScores:
    """Positives exactly; negatives counted per class in bins over the range of the scores seen first.

    Of multi-label decisions one bit a score is kept. Memory grows with the positives and those bits only.

    Args:
        first: the scores until now; they set the range of the bins.
    """

    exact = False

    def __init__(self, first: ExactScores) -> None:
        self.decide = first.decide
        self.n_rows = 0
        batches = list(first.batches())
        low = torch.stack([_finite(scores, torch.inf).amin(0) for scores, _ in batches]).amin(0)
        high = torch.stack([_finite(scores, -torch.inf).amax(0) for scores, _ in batches]).amax(0)
        low, high = low.nan_to_num(posinf=0.0), high.nan_to_num(neginf=0.0)
        margin = 0.25 * (high - low) + 1e-3
        self.low = low - margin
        self.width = (high - low + 2 * margin) / BINS
        self._negatives = torch.zeros(len(low) * BINS, dtype=torch.int64, device=low.device)
        self._positives: list[tuple[Tensor, Tensor, Tensor, Tensor]] = []  # class, score, bin, row
        self._bits: list[tuple[Tensor, Tensor]] = []
        for scores, labels in batches:
            self.add(scores, labels)

    def add(self, scores: Tensor, labels: Tensor) -> None:
        """Counts a batch; arguments as for `ExactScores.add`."""
        bins = ((_wide(scores) - self.low) / self.width).floor_().clamp_(0, BINS - 1).long()
        flat = bins + torch.arange(scores.shape[1], device=scores.device) * BINS
        if labels.ndim == 1:
            self._add_single(scores, labels, bins, flat)
        else:
            self._add_multi(scores, labels, bins, flat)
        self.n_rows += len(scores)

    def _add_single(self, scores: Tensor, labels: Tensor, bins: Tensor, flat: Tensor) -> None:
        known = (labels >= 0).long()
        own = labels.long().clamp(min=0)[:, None]
        self._negatives.scatter_add_(0, flat.flatten(), known[:, None].expand_as(flat).flatten())
        self._negatives.scatter_add_(0, flat.gather(1, own).flatten(), -known)
        rows = torch.arange(len(scores), device=scores.device) + self.n_rows
        self._positives.append((labels, *(x.gather(1, own).flatten() for x in (scores, bins)), rows))

    def _add_multi(self, scores: Tensor, labels: Tensor, bins: Tensor, flat: Tensor) -> None:
        self._negatives.scatter_add_(0, flat.flatten(), (labels == 0).long().flatten())
        rows, classes = (labels > 0).nonzero(as_tuple=True)
        self._positives.append((classes.int(), scores[rows, classes], bins[rows, classes], rows + self.n_rows))
        if self.decide is not None:
            self._bits.append((_pack(self.decide(scores)), _pack(labels > 0)))

    def positives(self, classes: int) -> list[Positives]:
        """The positives of each class."""
        of, scores, bins, rows = (torch.cat(parts).cpu() for parts in zip(*self._positives, strict=True))
        kept = np.flatnonzero(of.numpy() >= 0)
        order = kept[np.argsort(of.numpy()[kept], kind="stable")]
        cuts = np.searchsorted(of.numpy()[order], np.arange(1, classes))
        columns = (np.split(x.numpy()[order], cuts) for x in (_wide(scores), bins, rows))
        return [Positives(*of_class) for of_class in zip(*columns, strict=True)]

    def negatives(self) -> NDArray[np.int64]:
        """Negatives per class and bin, (classes, bins)."""
        counts: NDArray[np.int64] = self._negatives.cpu().numpy().reshape(-1, BINS)
        return counts

    def middles(self) -> NDArray[np.float64]:
        """The score in the middle of each bin, float64 (classes, bins)."""
        low, width = (x.double().cpu().numpy()[:, None] for x in (self.low, self.width))
        middles: NDArray[np.float64] = low + width * (np.arange(BINS) + 0.5)
        return middles

    def decisions(self) -> Iterator[Decisions]:
        """What was predicted and what was true, a few rows at a time; for multi-label attributes."""
        row, classes = 0, len(self.low)
        for predicted, positive in self._bits:
            at_once = max(1, ELEMENTS_AT_ONCE // classes)
            for few, theirs in zip(predicted.split(at_once), positive.split(at_once), strict=True):
                yield Decisions(row, _unpack(few, classes), _unpack(theirs, classes))
                row += len(few)


def _label_columns(labels: Tensor, first: int, last: int) -> Tensor:
    """Labels of the classes `first` … `last - 1`, int8 (rows, classes)."""
    if labels.ndim == 2:
        return labels[:, first:last]
    hot = labels[:, None] == torch.arange(first, last, device=labels.device)
    return hot.to(torch.int8).masked_fill_(labels[:, None] < 0, -1)


def _wide(scores: Tensor) -> Tensor:
    """At least float32: numpy lacks bfloat16, and the bins need the room."""
    return scores if scores.dtype == torch.float64 else scores.float()


def _finite(scores: Tensor, instead: float) -> Tensor:
    """Scores with what is not finite (and what is unknown) set to `instead`."""
    wide = _wide(scores)
    return wide.masked_fill(~wide.isfinite(), instead)


def _pack(bits: Tensor) -> Tensor:
    """Bool (rows, classes) as uint8 (rows, classes / 8, rounded up)."""
    padded = torch.nn.functional.pad(bits, (0, -bits.shape[1] % 8)).unflatten(1, (-1, 8))
    return (padded * _powers(bits.device)).sum(-1, dtype=torch.uint8)


def _unpack(packed: Tensor, classes: int) -> Tensor:
    return (packed[:, :, None].bitwise_and(_powers(packed.device)) > 0).flatten(1)[:, :classes]


def _powers(device: torch.device) -> Tensor:
    return 2 ** torch.arange(8, dtype=torch.uint8, device=device)
