"""Where a session's measurements go: the history in memory and the event file."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from tbmetrics.events.places import event_file_names, is_url, is_writing, this_writer, writer_of
from tbmetrics.events.writer import RecordWriter, directory_of, open_writer, writer_target
from tbmetrics.records import Record
from tbmetrics.records.history import History, TimedRecord
from tbmetrics.tracking.host_copies import DeferredScalars, Event
from tbmetrics.tracking.isolation import Isolation

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

_MAX_UNFILED = 1000

logger = logging.getLogger("tbmetrics")


class RunLog:
    """Keep measurements in memory and write them; faults of the writer never reach training.

    Args:
        target: the run's directory, or the user's own `SummaryWriter`.
        policy: what the writer does if its queue is full, "drop" or "block".
        strict: raise exceptions of the writer.
    """

    def __init__(self, target: str | os.PathLike[str] | SummaryWriter, policy: str, *, strict: bool) -> None:
        self._target = writer_target(target)
        self._policy = policy
        self._history = History(bounded=True)
        self._unfiled: list[Event] = []  # written, but not in the history yet
        self._deferred = DeferredScalars()
        self._writer: RecordWriter | None = None
        self._known_files: set[str] = set()
        self._has_warned = False
        self._writing = Isolation("the event writer", lambda: None, strict=strict)

    @property
    def directory(self) -> str:
        """The run's directory."""
        return directory_of(self._target)

    @property
    def history(self) -> History:
        """Everything measured so far."""
        self._file_scalars()
        return self._history

    def open(self) -> None:
        """Open the event file; ranks that never do keep the history only."""
        self._known_files = set(event_file_names(self.directory))
        self._writer = open_writer(self._target, policy=self._policy)
        self._warn_of({name for name in self._known_files if is_writing(self.directory, name)})

    def look_for_others(self) -> None:
        """Say once if another process has begun to write to the same directory."""
        if self._writer is not None and not self._has_warned and not is_url(self.directory):
            names = set(event_file_names(self.directory))
            new, self._known_files = names - self._known_files, names
            self._warn_of(new)

    def _warn_of(self, names: set[str]) -> None:
        others = sorted({writer for name in names if (writer := writer_of(name))} - {this_writer()})
        if others and not self._has_warned:
            self._has_warned = True
            logger.warning(
                "tbmetrics: %s writes to %s too, so one run hides the other's records; give each a directory of its "
                "own",
                " and ".join(others),
                self.directory,
            )

    def mark_restart(self, step: int) -> None:
        """Mark what the file holds from `step` on as superseded."""
        if self._writer is not None:
            self._writing.call(self._writer.mark_restart, step)

    def put_scalars(self, scalars: Mapping[str, Any], step: int) -> None:
        """Log scalars measured at `step`; those on a device are written once they have been copied.

        Raises:
            InputError: a value is neither a number nor a tensor of one element.
        """
        self._deferred.put(scalars, step)
        self.write_scalars(wait=False)

    def write_scalars(self, *, wait: bool) -> None:
        """Write the scalars that have arrived; they join the history later, off the step path."""
        for step, wall_time, scalars in self._deferred.ready(wait=wait):
            self._unfiled.append((step, wall_time, scalars))
            if self._writer is not None:
                self._writing.call(partial(self._writer.write, scalars, step=step, wall_time=wall_time))
        if len(self._unfiled) >= _MAX_UNFILED:
            self._file_scalars()

    def file(self, step: int, records: Iterable[Record]) -> list[TimedRecord]:
        """Add the session's own records to the history; return them for `write`."""
        now = time.time()
        return list(self._history.filed(TimedRecord(step, now, record) for record in records))

    def write(self, filed: Sequence[TimedRecord]) -> None:
        """Write records that are already in the history, one event per step."""
        by_step: dict[int, list[Record]] = {}
        for step, _, record in filed:
            by_step.setdefault(step, []).append(record)
        if self._writer is not None:
            for step, records in by_step.items():
                self._writing.call(partial(self._writer.write, records, step=step))

    def flush(self) -> None:
        """Wait until everything so far is on disk."""
        self.write_scalars(wait=True)
        if self._writer is not None:
            self._writing.call(self._writer.flush)

    def close(self) -> None:
        """Flush and close the event file."""
        self.flush()
        if self._writer is not None:
            self._writing.call(self._writer.close)

    def _file_scalars(self) -> None:
        unfiled, self._unfiled = self._unfiled, []
        for step, wall_time, scalars in unfiled:
            for scalar in scalars:
                self._history.add(TimedRecord(step, wall_time, scalar))
