"""How often a tracker samples, and how much time it spends drawing."""

from __future__ import annotations

import math
import time
from bisect import bisect_right
from collections.abc import Callable

from tbmetrics.tracking.checks import check_whole_numbers
from tbmetrics.tracking.drawing import matplotlib_is_loaded

#: Largest share of the time spent drawing while the run goes on.
_DRAWING_SHARE = 0.01
#: Share of the run's time that one drawing may take before it stops with what it has.
_LONG_SHARE = 0.02
#: Steps 1, 2, 5, 10, 20, 50, 100, … are sampled whatever the time, so that a run of any length shows something.
_DENSE_STEPS = tuple(digit * 10**power for power in range(20) for digit in (1, 2, 5))
_DENSE = frozenset(_DENSE_STEPS)


class Cadence:
    """Says which steps a tracker samples: every n-th, or, without a number, as often as people look.

    Without a number steps 1, 2, 5, 10, 20, 50, … are sampled, and the multiples of `steps` that come at least `seconds`
    after the sample before. A clock belongs to one process, so ranks that sample together go by steps alone
    (`by_steps`). An overhead budget may stretch a cadence by powers of two; then it samples a subset of its steps.

    Args:
        every: steps between samples, at least 1; None = see above.
        name: name of the option, for messages.
        steps, seconds: least distance between samples if `every` is None.
        clock: monotonic, in seconds.

    Attributes:
        every: steps between samples, as given or the least.
        is_exact: whether the number was given.
        factor: by which it is stretched.

    Raises:
        InputError: `every` is not a whole number of at least 1.
    """

    def __init__(
        self,
        every: int | None,
        name: str,
        *,
        steps: int = 10,
        seconds: float = 0.5,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.is_exact = every is not None
        if every is None:
            every = steps
        check_whole_numbers(**{name: every})
        self.every, self.name, self.factor = every, name, 1
        self._seconds, self._clock = seconds, clock
        self._last_step, self._last_time = 0, -math.inf
        self._interval = 0
        self._is_next_wanted = False

    def due(self, step: int) -> bool:
        """Whether to sample `step`."""
        if self._is_next_wanted:
            return True
        if step % (self.every * self.factor) == 0:
            return self.is_exact or self._clock() >= self._last_time + self._seconds * self.factor or step in _DENSE
        return step in _DENSE and not self.is_exact

    def next_after(self, step: int) -> int:
        """The first step after `step` that may be due, as far as steps decide."""
        if self._is_next_wanted:
            return step + 1
        distance = self.every * self.factor
        regular = (step // distance + 1) * distance
        return regular if self.is_exact else min(regular, _DENSE_STEPS[bisect_right(_DENSE_STEPS, step)])

    def sampled(self, step: int) -> None:
        """Note that `step` is sampled; what goes by steps alone need not be told."""
        self._interval = step - self._last_step
        self._last_step, self._last_time = step, self._clock()
        self._is_next_wanted = False

    def begin_epoch(self) -> None:
        """Sample the next step, so that an epoch has a sample however short; where the clock decides only."""
        self._is_next_wanted = not self.is_exact and self._seconds > 0

    def has_sampled(self, step: int) -> bool:
        """Whether `step`, the last one, was sampled."""
        return self._last_step == step or (self.is_exact and self.due(step))

    @property
    def interval(self) -> int:
        """Steps between samples: those asked for, or between the last two if the clock decides."""
        return max(self.every * self.factor, 0 if self.is_exact else self._interval)

    def seconds_between(self, step_seconds: float) -> float:
        """Seconds between samples if a step takes `step_seconds`."""
        return max(self.every * step_seconds, 0.0 if self.is_exact else self._seconds) * self.factor

    def by_steps(self) -> None:
        """Leave the clock out, so that all ranks sample the same steps."""
        self._seconds = 0.0

    def thin(self) -> None:
        """Sample half as often from now on."""
        self.every *= 2
        self._seconds *= 2

    def state(self) -> tuple[int, int]:
        """How far it is thinned and stretched, for `restore`."""
        return self.every, self.factor

    def restore(self, state: tuple[int, int]) -> None:
        """Restore what `state` returned."""
        every, self.factor = state
        self._seconds *= every / self.every
        self.every = every

    def stretch(self) -> None:
        """Sample half as often, until `relax`."""
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
        self._began = self._end = self._start = time.monotonic()

    def affordable(self) -> bool:
        """Whether enough time has passed since the last drawing, given how long it took, and matplotlib is loaded."""
        return self._seconds <= _DRAWING_SHARE * (time.monotonic() - self._end) and matplotlib_is_loaded()

    def is_long(self) -> bool:
        """Whether the drawing under way has taken more than 2 % of the run so far."""
        return time.monotonic() - self._start > _LONG_SHARE * (self._start - self._began)

    def __enter__(self) -> None:
        self.due = False
        self._start = time.monotonic()

    def __exit__(self, *_: object) -> None:
        self._end = time.monotonic()
        self._seconds = self._end - self._start
