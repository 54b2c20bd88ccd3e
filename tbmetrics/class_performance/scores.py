"""The scores of a validation, all of them."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

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
        dtype = np.dtype(np.float64) if single else np.result_type(*(on_host(logits[:0]) for logits in self._logits))
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
                out[:, column : column + len(chunk)] = on_host(ranked[:, start:stop]).T
                column += len(chunk)
        return out

    def _label_block(self, first: int, last: int) -> NDArray[np.int8]:
        if self._labels[0].ndim == 2:
            return np.concatenate([labels[:, first:last].T.cpu().numpy() for labels in self._labels], axis=1)
        indices = torch.cat([labels.cpu() for labels in self._labels]).numpy()
        return (indices == np.arange(first, last)[:, None]).astype(np.int8)


def _rows_at_once(scores: Tensor) -> int:
    return max(1, SCORES_AT_ONCE // max(1, scores.shape[1]))


def on_host(tensor: Tensor) -> NDArray[np.floating]:
    """As a numpy array; bfloat16, which numpy lacks, becomes float32."""
    return (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).cpu().numpy()
