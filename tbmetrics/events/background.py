"""The thread that encodes and writes events, fed by a queue that is bounded in bytes."""

from __future__ import annotations

import atexit
import logging
import os
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from tensorboard.compat.proto.event_pb2 import Event

from tbmetrics.events.encoding import values
from tbmetrics.events.event_file import frame
from tbmetrics.events.places import (
    LOCAL_EVENTS,
    LOCAL_PAUSE_SECONDS,
    REMOTE_EVENTS,
    REMOTE_PAUSE_SECONDS,
    is_url,
    open_event_file,
)
from tbmetrics.records import ClassList, Histogram, Image, Layout, PRCurve, Record, SampleData, Scalar, Table, Text

if TYPE_CHECKING:
    from tbmetrics.events.event_file import EventFile
    from tbmetrics.events.remote import RemoteEventFile

logger = logging.getLogger("tbmetrics")

DROPPED_TAG = "tbmetrics/dropped_records"
_FIRST_RETRY_SECONDS, _LAST_RETRY_SECONDS = 0.5, 30.0
_EXIT_SECONDS = 20.0

#: Rough memory of Python objects: a scalar record, any other record without its contents, a name in a list.
_SCALAR_BYTES, _RECORD_BYTES, _NAME_BYTES = 120, 250, 60
#: Kinds given up when the queue is full, in this order, until the rest fits. Scalars are merged last and never dropped.
_SACRIFICES: tuple[tuple[type, ...], ...] = ((Image,), (Histogram,), (PRCurve, Text, Layout, SampleData), (Table,))

#: Kinds whose latest record stands for the whole run.
_WRITTEN_ONCE = (ClassList, Layout, Text)


@dataclass(slots=True)
class PendingEvent:
    """An event to be written: the records of one step, or a finished `Event` message.

    Attributes:
        memory_bytes: approximate memory that it holds; computed once, since the queue asks for it several times.
    """

    step: int
    wall_time: float
    records: tuple[Record, ...] = ()
    message: Any = None
    memory_bytes: int = field(init=False)

    def __post_init__(self) -> None:
        self.memory_bytes = _memory_of(self.records) if self.message is None else self.message.ByteSize()


def _memory_of(records: tuple[Record, ...]) -> int:
    memory_bytes = 0
    for record in records:
        memory_bytes += _SCALAR_BYTES if type(record) is Scalar else _memory_of_large(record)
    return memory_bytes


def _memory_of_large(record: Record) -> int:
    """Arrays, texts and lists of names decide how much memory a record takes; the rest is alike in all of them."""
    if type(record) is Histogram:  # a sample of gradients has many
        return _RECORD_BYTES + len(record.tag) + record.limits.nbytes + record.counts.nbytes
    return _RECORD_BYTES + sum(_content_bytes(getattr(record, name)) for name in getattr(record, "__slots__", ()))


def _content_bytes(content: object) -> int:
    if isinstance(content, np.ndarray):
        return content.nbytes
    if isinstance(content, (str, bytes)):
        return len(content)
    return _NAME_BYTES * len(content) if isinstance(content, (tuple, Mapping)) else 0


class EventQueue:
    """Events to be written, oldest first; not thread-safe by itself."""

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self.bytes = 0
        self.dropped_records = 0
        self._events: deque[PendingEvent] = deque()

    def __len__(self) -> int:
        return len(self._events)

    def has_room_for(self, event: PendingEvent) -> bool:
        """Whether `event` fits; an empty queue takes anything."""
        return not self._events or self.bytes + event.memory_bytes <= self.max_bytes

    def is_half_full(self) -> bool:
        """Whether more than half of the bytes are taken."""
        return self.bytes > self.max_bytes // 2

    def put(self, event: PendingEvent) -> None:
        """Append `event`."""
        self._events.append(event)
        self.bytes += event.memory_bytes

    def take(self, at_most: int = 200) -> list[PendingEvent]:
        """Remove and return the oldest events."""
        taken = [self._events.popleft() for _ in range(min(at_most, len(self._events)))]
        self.bytes -= sum(event.memory_bytes for event in taken)
        return taken

    def make_room(self) -> None:
        """Drop records by rank until the queue is at most half full, then merge scalars: the last value stays."""
        for kinds in _SACRIFICES:
            if not self.is_half_full():
                return
            self._keep(lambda record, kinds=kinds: not isinstance(record, kinds))  # type: ignore[misc]
        if self.is_half_full():
            self._merge_scalars()

    def _merge_scalars(self) -> None:
        seen: set[str] = set()

        def is_latest(record: Record) -> bool:
            if not isinstance(record, Scalar):
                return True
            is_new = record.tag not in seen
            seen.add(record.tag)
            return is_new

        self._keep(is_latest)

    def _keep(self, is_wanted: Callable[[Record], bool]) -> None:
        """Drop all records but those wanted, from the newest event to the oldest."""
        for event in reversed(self._events):
            retained = tuple(record for record in event.records if is_wanted(record))
            if len(retained) < len(event.records):
                self._replace(event, retained)
        self._events = deque(event for event in self._events if event.records or event.message is not None)

    def _replace(self, event: PendingEvent, retained: tuple[Record, ...]) -> None:
        self.dropped_records += len(event.records) - len(retained)
        memory_bytes = _memory_of(retained)
        self.bytes += memory_bytes - event.memory_bytes
        event.records, event.memory_bytes = retained, memory_bytes


class BackgroundWriter:
    """Write events to a file in `log_dir` from a background thread.

    A failing disk or store is retried with growing pauses, while the queue stays within `max_bytes`. In a forked child
    every call does nothing: the thread and the file belong to the parent.

    Args:
        log_dir: created if missing; a directory of this machine, or a URL.
        max_bytes: limit of the queue.
        flush_seconds: longest time that an event waits while more are coming.
        policy: when the queue is full, "drop" drops records and "block" waits.
        suffix: appended to the file's name.
    """

    def __init__(self, log_dir: str, max_bytes: int, flush_seconds: float, policy: str, suffix: str) -> None:
        self._log_dir, self._suffix = log_dir, suffix
        self._policy = policy
        remote = is_url(log_dir)
        self._pause = min(REMOTE_PAUSE_SECONDS if remote else LOCAL_PAUSE_SECONDS, flush_seconds)
        self._batch_events = REMOTE_EVENTS if remote else LOCAL_EVENTS
        self._file: EventFile | RemoteEventFile | None = open_event_file(log_dir, suffix)
        self._queue = EventQueue(max_bytes)
        self._lock = threading.RLock()
        self._changed = threading.Condition(self._lock)
        self._pid = os.getpid()
        self._events_queued, self._events_done = 0, 0  # done: written or given up
        self._is_urgent = self._is_closing = self._is_failing = self._is_last_try = False
        self._reported_drops = 0
        self._last_step = 0
        self._encoding_faults: set[str] = set()
        self._lost_events = 0
        self._written_once: dict[tuple[type, str], PendingEvent] = {}  # again in a file that replaces one
        self._thread = threading.Thread(target=self._run, name="tbmetrics-writer", daemon=True)
        self._thread.start()
        self._at_exit = weakref.WeakMethod(self.close)
        atexit.register(_close_if_alive, self._at_exit)

    # -------------------------------------------------------------------------------------- the training thread

    def put(self, event: PendingEvent) -> None:
        """Queue one event."""
        if os.getpid() != self._pid or self._is_closing:
            return
        with self._lock:
            if not self._queue.has_room_for(event):
                self._wait_or_make_room(event)
            self._queue.put(event)
            self._events_queued += 1
            if len(self._queue) == 1 or self._queue.is_half_full():
                self._changed.notify_all()

    def _wait_or_make_room(self, event: PendingEvent) -> None:
        if self._policy == "block":
            self._is_urgent = True
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._queue.has_room_for(event) or self._is_closing)
        else:
            self._queue.make_room()

    def flush(self, timeout: float = 30.0) -> bool:
        """Wait until everything queued so far is on disk; log a warning and return False if it is not."""
        if os.getpid() != self._pid or not self._thread.is_alive():
            return False
        with self._changed:
            wanted, self._is_urgent = self._events_queued, True
            self._changed.notify_all()
            done = self._changed.wait_for(lambda: self._events_done >= wanted or self._is_failing, timeout)
            done = done and self._events_done >= wanted
        if not done:
            logger.warning("tbmetrics: %s could not be flushed; what waits is kept and retried", self._log_dir)
        return done

    def close(self, timeout: float = _EXIT_SECONDS) -> None:
        """Write what is queued, as far as the disk allows, and end the thread; idempotent."""
        if os.getpid() != self._pid or self._is_closing:
            return
        with self._changed:
            self._is_closing = True
            self._changed.notify_all()
        self._thread.join(timeout)

    # ---------------------------------------------------------------------------------------- the writing thread

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: len(self._queue) or self._is_closing)
                # A full batch is written at once: pausing before each would limit the rate, and the queue would grow.
                if not self._is_urgent and not self._is_closing and len(self._queue) < self._batch_events:
                    self._changed.wait_for(self._must_write_now, self._pause)
                events = self._queue.take(self._batch_events)
                self._is_urgent = self._is_urgent and len(self._queue) > 0
            if not events:
                break
            self._write(self._encode(events))
            with self._changed:
                self._events_done = self._events_queued - len(self._queue)
                self._changed.notify_all()
        if self._file is not None:
            self._file.close()

    def _must_write_now(self) -> bool:
        return self._is_urgent or self._is_closing or self._queue.is_half_full()

    def _encode(self, events: list[PendingEvent]) -> bytes:
        framed = [frame(self._message(event)) for event in events]
        dropped = self._queue.dropped_records
        if dropped != self._reported_drops:
            self._reported_drops = dropped
            drops = PendingEvent(self._last_step, time.time(), (Scalar(DROPPED_TAG, float(dropped)),))
            framed.append(frame(self._message(drops)))
        return b"".join(framed)

    def _message(self, event: PendingEvent) -> bytes:
        self._last_step = max(self._last_step, event.step)
        message = event.message or Event(step=event.step, wall_time=event.wall_time)
        for record in event.records:
            if isinstance(record, _WRITTEN_ONCE):
                key = type(record), getattr(record, "tag", "")
                self._written_once[key] = PendingEvent(event.step, event.wall_time, (record,))
            try:
                message.summary.value.extend(values(record))
            except Exception as error:  # one invalid record must not end the thread
                self._note_encoding_fault(record, error)
        encoded: bytes = message.SerializeToString()
        return encoded

    def _note_encoding_fault(self, record: Any, error: Exception) -> None:
        self._queue.dropped_records += 1
        kind = type(record).__name__
        if kind not in self._encoding_faults:
            self._encoding_faults.add(kind)
            logger.warning("tbmetrics: a %s record could not be encoded and is left out: %s", kind, error)

    def _write(self, framed: bytes) -> None:
        pause = _FIRST_RETRY_SECONDS
        while True:
            try:
                if self._file is None or self._file.is_gone():
                    framed = self._replace_file() + framed
                self._file.write(framed)  # type: ignore[union-attr]
            except OSError as error:
                if not self._wait_to_retry(error, pause):
                    self._lost_events += 1
                    return
                pause = min(2 * pause, _LAST_RETRY_SECONDS)
            else:
                if self._is_failing:
                    logger.warning("tbmetrics: writing to %s works again", self._log_dir)
                    self._is_failing = False
                return

    def _replace_file(self) -> bytes:
        """Begin a new file and return what belongs into every file: the class lists and the texts so far."""
        self._file = open_event_file(self._log_dir, self._suffix)
        logger.warning(
            "tbmetrics: the event file in %s was removed; a new one holds what is measured from now on", self._log_dir
        )
        return b"".join(frame(self._message(event)) for event in list(self._written_once.values()))

    def _wait_to_retry(self, error: OSError, pause: float) -> bool:
        if not self._is_failing:
            logger.warning(
                "tbmetrics: cannot write to %s (%s); training goes on, writing is retried", self._log_dir, error
            )
        with self._changed:
            self._is_failing = True
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._is_closing, pause)
            if not self._is_last_try:
                self._is_last_try = self._is_closing  # closing still gets one more try
                return True
        if not self._lost_events:
            logger.warning("tbmetrics: the last records for %s are lost: %s", self._log_dir, error)
        return False


def _close_if_alive(close: weakref.WeakMethod[Any]) -> None:
    method = close()
    if method is not None:
        method()
