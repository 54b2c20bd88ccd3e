"""Confidence intervals for few examples: Wilson for shares, logit-binomial for average precision, from replicates.

All describe the resampling of this validation set. None covers the spread over training seeds.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

Z95 = 1.959963984540054
Interval = tuple[NDArray[np.float64], NDArray[np.float64]]


def wilson(successes: ArrayLike, trials: ArrayLike, z: float = Z95) -> Interval:
    """Wilson's score interval of a share (Wilson, 1927); NaN without trials.

    Args:
        successes, trials: counts, any equal shape.
        z: normal quantile; the default is 95 %, two-sided.
    """
    k, n = np.asarray(successes, dtype=np.float64), np.asarray(trials, dtype=np.float64)
    n = np.where(n > 0, n, np.nan)
    share = k / n
    centre = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * np.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    return np.clip(centre - half, 0.0, 1.0), np.clip(centre + half, 0.0, 1.0)


def f1_interval(true_positives: ArrayLike, predicted: ArrayLike, support: ArrayLike, z: float = Z95) -> Interval:
    """Interval of an F1 from counts; NaN without positives and predictions.

    F1 is an increasing function of TP / (TP + FP + FN), a share of the examples that are positive or predicted:
    this is Wilson's interval of that share, transformed. Given the number of such examples it is as exact as Wilson's.

    Args:
        true_positives, predicted, support: counts, any equal shape; `predicted` = TP + FP, `support` = TP + FN.
        z: normal quantile; the default is 95 %, two-sided.
    """
    tp = np.asarray(true_positives, dtype=np.float64)
    lower, upper = wilson(tp, np.asarray(predicted) + np.asarray(support) - tp, z)
    return 2 * lower / (1 + lower), 2 * upper / (1 + upper)


def logit_binomial(ap: ArrayLike, positives: ArrayLike, z: float = Z95) -> Interval:
    """Interval of an average precision on the logit scale, with the number of positives as its sample size.

    Boyd, Eng and Page, "Area under the precision-recall curve", ECML PKDD 2013. Covers better than the bootstrap where
    positives are few. An AP near 1 is first shrunk by half a positive, so that its interval has a width. The interval
    always contains the AP; it is NaN if the AP is undefined.
    """
    value, n = np.asarray(ap, dtype=np.float64), np.asarray(positives, dtype=np.float64)
    n = np.where(n > 0, n, np.nan)
    inner = np.clip(value, 1e-6, 1 - 0.5 / (n + 1))
    mean, spread = np.log(inner / (1 - inner)), 1 / np.sqrt(n * inner * (1 - inner))
    return np.fmin(_expit(mean - z * spread), value), np.fmax(_expit(mean + z * spread), value)


def mover_mean(
    values: NDArray[np.float64], lower: NDArray[np.float64], upper: NDArray[np.float64]
) -> tuple[float, float]:
    """Interval of the mean of independent estimates from their intervals; NaN if any is unknown, or there are none.

    MOVER (Zou and Donner, Statistics in Medicine 2008): each end is as far from the mean as the ends of the estimates
    are from them, squared and added.

    Args:
        values, lower, upper: of the estimates, each (n,).
    """
    if not values.size:
        return float("nan"), float("nan")
    down, up = (float(np.sqrt(((values - end) ** 2).sum())) / values.size for end in (lower, upper))
    return float(values.mean()) - down, float(values.mean()) + up


def mover_difference(a: tuple[float, float, float], b: tuple[float, float, float]) -> tuple[float, float, float]:
    """The difference `a - b` of independent estimates with its MOVER interval.

    Args:
        a, b: estimate, lower and upper end.
    """
    difference = a[0] - b[0]
    down, up = np.hypot(a[0] - a[1], b[2] - b[0]), np.hypot(a[2] - a[0], b[0] - b[1])
    return difference, difference - float(down), difference + float(up)


def smoothed_variance(successes: ArrayLike, trials: ArrayLike) -> NDArray[np.float64]:
    """Variance of a share, taken at (k + 1) / (n + 2), so that it is not 0 if all trials agree; NaN without trials."""
    k, n = np.asarray(successes, dtype=np.float64), np.asarray(trials, dtype=np.float64)
    n = np.where(n > 0, n, np.nan)
    share = np.clip((k + 1) / (n + 2), 0.0, 1.0)
    variance: NDArray[np.float64] = share * (1 - share) / n
    return variance


def percentile_interval(replicates: NDArray[np.float64]) -> tuple[float, float]:
    """The central 95 % of the defined replicates; NaN if fewer than two are defined."""
    defined = replicates[~np.isnan(replicates)]
    if defined.size < 2:
        return float("nan"), float("nan")
    low, high = np.percentile(defined, [2.5, 97.5])
    return float(low), float(high)


def _expit(x: NDArray[np.float64]) -> NDArray[np.float64]:
    with np.errstate(over="ignore"):
        return 1 / (1 + np.exp(-x))
