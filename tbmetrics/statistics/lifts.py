"""Lifts: how many times as often as by chance two things come together, with an interval."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tbmetrics.statistics.intervals import Z95, Interval


def lift(observed: ArrayLike, expected: ArrayLike) -> NDArray[np.float64]:
    """Count observed over count expected without any association; NaN if none is expected.

    Args:
        observed, expected: counts, any equal shape.
    """
    count, chance = np.asarray(observed, dtype=np.float64), np.asarray(expected, dtype=np.float64)
    return np.divide(count, chance, out=np.full(count.shape, np.nan), where=chance > 0)


def lift_interval(
    observed: ArrayLike, expected: ArrayLike, variance: ArrayLike, reference: ArrayLike, z: float = Z95
) -> Interval:
    """Score interval of a lift whose counts come in clumps; it contains the lift. NaN if there is too little to tell.

    The count is Poisson, its variance as many times its mean as was seen (at least once); the expectation has the
    relative variance of a count of `reference` events that come in the same clumps.

    Args:
        observed, expected: counts, any equal shape.
        variance: of `observed`, estimated from how it is spread over the examples.
        reference: events behind `expected`.
        z: normal quantile; the default is 95 %, two-sided.
    """
    count, chance, spread, behind = (
        np.asarray(values, dtype=np.float64) for values in (observed, expected, variance, reference)
    )
    with np.errstate(divide="ignore", invalid="ignore"):
        clump = z**2 * np.where(count > 0, np.fmax(spread / count, 1.0), 1.0)
        quadratic = 1 - clump / behind
        linear = 2 * count + clump
        root = np.sqrt(linear**2 - 4 * count**2 * quadratic)
        lower, upper = ((linear + sign * root) / (2 * quadratic) / chance for sign in (-1, 1))
    is_told = (quadratic > 0) & (chance > 0)
    return np.where(is_told, lower, np.nan), np.where(is_told, upper, np.nan)
