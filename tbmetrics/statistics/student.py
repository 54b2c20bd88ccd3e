"""Student's t for few runs: the interval of their mean, and whether two means differ."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

LEVEL = 0.05
#: With fewer runs on a side a difference of means cannot be told.
LEAST_RUNS = 3


class MeanDifference(NamedTuple):
    """Of two means, B minus A, with its 95 % interval and two-sided p-value; these are NaN if it cannot be told."""

    difference: float
    lower: float = math.nan
    upper: float = math.nan
    p: float = math.nan


def deviation(values: Sequence[float]) -> float:
    """The standard deviation with n − 1; NaN for fewer than two values."""
    return float(np.std(values, ddof=1)) if len(values) > 1 else math.nan


def mean_interval(values: Sequence[float]) -> tuple[float, float]:
    """The 95 % t-interval of the mean of normal values; NaN for fewer than two."""
    if len(values) < 2:
        return math.nan, math.nan
    mean, half = float(np.mean(values)), student_quantile(LEVEL, len(values) - 1) * _error(values)
    return mean - half, mean + half


def welch(a: Sequence[float], b: Sequence[float]) -> MeanDifference:
    """Whether two means differ, by Welch's test (1947) with the degrees of freedom of the smaller side.

    It never has more false alarms than it says if values are normal, whatever their numbers and spreads (Mickey and
    Brown, 1966). At least `LEAST_RUNS` values a side.
    """
    difference, fewest = float(np.mean(b) - np.mean(a)), min(len(a), len(b))
    if fewest < LEAST_RUNS:
        return MeanDifference(difference)
    error = math.hypot(_error(a), _error(b))
    p = student_tails(difference / error, fewest - 1) if error else float(difference == 0)
    half = student_quantile(LEVEL, fewest - 1) * error
    return MeanDifference(difference, difference - half, difference + half, p)


def student_tails(t: float, freedom: int) -> float:
    """Probability that Student's t lies further from 0 than `t` on either side (Abramowitz and Stegun, 26.7.3 and 4).

    Args:
        t: the statistic.
        freedom: degrees of freedom, a whole number.
    """
    angle = math.atan(abs(t) / math.sqrt(freedom))
    sine, cosine = math.sin(angle), math.cos(angle)
    is_odd = freedom % 2 == 1
    term, total = (cosine, 0.0) if is_odd else (1.0, 0.0)
    for k in range(1 if is_odd else 0, freedom - 1, 2):
        total += term
        term *= cosine**2 * (k + 1) / (k + 2)
    inside = 2 / math.pi * (angle + sine * total) if is_odd else sine * total
    return min(1.0, max(0.0, 1 - inside))


def student_quantile(share: float, freedom: int) -> float:
    """The t beyond which, on both sides, lies `share`."""
    low, high = 0.0, 1.0
    while student_tails(high, freedom) > share:
        high *= 2
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if student_tails(middle, freedom) > share else (low, middle)
    return high


def _error(values: Sequence[float]) -> float:
    return deviation(values) / math.sqrt(len(values))
