"""Checks of what an AttentionVisualizer is given."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from tbmetrics.errors import InputError


def check_limits(limits: Mapping[str, Any], least: int) -> None:
    """Refuses options that are not whole numbers of at least `least`."""
    for option, value in limits.items():
        if not isinstance(value, int) or isinstance(value, bool) or value < least:
            raise InputError(f"{option} must be a whole number of at least {least}, got {value!r}")


def check_names(grid: Any, sample_names: Any, probe: Any) -> None:
    """Refuses a grid that is none, and names that cannot be those of the probe's samples."""
    if grid is not None and not (len(grid) == 2 and all(isinstance(n, int) and n > 0 for n in grid)):
        raise InputError(f"grid must be (rows, columns) of the patches, got {grid!r}")
    if isinstance(sample_names, str):
        raise InputError(f"sample_names must be one name a sample, got the string {sample_names!r}")
    if isinstance(probe, Tensor) and sample_names is not None and len(sample_names) > len(probe):
        raise InputError(f"sample_names has {len(sample_names)} names for a probe of {len(probe)} samples")
