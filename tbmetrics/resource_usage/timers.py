"""Times the named components of a loop: nested, re-entrant, with host time everywhere and device time on CUDA."""

from __future__ import annotations

import time
import warnings
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from tbmetrics.errors import TBMetricsWarning


@dataclass(slots=True)
class ComponentTotal:
    """What one component took in one epoch.

    Attributes:
        count: how often it was entered from outside itself.
        nanoseconds: host time from entering to leaving, nested components included, each moment counted once.
        self_nanoseconds: host time without nested components.
        device_milliseconds: time between CUDA events on the current stream, NaN without CUDA.
    """

    count: int = 0
    nanoseconds: int = 0
    self_nanoseconds: int = 0
    device_milliseconds: float = float("nan")


@dataclass(slots=True)
class _Open:
    name: str
    began: int
    nested: int = 0
    event: Any = None


class ComponentTimer:
    """The stack of open components and their totals in this epoch.

    Args:
        clock: nanoseconds.
        cuda: record CUDA events too; they are read later, without synchronising.
    """

    def __init__(self, clock: Callable[[], int] = time.perf_counter_ns, *, cuda: bool | None = None) -> None:
        self.totals: dict[str, ComponentTotal] = {}
        self._clock = clock
        self._cuda = torch.cuda.is_available() if cuda is None else cuda
        self._stack: list[_Open] = []
        self._depth: dict[str, int] = {}
        self._pending: deque[tuple[str, Any, Any]] = deque()
        self._warned: set[tuple[str, str]] = set()

    def start(self, name: str) -> None:
        """Enters `name`."""
        self._depth[name] = self._depth.get(name, 0) + 1
        self._stack.append(_Open(name, self._clock(), 0, self._event()))

    def end(self, name: str) -> None:
        """Leaves `name`; components left open inside it are closed with a warning."""
        now = self._clock()
        if not self._depth.get(name):
            self._warn("ended", name, "was ended without being started; the call is ignored")
            return
        while self._stack[-1].name != name:
            inner = self._stack[-1].name
            self._warn("open", inner, f"was still open when {name!r} ended; it is ended there")
            self._close(now)
        self._close(now)

    def close_all(self) -> None:
        """Ends whatever is open, with a warning: components do not cross epochs."""
        now = self._clock()
        while self._stack:
            self._warn("epoch", self._stack[-1].name, "was still open when the epoch ended; it is ended there")
            self._close(now)

    def take(self) -> dict[str, ComponentTotal]:
        """The totals of the epoch, and starts new ones."""
        self._collect(wait=True)
        totals, self.totals = self.totals, {}
        return totals

    def _close(self, now: int) -> None:
        opened = self._stack.pop()
        elapsed = now - opened.began
        self._depth[opened.name] -= 1
        total = self.totals.setdefault(opened.name, ComponentTotal())
        total.self_nanoseconds += elapsed - opened.nested
        if self._stack:
            self._stack[-1].nested += elapsed
        if self._depth[opened.name] == 0:  # the outermost of itself: each moment counts once
            total.count += 1
            total.nanoseconds += elapsed
            if opened.event is not None:
                self._pending.append((opened.name, opened.event, self._event()))
                self._collect(wait=False)

    def _event(self) -> Any:
        if not self._cuda:
            return None
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event

    def _collect(self, wait: bool) -> None:
        while self._pending and (wait or self._pending[0][2].query()):
            name, began, ended = self._pending.popleft()
            if wait:
                ended.synchronize()
            total = self.totals.setdefault(name, ComponentTotal())
            before = total.device_milliseconds
            total.device_milliseconds = (before if before == before else 0.0) + began.elapsed_time(ended)

    def _warn(self, kind: str, name: str, what: str) -> None:
        if (kind, name) not in self._warned:
            self._warned.add((kind, name))
            warnings.warn(f"component {name!r} {what}; this is said once", TBMetricsWarning, stacklevel=4)
