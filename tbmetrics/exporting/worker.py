"""A process that makes units: tasks come in on its standard input, results go out on its standard output."""

from __future__ import annotations

import os
import pickle
import signal
import struct
import sys
from dataclasses import dataclass
from typing import Any, BinaryIO

from tbmetrics.exporting.files import Written
from tbmetrics.exporting.units import Task, make

_LENGTH = struct.Struct("<Q")


@dataclass(frozen=True, slots=True)
class Result:
    """What became of a task.

    Attributes:
        written: its files.
        problem: why it could not be made, or ""; where a file could not be written, its path.
        errno: of a file that could not be written, or 0.
    """

    written: tuple[Written, ...] = ()
    problem: str = ""
    errno: int = 0


def attempt(task: Task) -> Result:
    """Makes a unit; a fault becomes a result, so that one odd unit does not stop the others."""
    try:
        return Result(written=tuple(make(task)))
    except Exception as error:
        if isinstance(error, OSError) and error.errno:  # Pillow's own errors have none
            return Result(problem=str(error.filename or task.out), errno=error.errno)
        return Result(problem=f"{task.unit.name}: the export failed: {type(error).__name__}: {error}")


def send(stream: BinaryIO, message: Any) -> None:
    """Writes one message."""
    content = pickle.dumps(message, protocol=pickle.HIGHEST_PROTOCOL)
    stream.write(_LENGTH.pack(len(content)))
    stream.write(content)
    stream.flush()


def receive(stream: BinaryIO) -> Any:
    """Reads one message.

    Raises:
        EOFError: the other side is gone.
    """
    header = stream.read(_LENGTH.size)
    if len(header) < _LENGTH.size:
        raise EOFError
    (length,) = _LENGTH.unpack(header)
    content = stream.read(length)
    if len(content) < length:
        raise EOFError
    return pickle.loads(content)  # noqa: S301 - from the process that we started, or that started us


def main() -> None:
    """Serves tasks until its input ends; what anything prints goes to standard error."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the process that started this one decides
    signal.signal(signal.SIGTERM, _leave)
    tasks, results = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    while True:
        try:
            task = receive(tasks)
        except (EOFError, KeyboardInterrupt):
            return
        send(results, attempt(task))


def _leave(*_: object) -> None:
    """Ends the process; the file under way is removed on the way out."""
    raise SystemExit(1)
