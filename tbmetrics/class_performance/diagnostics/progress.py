"""From one validation to the next: when a class was learnt, and what was known and is forgotten."""

from __future__ import annotations

import numpy as np

from tbmetrics.class_performance.diagnostics.validation import Found
from tbmetrics.records import Float32Array, FloatArray

MOST_POINTS = 64


class Progress:
    """Recall of every class over the validations of a run, thinned, and forgetting events of its samples.

    Args:
        num_classes: C.
    """

    def __init__(self, num_classes: int) -> None:
        self._points: list[tuple[int, Float32Array]] = []  # step and recall, evenly spread
        self._latest: tuple[int, Float32Array] | None = None
        self._count, self._stride = 0, 1
        self._last: Found | None = None
        self._events = np.zeros(num_classes)
        self._compared = 0

    def after(self, step: int, recall: FloatArray, found: Found) -> Progress:
        """What it becomes with a validation made after `step` optimizer steps; this one stays as it is."""
        new = Progress(self._events.size)
        new._count, new._stride = self._count + 1, self._stride
        new._points = list(self._points)
        if self._latest is not None and (self._count - 1) % self._stride == 0:
            new._points.append(self._latest)
        if len(new._points) >= MOST_POINTS:
            new._points, new._stride = new._points[::2], 2 * self._stride
        new._latest = (step, recall.astype(np.float32))
        new._last, new._events, new._compared = found, self._events, self._compared
        if self._last is not None and np.array_equal(self._last.classes, found.classes):
            lost = found.classes[self._last.hits & ~found.hits]
            new._events = self._events + np.bincount(lost, minlength=self._events.size)
            new._compared += 1
        return new

    def half_recall_steps(self) -> FloatArray:
        """Step of the first validation with at least half of the latest recall; NaN where that is 0 or undefined."""
        if self._latest is None or not self._points:
            return np.full(self._events.size, np.nan)
        points = [*self._points, self._latest]
        recalls, latest = np.stack([recall for _, recall in points]), self._latest[1]
        steps = np.array([step for step, _ in points], dtype=np.float64)
        with np.errstate(invalid="ignore"):
            first = np.argmax(recalls >= latest / 2, axis=0)
            return np.where(latest > 0, steps[first], np.nan)

    def forgetting_events(self) -> FloatArray:
        """Per class, how often a positive was found in one validation and missed in the next, mean a positive.

        NaN until two validations in a row had the same labels in the same order. After Toneva et al., "An empirical
        study of example forgetting during deep neural network learning", ICLR 2019, who count on training samples.
        """
        if not self._compared or self._last is None:
            return np.full(self._events.size, np.nan)
        support = np.bincount(self._last.classes, minlength=self._events.size)
        return np.divide(self._events, support, out=np.full(support.size, np.nan), where=support > 0)
