"""Bins of scores: places on a scale, and bins as wide as a power of two that lie at its multiples."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

BINS = 2048
#: Logits (or logarithms of probabilities) below -FAR are those of masks: they share the lowest bin.
FAR = 9e3


def log2_places(p: Tensor) -> Tensor:
    """Logarithm to base 2, linear between powers of two; unlike `log` it never swaps two values by rounding."""
    mantissa, exponent = p.frexp()
    return torch.where(p > 0, 2 * mantissa + exponent - 2, -torch.inf)


def log_odds_places(p: Tensor) -> Tensor:
    """Places of probabilities with as fine a resolution near 1 as near 0; never swaps two values either."""
    return torch.where(p < 0.5, log2_places(p), -log2_places(1 - p))


def power_of_two(places: NDArray[np.float64]) -> NDArray[np.float64]:
    """The inverse of `log2_places`."""
    whole = np.floor(places)
    return np.ldexp(1 + (places - whole), whole.astype(np.int64))


def bins_of(places: Tensor, low: Tensor, width: Tensor) -> Tensor:
    """Which bin each place is in; exact, as `low` is a multiple of the power of two `width`."""
    return ((places / width).floor() - low / width).clamp_(0, BINS - 1).long()


def finite_range(batches: Iterable[Tensor]) -> tuple[Tensor, Tensor]:
    """The least and largest place of each class that is not far off, float64 (classes,); 0 if a class has none."""
    lows, highs = [], []
    for batch in batches:
        finite = batch.abs() <= FAR
        lows.append(torch.where(finite, batch, torch.inf).amin(0))
        highs.append(torch.where(finite, batch, -torch.inf).amax(0))
    low, high = torch.stack(lows).amin(0), torch.stack(highs).amax(0)
    is_empty = low > high
    return low.masked_fill(is_empty, 0.0), high.masked_fill(is_empty, 0.0)


def grid(low: Tensor, high: Tensor, at_least: Tensor) -> tuple[Tensor, Tensor]:
    """The narrowest bins of at least the given width that cover `low` … `high` from bin 1 on.

    Returns:
        where bin 0 lies, and the width, each (classes,).
    """
    first, last, least = (t.cpu().numpy() for t in (low, high, at_least))
    needed = np.maximum((last - first) / (BINS - 2), 1e-12)
    width = np.maximum(np.ldexp(1.0, np.ceil(np.log2(needed)).astype(int)), least)
    while (wide := np.floor(last / width) - np.floor(first / width) >= BINS - 1).any():
        width = np.where(wide, 2 * width, width)
    start = (np.floor(first / width) - 1) * width
    return torch.from_numpy(start).to(low.device), torch.from_numpy(width).to(low.device)
