"""How often a tracker samples."""

from __future__ import annotations

import math
import time
from bisect import bisect_right
from collections.abc import Callable, Sequence

from tbmetrics.tracking.checks import check_whole_numbers

#: 1, 2, 5, 10, 20, 50, 100, …: sampled whatever the time, so that a run of any length shows something.
FIRST_STEPS = tuple(digit * 10**power for power in range(20) for digit in (1, 2, 5))


class Cadence:
    """Says which steps a tracker samples: every n-th, or, without a number, as often as people look.

    Without a number the steps in `first` are sampled, and the multiples of `steps` that come at least `seconds` after
    the sample before. A clock belongs to one process, so ranks that sample together go by steps alone
    (`by_steps`). An overhead budget may stretch a cadence by powers of two; then it samples a subset of its steps.

    Args:
        every: steps between samples, at least 1; None = see above.
        name: name of the option, for messages.
        steps, seconds: least distance between samples if `every` is None.
        first: ascending; sampled whatever the time, if `every` is None.
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
        first: Sequence[int] = FIRST_STEPS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.is_exact = every is not None
        if every is None:
            every = steps
        check_whole_numbers(**{name: every})
        self.every, self.name, self.factor = every, name, 1
        self._seconds, self._clock = seconds, clock
        self._first = () if self.is_exact else first
        self._last_step, self._last_time = 0, -math.inf
        self._interval = 0
        self._is_next_wanted = False

    def due(self, step: int) -> bool:
        """Whether to sample `step`."""
        if self._is_next_wanted:
            return True
        if step % (self.every * self.factor) == 0:
            is_late = self.is_exact or self._clock() >= self._last_time + self._seconds * self.factor
            return is_late or step in self._first
        return step in self._first

    def next_after(self, step: int) -> int:
        """The first step after `step` that may be due, as far as steps decide."""
        if self._is_next_wanted:
            return step + 1
        distance = self.every * self.factor
        regular = (step // distance + 1) * distance
        index = bisect_right(self._first, step)
        return min((regular, *self._first[index : index + 1]))

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
