"""The thread that encodes and writes events, so that the training thread only appends to a queue."""

from __future__ import annotations

import atexit
import logging
import os
import threading
import time
import weakref
from typing import TYPE_CHECKING, Any

from tensorboard.compat.proto.event_pb2 import Event

from tbmetrics.events.encoding import values
from tbmetrics.events.framing import frame
from tbmetrics.events.places import (
    LOCAL_EVENTS,
    LOCAL_PAUSE_SECONDS,
    REMOTE_EVENTS,
    REMOTE_PAUSE_SECONDS,
    is_url,
    open_event_file,
)
from tbmetrics.events.waiting import Waiting, WaitingRoom
from tbmetrics.records import Scalar

if TYPE_CHECKING:
    from tbmetrics.events.event_file import EventFile
    from tbmetrics.events.remote import RemoteEventFile

logger = logging.getLogger("tbmetrics")

DROPPED_TAG = "tbmetrics/dropped_records"
_FIRST_RETRY_SECONDS, _LAST_RETRY_SECONDS = 0.5, 30.0
_EXIT_SECONDS = 20.0


class BackgroundWriter:
    """Writes events to a file of `log_dir` from a thread of its own.

    A failing disk or store is retried with growing pauses; meanwhile the queue stays within `max_bytes`. In a forked
    child every call does nothing: the thread and the file belong to the parent.

    Args:
        log_dir: created if missing; a directory of this machine, or a URL.
        max_bytes: of what may wait.
        flush_seconds: how long an event may wait at most while more are coming.
        policy: "drop" gives records up when the queue is full, "block" waits.
        suffix: appended to the file's name.
    """

    def __init__(self, log_dir: str, max_bytes: int, flush_seconds: float, policy: str, suffix: str) -> None:
        self._log_dir, self._suffix = log_dir, suffix
        self._policy = policy
        remote = is_url(log_dir)
        self._pause = min(REMOTE_PAUSE_SECONDS if remote else LOCAL_PAUSE_SECONDS, flush_seconds)
        self._at_once = REMOTE_EVENTS if remote else LOCAL_EVENTS
        self._file: EventFile | RemoteEventFile | None = open_event_file(log_dir, suffix)
        self._room = WaitingRoom(max_bytes)
        self._changed = threading.Condition()
        self._pid = os.getpid()
        self._put, self._done = 0, 0  # events taken in, and written or given up
        self._hurry = self._closing = self._failing = self._last_try = False
        self._reported_drops = 0
        self._last_step = 0
        self._encoding_faults: set[str] = set()
        self._thread = threading.Thread(target=self._run, name="tbmetrics-writer", daemon=True)
        self._thread.start()
        self._at_exit = weakref.WeakMethod(self.close)
        atexit.register(_close_if_alive, self._at_exit)

    # -------------------------------------------------------------------------------------- the training thread

    def put(self, item: Waiting) -> None:
        """Queues one event."""
        if os.getpid() != self._pid or self._closing:
            return
        with self._changed:
            if not self._room.has_room_for(item):
                self._wait_or_make_room(item)
            self._room.put(item)
            self._put += 1
            if len(self._room) == 1 or self._room.is_half_full():
                self._changed.notify_all()

    def _wait_or_make_room(self, item: Waiting) -> None:
        if self._policy == "block":
            self._hurry = True
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._room.has_room_for(item) or self._closing)
        else:
            self._room.make_room()

    def flush(self, timeout: float = 30.0) -> bool:
        """Waits until everything queued so far is on disk; False (and a logged warning) where it did not get there."""
        if os.getpid() != self._pid or not self._thread.is_alive():
            return False
        with self._changed:
            wanted, self._hurry = self._put, True
            self._changed.notify_all()
            done = self._changed.wait_for(lambda: self._done >= wanted or self._failing, timeout)
            done = done and self._done >= wanted
        if not done:
            logger.warning("tbmetrics: %s could not be flushed; what waits is kept and retried", self._log_dir)
        return done

    def close(self, timeout: float = _EXIT_SECONDS) -> None:
        """Writes what waits, as far as the disk lets it, and ends the thread; idempotent."""
        if os.getpid() != self._pid or self._closing:
            return
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._thread.join(timeout)

    # ---------------------------------------------------------------------------------------- the writing thread

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: len(self._room) or self._closing)
                # Where more waits than is written at once, a pause would let it grow: so many a pause, and no more.
                if not self._hurry and not self._closing and len(self._room) < self._at_once:
                    self._changed.wait_for(self._is_pressed, self._pause)
                items = self._room.take(self._at_once)
                self._hurry = self._hurry and len(self._room) > 0
            if not items:
                break
            self._write(self._encode(items))
            with self._changed:
                self._done = self._put - len(self._room)
                self._changed.notify_all()
        if self._file is not None:
            self._file.close()

    def _is_pressed(self) -> bool:
        return self._hurry or self._closing or self._room.is_half_full()

    def _encode(self, items: list[Waiting]) -> bytes:
        framed = [frame(self._event(item)) for item in items]
        if self._room.dropped != self._reported_drops:
            self._reported_drops = self._room.dropped
            drops = Waiting(self._last_step, time.time(), (Scalar(DROPPED_TAG, float(self._room.dropped)),))
            framed.append(frame(self._event(drops)))
        return b"".join(framed)

    def _event(self, item: Waiting) -> bytes:
        self._last_step = max(self._last_step, item.step)
        event = item.event or Event(step=item.step, wall_time=item.wall_time)
        for record in item.records:
            try:
                event.summary.value.extend(values(record))
            except Exception as error:  # one odd record must not end the thread
                self._note_encoding_fault(record, error)
        encoded: bytes = event.SerializeToString()
        return encoded

    def _note_encoding_fault(self, record: Any, error: Exception) -> None:
        self._room.dropped += 1
        kind = type(record).__name__
        if kind not in self._encoding_faults:
            self._encoding_faults.add(kind)
            logger.warning("tbmetrics: a %s record could not be encoded and is left out: %s", kind, error)

    def _write(self, framed: bytes) -> None:
        pause = _FIRST_RETRY_SECONDS
        while True:
            try:
                if self._file is None or self._file.is_gone():
                    self._file = open_event_file(self._log_dir, self._suffix)
                self._file.write(framed)
            except OSError as error:
                if not self._wait_to_retry(error, pause):
                    return
                pause = min(2 * pause, _LAST_RETRY_SECONDS)
            else:
                if self._failing:
                    logger.warning("tbmetrics: writing to %s works again", self._log_dir)
                    self._failing = False
                return

    def _wait_to_retry(self, error: OSError, pause: float) -> bool:
        if not self._failing:
            logger.warning(
                "tbmetrics: cannot write to %s (%s); training goes on, writing is retried", self._log_dir, error
            )
        with self._changed:
            self._failing = True
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._closing, pause)
            if not self._last_try:
                self._last_try = self._closing  # closing still gets one more try
                return True
        logger.warning("tbmetrics: the last records for %s are lost: %s", self._log_dir, error)
        return False


def _close_if_alive(close: weakref.WeakMethod[Any]) -> None:
    method = close()
    if method is not None:
        method()
