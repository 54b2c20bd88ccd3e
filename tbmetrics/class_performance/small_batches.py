"""Small batches that are processed together, since a pass over few numbers costs its call."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

#: Largest tensor of a small batch, and most batches in a buffer; beyond these the calls cost little beside the work.
SMALL_BYTES, MAX_BATCHES = 128 * 2**10, 16


def is_small(values: Tensor) -> bool:
    """Whether a batch with this largest tensor is buffered."""
    return values.numel() * values.element_size() <= SMALL_BYTES


class SmallBatchBuffer:
    """Collects small batches of equal shapes and processes them together, since a pass over few numbers costs its call.

    Args:
        process: called with the tensors of several batches, each stacked to (batches, …); None stays None.
    """

    def __init__(self, process: Callable[..., None]) -> None:
        self._process = process
        self._batches: list[tuple[Tensor | None, ...]] = []
        self._shapes: tuple[object, ...] = ()

    def put(self, *batch: Tensor | None) -> None:
        """Add a batch; `batch[0]` is its largest tensor. Small tensors must not change afterwards: pass copies."""
        shapes = tuple([None if t is None else (t.shape, t.dtype, t.device) for t in batch])
        if shapes != self._shapes:
            self.flush()
            self._shapes = shapes
        self._batches.append(batch)
        if len(self._batches) == MAX_BATCHES or batch[0] is None or not is_small(batch[0]):
            self.flush()

    @torch.no_grad()
    def flush(self) -> None:
        """Process the buffered batches."""
        batches, self._batches = self._batches, []
        if batches:
            self._process(*map(_stacked, zip(*batches, strict=True)))

    def clear(self) -> None:
        """Drop the buffered batches."""
        self._batches = []


def _stacked(tensors: Sequence[Any]) -> Tensor | None:
    if tensors[0] is None:
        return None
    return torch.stack(tuple(tensors)) if len(tensors) > 1 else tensors[0][None]  # a large one is not copied
