"""Steps of an epoch: their times, the timeline of a typical one, throughput, and the time left."""

from __future__ import annotations

import math
import statistics
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from tbmetrics.figures.resource_data import Span

#: Most step times, sampled steps, and spans of a sampled step that are held; of the first two the latest in the epoch.
MOST_STEP_TIMES, MOST_SAMPLED_STEPS, MOST_SPANS = 1024, 32, 32
#: Steps to sample: not the first, which waits for the loader to start; then every step for a while, then every 50th.
WARM_UP, EVERY_STEP_UNTIL, THEN_EVERY = 1, 9, 50
#: Most points of the smoothed rate per epoch.
MOST_POINTS = 64


@dataclass(frozen=True, slots=True)
class SampledStep:
    """Length of a step in seconds, and its components in the order in which they began."""

    seconds: float
    spans: tuple[Span, ...]


@dataclass(slots=True)
class _OpenStep:
    began: int
    spans: list[tuple[str, int, int]] = field(default_factory=list)


class StepRecorder:
    """Step times of one epoch, and the spans of a few sampled steps, in bounded memory.

    Attributes:
        kind: of the boundaries that end the steps of this epoch; None before the first.
    """

    def __init__(self) -> None:
        self.start_epoch()

    def start_epoch(self) -> None:
        """Forget the last epoch."""
        self.steps_seen = 0
        self.kind: str | None = None
        self._last: int | None = None
        self._nanoseconds: deque[int] = deque(maxlen=MOST_STEP_TIMES)
        self._sampled: deque[SampledStep] = deque(maxlen=MOST_SAMPLED_STEPS)
        self._open: _OpenStep | None = None

    @property
    def is_sampling(self) -> bool:
        """Whether the current step is sampled."""
        return self._open is not None

    def boundary(self, kind: str, now: int) -> bool:
        """Note a possible end of a step; return whether it was one, or the beginning of the first step.

        Loops differ in what they report. The first `kind` in an epoch ("data_loading", "count_samples" or "after_step")
        is the one that ends its steps.
        """
        if self.kind is None:
            self.kind = kind
        if kind != self.kind:
            return False
        if self._last is not None:
            self._nanoseconds.append(now - self._last)
            self.steps_seen += 1
            if self._open is not None:
                self._close(self._open, now)
        self._last = now
        seen = self.steps_seen
        if WARM_UP <= seen < EVERY_STEP_UNTIL or (seen >= EVERY_STEP_UNTIL and seen % THEN_EVERY == 0):
            self._open = _OpenStep(now)
        return True

    def left(self, name: str, began: int, ended: int) -> None:
        """Note a component of the sampled step that has ended."""
        if self._open is not None and began >= self._open.began and len(self._open.spans) < MOST_SPANS:
            self._open.spans.append((name, began, ended))

    def _close(self, opened: _OpenStep, now: int) -> None:
        self._open, began = None, opened.began
        ordered = sorted(opened.spans, key=lambda span: (span[1], -span[2]))
        spans = tuple(Span(name, (a - began) / 1e9, (b - began) / 1e9) for name, a, b in ordered)
        self._sampled.append(SampledStep((now - began) / 1e9, spans))

    def times(self) -> dict[str, float]:
        """`median`, `p95` and `max` seconds of the last steps of the epoch; empty if there are none."""
        if not self._nanoseconds:
            return {}
        seconds = np.array(self._nanoseconds, dtype=np.float64) / 1e9
        return {
            "median": float(np.median(seconds)),
            "p95": float(np.quantile(seconds, 0.95)),
            "max": float(seconds.max()),
        }

    def typical(self) -> SampledStep | None:
        """The sampled step of median length, or None."""
        ordered = sorted(self._sampled, key=lambda step: step.seconds)
        return ordered[len(ordered) // 2] if ordered else None


# ---------------------------------------------------------------------------------------------------- throughput


class SmoothedRate:
    """Samples per second, smoothed over time: the weight of the past decays by 1/e in `memory_seconds`.

    Samples and seconds decay alike, so long and short steps weigh by their time, and the first value is unbiased. A
    batch is counted when it is handed out, so its time runs to the next count.
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
        """Leave out the time until the next batch."""
        self._handed_out = None

    def count(self, samples: float, now: int) -> None:
        """Count `samples` handed out at `now` (nanoseconds); the batch before is done then."""
        if self._handed_out is not None:
            done, since = self._handed_out
            elapsed = now - since
            decay = math.exp(-elapsed / self._memory)
            self._samples = self._samples * decay + done
            self._nanoseconds = self._nanoseconds * decay + elapsed
        self._handed_out = samples, now


class ThinnedPoints:
    """(step, wall time, value) at even distances: if there are too many, every second one is dropped."""

    def __init__(self) -> None:
        self.points: list[tuple[int, float, float]] = []
        self._stride = 1

    def accepts(self, number: int) -> bool:
        """Whether point `number`, from 1, is to be put."""
        return (number - 1) % self._stride == 0

    def until_next(self, number: int) -> int:
        """How many points after `number` the next one is to be put."""
        return self._stride - (number - 1) % self._stride

    def put(self, step: int, wall_time: float, value: float) -> None:
        """Add a point that was accepted."""
        self.points.append((step, wall_time, value))
        if len(self.points) > MOST_POINTS:
            del self.points[1::2]
            self._stride *= 2


def remaining_seconds(epoch_seconds: Sequence[float], total_epochs: int | None) -> float | None:
    """Time to the end of training by the median of the last five epochs; None if `total_epochs` is unknown."""
    if total_epochs is None or not epoch_seconds:
        return None
    return max(0, total_epochs - len(epoch_seconds)) * statistics.median(epoch_seconds[-5:])
