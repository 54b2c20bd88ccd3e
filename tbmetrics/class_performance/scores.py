"""The scores of a validation: all of them, or, beyond a byte budget, exact positives and binned negatives."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tbmetrics.class_performance.bins import (
    BINS,
    FAR,
    bins_of,
    class_parts,
    finite_range,
    grid,
    log2_places,
    log_odds_places,
    power_of_two,
)
from tbmetrics.class_performance.inputs import DEFAULT_ACTIVATION, Activation

CLASSES_AT_ONCE = 128
SOFTMAX_BYTES = 32 * 2**20  # of the probabilities of a few rows
MIN_BLOCK_BYTES = 128 * 2**20  # of the scores laid out by class
#: Scores that are worked on at a time, so that what is computed from them stays in the cache.
SCORES_AT_ONCE = 2**19


class ScoreBlock(NamedTuple):
    """The scores of the classes `first` … `first + len(scores) - 1`.

    `scores` has shape (classes, samples): probabilities in float64 (single-label) or logits (multi-label), -inf where
    the label is unknown; `labels` the same shape, 1, 0 or -1.
    """

    first: int
    scores: NDArray[np.floating]
    labels: NDArray[np.int8]


def ranked_scores(scores: Tensor, labels: Tensor, activation: Activation) -> Tensor:
    """What ranks samples, (N, C): the scores themselves (multi-label), or probabilities in float64 (single-label)."""
    return scores if labels.ndim == 2 else activation.softmax(scores)


class ExactScores:
    """Every logit, in its own dtype, on the device it came from."""

    exact = True

    def __init__(
        self, batches: Iterable[tuple[Tensor, Tensor]] = (), activation: Activation = DEFAULT_ACTIVATION
    ) -> None:
        self.activation = activation
        self._logits: list[Tensor] = []
        self._labels: list[Tensor] = []
        self.bytes = 0
        for batch in batches:
            self.add(*batch)

    def add(self, logits: Tensor, labels: Tensor) -> None:
        """Add a batch.

        Args:
            logits: (N, C); not copied, so they must not change afterwards.
            labels: class indices (N,), or (N, C) of 1, 0 and -1.
        """
        labels = labels.to(torch.int8) if labels.ndim == 2 else labels.to(torch.int32)
        self._logits.append(logits)
        self._labels.append(labels)
        self.bytes += logits.numel() * logits.element_size() + labels.numel() * labels.element_size()

    def selected(self, rows: Tensor) -> ExactScores:
        """Only the chosen rows, bool (samples,)."""
        if not self._logits:
            return self
        masks = rows.to(self._logits[0].device).split([len(logits) for logits in self._logits])
        pairs = zip(self.batches(), masks, strict=True)
        batches = (batch if bool(mask.all()) else (batch[0][mask], batch[1][mask]) for batch, mask in pairs)
        return ExactScores(batches, self.activation)

    def batches(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Logits and labels as they were added."""
        return zip(self._logits, self._labels, strict=True)

    def chunks(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Logits and labels in the same order, about `SCORES_AT_ONCE` scores at a time: joined if small, else split."""
        self._join_small()
        for batch in self.batches():
            yield from zip(*(column.split(_rows_at_once(batch[0])) for column in batch), strict=True)

    def _join_small(self) -> None:
        """Hold small batches as fewer large ones, since a pass over few numbers costs its calls."""
        waiting = deque(self.batches())
        self._logits, self._labels = [], []
        while waiting:
            small = [waiting.popleft()]
            free = _rows_at_once(small[0][0]) - len(small[0][0])
            while waiting and len(waiting[0][0]) <= free:
                small.append(waiting.popleft())
                free -= len(small[-1][0])
            for held, columns in zip((self._logits, self._labels), zip(*small, strict=True), strict=True):
                held.append(torch.cat(columns) if len(columns) > 1 else columns[0])

    def blocks(self, num_classes: int) -> Iterator[ScoreBlock]:
        """All scores by class, a block of classes at a time, on the host.

        A softmax needs whole rows, so probabilities are computed again for every part of the classes that is laid out;
        a part may take a quarter of the bytes held, which bounds the passes.
        """
        self._join_small()
        single = self._labels[0].ndim == 1
        dtype = np.dtype(np.float64) if single else np.result_type(*(_host(logits[:0]) for logits in self._logits))
        samples = sum(len(logits) for logits in self._logits)
        affordable = max(MIN_BLOCK_BYTES, self.bytes // 4) // max(1, dtype.itemsize * samples)
        at_once = max(CLASSES_AT_ONCE, affordable // CLASSES_AT_ONCE * CLASSES_AT_ONCE)
        for start in range(0, num_classes, at_once):
            stop = min(start + at_once, num_classes)
            by_class = self._by_class(start, stop, np.empty((stop - start, samples), dtype))
            step = min(CLASSES_AT_ONCE, max(1, SCORES_AT_ONCE // max(1, samples)))
            for first in range(start, stop, step):
                scores = by_class[first - start : first - start + step].copy()  # a view would keep the whole part
                labels = self._label_block(first, first + len(scores))
                unknown = labels < 0
                yield ScoreBlock(first, np.where(unknown, -np.inf, scores) if unknown.any() else scores, labels)
            del by_class

    def _by_class(self, start: int, stop: int, out: NDArray[np.floating]) -> NDArray[np.floating]:
        column = 0
        for logits, labels in self.batches():
            rows = max(1, SOFTMAX_BYTES // (8 * logits.shape[1]))
            for chunk in logits.split(rows):
                ranked = ranked_scores(chunk, labels, self.activation)
                out[:, column : column + len(chunk)] = _host(ranked[:, start:stop]).T
                column += len(chunk)
        return out

    def _label_block(self, first: int, last: int) -> NDArray[np.int8]:
        if self._labels[0].ndim == 2:
            return np.concatenate([labels[:, first:last].T.cpu().numpy() for labels in self._labels], axis=1)
        indices = torch.cat([labels.cpu() for labels in self._labels]).numpy()
        return (indices == np.arange(first, last)[:, None]).astype(np.int8)


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
        low, high = self._range_of(self._ranked(*batch) for batch in batches)
        margin = 0.25 * (high - low) + 1e-3
        self.low, self.width = grid(low - margin, high + margin, torch.zeros_like(low))
        self.negatives = torch.zeros(len(low) * BINS, dtype=torch.int64, device=low.device)
        self.lowest = torch.stack((torch.full_like(low, torch.inf), torch.full_like(low, -torch.inf)))
        self._positives: list[tuple[Tensor, Tensor]] = []
        self.recent: tuple[Tensor, Tensor] | None = None
        for logits, labels in batches:
            self.add(logits, labels)

    def _ranked(self, scores: Tensor, labels: Tensor) -> Tensor:
        return ranked_scores(scores, labels, self.activation)

    def _places(self, ranked: Tensor) -> Tensor:
        """Where ranked scores lie along the bins, float64 (N, C)."""
        if self._is_single:
            return log2_places(ranked)
        return log_odds_places(ranked.double()) if self.activation.takes_probabilities else ranked.double()

    def _range_of(self, batches: Iterable[Tensor]) -> tuple[Tensor, Tensor]:
        """The least and largest place of each class that is not far off, float64 (classes,); 0 if a class has none."""
        ranges = []
        for scores in batches:
            extremes = scores.amin(0), scores.amax(0)  # `aminmax` takes longer
            ends = torch.stack([self._places(end) for end in extremes])
            if bool((ends.abs() <= FAR).all()):
                ranges.append(ends)
                continue
            parts = (finite_range(self._places(by_class)) for _, by_class in class_parts(scores))
            ranges.append(torch.stack([torch.cat(end) for end in zip(*parts, strict=True)]))
        low, high = torch.stack(ranges)[:, 0].amin(0), torch.stack(ranges)[:, 1].amax(0)
        is_empty = low > high
        return low.masked_fill(is_empty, 0.0), high.masked_fill(is_empty, 0.0)

    def add(self, logits: Tensor, labels: Tensor) -> None:
        """Count a batch; arguments as for `ExactScores.add`."""
        scores = self._ranked(logits, labels)
        labels = labels.to(scores.device)
        if self._make_room(*self._range_of([scores]), self._places(scores.amin()[None])[0]):
            self._note_lowest(scores, (self._places(scores) < -FAR) & _is_negative(labels, slice(0, scores.shape[1])).T)
        self._count(scores, labels, 1)
        self._positives.append(_positives(scores, labels))
        self.recent = logits, labels

    def _count(self, scores: Tensor, labels: Tensor, weight: int) -> None:
        for part, by_class in class_parts(scores):
            bins = bins_of(self._places(by_class), self.low[part, None], self.width[part, None])
            bins += torch.arange(part.start, part.stop, device=bins.device)[:, None] * BINS
            weights = _is_negative(labels, part) * torch.tensor(weight, device=bins.device)
            self.negatives.scatter_add_(0, bins.flatten(), weights.flatten())

    def _note_lowest(self, scores: Tensor, is_far: Tensor) -> None:
        least = torch.where(is_far, scores, torch.inf).amin(0)
        greatest = torch.where(is_far, scores, -torch.inf).amax(0)
        self.lowest = torch.stack((self.lowest[0].minimum(least), self.lowest[1].maximum(greatest)))

    def keep_of_recent(self, keep: Tensor) -> None:
        """Take all but the rows `keep`, bool, of the batch added last out again."""
        if self.recent is None:
            return
        logits, labels = self.recent
        scores = self._ranked(logits, labels)
        self._count(scores[~keep], labels[~keep], -1)
        self.recent = logits[keep], labels[keep]
        self._positives[-1] = _positives(scores[keep], labels[keep])

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
        restored._positives, restored.recent = list(state["positives"]), None
        return restored

    def positives(self, num_classes: int) -> list[tuple[NDArray[np.floating], NDArray[np.int64]]]:
        """The score of every positive of each class, and the bin it is in."""
        owners, scores = (torch.cat(column).cpu() for column in zip(*self._positives, strict=True))
        order = owners.argsort(stable=True)
        owners, scores = owners[order], scores[order]
        low, width = self.low.cpu()[owners], self.width.cpu()[owners]
        bins = bins_of(self._places(scores), low, width)
        sizes = torch.bincount(owners, minlength=num_classes).tolist()
        by_class = zip(scores.split(sizes), bins.split(sizes), strict=True)
        return [(_host(class_scores), class_bins.numpy()) for class_scores, class_bins in by_class]

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


def _rows_at_once(scores: Tensor) -> int:
    return max(1, SCORES_AT_ONCE // max(1, scores.shape[1]))


def _is_negative(labels: Tensor, part: slice) -> Tensor:
    """Which samples are negatives of some classes, bool (classes, rows)."""
    if labels.ndim == 2:
        return (labels[:, part] == 0).T
    return labels != torch.arange(part.start, part.stop, device=labels.device)[:, None]


def _positives(scores: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Class and score of each positive."""
    if labels.ndim == 1:
        return labels.long(), scores.gather(1, labels.long()[:, None])[:, 0]
    rows, classes = (labels > 0).nonzero(as_tuple=True)
    return classes, scores[rows, classes]


def _host(tensor: Tensor) -> NDArray[np.floating]:
    """As a numpy array; bfloat16, which numpy lacks, becomes float32."""
    return (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).cpu().numpy()
