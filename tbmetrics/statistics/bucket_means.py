"""The uncertainty of means over classes, kept by bucket of classes, so that it can be had for any group of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tbmetrics.statistics.intervals import Z95

FloatArray = NDArray[np.float64]
#: Means that have no interval in a multi-label problem over many classes of fewer than two positives: their bias is as
#: large as their interval.
BIASED_BY_FEW = ("recall", "f1", "ap")
_MANY_CLASSES = 30


def has_too_few(n_classes: float, positives: float) -> bool:
    """Whether `n_classes`, each with positives, `positives` in all, are too many with too few."""
    return n_classes > _MANY_CLASSES and positives < 2 * n_classes


@dataclass(frozen=True, slots=True, eq=False)
class MeanUncertainty:
    """What the interval of the mean of one metric over any group of classes needs.

    Groups that consist of whole buckets have the interval that the classes themselves would give. Of a bucket that a
    group cuts, the part has its share of the bias, of the variance, as if its classes were independent, and of the
    covariances with other buckets.

    Attributes:
        n_defined: classes in each bucket that have the metric, (buckets,).
        bias: sum of their estimated biases, (buckets,).
        covariance: of the sums over the classes of each bucket, (buckets, buckets); NaN = unknown.
    """

    n_defined: FloatArray
    bias: FloatArray
    covariance: FloatArray

    def interval(self, mean: float, members: FloatArray, subtracted: FloatArray | None = None) -> tuple[float, float]:
        """The 95 % interval of the mean over a group, or of a difference of two; it contains `mean`.

        Args:
            mean: the metric's mean over the group, or the difference of means.
            members: classes of the group that have the metric, by bucket, (buckets,).
            subtracted: the same for the group whose mean is taken off, if any.

        Returns:
            the ends, between 0 and 1, or -1 and 1 for a difference; NaN if `mean` or the covariance is undefined.
        """
        centre, variance = self.centre_and_variance(mean, members, subtracted)
        half, lowest = Z95 * float(np.sqrt(max(variance, 0.0))), 0.0 if subtracted is None else -1.0
        if not np.isfinite(centre) or not np.isfinite(variance):
            return float("nan"), float("nan")
        return min(mean, max(centre - half, lowest)), max(mean, min(centre + half, 1.0))

    def centre_and_variance(
        self, mean: float, members: FloatArray, subtracted: FloatArray | None = None
    ) -> tuple[float, float]:
        """The mean with its bias taken off, and the variance of that; arguments as for `interval`."""
        weights, alone = self._weights(members)
        if subtracted is not None:
            less, alone_less = self._weights(subtracted)
            weights, alone = weights - less, alone + alone_less
        own = np.diag(self.covariance)
        variance = weights @ self.covariance @ weights + (alone - weights**2) @ own
        return mean - float(weights @ self.bias), float(variance)

    def _weights(self, members: FloatArray) -> tuple[FloatArray, FloatArray]:
        """What each bucket's sum counts in the group's mean, and its variance in that of the mean, each (buckets,)."""
        share = np.divide(members, self.n_defined, out=np.zeros(len(members)), where=self.n_defined > 0)
        n = max(members.sum(), 1.0)
        return share / n, share / n**2

    def to_column(self) -> FloatArray:
        """Biases, then the upper triangle of the covariance row by row, (buckets + buckets * (buckets + 1) / 2,)."""
        return np.concatenate([self.bias, self.covariance[np.triu_indices(len(self.bias))]])

    @classmethod
    def from_column(cls, column: FloatArray, n_defined: FloatArray) -> MeanUncertainty:
        """Inverse of `to_column`."""
        size = len(n_defined)
        covariance = np.zeros((size, size))
        covariance[np.triu_indices(size)] = column[size:]
        covariance = covariance + np.triu(covariance, 1).T
        return cls(n_defined, column[:size].astype(np.float64), covariance)


def column_length(buckets: int) -> int:
    """Length of `MeanUncertainty.to_column` for so many buckets."""
    return buckets + buckets * (buckets + 1) // 2
