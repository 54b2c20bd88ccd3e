"""Memory as a line over the batch size: a fixed part and a part per sample, fitted robustly; numpy only."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_Z95 = 1.959963984540054


@dataclass(frozen=True, slots=True)
class MemoryLine:
    """Memory = `fixed_bytes` + `bytes_per_sample` × batch size.

    Attributes:
        fixed_bytes: what a batch of nothing would take: weights, gradients, optimizer state, workspaces.
        bytes_per_sample: slope.
        bytes_per_sample_lower, bytes_per_sample_upper: its 95 % interval after Sen (1968); with so few points that no
            such interval exists, the smallest and largest slope between two points; NaN with two sizes only.
        sizes, peaks: the points behind it, float64 of shape (points,).
    """

    fixed_bytes: float
    bytes_per_sample: float
    bytes_per_sample_lower: float
    bytes_per_sample_upper: float
    sizes: NDArray[np.float64]
    peaks: NDArray[np.float64]

    def at(self, size: float) -> float:
        """Bytes predicted for a batch of `size`."""
        return self.fixed_bytes + self.bytes_per_sample * size

    def largest_batch(self, capacity_bytes: float) -> tuple[float, float, float]:
        """The largest batch within `capacity_bytes`, and its interval from that of the slope (lower, upper).

        Infinite where the line does not rise; the interval is NaN where the slope has none. No bound lies below the
        largest size that was measured to fit.
        """
        slopes = (self.bytes_per_sample, self.bytes_per_sample_upper, self.bytes_per_sample_lower)
        fitted = self.sizes[self.peaks <= capacity_bytes]
        floor = float(fitted.max()) if fitted.size else 0.0
        best, lower, upper = (float(np.maximum(self._largest(slope, capacity_bytes), floor)) for slope in slopes)
        return best, lower, upper

    def _largest(self, slope: float, capacity_bytes: float) -> float:
        if math.isnan(slope):
            return math.nan
        if slope <= 0:
            return math.inf
        fixed = float(np.median(self.peaks - slope * self.sizes))
        return max(0.0, math.floor((capacity_bytes - fixed) / slope))


def fit_memory(sizes: Sequence[float], peaks: Sequence[float]) -> MemoryLine | None:
    """The Theil–Sen line through (batch size, bytes); None with fewer than two sizes.

    The slope is the median of the slopes between all pairs of different size; up to 29 % of wild points do not move
    it. At most 200 points are used, the last ones.
    """
    x = np.asarray(sizes, dtype=np.float64)[-200:]
    y = np.asarray(peaks, dtype=np.float64)[-200:]
    first, second = np.triu_indices(len(x), k=1)
    rise, run = y[second] - y[first], x[second] - x[first]
    slopes = np.sort(rise[run != 0] / run[run != 0])
    if not slopes.size:
        return None
    slope = float(np.median(slopes))
    lower, upper = _slope_interval(slopes, x)
    return MemoryLine(float(np.median(y - slope * x)), slope, lower, upper, x, y)


def _slope_interval(slopes: NDArray[np.float64], x: NDArray[np.float64]) -> tuple[float, float]:
    """Sen's interval, by the variance of Kendall's tau with ties in the batch size (memory rarely ties)."""
    if len(np.unique(x)) < 3:
        return math.nan, math.nan
    n = len(x)
    ties = np.unique(x, return_counts=True)[1]
    variance = (n * (n - 1) * (2 * n + 5) - float((ties * (ties - 1) * (2 * ties + 5)).sum())) / 18
    half = _Z95 * math.sqrt(variance)
    low = max(0, math.floor((slopes.size - half) / 2))
    high = min(slopes.size - 1, math.ceil((slopes.size + half) / 2))
    return float(slopes[low]), float(slopes[high])
