"""The overhead budget: what each tracker costs is watched, and those that sample do so less often until it holds."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence

from tbmetrics.errors import InputError
from tbmetrics.records import Record, Scalar, tag_part
from tbmetrics.tracking.tracker import Tracker

logger = logging.getLogger("tbmetrics")

#: A verdict needs at least so many steps and so much time, and two samples of the rarest cadence.
WINDOW_STEPS, WINDOW_NANOSECONDS = 20, 5_000_000_000
#: Cadences are stretched up to so many times what was asked for.
MOST_STRETCHED = 4096
#: A cadence is relaxed only while this share of the allowance stays enough.
_COMFORTABLE = 0.8


class OverheadBudget:
    """Keeps the time that tbmetrics takes within a share of the training time.

    Time is watched in windows that hold several samples of every tracker that samples. Where all trackers together
    took more than the budget, the costliest of those that sample is stretched (it samples half as often, its steps
    are steps of the cadence asked for), then the next, until the budget would have held; where there is room again,
    one of them is relaxed a window. What the other trackers take cannot be stretched and narrows the allowance, by
    half of the budget at most. The start of the run is left out.

    Args:
        budget: share of the training time, such as 0.01.
        trackers: all of the session.
        clock: nanoseconds, monotonic.

    Raises:
        InputError: a budget that is not above 0 and at most 1.
    """

    def __init__(
        self, budget: float, trackers: Sequence[Tracker], clock: Callable[[], int] = time.perf_counter_ns
    ) -> None:
        if isinstance(budget, bool) or not 0 < budget <= 1:
            raise InputError(
                f"overhead_budget must be a share of the training time above 0 and at most 1, such as 0.01 for 1 %, "
                f"got {budget!r}; None switches it off"
            )
        self._budget = budget
        self._trackers = tuple(trackers)
        self._clock = clock
        self._spent: dict[str, int] = {}
        self._since: int | None = None
        self._steps = self._needed = 0
        self._said: set[str] = set()

    @property
    def _sampling(self) -> dict[str, Tracker]:
        """The trackers whose cadences may be changed now."""
        return {t.name: t for t in self._trackers if t.cadences}

    def add(self, tracker_name: str, nanoseconds: int) -> None:
        """A tracker took this long on the training thread."""
        self._spent[tracker_name] = self._spent.get(tracker_name, 0) + nanoseconds

    def after_step(self) -> None:
        """One optimizer step is done and all trackers have seen it; adjusts cadences at the end of a window."""
        self._steps += 1
        if self._since is None:
            self._begin_window(self._clock())
        elif self._steps >= self._needed:
            now = self._clock()
            if now - self._since >= WINDOW_NANOSECONDS:
                self._adjust(now - self._since)
                self._begin_window(now)

    def records(self) -> Iterator[Record]:
        """Steps between samples now, by tracker and cadence."""
        for name, tracker in self._sampling.items():
            for cadence in tracker.cadences:
                tag = f"resource_usage/steps_between_samples/{tag_part(name)}/{tag_part(cadence.name)}"
                yield Scalar(tag, float(cadence.every * cadence.factor))

    # --------------------------------------------------------------------------------------------- internals

    def _begin_window(self, now: int) -> None:
        longest = max((c.every * c.factor for t in self._trackers for c in t.cadences), default=0)
        self._since, self._steps, self._needed = now, 0, max(WINDOW_STEPS, 2 * longest)
        self._spent.clear()

    def _adjust(self, elapsed: int) -> None:
        share = {name: self._spent.get(name, 0) / elapsed for name in self._sampling}
        others = sum(self._spent.values()) / elapsed - sum(share.values())
        allowance = max(self._budget - others, self._budget / 2)
        if sum(share.values()) > allowance:
            self._stretch(share, allowance)
        else:
            self._relax(share, allowance)

    def _stretch(self, share: dict[str, float], allowance: float) -> None:
        """Halves the costliest shares until they would have been within `allowance`."""
        before = dict(share)
        while sum(share.values()) > allowance:
            able = [name for name, tracker in self._sampling.items() if _stretched(tracker) < MOST_STRETCHED]
            if not able:
                break
            costliest = max(able, key=lambda name: share[name])
            for cadence in self._sampling[costliest].cadences:
                cadence.stretch()
            share[costliest] /= 2
        for name in before:
            if share[name] < before[name] and name not in self._said:
                self._said.add(name)
                logger.info(
                    "tbmetrics: %s took %.1f %% of the time; it samples less often now, to keep overhead_budget=%g.",
                    name, 100 * before[name], self._budget,
                )  # fmt: skip

    def _relax(self, share: dict[str, float], allowance: float) -> None:
        """Doubles the smallest share of a stretched tracker, where that leaves room."""
        stretched = [name for name, tracker in self._sampling.items() if _stretched(tracker) > 1]
        cheapest = min(stretched, key=lambda name: share[name], default=None)
        if cheapest is not None and sum(share.values()) + share[cheapest] <= _COMFORTABLE * allowance:
            for cadence in self._sampling[cheapest].cadences:
                cadence.relax()


def _stretched(tracker: Tracker) -> int:
    return max(cadence.factor for cadence in tracker.cadences)
