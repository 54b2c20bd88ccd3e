"""Calls of a session into its trackers: isolated, timed, and their records filed."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

from tbmetrics.records.history import History, TimedRecord
from tbmetrics.tracking.isolation import Isolation
from tbmetrics.tracking.tracker import Tracker


class TrackerCalls:
    """Call trackers in isolation and count the time they take, including calls from torch's hooks.

    Args:
        trackers: trackers of the session; they join its history, and their hooks go through `call`.
        history: history of the session.
        strict: raise exceptions of trackers.

    Attributes:
        earlier: records from before the session, of trackers that were used on their own.
    """

    def __init__(self, trackers: Sequence[Tracker], history: History, *, strict: bool) -> None:
        self._history = history
        self.earlier = [record for t in trackers for record in t.join(history, partial(self.call, t))]
        self._isolation = {
            t.name: Isolation(f"tracker {t.name!r}", t.stop, strict=strict, later=True) for t in trackers
        }
        self._trackers, self._overriding = tuple(trackers), dict[str, tuple[Tracker, ...]]()
        hearing = dict.fromkeys((*self.overriding("after_step"), *self.overriding("arrived")))
        self._stepping = (*hearing, *(t for t in trackers if t.cadences and t not in hearing))
        self._spent = {t.name: 0 for t in trackers}
        self._inner_nanoseconds = 0  # spent in calls nested in the current one

    def overriding(self, verb: str) -> tuple[Tracker, ...]:
        """Trackers that override `verb`; cached, so that a step costs nothing for the others."""
        if verb not in self._overriding:
            self._overriding[verb] = tuple(t for t in self._trackers if overrides(t, verb))
        return self._overriding[verb]

    def each(self, verb: str, *args: Any) -> None:
        """Call `verb` on every tracker that overrides it; see `after_step` for steps."""
        for tracker in self.overriding(verb):
            self.call(tracker, getattr(tracker, verb), *args)

    def after_step(self, step: int) -> None:
        """Call `after_step` of every tracker that overrides it; as `call`, with one reading of the clock for each."""
        outer = self._inner_nanoseconds
        start = before = time.perf_counter_ns()
        for tracker in self._overriding.get("after_step") or self.overriding("after_step"):
            self._inner_nanoseconds = 0
            self._isolation[tracker.name].call(tracker.after_step, step)
            now = time.perf_counter_ns()
            self._spent[tracker.name] += now - before - self._inner_nanoseconds
            before = now
        self._inner_nanoseconds = outer + before - start

    def next_step(self) -> float:
        """The step whose end a tracker has to hear of next, at the latest."""
        calls = ((self._isolation[tracker.name], tracker) for tracker in self._stepping)
        wanted = (each.call(getattr, tracker, "next_step", default=0) for each, tracker in calls if not each.stopped)
        return min(wanted, default=math.inf)

    def call(self, tracker: Tracker, action: Callable[..., Any], *args: Any, default: Any = None) -> Any:
        """Return `action(*args)`, or `default` if it raised or the tracker is switched off."""
        outer, self._inner_nanoseconds = self._inner_nanoseconds, 0
        start = time.perf_counter_ns()
        try:
            return self._isolation[tracker.name].call(action, *args, default=default)
        finally:
            elapsed = time.perf_counter_ns() - start
            self._spent[tracker.name] += elapsed - self._inner_nanoseconds
            self._inner_nanoseconds = outer + elapsed

    def collect(self, tracker: Tracker, measure: Callable[..., Iterable[TimedRecord]], *args: Any) -> list[TimedRecord]:
        """Add the records of `measure(*args)` to the history one by one; return them for the writer."""
        filed: list[TimedRecord] = []
        self.call(tracker, self._file, filed, measure, *args)
        return filed

    def _file(self, filed: list[TimedRecord], measure: Callable[..., Iterable[TimedRecord]], *args: Any) -> None:
        filed.extend(self._history.filed(measure(*args)))

    def take_spent(self) -> dict[str, int]:
        """Return and reset the nanoseconds each tracker took; nested calls count for the inner tracker only."""
        spent = {name: nanoseconds for name, nanoseconds in self._spent.items() if nanoseconds}
        for name in spent:
            self._spent[name] = 0
        return spent

    def untimed(self, tracker: Tracker) -> Callable[..., Any]:
        """`call` of one tracker for actions that cost little more than reading the clock."""
        return self._isolation[tracker.name].call

    def settle(self) -> None:
        """Remove the hooks of trackers that were switched off."""
        for isolation in self._isolation.values():
            isolation.settle()

    def faults(self) -> dict[str, str]:
        """Last fault of each tracker that had one."""
        return {name: isolation.faults[-1] for name, isolation in self._isolation.items() if isolation.faults}


def overrides(tracker: Tracker, verb: str) -> bool:
    """Whether `tracker` replaces the default of `verb`."""
    return getattr(getattr(tracker, verb), "__func__", None) is not getattr(Tracker, verb)
