"""How often a tracker samples, and how much time it spends drawing."""

from __future__ import annotations

import time

from tbmetrics.tracking.checks import check_whole_numbers

#: Largest share of the time spent drawing.
_DRAWING_SHARE = 0.01
#: Steps sampled before the first regular ones.
_FIRST = frozenset((1, 2, 5, 10, 20, 50))


class Cadence:
    """The number of steps between samples of a tracker.

    An overhead budget may stretch it by powers of two, so that a stretched cadence samples a subset of the original
    steps.

    Args:
        every: steps between samples, at least 1.
        name: name of the option, for messages.

    Raises:
        InputError: `every` is not a whole number of at least 1.
    """

    def __init__(self, every: int, name: str) -> None:
        check_whole_numbers(**{name: every})
        self.every, self.name = every, name
        self.factor = 1

    def due(self, step: int) -> bool:
        """Whether to sample `step`: the first few at growing distances, so that a run shows something at once."""
        return step % (self.every * self.factor) == 0 or step == 1 or (step in _FIRST and 10 <= self.every > step)

    def stretch(self) -> None:
        """Sample half as often."""
        self.factor *= 2

    def relax(self) -> None:
        """Sample twice as often, up to the original cadence."""
        self.factor = max(self.factor // 2, 1)


class DrawingTime:
    """Keep drawing below 1 % of the time; use as a context manager around each drawing.

    Attributes:
        due: whether something is waiting to be drawn.
    """

    def __init__(self) -> None:
        self.due = False
        self._seconds = 1.0  # of the last drawing; a guess before the first
        self._end = self._start = time.monotonic()

    def affordable(self) -> bool:
        """Whether enough time has passed since the last drawing, given how long it took."""
        return self._seconds <= _DRAWING_SHARE * (time.monotonic() - self._end)

    def __enter__(self) -> None:
        self.due = False
        self._start = time.monotonic()

    def __exit__(self, *_: object) -> None:
        self._end = time.monotonic()
        self._seconds = self._end - self._start
