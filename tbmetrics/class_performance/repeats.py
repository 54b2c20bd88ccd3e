"""Samples that come twice: by their index, or because a sampler padded the data set to a multiple of the ranks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor


def first_ones(indices: Tensor, earlier: Tensor | None) -> Tensor:
    """Which rows are the first of their index, and not among `earlier`: bool (samples,)."""
    values = indices.numpy()
    first = np.zeros(len(values), dtype=bool)
    first[np.unique(values, return_index=True)[1]] = True
    if earlier is not None and len(earlier):
        first &= ~np.isin(values, earlier.numpy())
    return torch.from_numpy(first)


def padded_samples(told: Sequence[Mapping[str, Any] | None]) -> int:
    """How many samples a sampler gave twice to make their number a multiple of the ranks; 0 where that does not show.

    `DistributedSampler` appends the first samples to the last ones, so the last row of the last rank is then the first
    row of a lower one.

    Args:
        told: by rank `n`, `indices` and `ends` of an attribute.
    """
    if any(t is None or t["indices"] is not None or t["ends"] is None or t["n"] != told[0]["n"] for t in told):  # type: ignore[index]
        return 0
    last = told[-1]["ends"][1]  # type: ignore[index]
    for rank, of_rank in enumerate(told[:-1]):
        first = of_rank["ends"][0]  # type: ignore[index]
        if first.shape == last.shape and bool(torch.isclose(first, last, rtol=1e-3, atol=1e-5).all()):
            return rank + 1
    return 0
