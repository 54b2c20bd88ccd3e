"""Isolation of faults: exceptions inside tbmetrics are logged and never reach training."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable
from typing import Any

from tbmetrics.errors import InputError, NonFiniteError

logger = logging.getLogger("tbmetrics")

FAULTS_BEFORE_STOP = 3


class Isolation:
    """Call into one part of tbmetrics so that its faults never reach training.

    The first exception is logged with its traceback; after three, the part is switched off for good with `stop`.
    An `InputError` (the caller's mistake) and a `NonFiniteError` (requested by the caller) always propagate.

    Args:
        name: name of the part, for messages.
        stop: switches the part off.
        strict: let all exceptions propagate.
        later: defer `stop` to `settle()`, for a part called from an optimizer's hooks, where none can be removed.

    Attributes:
        faults: the exceptions so far, in words.
        stopped: whether the part was switched off after too many faults.
    """

    def __init__(self, name: str, stop: Callable[[], None], *, strict: bool = False, later: bool = False) -> None:
        self.name = name
        self.faults: list[str] = []
        self.stopped = False
        self._stop = stop
        self._strict, self._later = strict, later
        self._is_stop_pending = False

    def settle(self) -> None:
        """Call a deferred `stop`; must not be called from a hook."""
        if self._is_stop_pending:
            self._is_stop_pending = False
            self._switch_off()

    def call(self, action: Callable[..., Any], *args: Any, default: Any = None) -> Any:
        """Return `action(*args)`, or `default` if it raised or the part is switched off."""
        if self.stopped:
            return default
        try:
            return action(*args)
        except (InputError, NonFiniteError):
            raise
        except Exception as error:
            if self._strict:
                raise
            self._record_fault(error)
            return default

    def _record_fault(self, error: Exception) -> None:
        self.faults.append(f"{type(error).__name__}: {error}")
        self.stopped = len(self.faults) >= FAULTS_BEFORE_STOP
        if len(self.faults) == 1:
            trace = "".join(traceback.format_exception(error))
            logger.warning("tbmetrics: %s failed; training goes on without this measurement.\n%s", self.name, trace)
        if self.stopped:
            logger.warning("tbmetrics: %s failed %d times and is switched off.", self.name, len(self.faults))
            self._is_stop_pending = True
            if not self._later:
                self.settle()

    def _switch_off(self) -> None:
        try:
            self._stop()
        except Exception as error:
            logger.warning("tbmetrics: %s could not be stopped cleanly: %s", self.name, error)
