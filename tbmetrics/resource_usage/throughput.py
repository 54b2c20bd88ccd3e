"""How fast training goes: samples, steps and tokens per second, smoothed; and when it will be done."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

#: Points kept of the smoothed rate per epoch, at most.
POINTS_KEPT = 64


class SmoothedRate:
    """Samples per second, smoothed over time: what happened `memory_seconds` ago weighs 1/e of what happens now.

    Samples and seconds decay alike, so long and short steps weigh by their time, and the first value is unbiased.
    A batch is counted when it is handed out, so its time runs to the next count.
    """

    def __init__(self, memory_seconds: float = 10.0) -> None:
        self._memory = memory_seconds * 1e9
        self._samples = 0.0
        self._nanoseconds = 0.0
        self._handed_out: tuple[float, int] | None = None

    @property
    def value(self) -> float:
        """Samples per second; NaN before the first batch is done."""
        return self._samples / self._nanoseconds * 1e9 if self._nanoseconds else math.nan

    def pause(self) -> None:
        """Time until the next batch does not count."""
        self._handed_out = None

    def count(self, samples: float, now: int) -> None:
        """`samples` are handed out at `now` (nanoseconds), and those before them are done."""
        if self._handed_out is not None:
            done, since = self._handed_out
            taken = now - since
            keep = math.exp(-taken / self._memory)
            self._samples = self._samples * keep + done
            self._nanoseconds = self._nanoseconds * keep + taken
        self._handed_out = samples, now


class ThinnedPoints:
    """(step, wall time, value) at even distances: when there are too many, every other one goes."""

    def __init__(self) -> None:
        self.points: list[tuple[int, float, float]] = []
        self._stride = 1
        self._offered = 0

    def wanted(self) -> bool:
        """Whether the next point is kept; to be called once per point."""
        self._offered += 1
        return (self._offered - 1) % self._stride == 0

    def put(self, step: int, wall_time: float, value: float) -> None:
        """Keeps a point for which `wanted` said so."""
        self.points.append((step, wall_time, value))
        if len(self.points) > POINTS_KEPT:
            del self.points[1::2]
            self._stride *= 2


def remaining_seconds(epoch_seconds: Sequence[float], total_epochs: int | None) -> float | None:
    """Time to the end of training from the median of the last five epochs; None where their number is unknown."""
    if total_epochs is None or not epoch_seconds:
        return None
    return max(0, total_epochs - len(epoch_seconds)) * statistics.median(epoch_seconds[-5:])
