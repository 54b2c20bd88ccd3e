"""Every call of a session into its trackers: isolated, its time counted, and what it yields filed."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

from tbmetrics.records.history import History, Stamped
from tbmetrics.tracking.isolation import Isolation
from tbmetrics.tracking.tracker import Tracker


class TrackerCalls:
    """Runs what trackers do; what torch's hooks call goes through it, too.

    Args:
        trackers: of the session; they join its history, and their `guard` is put in place.
        history: of the session.
        strict: let their exceptions pass.

    Attributes:
        earlier: records of the time before the session, of trackers that were used alone.
    """

    def __init__(self, trackers: Sequence[Tracker], history: History, *, strict: bool) -> None:
        self._history = history
        self.earlier = [stamped for tracker in trackers for stamped in tracker.join(history)]
        self._isolation = {
            t.name: Isolation(f"tracker {t.name!r}", t.stop, strict=strict, later=True) for t in trackers
        }
        self._trackers, self._having = tuple(trackers), dict[str, tuple[Tracker, ...]]()
        self._spent = {t.name: 0 for t in trackers}
        self._inner_nanoseconds = 0  # of calls within the one that is going on
        for tracker in trackers:
            tracker.guard = partial(self.call, tracker)  # type: ignore[method-assign]

    def having(self, verb: str) -> tuple[Tracker, ...]:
        """The trackers that do anything in `verb`: a step pays nothing for those that leave it as it is."""
        if verb not in self._having:
            self._having[verb] = tuple(t for t in self._trackers if has_own(t, verb))
        return self._having[verb]

    def each(self, verb: str, *args: Any) -> None:
        """Calls `verb` of every tracker that has one of its own."""
        for tracker in self.having(verb):
            self.call(tracker, getattr(tracker, verb), *args)

    def call(self, tracker: Tracker, action: Callable[..., Any], *args: Any, default: Any = None) -> Any:
        """`action(*args)`, or `default` where it raised or the tracker is switched off."""
        outer, self._inner_nanoseconds = self._inner_nanoseconds, 0
        began = time.perf_counter_ns()
        try:
            return self._isolation[tracker.name].call(action, *args, default=default)
        finally:
            elapsed = time.perf_counter_ns() - began
            self._spent[tracker.name] += elapsed - self._inner_nanoseconds
            self._inner_nanoseconds = outer + elapsed

    def collect(self, tracker: Tracker, measure: Callable[..., Iterable[Stamped]], *args: Any) -> list[Stamped]:
        """File what `measure(*args)` yields in the history, record by record; return it for the writer."""
        filed: list[Stamped] = []
        self.call(tracker, self._file, filed, measure, *args)
        return filed

    def _file(self, filed: list[Stamped], measure: Callable[..., Iterable[Stamped]], *args: Any) -> None:
        filed.extend(self._history.filed(measure(*args)))

    def take_spent(self) -> dict[str, int]:
        """Nanoseconds that trackers took since this was asked last, each moment counted for the innermost of them."""
        spent = {name: nanoseconds for name, nanoseconds in self._spent.items() if nanoseconds}
        for name in spent:
            self._spent[name] = 0
        return spent

    def uncounted(self, tracker: Tracker, action: Callable[..., Any], *args: Any) -> None:
        """`action(*args)`, isolated: for what costs little more than looking at the clock."""
        self._isolation[tracker.name].call(action, *args)

    def settle(self) -> None:
        """Removes the hooks of trackers that were switched off."""
        for isolation in self._isolation.values():
            isolation.settle()

    def faults(self) -> dict[str, str]:
        """The last fault of each tracker that had one."""
        return {name: isolation.faults[-1] for name, isolation in self._isolation.items() if isolation.faults}


def has_own(tracker: Tracker, verb: str) -> bool:
    """Whether `verb` is not just what every tracker has."""
    return getattr(getattr(tracker, verb), "__func__", None) is not getattr(Tracker, verb)
