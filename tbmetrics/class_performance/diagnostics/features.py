"""Geometry of the classifier's input over a validation: class means and scatter, streamed in bounded memory."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from tbmetrics.class_performance.arguments import has_finite_sum
from tbmetrics.class_performance.diagnostics.numbers import (
    Nearest,
    Neighbours,
    neighbours,
    sum_dtype,
    to_numpy,
)
from tbmetrics.records import FloatArray, IntArray

MIN_SAMPLES = 2  # of a class with a mean and a variance
MIN_DIMENSIONS = 16


class FeatureState:
    """Sums over the features of one attribute: counts, sums and squares by class, and one scatter matrix.

    If the sums and the matrix would exceed `max_bytes`, features are first projected on random directions (Johnson and
    Lindenstrauss, 1984), as many as fit: distances and variances keep their expectation.

    Args:
        num_classes: C.
        max_bytes: of the sums and the matrix.
    """

    def __init__(self, num_classes: int, max_bytes: int) -> None:
        self.num_classes = num_classes
        self._max_bytes = max_bytes
        self._projection: Tensor | None = None
        self._width: int | None = None
        self.reset()

    def reset(self) -> None:
        """Forget the validation."""
        self._sums: _Sums | None = None
        self.n_samples = 0

    @property
    def dimensions(self) -> tuple[int, int]:
        """Width of the features, before and after the projection."""
        width = self._width or 0
        return width, width if self._projection is None else int(self._projection.shape[1])

    @property
    def nbytes(self) -> int:
        """Bytes of sums and matrix."""
        return 0 if self._sums is None else 4 * (self._sums.by_class.numel() + self._sums.scatter.numel())

    @torch.no_grad()
    def add(self, features: Tensor, labels: Tensor) -> None:
        """Add a batch.

        Args:
            features: (N, D), any float type.
            labels: class indices (N,), all known, or multi-hot (N, C): a sample counts for each of its classes.
        """
        if not len(features):
            return
        wide = features.detach().float()
        labels = labels.to(wide.device)
        if not has_finite_sum(wide):
            good = wide.isfinite().all(1)
            wide, labels = wide[good], labels[good]
        projected = self._projected(wide)
        if self._sums is None:
            self._sums = _Sums(projected, self.num_classes)
        self._sums.add(projected, labels)
        self.n_samples += len(projected)

    def _projected(self, features: Tensor) -> Tensor:
        if self._width != features.shape[1]:
            self._width, self._projection = features.shape[1], self._new_projection(features)
            self.reset()
        return features if self._projection is None else features @ self._projection

    def _new_projection(self, features: Tensor) -> Tensor | None:
        width = features.shape[1]
        values = self._max_bytes / 4  # C·d + d² = values
        fits = int((math.sqrt(self.num_classes**2 + 4 * values) - self.num_classes) / 2)
        fits = max(fits, MIN_DIMENSIONS)
        if fits >= width:
            return None
        generator = torch.Generator().manual_seed(0)
        return (torch.randn(width, fits, generator=generator) / math.sqrt(fits)).to(features.device)

    @torch.no_grad()
    def columns(self, head: IntArray) -> dict[str, FloatArray]:
        """The columns of `DIAGNOSTIC_COLUMNS` that come from features; empty without samples.

        Args:
            head: indices of the head classes.
        """
        if self._sums is None or not self.n_samples:
            return {}
        geometry = _Geometry(self._sums)
        is_head = torch.zeros_like(geometry.usable)
        is_head[torch.as_tensor(head, device=is_head.device)] = True
        cosines, nearest, nearest_head = geometry.neighbours(is_head)
        return {
            "nc1": to_numpy(geometry.variability()),
            "mean_norm": to_numpy(torch.where(geometry.usable, geometry.centred.norm(dim=1), torch.nan)),
            "nearest_mean_cosine": to_numpy(cosines.value),
            "nearest_mean_class": _index(nearest),
            "separation": to_numpy(geometry.separation(nearest)),
            "nearest_head_class": _index(nearest_head),
            "head_separation": to_numpy(geometry.separation(nearest_head)),
        }


class _Sums:
    """Sums over samples, about the mean of the first batch, which keeps float32 precise."""

    def __init__(self, first: Tensor, classes: int) -> None:
        width, double = first.shape[1], sum_dtype(first.device)
        self.shift = first.mean(0) if len(first) else first.new_zeros(width)
        self.by_class = first.new_zeros(classes, width)
        self.scatter = first.new_zeros(width, width)
        self.counts = torch.zeros(classes, dtype=double, device=first.device)
        self.squares = torch.zeros(classes, dtype=double, device=first.device)

    def add(self, features: Tensor, labels: Tensor) -> None:
        """Add a batch, (N, width) and (N,) or (N, C)."""
        shifted = features - self.shift
        squares = shifted.square().sum(1).to(self.squares.dtype)
        weighted = shifted
        if labels.ndim == 1:
            index = labels.long()
            self.by_class.index_add_(0, index, shifted)
            self.counts.index_add_(0, index, torch.ones_like(squares))
            self.squares.index_add_(0, index, squares)
        else:
            positive = (labels > 0).float()
            self.by_class += positive.T @ shifted
            self.counts += positive.sum(0).to(self.counts.dtype)
            self.squares += positive.T.to(squares.dtype) @ squares
            weighted = shifted * positive.sum(1, keepdim=True)
        self.scatter += shifted.T @ weighted


class _Geometry:
    """Means, variances and distances between means, from the sums."""

    def __init__(self, totals: _Sums) -> None:
        counts, sums, squares, scatter = totals.counts, totals.by_class, totals.squares, totals.scatter
        self.usable = counts >= MIN_SAMPLES
        self.counts = n = counts.clamp(min=1)
        self.means = sums / n[:, None].to(sums.dtype)
        squared_means = self.means.square().sum(1).to(squares.dtype)
        within = (squares - counts * squared_means).clamp(min=0)
        self.variance = torch.where(self.usable, within / (n - 1).clamp(min=1), torch.nan)
        freedom = (counts - (counts > 0).to(counts.dtype)).sum()
        pooled = within.sum() / freedom.clamp(min=1)
        self.noise = torch.where(self.usable, self.variance, pooled) / n
        seen = self.means * counts[:, None].sqrt().to(sums.dtype)
        self.scatter = (scatter - seen.T @ seen) / freedom.clamp(min=1).to(sums.dtype)
        self.defined = freedom > 0
        weights = self.usable.to(sums.dtype)
        self.centred = self.means - (weights @ self.means) / weights.sum().clamp(min=1)

    def variability(self) -> Tensor:
        """Variance of each class divided by the variance of the class means, less sampling noise."""
        apart = self.centred.square().sum(1).to(self.variance.dtype) - self.noise
        number = self.usable.sum()
        between = torch.where(self.usable, apart, 0).sum() / (number - 1).clamp(min=1)
        return torch.where((between > 0) & (number > 1), self.variance / between, torch.nan)

    def neighbours(self, head: Tensor) -> Neighbours:
        """Nearest classes by cosine of the centred means, by distance, and by distance to head classes."""
        return neighbours(self.centred, self.noise.to(self.centred.dtype), self.usable, head)

    def separation(self, nearest: Nearest) -> Tensor:
        """Distance to the nearest mean in standard deviations of the pooled scatter along the joining line.

        0 if the means are no further apart than sampling makes them; NaN if the samples are too few to tell 0 from two
        standard deviations.
        """
        along = self.means - self.means[nearest.row]
        length = along.square().sum(1)
        variance = ((along @ self.scatter) * along).sum(1) / length.clamp(min=1e-30)
        squared = nearest.value.clamp(min=0)
        separation = squared.sqrt() / variance.clamp(min=1e-30).sqrt()
        n = self.counts
        error = self.scatter.norm() * math.sqrt(2) * (1 / n + 1 / n[nearest.row]).to(length.dtype)
        is_precise = error <= torch.maximum(2 * variance, squared / 2)
        is_known = self.defined & nearest.value.isfinite() & is_precise
        return torch.where(is_known, torch.where(length > 0, separation, 0), torch.nan)


def _index(nearest: Nearest) -> FloatArray:
    return to_numpy(torch.where(nearest.value.isnan(), torch.nan, nearest.row.float()))
