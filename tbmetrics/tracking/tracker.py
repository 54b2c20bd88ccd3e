"""Base class of all trackers: the methods that a session calls."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tbmetrics.records.history import History, TimedRecord
from tbmetrics.tracking.checks import whole_epoch
from tbmetrics.tracking.isolation import Isolation

if TYPE_CHECKING:
    from tbmetrics.records import Record
    from tbmetrics.tracking.batches import TrainingBatch, ValidationBatch
    from tbmetrics.tracking.cadence import Cadence


class Tracker:
    """Base class of all trackers; by default every method does nothing, so override those you need.

    A session calls `start` once; in each epoch `start_epoch`, any number of `after_step` (each followed by `arrived`),
    `observe` and `validate`, then `records` exactly once; and finally `stop`. A tracker yields per-epoch measurements
    from `records`, and per-step measurements that have reached the host from `arrived`. The session adds each record
    to its history as soon as it is yielded, so a later record may be drawn from earlier ones. Set hooks on a model or
    optimizer in `start` and remove them in `stop`. With several ranks, `announce`, `share`, `combine`, `adopt` and
    `take_outcome` come before `records`.
    """

    name = "tracker"

    #: Sampling cadences that the overhead budget may stretch; empty if this tracker does not sample.
    cadences: tuple[Cadence, ...] = ()

    #: Whether `arrived` may have something to give; a session asks only then.
    has_arrivals: bool = True

    #: The step at which `after_step` has to be called next; a session may leave out those before it. 0: every step.
    next_step: int = 0

    #: Records to hand over; a tracker that measures between the ends of epochs has a list of its own.
    _ready: Sequence[TimedRecord] = ()
    _own_history: History | None = None
    _session_history: History | None = None
    _session_call: Callable[..., Any] | None = None
    _save_dir: Path | None = None

    #: Whether the run was interrupted: what can be drawn later from the records is left out, so that it ends soon.
    is_interrupted = False

    @property
    def save_dir(self) -> Path | None:
        """Directory for the files of `visualize`, fixed when it is given, or None."""
        return self._save_dir

    @save_dir.setter
    def save_dir(self, directory: str | os.PathLike[str] | None) -> None:
        self._save_dir = None if directory is None else Path(os.path.abspath(directory))

    _isolation: Isolation | None = None  # of a tracker that is used without a session

    @property
    def history(self) -> History:
        """Everything measured: the session's history, or the tracker's own if used without a session."""
        if self._session_history is not None:
            return self._session_history
        if self._own_history is None:
            self._own_history = History(bounded=True)
        return self._own_history

    @property
    def in_session(self) -> bool:
        """Whether this tracker belongs to a session, which then files its records."""
        return self._session_history is not None

    def join(self, history: History, call: Callable[..., Any] | None = None) -> list[TimedRecord]:
        """Use a session's history from now on, and its `call(action, *args)` for what hooks do.

        Returns:
            records from before the session, if the tracker was used on its own; the session takes them over.
        """
        earlier = [] if self._own_history is None else list(self._own_history)
        self._own_history, self._session_history, self._session_call = None, history, call
        return earlier

    def collect(self, epoch: int) -> list[TimedRecord]:
        """Without a session: add the records of `epoch` to the tracker's own history and return them."""
        return list(self.history.filed(self.records(whole_epoch(epoch))))

    def _is_switched_off(self) -> bool:
        """Whether a tracker without a session had too many faults; its hooks are removed. Not to be called from one."""
        if self._isolation is not None:
            self._isolation.settle()
        return self._isolation is not None and self._isolation.stopped

    def _file_if_alone(self, take: Callable[[], Iterable[TimedRecord]]) -> None:
        """Without a session: add what `take()` gives to the tracker's own history; in one, the session asks for it."""
        if not self.in_session:
            for record in take():
                self.history.add(record)

    def guard(self, action: Callable[..., Any], *args: Any) -> Any:
        """Return `action(*args)` in isolation; hooks that torch calls go through here.

        In a session its time is counted, too. Alone, the tracker is switched off after too many faults.
        """
        if self._session_call is not None:
            return self._session_call(action, *args)
        if self._isolation is None:
            self._isolation = Isolation(f"tracker {self.name!r}", self.stop, later=True)
        return self._isolation.call(action, *args)

    def start(self) -> None:
        """Set hooks; called when the session starts."""

    def start_epoch(self, epoch: int) -> None:
        """Begin an epoch."""

    def after_step(self, step: int) -> None:
        """Handle the end of an optimizer step, counted from 1; on the training thread, so never synchronize.

        A tracker that says its `next_step` is not called before, but at the end of an epoch.
        """

    def arrived(self) -> Iterable[TimedRecord]:
        """Yield per-step records that are ready; called after every step, so never wait."""
        return ()

    def pending(self) -> Sequence[TimedRecord]:
        """Hand over the records that are ready; also asked for at a checkpoint within an epoch."""
        ready, self._ready = self._ready, []
        return ready

    def observe(self, batch: TrainingBatch) -> None:
        """Take in a training batch."""

    def validate(self, batch: ValidationBatch) -> None:
        """Take in a validation batch."""

    def records(self, epoch: int) -> Iterable[TimedRecord]:
        """Yield the measurements since the last call and reset per-epoch state."""
        return ()

    def closing(self) -> Iterable[Record]:
        """Yield records for the end of the session, written at the step of the last epoch."""
        return ()

    def get_metrics(self) -> dict[str, Any]:
        """Return everything measured so far, JSON-ready."""
        return {}

    def stop(self) -> None:
        """Remove all hooks; idempotent."""

    # -------------------------------------------------------------- several ranks; see `ranks.reduce_trackers`

    def announce(self) -> Any:
        """Return a small object about this rank's epoch that every rank receives, or None."""
        return None

    def share(self, announced: list[Any], rank: int) -> Any:
        """Return this rank's share of the measurements for the first rank, or None.

        Args:
            announced: what each rank announced, by rank; None for a rank without this tracker.
            rank: index of this rank.
        """
        return None

    def combine(self, share: Any, other: Any) -> Any:
        """Combine two shares, the lower ranks' first; runs on any rank and must not change this tracker."""
        raise NotImplementedError(f"tracker {self.name!r} gives shares and must combine them")

    def adopt(self, share: Any) -> Any:
        """On the first rank: adopt the share of all ranks; return the outcome for the other ranks."""
        return None

    def take_outcome(self, outcome: Any) -> None:
        """On the other ranks: take over what `adopt` returned; on any rank, None if there is no result."""

    # ------------------------------------------------------------------------------------------------- resuming

    def state_dict(self) -> dict[str, Any]:
        """Return what a resumed run needs: plain containers, numbers, strings and tensors only."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore a `state_dict()`.

        Raises:
            InputError: the state does not fit this tracker; the message says why.
        """
