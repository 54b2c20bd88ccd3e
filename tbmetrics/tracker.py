"""What a tracker is: the calls the session makes on it, and the isolation that keeps its faults out of training."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from tbmetrics.errors import InputError
from tbmetrics.history import Stamped

if TYPE_CHECKING:
    from torch import Tensor

logger = logging.getLogger("tbmetrics")

FAULTS_BEFORE_STOP = 3


class Tracker:
    """Base of all trackers: every call has a default that does nothing, so a tracker overrides what it needs.

    The session calls, in this order: `start` once; per epoch `start_epoch`, any number of `after_step` and
    `observe`, then `records` exactly once (the only place where measurements leave the tracker); `stop` once.
    Hooks that a tracker sets on a model or optimizer are set in `start` and removed in `stop`.
    """

    name = "tracker"

    def start(self) -> None:
        """Sets hooks; called when the session starts."""

    def start_epoch(self, epoch: int) -> None:
        """An epoch begins."""

    def after_step(self, step: int) -> None:
        """One optimizer step is done; `step` counts from 1. On the training thread: no synchronisation here."""

    def observe(self, logits: Tensor | dict[str, Tensor], labels: Tensor | dict[str, Tensor]) -> None:
        """A training batch, for trackers that look at training outputs."""

    def records(self, epoch: int) -> Iterable[Stamped]:
        """What was measured since the last call, ready to be written; resets what is per epoch."""
        return ()

    def get_metrics(self) -> dict[str, Any]:
        """Everything measured so far as plain, JSON-ready Python values."""
        return {}

    def stop(self) -> None:
        """Removes every hook; may be called more than once."""


class Isolation:
    """Runs calls into one part of tbmetrics so that its faults never reach training.

    An exception is logged once with its traceback; after three the part is stopped for good (`stop` is called). With
    `strict` the exception passes. An `InputError` is the caller's mistake and always passes.
    """

    def __init__(self, name: str, stop: Callable[[], None], *, strict: bool = False) -> None:
        self.name = name
        self.faults: list[str] = []
        self._stop = stop
        self._strict = strict

    @property
    def stopped(self) -> bool:
        """Whether the part was switched off after too many faults."""
        return len(self.faults) >= FAULTS_BEFORE_STOP

    def call(self, action: Callable[..., Any], *args: Any, default: Any = None) -> Any:
        """`action(*args)`, or `default` where it raised or the part is stopped."""
        if self.stopped:
            return default
        try:
            return action(*args)
        except InputError:
            raise
        except Exception as error:
            if self._strict:
                raise
            self._note(error)
            return default

    def _note(self, error: Exception) -> None:
        self.faults.append(f"{type(error).__name__}: {error}")
        if len(self.faults) == 1:
            trace = "".join(traceback.format_exception(error))
            logger.warning("tbmetrics: %s failed; training goes on without this measurement.\n%s", self.name, trace)
        if self.stopped:
            logger.warning("tbmetrics: %s failed %d times and is switched off.", self.name, len(self.faults))
            self._switch_off()

    def _switch_off(self) -> None:
        try:
            self._stop()
        except Exception as error:
            logger.warning("tbmetrics: %s could not be stopped cleanly: %s", self.name, error)
