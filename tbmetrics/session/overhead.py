"""The overhead budget: trackers that cost too much sample less often."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence

from tbmetrics.errors import InputError
from tbmetrics.records import Record, Scalar, tag_part
from tbmetrics.tracking.tracker import Tracker

logger = logging.getLogger("tbmetrics")

#: Shortest window on which cadences are judged; it also spans two samples of the rarest cadence.
WINDOW_STEPS, WINDOW_NANOSECONDS = 20, 5_000_000_000
#: Largest factor by which a cadence is stretched.
MAX_STRETCH = 4096
#: Relax a cadence only if the result stays below this share of the allowance, or it would soon be stretched again.
_RELAX_BELOW = 0.8


class OverheadBudget:
    """Keep the time that tbmetrics takes within a share of the training time.

    Time is measured in windows that span several samples of every sampling tracker. If all trackers together exceed
    the budget, the costliest sampling tracker is stretched (it samples half as often, at steps of its original
    cadence), then the next, until the budget would have held. If there is room again, one tracker is relaxed per
    window. Trackers that do not sample cannot be stretched: their cost narrows the allowance, by at most half of the
    budget. The start of the run does not count.

    Args:
        budget: share of the training time, such as 0.01.
        trackers: all trackers of the session.
        clock: monotonic clock in nanoseconds.

    Raises:
        InputError: the budget is not above 0 and at most 1.
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
        self._window_start: int | None = None
        self._steps = self._steps_needed = 0
        self._reported: set[str] = set()

    @property
    def _sampling(self) -> dict[str, Tracker]:
        """Trackers that sample, by name."""
        return {t.name: t for t in self._trackers if t.cadences}

    def add(self, tracker_name: str, nanoseconds: int) -> None:
        """Add time that a tracker took on the training thread."""
        self._spent[tracker_name] = self._spent.get(tracker_name, 0) + nanoseconds

    def after_step(self) -> None:
        """Count an optimizer step that all trackers have seen; adjust cadences at the end of a window."""
        self._steps += 1
        if self._window_start is None:
            self._begin_window(self._clock())
        elif self._steps >= self._steps_needed:
            now = self._clock()
            if now - self._window_start >= WINDOW_NANOSECONDS:
                self._adjust(now - self._window_start)
                self._begin_window(now)

    def records(self) -> Iterator[Record]:
        """Yield the current steps between samples, by tracker and cadence."""
        for name, tracker in self._sampling.items():
            for cadence in tracker.cadences:
                tag = f"resource_usage/steps_between_samples/{tag_part(name)}/{tag_part(cadence.name)}"
                yield Scalar(tag, float(cadence.every * cadence.factor))

    # --------------------------------------------------------------------------------------------- internals

    def _begin_window(self, now: int) -> None:
        longest = max((c.every * c.factor for t in self._trackers for c in t.cadences), default=0)
        self._window_start, self._steps, self._steps_needed = now, 0, max(WINDOW_STEPS, 2 * longest)
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
        """Halve the costliest shares until their sum would have been within `allowance`."""
        before = dict(share)
        while sum(share.values()) > allowance:
            stretchable = [name for name, tracker in self._sampling.items() if _stretch_factor(tracker) < MAX_STRETCH]
            if not stretchable:
                break
            costliest = max(stretchable, key=lambda name: share[name])
            for cadence in self._sampling[costliest].cadences:
                cadence.stretch()
            share[costliest] /= 2
        for name in before:
            if share[name] < before[name] and name not in self._reported:
                self._reported.add(name)
                logger.info(
                    "tbmetrics: %s took %.1f %% of the time; it samples less often now, to keep overhead_budget=%g.",
                    name, 100 * before[name], self._budget,
                )  # fmt: skip

    def _relax(self, share: dict[str, float], allowance: float) -> None:
        """Double the smallest share of a stretched tracker if that leaves room."""
        stretched = [name for name, tracker in self._sampling.items() if _stretch_factor(tracker) > 1]
        cheapest = min(stretched, key=lambda name: share[name], default=None)
        if cheapest is not None and sum(share.values()) + share[cheapest] <= _RELAX_BELOW * allowance:
            for cadence in self._sampling[cheapest].cadences:
                cadence.relax()


def _stretch_factor(tracker: Tracker) -> int:
    return max(cadence.factor for cadence in tracker.cadences)
