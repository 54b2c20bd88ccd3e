"""The sign-flip test of a mean difference: all sign patterns for few differences, random ones for many."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

#: Up to this many differences all sign patterns are tried, beyond it `FLIPS` random ones.
EXACT_FLIPS_UP_TO = 12
FLIPS = 1999
FLIPS_AT_ONCE = 200  # bounds the memory
LEVEL = 0.05  # of the test


class _Flips(NamedTuple):
    """Sums of the flipped differences, (patterns,), and whether the patterns are all there are."""

    sums: NDArray[np.float64]
    exact: bool


class SignFlipTest:
    """How often a mean difference this large arises if each difference is as likely to have the other sign.

    It assumes nothing about how the differences are distributed, so it holds for few of them.

    Args:
        differences: (n,), all defined.
        seed: of the random patterns.
    """

    def __init__(self, differences: NDArray[np.floating], seed: int = 0) -> None:
        self._n = differences.size
        self._total = float(differences.sum())
        self._tolerance = 1e-12 * float(np.abs(differences).sum())
        self._flips = _flips(differences, seed)

    def p(self) -> float:
        """Two-sided p-value of no difference; NaN without differences."""
        if self._n == 0:
            return math.nan
        observed = abs(self._total) - self._tolerance
        extreme = int(np.count_nonzero(np.abs(self._flips.sums) >= observed))
        patterns = len(self._flips.sums)
        return extreme / patterns if self._flips.exact else (1 + extreme) / (1 + patterns)

    @property
    def least_p(self) -> float:
        """The smallest p-value that this many differences allow."""
        if self._n == 0:
            return math.nan
        return 2 / len(self._flips.sums) if self._flips.exact else 1 / (1 + len(self._flips.sums))


def _flips(differences: NDArray[np.floating], seed: int) -> _Flips:
    n = differences.size
    if n <= EXACT_FLIPS_UP_TO:
        negative = (np.arange(2**n)[:, None] >> np.arange(n)) & 1
        return _Flips(_flipped(differences, negative), exact=True)
    rng = np.random.default_rng(seed)
    of_bytes = _sums_of_bytes(differences)
    first = 256 * np.arange(len(of_bytes))
    selected = []
    for rows in _chunks(FLIPS, FLIPS_AT_ONCE):
        drawn = rng.integers(0, 256, size=(rows, len(of_bytes)), dtype=np.uint8)
        selected.append(of_bytes.ravel()[first + drawn].sum(axis=1))
    return _Flips(differences.sum() - 2 * np.concatenate(selected), exact=False)


def _flipped(differences: NDArray[np.floating], negative: NDArray[np.integer]) -> NDArray[np.float64]:
    flipped = negative.astype(np.float64)  # a product of floats is many times faster than one with integers
    sums: NDArray[np.float64] = differences.sum() - 2 * (flipped @ differences)
    return sums


def _sums_of_bytes(differences: NDArray[np.floating]) -> NDArray[np.float64]:
    """What each byte of sign bits adds up of its eight differences, (bytes, 256): faster than a product."""
    eights = np.zeros(((differences.size + 7) // 8, 8))
    eights.ravel()[: differences.size] = differences
    bits = np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1)
    sums: NDArray[np.float64] = eights @ bits.T.astype(np.float64)
    return sums


def _chunks(total: int, size: int) -> list[int]:
    return [min(size, total - first) for first in range(0, total, size)]
