"""The overhead budget: trackers that cost too much sample less often."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence

from tbmetrics.errors import InputError
from tbmetrics.records import Record, Scalar, tag_part
from tbmetrics.tracking.cadence import Cadence
from tbmetrics.tracking.tracker import Tracker

logger = logging.getLogger("tbmetrics")

#: Largest factor by which a cadence is stretched.
MAX_STRETCH = 4096
_DECAY = 0.9  # of the weight of a sample, from one to the next
#: Relax a cadence only if the result stays below this share of the allowance, or it would soon be stretched again.
_RELAX_BELOW = 0.8


class DecayingMean:
    """The mean of all values at first, later mostly of the last ten."""

    def __init__(self) -> None:
        self._sum = self._weight = 0.0

    def add(self, total: float, weight: float = 1) -> None:
        """Add the total of `weight` values."""
        self._sum, self._weight = _DECAY * self._sum + total, _DECAY * self._weight + weight

    @property
    def mean(self) -> float:
        """The mean, or 0 before the first value."""
        return self._sum / self._weight if self._weight else 0.0


class OverheadBudget:
    """Keep the time that tbmetrics takes within a share of the training time.

    What a sample costs and how long a step takes say what a cadence will cost; this is judged at every sampled step,
    from the second on. If all trackers together would exceed the budget, the costliest sampling tracker is stretched
    (it samples half as often, at steps of its original cadence), then the next, until the budget holds. If there is
    room again, one tracker is relaxed at a time. Trackers that do not sample cannot be stretched: their cost narrows
    the allowance, by at most half of the budget. The start of the run, with the first sampled step, does not count.

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
        self._judged: tuple[int, int] | None = None  # the step that was judged last, and when
        self._costs: dict[Cadence, DecayingMean] = {}  # nanoseconds of a sample
        self._step_time, self._others = DecayingMean(), DecayingMean()
        self._reported: set[str] = set()

    @property
    def _sampling(self) -> dict[str, Tracker]:
        """Trackers that sample, by name."""
        return {t.name: t for t in self._trackers if t.cadences}

    def add(self, tracker_name: str, nanoseconds: int) -> None:
        """Add time that a tracker took on the training thread."""
        self._spent[tracker_name] = self._spent.get(tracker_name, 0) + nanoseconds

    def concerns(self, step: int) -> bool:
        """Whether a tracker has sampled `step`, the last one, so that `after_step` is to be called."""
        for tracker in self._trackers:
            for cadence in tracker.cadences:
                if cadence.has_sampled(step):
                    return True
        return False

    def after_step(self, step: int) -> None:
        """Judge at the end of a sampled step that all trackers have seen; adjust cadences."""
        now = self._clock()
        if self._judged is not None:
            self._learn(step, max(step - self._judged[0], 1), max(now - self._judged[1], 1))
            self._adjust()
        self._judged = step, now
        self._spent.clear()

    def records(self) -> Iterator[Record]:
        """Yield the current steps between samples, by tracker and cadence."""
        for name, tracker in self._sampling.items():
            for cadence in tracker.cadences:
                tag = f"resource_usage/steps_between_samples/{tag_part(name)}/{tag_part(cadence.name)}"
                yield Scalar(tag, float(cadence.interval))

    # --------------------------------------------------------------------------------------------- internals

    def _learn(self, step: int, steps: int, elapsed: int) -> None:
        """Learn from what was spent in the `steps` steps up to this sample, in `elapsed` nanoseconds."""
        spent_sampling = 0
        for name, tracker in self._sampling.items():
            rarest = max((c for c in tracker.cadences if c.has_sampled(step)), key=_every, default=None)
            if rarest is not None:
                self._costs.setdefault(rarest, DecayingMean()).add(self._spent.get(name, 0))
                spent_sampling += self._spent.get(name, 0)
        others = sum(self._spent.values()) - spent_sampling
        self._step_time.add(max(elapsed - spent_sampling, 1), steps)
        self._others.add(others, elapsed)

    def _share(self, tracker: Tracker) -> float:
        """Share of the time that a tracker's samples take, as it is stretched now."""
        step_seconds = self._step_time.mean / 1e9
        costs = [
            (self._costs[c].mean / 1e9, c.seconds_between(step_seconds)) for c in tracker.cadences if c in self._costs
        ]
        return sum(seconds / distance for seconds, distance in costs)

    def _adjust(self) -> None:
        share = {name: self._share(tracker) for name, tracker in self._sampling.items()}
        allowance = max(self._budget - self._others.mean, self._budget / 2)
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


def _every(cadence: Cadence) -> int:
    return cadence.every


def _stretch_factor(tracker: Tracker) -> int:
    return max(cadence.factor for cadence in tracker.cadences)
