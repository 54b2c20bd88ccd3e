"""SIGTERM, with which schedulers end a job: write what was measured, then end as the process would have."""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections.abc import Callable
from typing import Any
from weakref import WeakMethod

logger = logging.getLogger("tbmetrics")


class Termination:
    """While attached, a handler of SIGTERM that writes first and then does what would have been done.

    If the signal would end the process, `finish` is called before; if the program handles it itself, `flush` is, since
    training may go on. Nothing is done outside the main thread, where Python allows no handlers, in forked children,
    and where the signal is ignored.

    Args:
        finish: method that ends the session and writes everything.
        flush: method that writes what was measured so far. Both are held weakly: a session that is forgotten is freed.
    """

    def __init__(self, finish: Callable[[], None], flush: Callable[[], None]) -> None:
        self._finish, self._flush = WeakMethod(finish), WeakMethod(flush)
        self._previous: Any = None
        self._pid = 0

    def attach(self) -> None:
        """Set the handler, if the signal is not ignored."""
        if threading.current_thread() is not threading.main_thread():
            return
        previous = signal.getsignal(signal.SIGTERM)
        if previous not in (None, signal.SIG_IGN):  # None: a handler that is not Python's
            self._previous, self._pid = previous, os.getpid()
            signal.signal(signal.SIGTERM, self._handle)

    def detach(self) -> None:
        """Restore the earlier handler, unless another has been set meanwhile, which then goes on to it; idempotent."""
        self._pid = 0
        is_main = threading.current_thread() is threading.main_thread()
        if is_main and signal.getsignal(signal.SIGTERM) == self._handle:
            signal.signal(signal.SIGTERM, self._previous)

    def _handle(self, number: int, frame: Any) -> None:
        ends_process = self._ends_process()
        if os.getpid() == self._pid:
            try:
                write = (self._finish if ends_process else self._flush)()
                if write is not None:
                    write()
            except Exception as error:  # the process must end as it was told
                logger.warning("tbmetrics: not everything could be written: %s: %s", type(error).__name__, error)
        if callable(self._previous):
            self._previous(number, frame)
        else:
            signal.signal(number, self._previous)
            os.kill(os.getpid(), number)

    def _ends_process(self) -> bool:
        """Whether, after all handlers of sessions, the signal ends the process."""
        handler = self._previous
        while isinstance(owner := getattr(handler, "__self__", None), Termination):
            handler = owner._previous
        return handler is signal.SIG_DFL
