"""One event file, opened once and only ever holding whole records."""

from __future__ import annotations

import itertools
import os
import socket
import time
from pathlib import Path

from tensorboard.compat.proto.event_pb2 import Event, SourceMetadata

from tbmetrics.events.framing import frame

#: What every event file has in its name.
EVENT_FILE_MARK = "tfevents"

_numbers = itertools.count()


def new_name(suffix: str) -> tuple[str, bytes]:
    """The name of an event file begun now, and its first record, framed; names sort by time."""
    now = time.time()
    name = f"events.out.tfevents.{now:.6f}.{socket.gethostname()}.{os.getpid()}.{next(_numbers)}{suffix}"
    first = Event(wall_time=now, file_version="brain.Event:2", source_metadata=SourceMetadata(writer="tbmetrics"))
    return name, frame(first.SerializeToString())


class EventFile:
    """An event file of this process in `log_dir`; methods raise `OSError` and leave whole records behind."""

    def __init__(self, log_dir: str, suffix: str = "") -> None:
        Path(log_dir).mkdir(parents=True, exist_ok=True)
        name, first = new_name(suffix)
        self.path = os.path.join(log_dir, name)
        self._file = os.open(self.path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_APPEND, 0o644)
        self._whole = 0  # bytes up to the end of the last whole record
        self.write(first)

    def write(self, framed: bytes) -> None:
        """Appends whole framed records; on failure cuts the file back to where it was and raises `OSError`."""
        view = memoryview(framed)
        try:
            while view:
                view = view[os.write(self._file, view) :]
        except OSError:
            self._cut_back()
            raise
        self._whole += len(framed)

    def _cut_back(self) -> None:
        try:
            os.ftruncate(self._file, self._whole)
        except OSError:
            return  # the torn record at the end is what a reader takes as "not yet written"

    def is_gone(self) -> bool:
        """Whether the file was deleted underneath."""
        return os.fstat(self._file).st_nlink == 0

    def close(self) -> None:
        """Closes the file."""
        os.close(self._file)
