"""Records to TensorBoard event files: through our own `SummaryWriter`, or through one that the user brings."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Protocol

from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from torch.utils.tensorboard import SummaryWriter

from tbmetrics.errors import InputError
from tbmetrics.events.background import BackgroundWriter, PendingEvent
from tbmetrics.events.encoding import summary
from tbmetrics.events.places import holds_events_of_others, is_url, local_or_url
from tbmetrics.records import Record

DEFAULT_QUEUE_BYTES = 64 * 2**20
POLICIES = ("drop", "block")


class RecordWriter(Protocol):
    """What the session needs of a writer."""

    @property
    def log_dir(self) -> str:
        """The run's directory."""

    def write(self, records: Iterable[Record], *, step: int, wall_time: float | None = None) -> None:
        """Write records of one step as one event; tags must differ within one call."""

    def mark_restart(self, step: int) -> None:
        """Tell TensorBoard that the run resumes at `step`: what it holds from there on is superseded."""

    def flush(self) -> None:
        """Wait until everything written so far is on disk."""

    def close(self) -> None:
        """Flush and end the writer; idempotent."""


def open_writer(target: str | os.PathLike[str] | SummaryWriter, **options: Any) -> RecordWriter:
    """Our writer on a directory, or around a `SummaryWriter` of the user's, which is flushed but never closed.

    Raises:
        InputError: the directory cannot be written; options that do not fit.
    """
    if isinstance(target, EventWriter):
        return target
    return UsersWriter(target) if isinstance(target, SummaryWriter) else EventWriter(target, **options)


def writer_target(target: Any) -> str | SummaryWriter:
    """What `open_writer` is to write to: a directory (its path is fixed now), a URL, or torch's `SummaryWriter`.

    For a Lightning logger it is that logger's writer. Beside other writers with a directory, such as tensorboardX's,
    an event file of our own is written.

    Raises:
        InputError: something else was given.
    """
    if isinstance(target, SummaryWriter):
        return target
    if type(target).__name__ == "TensorBoardLogger" and isinstance(target.experiment, SummaryWriter):
        return target.experiment
    if not isinstance(target, str | os.PathLike) and callable(getattr(target, "add_scalar", None)):
        target = next((d for n in ("logdir", "log_dir") if isinstance(d := getattr(target, n, None), str)), target)
    if not isinstance(target, str | os.PathLike):
        raise InputError(
            "log_dir must be a directory, a URL, or a SummaryWriter of torch.utils.tensorboard, got "
            f"{type(target).__module__}.{type(target).__name__}; give the directory that it writes to"
        )
    location = local_or_url(target)
    return location if is_url(location) else os.path.abspath(location)


def directory_of(target: str | SummaryWriter) -> str:
    """The directory that a `writer_target` writes to."""
    return str(target if isinstance(target, str) else target.log_dir)


class EventWriter(SummaryWriter):
    """A `SummaryWriter` whose file is written by one background thread: one event a step, one open file.

    All `add_…` methods of `SummaryWriter` work and go the same way.

    Args:
        log_dir: directory of the run, made if missing; or a URL (`s3://…`, `gs://…`, any that fsspec knows).
        max_queue_bytes: limit of the queue of events to be written.
        flush_secs: longest time that an event waits while more are coming; the shortest between two uploads of a
            remote object.
        policy: when the queue is full, "drop" drops images, then histograms, then curves and tables, and merges scalars
            (the last value of a tag stays; `tbmetrics/dropped_records` counts the records dropped); "block" waits.
        filename_suffix: appended to the event file's name.

    Raises:
        InputError: the directory cannot be written, or an option is out of range.
    """

    def __init__(
        self,
        log_dir: str | os.PathLike[str],
        *,
        max_queue_bytes: int = DEFAULT_QUEUE_BYTES,
        flush_secs: float = 10,
        policy: str = "drop",
        filename_suffix: str = "",
    ) -> None:
        if policy not in POLICIES:
            raise InputError(f"policy must be one of {', '.join(map(repr, POLICIES))}, got {policy!r}")
        if max_queue_bytes < 1 or flush_secs <= 0:
            raise InputError(f"max_queue_bytes and flush_secs must be positive, got {max_queue_bytes} and {flush_secs}")
        directory = local_or_url(log_dir)
        self._shared = holds_events_of_others(directory)
        try:
            self._background = BackgroundWriter(directory, max_queue_bytes, flush_secs, policy, filename_suffix)
        except OSError as error:
            raise InputError(
                f"log_dir {directory!r} cannot be written ({error.strerror or error}); "
                f"{'check its name and your credentials' if is_url(directory) else 'choose one that you may write to'}"
            ) from error
        super().__init__(directory, filename_suffix=filename_suffix)

    def write(self, records: Iterable[Record], *, step: int, wall_time: float | None = None) -> None:
        """Queue records of one step as one event; tags must differ within one call."""
        if wall_time is None:
            wall_time = time.time()
        self._background.put(PendingEvent(step, wall_time, tuple(records)))

    def mark_restart(self, step: int) -> None:
        """Write `SessionLog.START` at `step`, unless another writer's files lie beside ours.

        TensorBoard would discard what that writer has measured since, too. Without it TensorBoard shows a step written
        again twice; our own reader takes the later one.
        """
        if self._shared:
            return
        event = Event(step=step, wall_time=time.time(), session_log=SessionLog(status=SessionLog.START))
        self._background.put(PendingEvent(step, event.wall_time, message=event))

    def flush(self) -> None:
        """Wait until everything written so far is on disk, half a minute at most."""
        self._background.flush()

    def close(self) -> None:
        """Flush, end the thread and close the file; idempotent."""
        self._background.close()

    def _get_file_writer(self) -> _FileWriter:
        """What `SummaryWriter`'s own methods write to."""
        writer: _FileWriter | None = self.file_writer
        if writer is None:
            writer = _FileWriter(str(self.log_dir), self._background)
            self.__dict__.update(file_writer=writer, all_writers={str(self.log_dir): writer})
        return writer


class _FileWriter:
    """The interface of torch's `FileWriter`, onto the background thread."""

    def __init__(self, log_dir: str, background: BackgroundWriter) -> None:
        self._log_dir, self._background = log_dir, background

    def get_logdir(self) -> str:
        return self._log_dir

    def add_event(self, event: Any, step: int | None = None, walltime: float | None = None) -> None:
        event.wall_time = time.time() if walltime is None else walltime
        if step is not None:
            event.step = int(step)
        self._background.put(PendingEvent(event.step, event.wall_time, message=event))

    def add_summary(self, summary: Any, global_step: int | None = None, walltime: float | None = None) -> None:
        self.add_event(Event(summary=summary), global_step, walltime)

    def add_graph(self, graph_profile: Any, walltime: float | None = None) -> None:
        graph, stepstats = graph_profile
        self.add_event(Event(graph_def=graph.SerializeToString()), None, walltime)
        from tensorboard.compat.proto.event_pb2 import TaggedRunMetadata

        metadata = TaggedRunMetadata(tag="step1", run_metadata=stepstats.SerializeToString())
        self.add_event(Event(tagged_run_metadata=metadata), None, walltime)

    def add_onnx_graph(self, graph: Any, walltime: float | None = None) -> None:
        self.add_event(Event(graph_def=graph.SerializeToString()), None, walltime)

    def flush(self) -> None:
        self._background.flush()

    def close(self) -> None:
        self._background.close()

    def reopen(self) -> None:
        """The file is open from the start."""


class UsersWriter:
    """Records through a `SummaryWriter` that belongs to the user."""

    def __init__(self, writer: SummaryWriter) -> None:
        self._writer = writer

    @property
    def log_dir(self) -> str:
        """The run's directory."""
        return str(Path(self._writer.log_dir))

    def write(self, records: Iterable[Record], *, step: int, wall_time: float | None = None) -> None:
        """Write records of one step as one event."""
        self._writer._get_file_writer().add_summary(summary(records), step, wall_time)

    def mark_restart(self, step: int) -> None:
        """Do nothing: the user's writer has its own `purge_step`."""

    def flush(self) -> None:
        """Flush the user's writer."""
        self._writer.flush()

    def close(self) -> None:
        """Flush; closing is left to the user."""
        self._writer.flush()
