"""Times of the named components of a loop: nested, re-entrant, on the host and, with CUDA, on the device."""

from __future__ import annotations

import math
import time
import warnings
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from tbmetrics.errors import TBMetricsWarning, caller_level
from tbmetrics.resource_usage.device import DeviceClock

#: Code that warnings do not point at: this package, and the context managers that call it.


@dataclass(slots=True)
class ComponentTotal:
    """Times of one component in one epoch.

    Attributes:
        count: number of entries, not counting those from inside itself.
        nanoseconds: host time with nested components, each moment counted once.
        self_nanoseconds: host time without nested components.
        device_milliseconds: time between the device's marks at entry and exit; NaN without a device.
        device_count: entries that have a device time.
        device_behind: entries that the host had left before the device reached their beginning.
        device_lag_milliseconds: total time by which the device fell behind the host inside the component.
    """

    count: int = 0
    nanoseconds: int = 0
    self_nanoseconds: int = 0
    device_milliseconds: float = math.nan
    device_count: int = 0
    device_behind: int = 0
    device_lag_milliseconds: float = 0.0

    def add_device_time(self, device_milliseconds: float, host_milliseconds: float, is_behind: bool) -> None:
        """Add one pair of marks."""
        before = 0.0 if math.isnan(self.device_milliseconds) else self.device_milliseconds
        self.device_milliseconds = before + device_milliseconds
        self.device_count += 1
        self.device_behind += is_behind
        self.device_lag_milliseconds += max(0.0, device_milliseconds - host_milliseconds)


class Observer(Protocol):
    """Receives every component of a sampled step."""

    def entered(self, name: str) -> None:
        """A component was entered."""

    def left(self, name: str, began: int, ended: int) -> None:
        """A component was left; `began` and `ended` are nanoseconds of the timer's clock."""


class _Component:
    """A component: its name, how deep it is open, and its totals in this epoch."""

    __slots__ = ("depth", "implicit_ends", "name", "total")

    def __init__(self, name: str) -> None:
        self.name = name
        self.depth = 0
        self.implicit_ends = 0
        self.total = ComponentTotal()


class _Frame:
    """One open component. Frames are made once per depth and reused."""

    __slots__ = ("began", "component", "mark", "nested")

    def __init__(self) -> None:
        self.component = _Component("")
        self.began = 0
        self.nested = 0
        self.mark: Any = None


@dataclass(slots=True)
class _MarkPair:
    total: ComponentTotal
    began: Any
    ended: Any
    host_milliseconds: float
    is_behind: bool


class ComponentTimer:
    """The stack of open components and their totals in this epoch; for one thread.

    Args:
        clock: nanoseconds, monotonic.
        device: marks on a device's stream, read later without waiting for it; None = host time only.

    Attributes:
        observer: receives every component entered and left while it is set.
        overhead_nanoseconds: time that the timing itself took since this was last set to 0.
    """

    def __init__(self, clock: Callable[[], int] = time.perf_counter_ns, device: DeviceClock | None = None) -> None:
        self.observer: Observer | None = None
        self.device = device
        self.overhead_nanoseconds = 0
        self._clock = clock
        self._components: dict[str, _Component] = {}
        self._frames = [_Frame()]
        self._depth = -1
        self._pending: deque[_MarkPair] = deque()
        self._warned: set[tuple[str, str]] = set()

    def start(self, name: str) -> None:
        """Enter `name`."""
        called = self._clock()
        component = self._components.get(name)
        if component is None:
            component = self._components[name] = _Component(name)
        depth = self._depth = self._depth + 1
        if depth == len(self._frames):
            self._frames.append(_Frame())
        frame = self._frames[depth]
        frame.component = component
        frame.nested = 0
        component.depth += 1
        component.implicit_ends = 0
        if self.device is not None and component.depth == 1:
            frame.mark = self.device.mark()
        if self.observer is not None:
            self.observer.entered(name)
        frame.began = began = self._clock()
        self.overhead_nanoseconds += began - called

    def end(self, name: str | None = None) -> None:
        """Leave `name` (None: the innermost); components still open inside it end with it, with a warning."""
        now = self._clock()
        depth = self._depth
        if name is None:
            if depth < 0:
                self._warn("ended", "", "was ended without being started; the call is ignored")
                return
            name = self._frames[depth].component.name
        if (depth < 0 or self._frames[depth].component.name != name) and not self._unwind_to(name, now):
            return
        self._leave(now)
        self.overhead_nanoseconds += self._clock() - now

    def close_all(self) -> None:
        """End all open components, with a warning: components do not cross epochs."""
        now = self._clock()
        while self._depth >= 0:
            self._end_implicitly("epoch", "was still open when the epoch ended; it is ended there", now)

    def drop_all(self) -> None:
        """Begin an epoch: end all open components and discard the totals."""
        while self._depth >= 0:
            self._end_implicitly("before", "was open before the epoch began; it is ended there", self._clock())
        self.take()

    def take(self) -> dict[str, ComponentTotal]:
        """Return the totals of the epoch, in the order of first use, and start new ones. Waits for marks in flight."""
        self._collect(wait=True)
        totals = {name: c.total for name, c in self._components.items() if c.total.count}
        for component in self._components.values():
            component.total = ComponentTotal()
        return totals

    # --------------------------------------------------------------------------------------------- internals

    def _leave(self, now: int) -> None:
        frame = self._frames[self._depth]
        self._depth -= 1
        component = frame.component
        elapsed = now - frame.began
        total = component.total
        total.self_nanoseconds += elapsed - frame.nested
        if self._depth >= 0:
            self._frames[self._depth].nested += elapsed
        component.depth -= 1
        if component.depth == 0:  # a component inside itself is already counted
            total.count += 1
            total.nanoseconds += elapsed
            if frame.mark is not None:
                self._add_mark_pair(frame, elapsed)
        if self.observer is not None:
            self.observer.left(component.name, frame.began, now)

    def _add_mark_pair(self, frame: _Frame, elapsed: int) -> None:
        device = self.device
        began, frame.mark = frame.mark, None
        if device is None:
            return
        ended = device.mark()
        if ended is None:  # a graph is captured, or too many marks are in flight
            device.release(began)
            return
        is_behind = not device.reached(began)
        self._pending.append(_MarkPair(frame.component.total, began, ended, elapsed / 1e6, is_behind))
        self._collect(wait=False)

    def _collect(self, *, wait: bool) -> None:
        device = self.device
        if device is None:
            return
        while self._pending and (wait or device.reached(self._pending[0].ended)):
            pair = self._pending.popleft()
            if wait:
                device.wait(pair.ended)
            device_milliseconds = device.milliseconds(pair.began, pair.ended)
            pair.total.add_device_time(device_milliseconds, pair.host_milliseconds, pair.is_behind)
            device.release(pair.began)
            device.release(pair.ended)

    def _unwind_to(self, name: str, now: int) -> bool:
        """End the components inside `name`; False if `name` is not open."""
        component = self._components.get(name)
        if component is None or component.depth == 0:
            if component is not None and component.implicit_ends:
                component.implicit_ends -= 1
            else:
                self._warn("ended", name, "was ended without being started; the call is ignored")
            return False
        while self._frames[self._depth].component is not component:
            self._end_implicitly("open", f"was still open when {name!r} ended; it is ended there", now)
        return True

    def _end_implicitly(self, kind: str, problem: str, now: int) -> None:
        component = self._frames[self._depth].component
        self._leave(now)
        component.implicit_ends += 1
        self._warn(kind, component.name, problem)

    def _warn(self, kind: str, name: str, problem: str) -> None:
        if (kind, name) not in self._warned:
            self._warned.add((kind, name))
            component = f"component {name!r}" if name else "a component"
            message = f"{component} {problem}; pair start_component and end_component (said once)"
            warnings.warn(message, TBMetricsWarning, stacklevel=caller_level())


class ComponentBlock:
    """A context manager that times its block as one component; it has no state, so it nests in itself.

    Args:
        start, end: called with the name when the block begins and ends.
        name: of the component.
    """

    __slots__ = ("_end", "_name", "_start")

    def __init__(self, start: Callable[[str], object], end: Callable[[str], object], name: str) -> None:
        self._start, self._end, self._name = start, end, name

    def __enter__(self) -> None:
        self._start(self._name)

    def __exit__(self, *_: object) -> None:
        self._end(self._name)
