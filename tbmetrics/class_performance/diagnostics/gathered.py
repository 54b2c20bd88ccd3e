"""Small batches wait for each other and are looked at together: a pass over few numbers costs its calls alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

#: Of one batch's largest tensor, and how many batches; beyond them the calls cost little beside the numbers.
SMALL_BYTES, MOST_BATCHES = 128 * 2**10, 16


def is_small(values: Tensor) -> bool:
    """Whether batches of such tensors are gathered."""
    return values.numel() * values.element_size() <= SMALL_BYTES


class Gathered:
    """Hands batches on in stacks of equal shapes.

    Args:
        take: given the tensors of several batches, each stacked to (batches, …); None stays None.
    """

    def __init__(self, take: Callable[..., None]) -> None:
        self._take = take
        self._kept: list[tuple[Tensor | None, ...]] = []
        self._kind: tuple[object, ...] = ()

    def put(self, *batch: Tensor | None) -> None:
        """Takes a batch; `batch[0]` is its largest tensor. A small one must not be changed afterwards: give copies."""
        kind = tuple(None if t is None else (t.shape, t.dtype, t.device) for t in batch)
        if kind != self._kind:
            self.flush()
            self._kind = kind
        self._kept.append(batch)
        if len(self._kept) == MOST_BATCHES or batch[0] is None or not is_small(batch[0]):
            self.flush()

    @torch.no_grad()
    def flush(self) -> None:
        """Hands on what waits."""
        kept, self._kept = self._kept, []
        if kept:
            self._take(*map(_stacked, zip(*kept, strict=True)))

    def forget(self) -> None:
        """Lets go of what waits."""
        self._kept = []


def _stacked(tensors: Sequence[Any]) -> Tensor | None:
    if tensors[0] is None:
        return None
    return torch.stack(tuple(tensors)) if len(tensors) > 1 else tensors[0][None]  # a large one is not copied
