"""Steps of an epoch: where one ends and the next begins, how long they take, and what happens inside a typical one."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

import numpy as np

from tbmetrics.figures.resource_data import Span

#: Step times are kept of so many steps, the last of an epoch.
STEPS_KEPT = 1024
#: Steps looked into: not the first, which waits for the loader to start; then all for a while, then every so many.
WARM_UP, EVERY_STEP_UNTIL, THEN_EVERY = 1, 9, 50
SAMPLES_KEPT = 32
MOST_SPANS = 32


@dataclass(frozen=True, slots=True)
class SampledStep:
    """A step that was looked into: its length in seconds, and its components in the order of their beginnings."""

    seconds: float
    spans: tuple[Span, ...]


@dataclass(slots=True)
class _Open:
    began: int
    spans: list[tuple[str, int, int]] = field(default_factory=list)


class StepRecorder:
    """Step times of one epoch, and the spans of a few sampled steps; bounded, whatever the number of steps."""

    def __init__(self) -> None:
        self.start_epoch()

    def start_epoch(self) -> None:
        """Forgets the last epoch."""
        self.steps_seen = 0
        self._boundary: str | None = None
        self._last: int | None = None
        self._nanoseconds: deque[int] = deque(maxlen=STEPS_KEPT)
        self._sampled: deque[SampledStep] = deque(maxlen=SAMPLES_KEPT)
        self._open: _Open | None = None

    @property
    def sampling(self) -> bool:
        """Whether the step that is open now is looked into."""
        return self._open is not None

    def boundary(self, kind: str, now: int) -> bool:
        """A possible end of a step; says whether it was one, or the beginning of the first.

        An epoch uses the first `kind` that it sees: of "data_loading", "count_samples", "after_step", in this order.
        """
        if self._boundary is None:
            self._boundary = kind
        if kind != self._boundary:
            return False
        if self._last is not None:
            self._nanoseconds.append(now - self._last)
            self.steps_seen += 1
            self._close(now)
        self._last = now
        seen = self.steps_seen
        if WARM_UP <= seen < EVERY_STEP_UNTIL or (seen >= EVERY_STEP_UNTIL and seen % THEN_EVERY == 0):
            self._open = _Open(now)
        return True

    def left(self, name: str, began: int, ended: int) -> None:
        """A component of the sampled step was left."""
        if self._open is not None and began >= self._open.began and len(self._open.spans) < MOST_SPANS:
            self._open.spans.append((name, began, ended))

    def _close(self, now: int) -> None:
        opened, self._open = self._open, None
        if opened is not None:
            began = opened.began
            ordered = sorted(opened.spans, key=lambda span: (span[1], -span[2]))
            spans = tuple(Span(name, (a - began) / 1e9, (b - began) / 1e9) for name, a, b in ordered)
            self._sampled.append(SampledStep((now - began) / 1e9, spans))

    def times(self) -> dict[str, float]:
        """`median`, `p95` and `max` seconds of the last steps of the epoch; empty without any."""
        if not self._nanoseconds:
            return {}
        seconds = np.array(self._nanoseconds, dtype=np.float64) / 1e9
        return {
            "median": float(np.median(seconds)),
            "p95": float(np.quantile(seconds, 0.95)),
            "max": float(seconds.max()),
        }

    def typical(self) -> SampledStep | None:
        """The sampled step of middle length; None where none was sampled."""
        ordered = sorted(self._sampled, key=lambda step: step.seconds)
        return ordered[len(ordered) // 2] if ordered else None
