"""Histograms of tensors on their own device: exact counts in sub-octave buckets, read off the float bits.

A float's bits, shifted right until sign, exponent and the first two mantissa bits are left, are the number of its
bucket: four buckets an octave, edges at 2^e × {1, 1.25, 1.5, 1.75}. Counting is one shift and one scatter-add, needs no
range beforehand, no synchronisation, and no sorting; every count is exact. NaN and infinity fall into buckets of their
own and are left out of the histogram.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

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

    @property
    def finite(self) -> int:
        """Finite buckets of one sign; infinity and NaN come after them."""
        return self.half - (1 << SUB_BITS)


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
    """Bucket counts and extremes of tensors of one type, still on their device.

    Attributes:
        dtype: the tensors' float type; says how to read `counts`.
        counts: int64 of shape (tensors, buckets), by bit pattern.
        extremes: minimum and maximum of each tensor, of shape (tensors, 2).
    """

    dtype: torch.dtype
    counts: Tensor
    extremes: Tensor


def measure(tensors: Sequence[Tensor]) -> TensorStatistics:
    """Count the values of each tensor by bucket, without synchronising.

    Args:
        tensors: at least one, none empty; any shapes, all of one device and type: float64, float32, bfloat16 or
            float16.

    Raises:
        TypeError: not float tensors of one of these types.
    """
    dtype, device = tensors[0].dtype, tensors[0].device
    if dtype not in _LAYOUTS:
        raise TypeError(f"histograms need one of {[str(d) for d in _LAYOUTS]}, got {dtype}")
    flat = [tensor.detach().flatten().resolve_neg() for tensor in tensors]
    if device.type == "cpu":
        return _measure_on_cpu(flat, dtype)
    counts = torch.stack([_count(values, _LAYOUTS[dtype]) for values in flat])
    extremes = torch.stack([end for values in flat for end in torch.aminmax(values)]).view(-1, 2)
    return TensorStatistics(dtype, counts, extremes)


def _count(values: Tensor, layout: _Layout) -> Tensor:
    # bincount would synchronise to learn its output's size; a scatter into a given size does not.
    buckets = 2 * layout.half
    numbers = (values.view(layout.integer) >> layout.shift).bitwise_and_(buckets - 1).to(torch.int64)
    counts = torch.zeros(buckets, dtype=torch.int64, device=values.device)
    return counts.scatter_add_(0, numbers, torch.ones_like(numbers))


def _measure_on_cpu(tensors: Sequence[Tensor], dtype: torch.dtype) -> TensorStatistics:
    # In numpy: torch would share each short pass among threads, and wait for them where cores are busy.
    layout = _LAYOUTS[dtype]
    buckets = 2 * layout.half
    counts = np.zeros((len(tensors), buckets), dtype=np.int64)
    extremes = np.tile([np.inf, -np.inf], (len(tensors), 1))
    bits = [tensor.view(layout.integer).numpy() for tensor in tensors]
    for row in (row for row, of_tensor in enumerate(bits) if len(of_tensor) > _AT_ONCE):
        for start in range(0, len(bits[row]), _AT_ONCE):
            part = bits[row][start : start + _AT_ONCE]
            counts[row] += np.bincount(_numbers(part, layout), minlength=buckets)
            values = _values(part, dtype)
            extremes[row] = min(extremes[row, 0], values.min()), max(extremes[row, 1], values.max())
    for rows in _batches([len(of_tensor) for of_tensor in bits], buckets):
        lengths = np.array([len(bits[row]) for row in rows])
        batch = np.concatenate([bits[row] for row in rows])
        numbers = _numbers(batch, layout) + np.repeat(np.arange(0, len(rows) * buckets, buckets), lengths)
        counts[rows] = np.bincount(numbers, minlength=len(rows) * buckets).reshape(-1, buckets)
        values, starts = _values(batch, dtype), lengths.cumsum() - lengths
        extremes[rows, 0], extremes[rows, 1] = np.minimum.reduceat(values, starts), np.maximum.reduceat(values, starts)
    return TensorStatistics(dtype, torch.from_numpy(counts), torch.from_numpy(extremes))


def _numbers(bits: NDArray[Any], layout: _Layout) -> NDArray[np.intp]:
    """The number of each value's bucket."""
    return (bits.view(f"u{bits.itemsize}") >> layout.shift).astype(np.intp)


def _values(bits: NDArray[Any], dtype: torch.dtype) -> NDArray[Any]:
    """The values with these bits, float32 or float64; numpy has no bfloat16, and is slow at float16."""
    return bits.view(f"f{bits.itemsize}") if bits.itemsize > 2 else torch.from_numpy(bits).view(dtype).float().numpy()


def _batches(sizes: Sequence[int], buckets: int) -> Iterator[list[int]]:
    """Indices of the tensors that are not large, as many at once as their values and counts fit the cache."""
    batch: list[int] = []
    room = _AT_ONCE
    for index, size in enumerate(sizes):
        if size > _AT_ONCE:
            continue
        room -= max(size, buckets)
        if room < 0 and batch:
            yield batch
            batch, room = [], _AT_ONCE - max(size, buckets)
        batch.append(index)
    if batch:
        yield batch


def summarise(
    tags: Sequence[str], dtype: torch.dtype, counts: NDArray[np.int64], extremes: NDArray[np.float64]
) -> list[Histogram]:
    """The histograms of what `measure` found, once it is on the host; finite values only.

    Of the buckets, those that hold values are written, and one empty bucket before each run of them: around zero a
    float has hundreds of octaves that hold nothing; they would be most of the record. Minimum and maximum are exact
    (those of a tensor with non-finite values are edges of buckets); sum and sum of squares come from the buckets'
    midpoints.

    Args:
        tags: of the tensors.
        dtype, counts, extremes: see `TensorStatistics`.
    """
    layout, edges = _LAYOUTS[dtype], _edges(dtype)
    positive, negative = counts[:, : layout.half], counts[:, layout.half :]
    ascending = np.concatenate((negative[:, layout.finite - 1 :: -1], positive[:, : layout.finite]), axis=1)
    occupied = np.flatnonzero(ascending != 0)  # many times faster than np.nonzero of a matrix
    rows, buckets = np.divmod(occupied, ascending.shape[1])
    held = ascending.ravel()[occupied].astype(np.float64)
    left, right = edges[buckets], edges[buckets + 1]
    begins_run = (np.diff(rows, prepend=-1) != 0) | (np.diff(buckets, prepend=-1) != 1)
    places = np.arange(len(rows)) + np.cumsum(begins_run)  # in what is written
    limits = np.empty(len(rows) + np.count_nonzero(begins_run))
    limits[places], limits[places[begins_run] - 1] = right, left[begins_run]
    written = np.zeros(len(limits))
    written[places] = held
    midpoints = left / 2 + right / 2
    with np.errstate(over="ignore"):  # squares of float64 values beyond 1e154
        sums, sums_of_squares = (np.bincount(rows, x * held, len(tags)) for x in (midpoints, midpoints**2))
    n_finite = np.bincount(rows, held, len(tags))
    lengths = np.bincount(rows, minlength=len(tags)) + np.bincount(rows[begins_run], minlength=len(tags))
    ends = lengths.cumsum()
    columns = (ends - lengths, ends, extremes, n_finite == counts.sum(axis=1), sums, sums_of_squares)
    return [
        _histogram(tag, limits[start:end], written[start:end], extremes if is_whole else None, total, squares)
        for tag, start, end, extremes, is_whole, total, squares in zip(
            tags, *map(np.ndarray.tolist, columns), strict=True
        )
    ]


def _histogram(
    tag: str,
    limits: NDArray[np.float64],
    counts: NDArray[np.float64],
    extremes: Sequence[float] | None,
    total: float,
    total_of_squares: float,
) -> Histogram:
    if not limits.size:
        nothing = np.zeros(1)
        return Histogram(tag, nothing, nothing, 0.0, 0.0, 0.0, 0.0)
    low, high = extremes or (float(limits[0]), float(limits[-1]))
    return Histogram(tag, limits, counts, low, high, total, total_of_squares)


@lru_cache(maxsize=8)
def _edges(dtype: torch.dtype) -> NDArray[np.float64]:
    """Edges of the finite buckets in ascending order, shape (2 × finite + 1,)."""
    layout = _LAYOUTS[dtype]
    per_octave = 1 << SUB_BITS
    bias = (1 << (layout.exponent_bits - 1)) - 1
    number = np.arange(layout.finite + 1)
    exponent, fraction = number // per_octave, (number % per_octave) / per_octave
    normal = np.ldexp(1.0 + fraction, np.minimum(exponent - bias, 1023))
    edges = np.where(exponent == 0, np.ldexp(fraction, 1 - bias), normal)
    return np.concatenate((-edges[:0:-1], edges))
