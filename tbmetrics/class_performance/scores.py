"""The scores of a validation, kept exactly or, beyond a byte budget, with negatives in bins and positives exact."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

BINS = 2048
CLASSES_AT_ONCE = 128


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

    def keep(self, rows: Tensor) -> None:
        """Lets all other rows go.

        Args:
            rows: bool (samples,).
        """
        kept = ExactScores()
        for scores, labels, own in zip(self._scores, self._labels, _split(rows, self._scores), strict=True):
            kept.add(scores, labels) if bool(own.all()) else kept.add(scores[own], labels[own])
        self._scores, self._labels, self.bytes = kept._scores, kept._labels, kept.bytes

    def on_host(self) -> ExactScores:
        """The same scores on the host."""
        moved = ExactScores()
        for scores, labels in self.batches():
            moved.add(scores.cpu(), labels.cpu())
        return moved

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
    """Positives exactly; negatives counted per class in bins, which grow as scores come that lie outside of them.

    The bins of a class are as wide as a power of two and lie at its multiples, so that wider bins are unions of
    narrower ones: bins are widened, and those of several ranks added up, without moving a score into a wrong one.

    Attributes:
        low, width: where the bins lie, float64 (classes,).
        negatives: int64 (classes · bins,).
        recent: the batch added last, as it was added.
    """

    exact = False

    def __init__(self, first: ExactScores) -> None:
        batches = list(first.batches())
        low, high = _finite_range(batches)
        margin = 0.25 * (high - low) + 1e-3
        self.low, self.width = _grid(low - margin, high + margin, torch.zeros_like(low))
        self.negatives = torch.zeros(len(low) * BINS, dtype=torch.int64, device=low.device)
        self._positives: list[tuple[Tensor, Tensor]] = []
        self.recent: tuple[Tensor, Tensor] | None = None
        for scores, labels in batches:
            self.add(scores, labels)

    def add(self, scores: Tensor, labels: Tensor) -> None:
        """Counts a batch; arguments as for `ExactScores.add`."""
        self._make_room(*_finite_range([(scores, labels)]))
        dense = _dense(scores, labels)
        self._count(scores, dense, 1)
        positive = dense > 0
        _, classes = positive.nonzero(as_tuple=True)
        self._positives.append((classes, scores[positive]))
        self.recent = scores, labels

    def _count(self, scores: Tensor, dense: Tensor, weight: int) -> None:
        bins = ((scores.double() / self.width).floor() - (self.low / self.width)).clamp_(0, BINS - 1).long()
        bins += torch.arange(scores.shape[1], device=scores.device) * BINS
        negative = bins[dense == 0]
        self.negatives.scatter_add_(0, negative, torch.full_like(negative, weight))

    def keep_of_recent(self, keep: Tensor) -> None:
        """Takes rows of the batch added last out again.

        Args:
            keep: bool, of its rows.
        """
        if self.recent is None:
            return
        scores, labels = self.recent
        self._count(scores[~keep], _dense(scores[~keep], labels[~keep]), -1)
        positive = _dense(scores[keep], labels[keep]) > 0
        self._positives[-1] = positive.nonzero(as_tuple=True)[1], scores[keep][positive]
        self.recent = scores[keep], labels[keep]

    def _make_room(self, low: Tensor, high: Tensor) -> None:
        if bool(((low < self.low) | (high >= self.low + BINS * self.width)).any()):
            high = torch.maximum(high, self.low + (BINS - 1) * self.width)
            self._move(*_grid(torch.minimum(low, self.low), high, self.width))

    def _move(self, low: Tensor, width: Tensor) -> None:
        """Counts as they are in bins that are unions of the present ones."""
        edges = self.low[:, None] + self.width[:, None] * torch.arange(BINS, device=low.device)
        bins = ((edges / width[:, None]).floor() - (low / width)[:, None]).clamp_(0, BINS - 1).long()
        moved = torch.zeros_like(self.negatives).view(-1, BINS)
        self.negatives = moved.scatter_add_(1, bins, self.negatives.view(-1, BINS)).view(-1)
        self.low, self.width = low, width

    def merge(self, other: BinnedScores) -> None:
        """Adds what `other` holds."""
        self._make_room(other.low, other.low + (BINS - 1) * other.width)
        if bool((other.width > self.width).any()):
            self._move(*_grid(self.low, self.low + (BINS - 1) * self.width, other.width))
            self._make_room(other.low, other.low + (BINS - 1) * other.width)
        aligned = BinnedScores.from_state(other.state())
        aligned._move(self.low, self.width)
        self.negatives = self.negatives + aligned.negatives
        self._positives = self._positives + other._positives
        self.recent = None

    def state(self) -> dict[str, Any]:
        """Everything but the batch added last, on the host, as `from_state` takes it."""
        return {
            "low": self.low.cpu(),
            "width": self.width.cpu(),
            "negatives": self.negatives.cpu(),
            "positives": [(classes.cpu(), scores.cpu()) for classes, scores in self._positives],
        }

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> BinnedScores:
        """What `state` gave, on the host."""
        made = cls.__new__(cls)
        made.low, made.width, made.negatives = state["low"], state["width"], state["negatives"]
        made._positives, made.recent = [(c, s) for c, s in state["positives"]], None
        return made

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


def _split(rows: Tensor, batches: Sequence[Tensor]) -> tuple[Tensor, ...]:
    device = batches[0].device if batches else rows.device
    return rows.to(device).split([len(batch) for batch in batches])


def _dense(scores: Tensor, labels: Tensor) -> Tensor:
    return labels if labels.ndim == 2 else torch.nn.functional.one_hot(labels.long(), scores.shape[1])


def _finite_range(batches: Iterable[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    """The least and largest finite score of each class, float64 (classes,); 0 where a class has none."""
    lows, highs = [], []
    for scores, _ in batches:
        finite, wide = scores.isfinite(), scores.double()
        lows.append(torch.where(finite, wide, torch.inf).amin(0))
        highs.append(torch.where(finite, wide, -torch.inf).amax(0))
    low, high = torch.stack(lows).amin(0), torch.stack(highs).amax(0)
    none = low > high
    return low.masked_fill(none, 0.0), high.masked_fill(none, 0.0)


def _grid(low: Tensor, high: Tensor, at_least: Tensor) -> tuple[Tensor, Tensor]:
    """The narrowest bins, at least as wide as asked for, that hold `low` … `high`: (low, width), each (classes,)."""
    first, last, least = (t.cpu().numpy() for t in (low, high, at_least))
    wanted = np.maximum((last - first) / (BINS - 1), 1e-12)
    width = np.maximum(np.ldexp(1.0, np.ceil(np.log2(wanted)).astype(int)), least)
    while (wide := np.floor(last / width) - np.floor(first / width) >= BINS).any():
        width = np.where(wide, 2 * width, width)
    on = low.device
    return torch.from_numpy(np.floor(first / width) * width).to(on), torch.from_numpy(width).to(on)


def _host(tensor: Tensor) -> NDArray[np.floating]:
    """On the host as numpy; bfloat16, which numpy lacks, as float32 (exact)."""
    return (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).cpu().numpy()
