"""McNemar's exact test: whether two classifiers hit the same samples equally often."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

IntArray = NDArray[np.int64]


def mcnemar_p(only_a: IntArray, only_b: IntArray) -> NDArray[np.float64]:
    """Two-sided p-values of McNemar's exact test (McNemar, 1947): a binomial test of the discordant samples.

    Args:
        only_a, only_b: samples that only A, or only B, hits, any equal shape.

    Returns:
        twice the smaller tail, at most 1; 1 without discordant samples.
    """
    pairs, where = np.unique(np.stack([np.minimum(only_a, only_b), only_a + only_b]), axis=1, return_inverse=True)
    by_pair = np.array([_two_sided(int(least), int(total)) for least, total in pairs.T])
    p: NDArray[np.float64] = by_pair[where.reshape(-1)].reshape(only_a.shape) if pairs.size else np.ones(only_a.shape)
    return p


def _two_sided(least: int, total: int) -> float:
    tail = sum(math.comb(total, k) for k in range(least + 1))
    return min(1.0, float(2 * tail / 2**total))
