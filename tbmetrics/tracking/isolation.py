"""Keep faults of tbmetrics out of training: logged once, switched off after three."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable
from typing import Any

from tbmetrics.errors import InputError, NonFiniteError

logger = logging.getLogger("tbmetrics")

FAULTS_BEFORE_STOP = 3


class Isolation:
    """Runs calls into one part of tbmetrics so that its faults never reach training.

    An exception is logged once with its traceback; after three the part is stopped for good (`stop` is called). With
    `strict` the exception passes. An `InputError` (the caller's mistake) and a `NonFiniteError` (what the caller asked
    for) always pass.

    Args:
        name: of the part, for messages.
        stop: switches the part off.
        strict: lets exceptions pass.
        later: `stop` waits for `settle`: a part that is called from hooks of an optimizer cannot remove hooks there.

    Attributes:
        faults: the exceptions so far, in words.
        stopped: whether the part was switched off after too many of them.
    """

    def __init__(self, name: str, stop: Callable[[], None], *, strict: bool = False, later: bool = False) -> None:
        self.name = name
        self.faults: list[str] = []
        self.stopped = False
        self._stop = stop
        self._strict, self._later = strict, later
        self._unsettled = False

    def settle(self) -> None:
        """Calls `stop` where it has waited; not to be called from a hook."""
        if self._unsettled:
            self._unsettled = False
            self._switch_off()

    def call(self, action: Callable[..., Any], *args: Any, default: Any = None) -> Any:
        """`action(*args)`, or `default` where it raised or the part is stopped."""
        if self.stopped:
            return default
        try:
            return action(*args)
        except (InputError, NonFiniteError):
            raise
        except Exception as error:
            if self._strict:
                raise
            self._note(error)
            return default

    def _note(self, error: Exception) -> None:
        self.faults.append(f"{type(error).__name__}: {error}")
        self.stopped = len(self.faults) >= FAULTS_BEFORE_STOP
        if len(self.faults) == 1:
            trace = "".join(traceback.format_exception(error))
            logger.warning("tbmetrics: %s failed; training goes on without this measurement.\n%s", self.name, trace)
        if self.stopped:
            logger.warning("tbmetrics: %s failed %d times and is switched off.", self.name, len(self.faults))
            self._unsettled = True
            if not self._later:
                self.settle()

    def _switch_off(self) -> None:
        try:
            self._stop()
        except Exception as error:
            logger.warning("tbmetrics: %s could not be stopped cleanly: %s", self.name, error)
