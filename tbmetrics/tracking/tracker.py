"""What a tracker is: the calls the session makes on it, and the isolation that keeps its faults out of training."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from tbmetrics.records.history import History, Stamped

if TYPE_CHECKING:
    from tbmetrics.records import Record
    from tbmetrics.tracking.batches import TrainingBatch, ValidationBatch
    from tbmetrics.tracking.cadence import Cadence

logger = logging.getLogger("tbmetrics")

FAULTS_BEFORE_STOP = 3


class Tracker:
    """Base of all trackers: every call has a default that does nothing, so a tracker overrides what it needs.

    The session calls, in this order: `start` once; per epoch `start_epoch`, any number of `after_step` (each followed
    by `arrived`), `observe` and `validate`, then `records` exactly once; `stop` once. Measurements leave the tracker
    in `records`, those of a step that have reached the host already in `arrived`. The session files each record in
    its history as soon as it is yielded, so that a later one may be drawn from the earlier ones.
    Hooks that a tracker sets on a model or optimizer are set in `start` and removed in `stop`.
    With several ranks `announce`, `share`, `combine`, `adopt` and `take_outcome` come before `records`.
    """

    name = "tracker"

    #: How often this tracker samples, for the overhead budget to stretch; empty for one that does not sample.
    cadences: tuple[Cadence, ...] = ()

    _own_history: History | None = None
    _session_history: History | None = None

    @property
    def history(self) -> History:
        """Everything measured: the session's history, or the tracker's own if it is used alone."""
        if self._session_history is not None:
            return self._session_history
        if self._own_history is None:
            self._own_history = History(bounded=True)
        return self._own_history

    @property
    def in_session(self) -> bool:
        """Whether a session files the records of this tracker."""
        return self._session_history is not None

    def join(self, history: History) -> list[Stamped]:
        """Use a session's history from now on.

        Returns:
            the records of the time before, if the tracker was used alone; the session takes them over.
        """
        earlier = [] if self._own_history is None else list(self._own_history)
        self._own_history, self._session_history = None, history
        return earlier

    def collect(self, epoch: int) -> list[Stamped]:
        """Outside a session: file the records of `epoch` in the tracker's own history, and return them."""
        return list(self.history.filed(self.records(epoch)))

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

    def pending(self) -> Iterable[Stamped]:
        """Records that are complete and not handed over yet, for a checkpoint in the middle of an epoch."""
        return ()

    def observe(self, batch: TrainingBatch) -> None:
        """A training batch, for trackers that look at training outputs."""

    def validate(self, batch: ValidationBatch) -> None:
        """A validation batch, for trackers that look at validation outputs."""

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
