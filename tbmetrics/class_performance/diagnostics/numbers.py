"""Numerics that several diagnostics share: nearest rows in blocks, precision of sums."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from tbmetrics.records import FloatArray, IntArray

BLOCK_BYTES = 32 * 2**20


def sum_dtype(device: torch.device) -> torch.dtype:
    """The precision of sums: float64, if the device has it."""
    return torch.float32 if device.type == "mps" else torch.float64


def to_numpy(values: Tensor) -> FloatArray:
    """As a float64 array on the host."""
    array: FloatArray = values.detach().cpu().numpy().astype(np.float64)
    return array


def evenly_spread(size: int, most: int) -> IntArray:
    """Positions among `size`, at most `most` (at least two), from the first to the last, ascending."""
    return np.unique(np.linspace(0, size - 1, min(max(2, most), size)).astype(np.int64))


class Nearest(NamedTuple):
    """The best partner of every row among the others: cosine or squared distance, and which row; (rows,)."""

    value: Tensor
    row: Tensor


class _Best:
    """The largest value offered to every row so far, and the partner that offered it."""

    def __init__(self, like: Tensor) -> None:
        self.value = torch.full_like(like, -torch.inf)
        self.row = torch.zeros_like(like, dtype=torch.long)

    def offer(self, first: int, values: Tensor, partners: Tensor) -> None:
        """Offer values, (n,), to the rows from `first` on."""
        rows = slice(first, first + len(values))
        better = values > self.value[rows]
        self.value[rows] = torch.where(better, values, self.value[rows])
        self.row[rows] = torch.where(better, partners, self.row[rows])

    def offer_block(self, first: int, block: Tensor, allowed: Tensor) -> None:
        """Offer the values between pairs of rows to both.

        Args:
            first: row of the block's first row and column.
            block: values between rows from `first` on, (n, rows - first); not modified.
            allowed: (rows,) bool, the rows that may be a partner.
        """
        size = len(block)
        across = block.masked_fill(~allowed[first:], -torch.inf).max(dim=1)
        self.offer(first, across.values, across.indices + first)
        down = block[:, size:].masked_fill(~allowed[first : first + size, None], -torch.inf)
        if down.shape[1]:
            best = down.max(dim=0)
            self.offer(first + size, best.values, best.indices + first)

    def result(self, sign: float = 1.0) -> Nearest:
        """The partners; NaN without an offer."""
        return Nearest(torch.where(self.value.isfinite(), sign * self.value, torch.nan), self.row)


def _products(rows: Tensor) -> Iterator[tuple[int, Tensor]]:
    """(first, products of rows from `first` on with themselves and all later ones): every pair, block by block."""
    at_once = max(1, BLOCK_BYTES // (4 * max(len(rows), 1)))
    for first in range(0, len(rows), at_once):
        yield first, rows[first : first + at_once] @ rows[first:].T


def nearest_by_cosine(rows: Tensor) -> Nearest:
    """The other row with the largest cosine.

    Args:
        rows: (R, D) float; a row of zeros, or with NaN, has no partner: its value is NaN.
    """
    norms = torch.linalg.vector_norm(rows, dim=1)
    defined = (norms > 0) & norms.isfinite()
    unit = torch.where(defined[:, None], rows / norms[:, None], 0)
    best = _Best(norms)
    for first, cosines in _products(unit):
        cosines.fill_diagonal_(-torch.inf)
        best.offer_block(first, cosines, defined)
    nearest = best.result()
    return Nearest(torch.where(defined, nearest.value.clamp(-1, 1), torch.nan), nearest.row)


class Neighbours(NamedTuple):
    """Partners of every row in three senses."""

    cosine: Nearest  # largest cosine
    any: Nearest  # smallest squared distance
    chosen: Nearest  # … to one of the chosen rows


def neighbours(rows: Tensor, noise: Tensor, usable: Tensor, chosen: Tensor) -> Neighbours:
    """Partners among the usable rows, from one pass over all pairs.

    Args:
        rows: (R, D) float, finite.
        noise: (R,), what sampling adds to a squared distance from each row: its variance divided by its samples. It is
            taken off.
        usable, chosen: (R,) bool.
    """
    squares = rows.square().sum(1)
    norms = squares.sqrt().clamp(min=1e-30)
    by_cosine, by_distance, by_chosen = _Best(squares), _Best(squares), _Best(squares)
    for first, products in _products(rows):
        part = slice(first, first + len(products))
        products.fill_diagonal_(torch.nan)
        cosines = products / norms[part, None] / norms[first:]
        by_cosine.offer_block(first, cosines.nan_to_num_(nan=-torch.inf), usable)
        distances = (squares[part, None] + squares[first:]).sub_(products, alpha=2).clamp_(min=0)
        nearness = (noise[part, None] + noise[first:]).sub_(distances).nan_to_num_(nan=-torch.inf)
        by_distance.offer_block(first, nearness, usable)
        by_chosen.offer_block(first, nearness, usable & chosen)
    partners = by_cosine.result(), by_distance.result(-1.0), by_chosen.result(-1.0)
    return Neighbours(*(Nearest(torch.where(usable, n.value, torch.nan), n.row) for n in partners))
