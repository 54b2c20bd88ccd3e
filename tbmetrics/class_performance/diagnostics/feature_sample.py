"""A bounded sample of the classifier's inputs, as many of each class, for TensorBoard's Projector tab."""

from __future__ import annotations

import heapq
from itertools import count
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tbmetrics.class_performance.diagnostics.tiles import as_pixels, tile_shape
from tbmetrics.classes.attributes import AttributeClasses
from tbmetrics.records import GROUPS, UNKNOWN, Float32Array

#: Pixels of the longer side of an image.
SIDE = 48


class Point(NamedTuple):
    """One sample: its class, the classes called, the features float32 (D,), and uint8 (height, width, 3) or None."""

    label: int
    called: tuple[int, ...]
    features: Float32Array
    pixels: NDArray[np.uint8] | None


class FeatureSample:
    """Random samples of each class, drawn while a validation passes.

    Args:
        classes: of the attribute.
        most: number of samples; if it is less than that of the classes, tail classes come first.
        max_bytes: of the features, which may mean fewer samples.
    """

    def __init__(self, classes: AttributeClasses, most: int, max_bytes: int) -> None:
        self._classes, self._most, self._max_bytes = classes, most, max_bytes
        rare_first = [*reversed(GROUPS), UNKNOWN]
        self._order = np.concatenate([classes.members(group) for group in rare_first])
        counts = np.where(classes.counts < 0, np.iinfo(np.int64).max, classes.counts)
        self._rarity = torch.from_numpy(np.argsort(np.argsort(counts, kind="stable")))
        self.reset()

    def reset(self) -> None:
        """Begin another validation; the same order of samples draws the same ones."""
        self._random, self._number = np.random.default_rng(0), count()
        self._heaps: list[list[tuple[float, int, Point]]] = [[] for _ in self._classes.names]
        self._quota = np.zeros(len(self._classes), dtype=np.int64)
        self._bounds = np.full(len(self._classes), -np.inf)  # a sample with a smaller key is taken
        self._shape: tuple[int, int] | None = None
        self._width = 0

    @torch.no_grad()
    def add(self, features: Tensor, logits: Tensor, labels: Tensor, cuts: Tensor | None, images: Tensor | None) -> None:
        """Add a batch.

        Args:
            features: (N, D).
            logits: (N, C).
            labels: (N,) all known, or (N, C) of 1, 0, -1; of several classes the rarest counts, without one none.
            cuts: decision thresholds of a multi-label attribute, as logits, (C,).
            images: as from `checked_images`, or None.
        """
        self._width = self._width or features.shape[1]
        if features.shape[1] != self._width:
            return
        if not self._quota.any():
            self._share_out()
        label = self._one_label(labels).cpu().numpy()
        keys = self._random.random(len(label))
        rows = np.flatnonzero((label >= 0) & (keys < self._bounds[label]))
        if not rows.size:
            return
        chosen = torch.from_numpy(rows)
        vectors = features[chosen.to(features.device)].float().cpu().numpy()
        called = _called(logits[chosen.to(logits.device)], cuts)
        pixels = None if images is None else self._pixels(images[chosen.to(images.device)])
        for i in np.flatnonzero(np.isfinite(vectors).all(axis=1)).tolist():
            row = int(rows[i])
            point = Point(int(label[row]), called[i], vectors[i].copy(), None if pixels is None else pixels[i])
            self._offer(float(keys[row]), point)

    def _share_out(self) -> None:
        most = min(self._most, max(1, self._max_bytes // (4 * self._width)))
        chosen = self._order[:most]
        self._quota[chosen], self._bounds[chosen] = max(1, most // len(self._classes)), np.inf

    def _one_label(self, labels: Tensor) -> Tensor:
        """The class that each sample counts as, (N,): its label, or its rarest one; -1 = none."""
        if labels.ndim == 1:
            return labels
        rarity = torch.where(labels > 0, self._rarity.to(labels.device), len(self._classes))
        rarest = rarity.min(1)
        return torch.where(rarest.values < len(self._classes), rarest.indices, -1)

    def _offer(self, key: float, point: Point) -> None:
        heap = self._heaps[point.label]
        heapq.heappush(heap, (-key, next(self._number), point))
        if len(heap) > self._quota[point.label]:
            heapq.heappop(heap)
        if len(heap) == self._quota[point.label]:
            self._bounds[point.label] = -heap[0][0]

    def _pixels(self, images: Tensor) -> NDArray[np.uint8]:
        self._shape = self._shape or tile_shape(images, SIDE)
        pixels: NDArray[np.uint8] = as_pixels(images, self._shape).cpu().numpy()
        return pixels

    def points(self) -> list[Point]:
        """The samples, class by class."""
        return [point for heap in self._heaps for _, _, point in sorted(heap, key=lambda entry: entry[1])]


def _called(logits: Tensor, cuts: Tensor | None) -> list[tuple[int, ...]]:
    """The classes decided for in each row."""
    if cuts is None:
        return [(index,) for index in logits.argmax(1).tolist()]
    decided = (logits >= cuts.to(logits)).cpu().numpy()
    return [tuple(np.flatnonzero(row).tolist()) for row in decided]
