"""The scores of a validation beyond a byte budget: positives exactly, negatives counted in bins."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tbmetrics.class_performance.bins import (
    BINS,
    FAR,
    IN_CACHE,
    bins_of,
    class_parts,
    finite_range,
    grid,
    log2_bins,
    log2_places,
    log_odds_places,
    power_of_two,
)
from tbmetrics.class_performance.inputs import DEFAULT_ACTIVATION, Activation
from tbmetrics.class_performance.scores import ExactScores, on_host

#: Scores that are put into bins at a time: their probabilities are laid out in 64 MiB, which are used again and again.
MOST_BINNED = 2**23


class BinnedScores:
    """Positives exactly; negatives counted per class in bins, which grow as scores come that lie outside of them.

    The bins of a class are as wide as a power of two and lie at its multiples, so that wider bins are unions of
    narrower ones: bins are widened, and those of several ranks added up, without moving a score into a wrong one.
    Bins of a single-label attribute divide the logarithm of the probability, those of a multi-label one the logit, or
    the log odds of a probability. Bin 0 holds what lies below -`FAR`; masked scores in it are all equal as a rule.

    Attributes:
        low, width: where the bins lie, float64 (classes,).
        lowest: least and greatest score of the negatives in bin 0, float64 (2, classes).
        negatives: int64 (classes · bins,).
        recent: logits and labels of the batch added last.
    """

    exact = False

    def __init__(self, first: ExactScores) -> None:
        batches = list(first.batches())
        self.activation, self._is_single = first.activation, batches[0][1].ndim == 1
        self._laid_out: Tensor | None = None
        ends = [self._ends_of(self._by_class(part)) for batch in batches for part, _ in _parts(*batch)]
        low, high, _ = (torch.stack(end) for end in zip(*ends, strict=True))
        low, high = _zero_if_empty(low.amin(0), high.amax(0))
        margin = 0.25 * (high - low) + 1e-3
        self.low, self.width = grid(low - margin, high + margin, torch.zeros_like(low))
        self.negatives = torch.zeros(len(low) * BINS, dtype=torch.int64, device=low.device)
        self.lowest = torch.stack((torch.full_like(low, torch.inf), torch.full_like(low, -torch.inf)))
        self._positives: list[tuple[Tensor, Tensor]] = []
        self.recent: tuple[Tensor, Tensor] | None = None
        for logits, labels in batches:
            self.add(logits, labels)

    def _by_class(self, logits: Tensor) -> Tensor:
        """What ranks samples, (classes, samples); overwritten by the next call."""
        if not self._is_single:
            return logits.T
        rows, classes = logits.shape
        if self._laid_out is None or self._laid_out.numel() < rows * classes:
            self._laid_out = torch.empty(rows * classes, dtype=torch.float64, device=logits.device)
        by_class = self._laid_out[: rows * classes].view(classes, rows)
        at_once = max(1, IN_CACHE // classes) if logits.device.type == "cpu" else rows
        for first in range(0, rows, at_once):
            part = slice(first, first + at_once)
            by_class[:, part] = self.activation.softmax(logits[part]).T
        return by_class

    def _places(self, ranked: Tensor) -> Tensor:
        """Where ranked scores lie along the bins, float64 of the same shape."""
        if self._is_single:
            return log2_places(ranked)
        return log_odds_places(ranked.double()) if self.activation.takes_probabilities else ranked.double()

    def _bins(self, ranked: Tensor, low: Tensor, width: Tensor, *, has_far: bool = True) -> Tensor:
        """The bin that each ranked score is in, int64; `has_far`: whether any may lie below -`FAR`."""
        if not self._is_single:
            return bins_of(self._places(ranked), low, width)
        bins = log2_bins(ranked, low, width)
        return bins.clamp_(0, BINS - 1).masked_fill_(ranked <= 0, 0) if has_far else bins

    def _ends_of(self, by_class: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The least and largest place of each class that is not far off, ±inf if it has none, and the least of all.

        Returns:
            float64 (classes,), (classes,) and ().
        """
        low, high = self._places(by_class.amin(1)), self._places(by_class.amax(1))  # `aminmax` takes longer
        least = low.min()
        if bool((torch.stack((low, high)).abs() > FAR).any()):
            parts = (finite_range(self._places(scores)) for _, scores in class_parts(by_class))
            low, high = (torch.cat(end) for end in zip(*parts, strict=True))
        return low, high, least

    def add(self, logits: Tensor, labels: Tensor) -> None:
        """Count a batch; arguments as for `ExactScores.add`."""
        labels = labels.to(logits.device)
        self._positives.append(_joined([self._add(*part) for part in _parts(logits, labels)]))
        self.recent = logits, labels

    def _add(self, logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        by_class = self._by_class(logits)
        low, high, least = self._ends_of(by_class)
        has_far = self._make_room(*_zero_if_empty(low, high), least)
        if has_far:
            negatives = _is_negative(labels, slice(0, len(by_class)))
            self._note_lowest(by_class, (self._places(by_class) < -FAR) & negatives)
        self._count(by_class, labels, 1, has_far=has_far)
        return _positives(by_class, labels)

    def _count(self, by_class: Tensor, labels: Tensor, weight: int, *, has_far: bool = True) -> None:
        """Count the negatives `weight` times."""
        for part, scores in class_parts(by_class):
            bins = self._bins(scores, self.low[part, None], self.width[part, None], has_far=has_far)
            bins += torch.arange(part.start, part.stop, device=bins.device)[:, None] * BINS
            # Of single-label rows all are counted: the one positive of each is taken out again below.
            weights = torch.full_like(bins, weight) if self._is_single else _is_negative(labels, part) * weight
            self.negatives.scatter_add_(0, bins.flatten(), weights.flatten())
        if self._is_single:
            classes, scores = _positives(by_class, labels)
            bins = self._bins(scores, self.low[classes], self.width[classes]).add_(classes * BINS)
            self.negatives.scatter_add_(0, bins, torch.full_like(bins, -weight))

    def _note_lowest(self, by_class: Tensor, is_far: Tensor) -> None:
        least = torch.where(is_far, by_class, torch.inf).amin(1)
        greatest = torch.where(is_far, by_class, -torch.inf).amax(1)
        self.lowest = torch.stack((self.lowest[0].minimum(least), self.lowest[1].maximum(greatest)))

    def keep_of_recent(self, keep: Tensor) -> None:
        """Take all but the rows `keep`, bool, of the batch added last out again."""
        if self.recent is None:
            return
        logits, labels = self.recent
        for dropped, their_labels in _parts(logits[~keep], labels[~keep]):
            self._count(self._by_class(dropped), their_labels, -1)
        self.recent = logits[keep], labels[keep]
        self._positives[-1] = _joined([_positives(self._by_class(x), y) for x, y in _parts(*self.recent)])

    def _make_room(self, low: Tensor, high: Tensor, least: Tensor) -> bool:
        """Widen the bins to cover `low` … `high`; returns whether `least` is far off, in the same wait."""
        first, last = self._range()
        is_outside = ((low < first) | (high >= last + self.width)).any()
        must_move, is_far = torch.stack((is_outside, least < -FAR)).tolist()
        if must_move:
            self._move(*grid(torch.minimum(low, first), torch.maximum(high, last), self.width))
        return bool(is_far)

    def _range(self) -> tuple[Tensor, Tensor]:
        """Where bin 1 and the last bin begin."""
        return self.low + self.width, self.low + (BINS - 1) * self.width

    def _move(self, low: Tensor, width: Tensor) -> None:
        """Widen the bins to unions of the present ones; bin 0 stays."""
        edges = self.low[:, None] + self.width[:, None] * torch.arange(BINS, device=low.device)
        bins = bins_of(edges, low[:, None], width[:, None])
        bins[:, 0] = 0
        moved = torch.zeros_like(self.negatives).view(-1, BINS)
        self.negatives = moved.scatter_add_(1, bins, self.negatives.view(-1, BINS)).view(-1)
        self.low, self.width = low, width

    def merge(self, other: BinnedScores) -> None:
        """Add the counts and positives of `other`."""
        self._make_room(*other._range(), other.low[0])
        if bool((other.width > self.width).any()):
            self._move(*grid(*self._range(), other.width))
            self._make_room(*other._range(), other.low[0])
        aligned = BinnedScores.from_state(other.state(), self.activation)
        aligned._move(self.low, self.width)
        self.negatives = self.negatives + aligned.negatives
        least, greatest = aligned.lowest
        self.lowest = torch.stack((self.lowest[0].minimum(least), self.lowest[1].maximum(greatest)))
        self._positives = self._positives + other._positives
        self.recent = None

    def state(self) -> dict[str, Any]:
        """Everything but the batch added last, on the host, for `from_state`."""
        return {
            "low": self.low.cpu(),
            "width": self.width.cpu(),
            "negatives": self.negatives.cpu(),
            "lowest": self.lowest.cpu(),
            "is_single": self._is_single,
            "positives": [(classes.cpu(), scores.cpu()) for classes, scores in self._positives],
        }

    @classmethod
    def from_state(cls, state: Mapping[str, Any], activation: Activation = DEFAULT_ACTIVATION) -> BinnedScores:
        """Restore what `state` returned, on the host."""
        restored = cls.__new__(cls)
        restored.activation, restored._is_single, restored.lowest = activation, state["is_single"], state["lowest"]
        restored.low, restored.width, restored.negatives = state["low"], state["width"], state["negatives"]
        restored._positives, restored.recent, restored._laid_out = list(state["positives"]), None, None
        return restored

    def positives(self, num_classes: int) -> list[tuple[NDArray[np.floating], NDArray[np.int64]]]:
        """The score of every positive of each class, and the bin it is in."""
        owners, scores = (torch.cat(column).cpu() for column in zip(*self._positives, strict=True))
        order = owners.argsort(stable=True)
        owners, scores = owners[order], scores[order]
        low, width = self.low.cpu()[owners], self.width.cpu()[owners]
        bins = self._bins(scores, low, width)
        sizes = torch.bincount(owners, minlength=num_classes).tolist()
        by_class = zip(scores.split(sizes), bins.split(sizes), strict=True)
        return [(on_host(class_scores), class_bins.numpy()) for class_scores, class_bins in by_class]

    def negative_bins(self) -> NDArray[np.int64]:
        """Negatives per class and bin, (classes, bins)."""
        counts: NDArray[np.int64] = self.negatives.cpu().numpy().reshape(-1, BINS)
        return counts

    def middles(self) -> NDArray[np.float64]:
        """Probability in the middle of each bin, 0 in bin 0: (classes, bins)."""
        low, width = self.low.cpu().numpy()[:, None], self.width.cpu().numpy()[:, None]
        places = low + width * (np.arange(BINS) + 0.5)
        if self._is_single:
            p = power_of_two(np.minimum(places, 0))
        elif self.activation.takes_probabilities:
            p = np.where(places < 0, power_of_two(-np.abs(places)), 1 - power_of_two(-np.abs(places)))
        else:
            p = np.asarray(self.activation.sigmoid(places), dtype=np.float64)
        p[:, 0] = 0
        return p

    def tied_scores(self) -> NDArray[np.float64]:
        """The score that all negatives in bin 0 of a class share; NaN if they differ or there are none."""
        least, greatest = self.lowest.double().cpu().numpy()
        return np.where(least == greatest, least, np.nan)


def _parts(logits: Tensor, labels: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """A batch in parts of at most `MOST_BINNED` scores."""
    rows = max(1, MOST_BINNED // max(1, logits.shape[1]))
    return zip(logits.split(rows), labels.split(rows), strict=True)


def _zero_if_empty(low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
    """The ends of each class, 0 where it has none."""
    is_empty = low > high
    return low.masked_fill(is_empty, 0.0), high.masked_fill(is_empty, 0.0)


def _joined(parts: list[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    classes, scores = (torch.cat(column) for column in zip(*parts, strict=True))
    return classes, scores


def _is_negative(labels: Tensor, part: slice) -> Tensor:
    """Which samples are negatives of some classes, bool (classes, rows)."""
    if labels.ndim == 2:
        return (labels[:, part] == 0).T
    return labels != torch.arange(part.start, part.stop, device=labels.device)[:, None]


def _positives(by_class: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Class and score of each positive."""
    if labels.ndim == 1:
        return labels.long(), by_class.gather(0, labels.long()[None])[0]
    rows, classes = (labels > 0).nonzero(as_tuple=True)
    return classes, by_class[classes, rows]
