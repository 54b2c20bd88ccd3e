"""Bins of scores: places on a scale, and bins as wide as a power of two that lie at its multiples."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

BINS = 2048
#: Logits (or logarithms of probabilities) below -FAR are those of masks: they share the lowest bin.
FAR = 9e3
#: Float64 numbers that stay in the cache.
IN_CACHE = 2**17
_BITS_OF_1 = 1023 << 52


def log2_places(p: Tensor) -> Tensor:
    """Logarithm to base 2, linear between powers of two; unlike `log` it never swaps two values by rounding.

    The bits of a float64 above 0 are just that, as a whole number.
    """
    places = p.contiguous().view(torch.int64).double().mul_(2.0**-52).sub_(1023)
    return places.masked_fill_(p <= 0, -torch.inf)


def log_odds_places(p: Tensor) -> Tensor:
    """Places of probabilities with as fine a resolution near 1 as near 0; never swaps two values either."""
    return torch.where(p < 0.5, log2_places(p), -log2_places(1 - p))


def power_of_two(places: NDArray[np.float64]) -> NDArray[np.float64]:
    """The inverse of `log2_places`."""
    whole = np.floor(places)
    return np.ldexp(1 + (places - whole), whole.astype(np.int64))


def bins_of(places: Tensor, low: Tensor, width: Tensor) -> Tensor:
    """Which bin each place is in; exact, as `low` is a multiple of the power of two `width`."""
    return (places * (1 / width)).floor_().sub_(low / width).clamp_(0, BINS - 1).long()


def log2_bins(p: Tensor, low: Tensor, width: Tensor) -> Tensor:
    """`bins_of(log2_places(p), low, width)` in whole numbers, from the bits of positive float64, but not limited.

    `width` is at most 2^11, so that the bits are shifted by less than 64.
    """
    shift = (torch.frexp(width).exponent + 51).long()
    bins = p.contiguous().view(torch.int64) - _BITS_OF_1
    return bins.bitwise_right_shift_(shift).sub_((low / width).long())


def finite_range(places: Tensor) -> tuple[Tensor, Tensor]:
    """The least and largest place of each class that is not far off; ±inf if a class has none.

    Args:
        places: float64 (classes, rows).
    """
    is_far = places.abs() > FAR
    return places.masked_fill(is_far, torch.inf).amin(1), places.masked_fill(is_far, -torch.inf).amax(1)


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


def class_parts(by_class: Tensor) -> Iterator[tuple[slice, Tensor]]:
    """Some classes and their scores, (classes, rows), at a time; on the host as many as fit the cache."""
    classes, rows = by_class.shape
    at_once = max(1, IN_CACHE // max(1, rows)) if by_class.device.type == "cpu" else classes
    for first in range(0, classes, at_once):
        part = slice(first, min(first + at_once, classes))
        yield part, by_class[part].contiguous()
