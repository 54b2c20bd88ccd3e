"""Histograms of tensors on their own device: exact counts in sub-octave buckets, read off the float bits.

A float's bits, shifted right until sign, exponent and the first two mantissa bits are left, are the number of its
bucket: four buckets an octave, edges at 2^e × {1, 1.25, 1.5, 1.75}. Counting is one shift and one scatter-add, needs no
range beforehand, no synchronisation, and no sorting; every count is exact. NaN and infinity fall into buckets of their
own and are reported beside the histogram.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tbmetrics.records import Histogram

SUB_BITS = 2  # mantissa bits in a bucket number: 2**2 buckets an octave
_AT_ONCE = 2**17  # values whose bucket numbers stay in the processor's cache


@dataclass(frozen=True, slots=True)
class _Layout:
    """How a float type's bits are laid out, and where its buckets lie."""

    integer: torch.dtype
    exponent_bits: int
    shift: int  # to the right, so that `SUB_BITS` mantissa bits are left

    @property
    def half(self) -> int:
        """Buckets of one sign."""
        return 1 << (self.exponent_bits + SUB_BITS)


_LAYOUTS = {
    torch.float64: _Layout(torch.int64, 11, 52 - SUB_BITS),
    torch.float32: _Layout(torch.int32, 8, 23 - SUB_BITS),
    torch.bfloat16: _Layout(torch.int16, 8, 7 - SUB_BITS),
    torch.float16: _Layout(torch.int16, 5, 10 - SUB_BITS),
}

#: Float types that can be measured.
MEASURABLE = frozenset(_LAYOUTS)


@dataclass(slots=True)
class TensorStatistics:
    """Bucket counts and extremes of one tensor, still on its device.

    Attributes:
        dtype: the tensor's float type; says how to read `counts`.
        counts: int64 of shape (buckets,), by bit pattern.
        extremes: minimum and maximum, scalars of `dtype`.
    """

    dtype: torch.dtype
    counts: Tensor
    extremes: tuple[Tensor, Tensor]


def measure(tensor: Tensor) -> TensorStatistics:
    """Count `tensor`'s values by bucket, without synchronising.

    Args:
        tensor: any shape, float64, float32, bfloat16 or float16.

    Raises:
        TypeError: not a float tensor of one of these types.
    """
    if tensor.dtype not in _LAYOUTS:
        raise TypeError(f"histograms need one of {[str(d) for d in _LAYOUTS]}, got {tensor.dtype}")
    flat = tensor.detach().resolve_neg().reshape(-1)
    layout = _LAYOUTS[tensor.dtype]
    buckets = 2 * layout.half
    bits = flat.view(layout.integer)
    count = _count_on_cpu if bits.device.type == "cpu" else _count
    return TensorStatistics(tensor.dtype, count(bits, layout.shift, buckets), _extremes(flat))


def _count_on_cpu(bits: Tensor, shift: int, buckets: int) -> Tensor:
    parts = bits.split(_AT_ONCE) if len(bits) > _AT_ONCE else (bits,)
    counts = [torch.bincount((part >> shift).bitwise_and_(buckets - 1), minlength=buckets) for part in parts]
    return counts[0] if len(counts) == 1 else torch.stack(counts).sum(0)


def _count(bits: Tensor, shift: int, buckets: int) -> Tensor:
    # bincount would synchronise to learn its output's size; a scatter into a given size does not.
    numbers = (bits >> shift).bitwise_and_(buckets - 1).to(torch.int64)
    counts = torch.zeros(buckets, dtype=torch.int64, device=bits.device)
    return counts.scatter_add_(0, numbers, torch.ones_like(numbers))


def _extremes(flat: Tensor) -> tuple[Tensor, Tensor]:
    if flat.numel() == 0:
        return (torch.full((), torch.nan, dtype=flat.dtype, device=flat.device),) * 2
    least, largest = torch.aminmax(flat)
    return least, largest


@dataclass(frozen=True, slots=True)
class HistogramSummary:
    """A finished histogram, and what it leaves out.

    Attributes:
        histogram: finite values only.
        n_nan, n_inf: number of values left out of it.
        zero_share: share of values that are zero (or so small that the type stores them as subnormal in its lowest
            bucket), NaN for an empty tensor.
    """

    histogram: Histogram
    n_nan: int
    n_inf: int
    zero_share: float


def summarise(tag: str, dtype: torch.dtype, counts: NDArray[np.int64], extremes: Sequence[float]) -> HistogramSummary:
    """Read the bucket counts of `measure`, once they are on the host.

    Minimum and maximum are exact (those of a tensor with non-finite values are edges of buckets); sum and sum of
    squares come from the buckets' midpoints.
    """
    layout = _LAYOUTS[dtype]
    positive, negative = counts[: layout.half], counts[layout.half :]
    per_octave = 1 << SUB_BITS
    top = layout.half - per_octave
    n_inf = int(positive[top] + negative[top])
    n_nan = int(positive[top + 1 :].sum() + negative[top + 1 :].sum())
    ordered = np.concatenate((negative[top - 1 :: -1], positive[:top]))
    histogram = _trimmed(tag, _edges(dtype), ordered, extremes if not n_inf + n_nan else None)
    total = int(counts.sum())
    zeros = int(positive[0] + negative[0])
    return HistogramSummary(histogram, n_nan, n_inf, zeros / total if total else float("nan"))


@lru_cache(maxsize=8)
def _edges(dtype: torch.dtype) -> NDArray[np.float64]:
    """Edges of the finite buckets in ascending order, shape (2 × finite + 1,)."""
    layout = _LAYOUTS[dtype]
    per_octave = 1 << SUB_BITS
    bias = (1 << (layout.exponent_bits - 1)) - 1
    number = np.arange(layout.half - per_octave + 1)
    exponent, fraction = number // per_octave, (number % per_octave) / per_octave
    normal = np.ldexp(1.0 + fraction, np.minimum(exponent - bias, 1023))
    edges = np.where(exponent == 0, np.ldexp(fraction, 1 - bias), normal)
    return np.concatenate((-edges[:0:-1], edges))


def _trimmed(
    tag: str, edges: NDArray[np.float64], counts: NDArray[np.int64], extremes: Sequence[float] | None
) -> Histogram:
    """The occupied buckets, each run of empty buckets between them merged, and one empty bucket on the left.

    Around zero a float has hundreds of octaves that hold nothing; they would be most of the record.
    """
    occupied = np.flatnonzero(counts)
    if occupied.size == 0:
        nothing = np.zeros(1)
        return Histogram(tag, nothing, nothing, 0.0, 0.0, 0.0, 0.0)
    first, last = int(occupied[0]), int(occupied[-1])
    counts = counts[first : last + 1]
    written = (counts > 0) | np.append(counts[1:] > 0, True)  # an empty bucket before an occupied one gives its edge
    limits = np.concatenate((edges[first : first + 1], edges[first + 1 : last + 2][written]))
    in_buckets = np.concatenate(([0.0], counts[written]))
    midpoints = limits[:-1] / 2 + limits[1:] / 2
    low, high = extremes if extremes is not None else (float(limits[0]), float(limits[-1]))
    with np.errstate(over="ignore"):  # squares of float64 values beyond 1e154
        total, total_of_squares = float(midpoints @ in_buckets[1:]), float(midpoints**2 @ in_buckets[1:])
    return Histogram(tag, limits, in_buckets, low, high, total, total_of_squares)
