"""How often a tracker samples, and how much of the time it draws."""

from __future__ import annotations

import time

from tbmetrics.tracking.checks import check_whole_numbers

#: Drawing may take this share of the time.
_DRAWING_SHARE = 0.01


class Cadence:
    """Every how many steps a tracker samples.

    An overhead budget may stretch it by powers of two, so that the steps of a stretched cadence are steps of the one
    asked for.

    Args:
        every: steps between samples, at least 1.
        name: what it is the cadence of, for messages.

    Raises:
        InputError: `every` is no whole number of at least 1.
    """

    def __init__(self, every: int, name: str) -> None:
        check_whole_numbers(**{name: every})
        self.every, self.name = every, name
        self.factor = 1

    def due(self, step: int) -> bool:
        """Whether `step` is to be sampled; step 1 always is, so that a run shows something at once."""
        return step == 1 or step % (self.every * self.factor) == 0

    def stretch(self) -> None:
        """Samples half as often."""
        self.factor *= 2

    def relax(self) -> None:
        """Samples twice as often, up to what was asked for."""
        self.factor = max(self.factor // 2, 1)


class DrawingTime:
    """Keeps drawing below 1 % of the time; entered around each drawing.

    Attributes:
        due: there is something to draw that was not drawn.
    """

    def __init__(self) -> None:
        self.due = False
        self._took = 1.0  # seconds, before it was ever measured
        self._done = self._began = time.monotonic()

    def affordable(self) -> bool:
        """Whether the last drawing is long enough ago for what it took."""
        return self._took <= _DRAWING_SHARE * (time.monotonic() - self._done)

    def __enter__(self) -> None:
        self.due = False
        self._began = time.monotonic()

    def __exit__(self, *_: object) -> None:
        self._done = time.monotonic()
        self._took = self._done - self._began
