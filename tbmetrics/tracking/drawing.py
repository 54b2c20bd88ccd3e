"""Drawing while training: matplotlib is loaded in a thread, and little of the time is spent."""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from collections.abc import Callable
from importlib import import_module

#: Share of the time between two drawings that drawing may take, and the assumed seconds of the first one.
_SHARE, _FIRST_SECONDS = 0.002, 0.2
#: Factor by which the run grows from one drawing to the next, so that drawings stay few however long it is.
_GROWTH = 1.25
#: Share of the run's time that one drawing may take before it stops with what it has.
_LONG_SHARE = 0.005
_MODULES = ("matplotlib.figure", "matplotlib.backends.backend_agg")
_loading: threading.Thread | None = None


def matplotlib_is_loaded() -> bool:
    """Whether a figure can be drawn at once; if not, matplotlib is loaded in a thread, so that training does not wait.

    What is left undrawn meanwhile is drawn later, at the end of the run at the latest.
    """
    global _loading
    if _loading is None:
        if all(module in sys.modules for module in _MODULES):
            return True
        _loading = threading.Thread(target=_load, name="tbmetrics-matplotlib", daemon=True)
        _loading.start()
    return not _loading.is_alive()


def _load() -> None:
    with contextlib.suppress(Exception):  # it fails again, and is said, when something is drawn
        for module in _MODULES:
            import_module(module)


class DrawingTime:
    """Keeps drawing below 0.2 % of the time; use as a context manager around each drawing.

    Args:
        clock: monotonic, in seconds.

    Attributes:
        due: whether something is waiting to be drawn.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.due = False
        self._clock = clock
        self._seconds = _FIRST_SECONDS  # of the last drawing
        self._began = self._end = self._start = clock()

    def affordable(self) -> bool:
        """Whether enough time has passed since the last drawing, given how long it took, and matplotlib is loaded."""
        now = self._clock()
        is_cheap = self._seconds <= _SHARE * (now - self._end)
        return is_cheap and now - self._began >= _GROWTH * (self._end - self._began) and matplotlib_is_loaded()

    def is_long(self) -> bool:
        """Whether the drawing under way has taken more than 0.5 % of the run so far."""
        return self._clock() - self._start > _LONG_SHARE * (self._start - self._began)

    def __enter__(self) -> None:
        self.due = False
        self._start = self._clock()

    def __exit__(self, *_: object) -> None:
        self._end = self._clock()
        self._seconds = self._end - self._start
