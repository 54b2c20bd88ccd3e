"""Keeps tbmetrics' own cost within a budget: where it is exceeded, the costliest tracker samples less often."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence

from tbmetrics.errors import InputError
from tbmetrics.tracker import Tracker

logger = logging.getLogger("tbmetrics")

_PERIODS = 2  # of the slowest cadence between two decisions, so that each of its samples is in every window
_LEAST_STEPS = 32  # of a window
_ROOM = 0.25  # of the budget; below it a stretched cadence comes back


class OverheadGovernor:
    """Stretches and relaxes the cadences of sampling trackers.

    Over a window of two periods of the slowest cadence it compares the time spent in all trackers with the wall clock.
    Above the budget the tracker that took most, among those that sample, samples half as often; below a quarter of it
    the last one stretched samples twice as often again, up to what was asked for. The first window begins after the
    first step, whose warm-up is no measure.

    Args:
        budget: share of the training time, above 0 and at most 1; None = no limit.
        trackers: those that may be stretched, i.e. with `cadences`.
        clock: nanoseconds, monotonic.

    Raises:
        InputError: a budget out of range.
    """

    def __init__(
        self, budget: float | None, trackers: Sequence[Tracker], clock: Callable[[], int] = time.perf_counter_ns
    ) -> None:
        if budget is not None and not 0 < budget <= 1:
            raise InputError(f"overhead_budget must lie in (0, 1] or be None for no limit, got {budget!r}")
        self._budget, self._trackers, self._clock = budget, trackers, clock
        self._spent: dict[str, int] = {}
        self._elapsed = self._steps = self._window = 0
        self._since: int | None = None  # when the steps began that are being counted
        self._told: set[str] = set()

    def add(self, name: str, nanoseconds: int) -> None:
        """A tracker took this long; between steps of two epochs it does not count."""
        if self._since is not None:
            self._spent[name] = self._spent.get(name, 0) + nanoseconds

    def after_step(self, step: int) -> None:
        """One optimizer step is done; decides where a window is full."""
        if self._budget is None:
            return
        if self._since is None:
            self._since = self._clock()
            self._window = self._window or self._length()
            return
        self._steps += 1
        if self._steps == self._window:
            self._close_window(self._budget)

    def pause(self) -> None:
        """Time until the next step does not count: an epoch ends, validation runs."""
        if self._since is not None:
            self._elapsed += self._clock() - self._since
            self._since = None

    def _length(self) -> int:
        """Steps of a window: whole periods of the slowest cadence, two at least; 0 where nothing samples."""
        slowest = max((c.every * c.factor for t in self._trackers for c in t.cadences), default=0)
        return slowest * max(_PERIODS, -(-_LEAST_STEPS // slowest)) if slowest else 0

    def _close_window(self, budget: float) -> None:
        self.pause()
        self._decide([t for t in self._trackers if t.cadences], budget)
        self._spent.clear()
        self._elapsed = self._steps = 0
        self._window = self._length()
        self._since = self._clock()

    def _decide(self, sampling: Sequence[Tracker], budget: float) -> None:
        if not sampling:
            return
        share = sum(self._spent.values()) / max(self._elapsed, 1)
        costliest = max(sampling, key=lambda t: self._spent.get(t.name, 0))
        if share > budget and self._spent.get(costliest.name, 0):
            for cadence in costliest.cadences:
                cadence.stretch()
            self._tell(costliest, share, budget)
        elif share < _ROOM * budget:
            for cadence in (c for t in sampling for c in t.cadences):
                cadence.relax()

    def _tell(self, tracker: Tracker, share: float, budget: float) -> None:
        if tracker.name in self._told:
            return
        self._told.add(tracker.name)
        now = ", ".join(f"{c.name}={c.every * c.factor} (asked: {c.every})" for c in tracker.cadences)
        logger.warning(
            "tbmetrics: it took %.1f %% of the training time, more than overhead_budget (%.1f %%); %s samples less "
            "often: %s. overhead_budget=None lets it be.",
            100 * share,
            100 * budget,
            tracker.name,
            now,
        )
