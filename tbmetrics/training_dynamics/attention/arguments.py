"""Checks of what an AttentionVisualizer is given."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from tbmetrics.errors import InputError


def check_names(grid: Any, sample_names: Any, probe: Any) -> None:
    """Refuses a grid that is none, and names that cannot be those of the probe's samples."""
    if grid is not None and not (len(grid) == 2 and all(isinstance(n, int) and n > 0 for n in grid)):
        raise InputError(f"grid must be (rows, columns) of the patches, got {grid!r}")
    if isinstance(sample_names, str):
        raise InputError(f"sample_names must be one name a sample, got the string {sample_names!r}")
    if isinstance(probe, Tensor) and sample_names is not None and len(sample_names) > len(probe):
        raise InputError(f"sample_names has {len(sample_names)} names for a probe of {len(probe)} samples")
