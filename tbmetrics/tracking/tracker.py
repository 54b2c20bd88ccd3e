"""What a tracker is: the calls the session makes on it, and the isolation that keeps its faults out of training."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from tbmetrics.errors import InputError, NonFiniteError
from tbmetrics.records.history import Stamped

if TYPE_CHECKING:
    from torch import Tensor

    from tbmetrics.records import Record

logger = logging.getLogger("tbmetrics")

FAULTS_BEFORE_STOP = 3


class Tracker:
    """Base of all trackers: every call has a default that does nothing, so a tracker overrides what it needs.

    The session calls, in this order: `start` once; per epoch `start_epoch`, any number of `after_step` (each followed
    by `arrived`) and `observe`, then `records` exactly once; `stop` once. Measurements leave the tracker in `records`,
    those of a step that have reached the host already in `arrived`.
    Hooks that a tracker sets on a model or optimizer are set in `start` and removed in `stop`.
    With several ranks `announce`, `share`, `combine`, `adopt` and `take_outcome` come before `records`.
    """

    name = "tracker"

    #: How often this tracker samples, for the overhead budget to stretch; empty for one that does not sample.
    cadences: tuple[Cadence, ...] = ()

    def guard(self, action: Callable[..., Any], *args: Any) -> Any:
        """Runs `action(*args)`; hooks that torch calls go through it.

        A session puts its own function in this place, which isolates faults and counts the time spent.
        """
        return action(*args)

    def start(self) -> None:
        """Sets hooks; called when the session starts."""

    def start_epoch(self, epoch: int) -> None:
        """An epoch begins."""

    def after_step(self, step: int) -> None:
        """One optimizer step is done; `step` counts from 1. On the training thread: no synchronisation here."""

    def arrived(self) -> Iterable[Stamped]:
        """Per-step records that are ready by now; called after every step, so it never waits."""
        return ()

    def observe(
        self,
        logits: Tensor | Mapping[str, Tensor],
        labels: Tensor | Mapping[str, Tensor],
        loss: Tensor | Mapping[str, Tensor] | None = None,
    ) -> None:
        """A training batch, for trackers that look at training outputs; `loss` is one value a sample, where given."""

    def validate(self, logits: Tensor | Mapping[str, Tensor], labels: Tensor | Mapping[str, Tensor]) -> None:
        """A validation batch, as it was given to `update`, for trackers that look at validation outputs."""

    def records(self, epoch: int) -> Iterable[Stamped]:
        """What was measured since the last call, ready to be written; resets what is per epoch."""
        return ()

    def closing(self) -> Iterable[Record]:
        """Records at the end of the session, written at the last epoch."""
        return ()

    def get_metrics(self) -> dict[str, Any]:
        """Everything measured so far as plain, JSON-ready Python values."""
        return {}

    def stop(self) -> None:
        """Removes every hook; may be called more than once."""

    # -------------------------------------------------------------- several ranks; see `distributed.reduce_trackers`

    def announce(self) -> Any:
        """What every rank is to know of this one at the end of an epoch: something small; None = nothing."""
        return None

    def share(self, announced: list[Any], rank: int) -> Any:
        """What this rank gives to the first one; None = nothing.

        Args:
            announced: what each rank announced, by rank; None for a rank without this tracker.
            rank: this one.
        """
        return None

    def combine(self, share: Any, other: Any) -> Any:
        """Two shares as one, the lower ranks' first; may run on any rank and must not change this tracker."""
        raise NotImplementedError(f"tracker {self.name!r} gives shares and must combine them")

    def adopt(self, share: Any) -> Any:
        """On the first rank: takes the share of all ranks for its own; returns what the other ranks are to have."""
        return None

    def take_outcome(self, outcome: Any) -> None:
        """On the other ranks: what `adopt` returned; on every rank: None where there is no result."""

    # ------------------------------------------------------------------------------------------------- resuming

    def state_dict(self) -> dict[str, Any]:
        """What is to survive the process: plain containers, numbers, strings and tensors only."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Takes what `state_dict` gave.

        Raises:
            InputError: it belongs to something else; the message says what does not fit.
        """


class Cadence:
    """Every how many steps a tracker samples.

    An overhead budget may stretch it by powers of two, so that the steps of a stretched cadence are steps of the one
    asked for.

    Args:
        every: steps between samples, at least 1.
        name: what it is the cadence of, for messages.

    Raises:
        InputError: `every` is no whole number of at least 1.
    """

    def __init__(self, every: int, name: str) -> None:
        if not isinstance(every, int) or isinstance(every, bool) or every < 1:
            raise InputError(f"{name} must be a whole number of steps, at least 1, got {every!r}")
        self.every, self.name = every, name
        self.factor = 1

    def due(self, step: int) -> bool:
        """Whether `step` is to be sampled; step 1 always is, so that a run shows something at once."""
        return step == 1 or step % (self.every * self.factor) == 0

    def stretch(self) -> None:
        """Samples half as often."""
        self.factor *= 2

    def relax(self) -> None:
        """Samples twice as often, up to what was asked for."""
        self.factor = max(self.factor // 2, 1)


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
