"""Logits and labels of a validation within a byte budget: all rows, or a random sample of them."""

from __future__ import annotations

import torch
from torch import Tensor


class RowSample:
    """Logits and labels of rows; whenever they exceed `max_bytes`, a random half of the rows is dropped.

    Attributes:
        share: of all rows, in the sample.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self.reset()

    def reset(self) -> None:
        """Forget the validation."""
        self._batches: list[tuple[Tensor, Tensor, Tensor]] = []  # logits, labels, index
        self._generator = torch.Generator().manual_seed(0)
        self.share = 1.0
        self.n_rows = self._rows_given = 0

    def add(self, logits: Tensor, labels: Tensor) -> None:
        """Add a batch: logits (N, C) and labels, class indices (N,) or (N, C) of 1, 0 and -1."""
        labels = labels if labels.ndim == 1 else labels.to(torch.int8)
        index = torch.arange(self._rows_given, self._rows_given + len(logits))
        self._rows_given += len(logits)
        if self.share < 1:
            chosen = self._chosen(len(logits), self.share)
            logits, labels = logits[chosen.to(logits.device)].float(), labels[chosen.to(labels.device)]
            index = index[chosen]
        else:
            logits = logits.float().clone()
        self._batches.append((logits, labels, index))
        self.n_rows += len(logits)
        width = logits.shape[1]
        row_bytes = (5 if labels.ndim == 2 else 4) * width
        while self.n_rows > 1 and self.n_rows * row_bytes > self._max_bytes:
            self._halve()

    def _halve(self) -> None:
        logits, labels, index = self.tensors()
        chosen = self._chosen(len(logits), 0.5)
        on_device = chosen.to(logits.device)
        self._batches, self.share = [(logits[on_device], labels[on_device], index[chosen])], self.share / 2
        self.n_rows = len(chosen)

    def _chosen(self, rows: int, share: float) -> Tensor:
        return (torch.rand(rows, generator=self._generator) < share).nonzero()[:, 0]

    def tensors(self) -> tuple[Tensor, Tensor, Tensor]:
        """Logits float32 (rows, C), labels as given, and the index of each row among all (on the host)."""
        logits, labels, index = (torch.cat(parts) for parts in zip(*self._batches, strict=True))
        return logits, labels, index
