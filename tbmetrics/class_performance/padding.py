"""Samples that several ranks count: those that a sampler repeated to give every rank as many."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch


def repeats_warning(announced: Sequence[Mapping[str, Any] | None], stuck: int, rank: int) -> str:
    """What to say of samples that count twice; an empty string if there are none.

    Args:
        announced: `n`, `indices` and `ends` of an attribute, by rank.
        stuck: number of samples of this rank that another one counts too and that could not be dropped.
        rank: this rank; the first one speaks of padding.
    """
    if stuck:
        return f"{stuck} samples that another rank counts too are in bins already and count twice; give scores='exact'"
    repeats = _padded_samples(announced) if rank == 0 else 0
    if not repeats:
        return ""
    return (
        f"the sampler seems to have padded the data set to a multiple of {len(announced)} ranks: {repeats} "
        f"sample{'s count' if repeats > 1 else ' counts'} twice; give update(..., indices=...) to leave them out"
    )


def _padded_samples(announced: Sequence[Mapping[str, Any] | None]) -> int:
    """Number of samples that a sampler repeated to give every rank as many; 0 if that does not show.

    `DistributedSampler` appends the first samples to the last ones, so the last row of the last rank is then the first
    row of a lower one.

    Args:
        announced: `n`, `indices` and `ends` of an attribute, by rank.
    """
    ranks = [rank for rank in announced if rank is not None and rank["indices"] is None and rank["ends"] is not None]
    if len(ranks) < len(announced) or any(rank["n"] != ranks[0]["n"] for rank in ranks):
        return 0
    last_row = ranks[-1]["ends"][1]
    for number, rank in enumerate(ranks[:-1]):
        first_row = rank["ends"][0]
        if first_row.shape == last_row.shape and torch.isclose(first_row, last_row, rtol=1e-3, atol=1e-5).all():
            return number + 1
    return 0
