"""One event file: appended in whole records, and read record by record, past any damage."""

from __future__ import annotations

import itertools
import os
import re
import socket
import struct
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import google_crc32c
from tensorboard.compat.proto.event_pb2 import Event, SourceMetadata

from tbmetrics.errors import InputError

#: Part of the name of every event file.
EVENT_FILE_MARK = "tfevents"
MAX_RECORD_BYTES = 2**31  # protobuf's own limit
MOST_PROBLEMS = 1000

_LENGTH = struct.Struct("<Q")
_CHECKSUM = struct.Struct("<I")
_HEADER, _FOOTER = 12, 4
_UPPER_LENGTH = b"\0\0\0\0"  # the upper half of every length that occurs
_PIECE = 2**20
#: Limit on the bytes checksummed in vain while searching for a whole record after damage, in sizes of the file: headers
#: can be forged so that each of them promises the rest of the file.
_SEARCH_LIMIT = 4
_LONG_ZEROS, _NOT_ZERO = bytes(64), re.compile(rb"[^\0]")

_numbers = itertools.count()


# ----------------------------------------------------------------------------------------------------- writing


def frame(record: bytes) -> bytes:
    """`record` as event files hold it: length, checksum of the length, record, checksum of the record."""
    length = _LENGTH.pack(len(record))
    return b"".join((length, _CHECKSUM.pack(_checksum(length)), record, _CHECKSUM.pack(_checksum(record))))


def new_name(suffix: str) -> tuple[str, bytes]:
    """The name of an event file begun now, and its first record, framed; names sort by time."""
    now = time.time()
    name = f"events.out.tfevents.{now:.6f}.{socket.gethostname()}.{os.getpid()}.{next(_numbers)}{suffix}"
    first = Event(wall_time=now, file_version="brain.Event:2", source_metadata=SourceMetadata(writer="tbmetrics"))
    return name, frame(first.SerializeToString())


class EventFile:
    """A new event file in `log_dir`, opened once; methods raise `OSError` and leave whole records behind."""

    def __init__(self, log_dir: str, suffix: str = "") -> None:
        Path(log_dir).mkdir(parents=True, exist_ok=True)
        name, first = new_name(suffix)
        self.path = os.path.join(log_dir, name)
        binary = getattr(os, "O_BINARY", 0)  # on Windows; without it every byte 10 would become 13 and 10
        self._file = os.open(self.path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_APPEND | binary, 0o644)
        self._whole_bytes = 0  # up to the end of the last whole record
        self.write(first)

    def write(self, framed: bytes) -> None:
        """Append whole framed records; on failure truncate the file to its former size and raise `OSError`."""
        view = memoryview(framed)
        try:
            while view:
                view = view[os.write(self._file, view) :]
        except OSError:
            self._cut_back()
            raise
        self._whole_bytes += len(framed)

    def _cut_back(self) -> None:
        try:
            os.ftruncate(self._file, self._whole_bytes)
        except OSError:
            return  # readers take a torn last record as not yet written

    def is_gone(self) -> bool:
        """Whether the file was deleted."""
        return os.fstat(self._file).st_nlink == 0

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)


# ----------------------------------------------------------------------------------------------------- reading


def note(problems: list[str], problem: str) -> None:
    """Add `problem` to `problems`, up to `MOST_PROBLEMS`: a file may have as many as it has records."""
    if len(problems) < MOST_PROBLEMS:
        problems.append(problem)
    elif len(problems) == MOST_PROBLEMS:
        problems.append("further problems are not listed")


def bytes_at(path: Path, offset: int, length: int) -> bytes:
    """The bytes at `offset`; fewer if the file has become shorter.

    Raises:
        InputError: the file cannot be read any more.
    """
    try:
        with path.open("rb", buffering=0) as file:
            file.seek(offset)
            return file.read(length)
    except OSError as error:
        raise InputError(f"{path}: cannot be read any more ({error.strerror}); read the log again") from error


@dataclass(slots=True)
class Framing:
    """One pass over the records of an event file.

    Attributes:
        problems: what was damaged, in words.
    """

    path: Path
    problems: list[str] = field(default_factory=list)

    def records(self) -> Iterator[tuple[int, bytes]]:
        """(offset of the payload, payload) of each whole record, in order."""
        with self.path.open("rb") as file:
            window = _Window(file)
            offset = 0
            while offset < window.size:
                end = _end_of_record(window, offset)
                payload = _payload(window, offset, end) if end is not None and end <= window.size else None
                if payload is not None and end is not None:
                    yield offset + _HEADER, payload
                    offset = end
                    continue
                following = _next_record(window, offset + 1)
                if following is None:
                    is_unfinished = window.size - offset < _HEADER or (end is not None and end > window.size)
                    if not is_unfinished:
                        self._note_damage(f"{window.size - offset} damaged bytes at {offset} up to the end")
                    return
                self._note_damage(f"{following - offset} damaged bytes at {offset}")
                offset = following

    def _note_damage(self, damage: str) -> None:
        note(self.problems, f"{self.path.name}: {damage} were skipped")


class _Window:
    """A file read in large pieces.

    It is not mapped: a writer that truncates its file after a full disk would make a mapping fault.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.size = file.seek(0, 2)
        self.bytes_searched_in_vain = 0
        self._start, self._data = 0, b""

    def read(self, offset: int, length: int) -> bytes:
        """The bytes from `offset`; fewer than `length` only at the end of the file."""
        if not self._start <= offset <= offset + length <= self._start + len(self._data):
            self._file.seek(offset)
            self._start, self._data = offset, self._file.read(max(_PIECE, length))
        return self._data[offset - self._start : offset - self._start + length]


def _end_of_record(window: _Window, offset: int) -> int | None:
    """End of the record at `offset` by its length, perhaps beyond the file; None if the length's checksum is wrong."""
    header = window.read(offset, _HEADER)
    if len(header) < _HEADER or not _is_intact(header[:8], header[8:]):
        return None
    (length,) = _LENGTH.unpack(header[:8])
    return None if length > MAX_RECORD_BYTES else offset + _HEADER + int(length) + _FOOTER


def _payload(window: _Window, offset: int, end: int) -> bytes | None:
    """Payload of the record from `offset` to `end`, or None if its checksum is wrong."""
    data = window.read(offset + _HEADER, end - offset - _HEADER)
    return data[:-_FOOTER] if _is_intact(data[:-_FOOTER], data[-_FOOTER:]) else None


def _next_record(window: _Window, offset: int) -> int | None:
    """Offset of the next whole record, `offset` or later; None if there is none or the search takes too long."""
    while offset + _HEADER + _FOOTER <= window.size:
        piece = window.read(offset, min(_PIECE, window.size - offset))
        for start in (offset + candidate for candidate in _candidates(piece)):
            end = _end_of_record(window, start)
            if end is None or end > window.size:
                continue
            if window.bytes_searched_in_vain > _SEARCH_LIMIT * window.size:
                return None
            if _payload(window, start, end) is not None:
                return start
            window.bytes_searched_in_vain += end - start
        offset += max(len(piece) - _HEADER, 1)
    return None


def _candidates(piece: bytes) -> Iterator[int]:
    """Offsets in `piece` at which the upper half of a length is zero, as it is in every record."""
    zeros = piece.find(_UPPER_LENGTH, 4)
    while zeros >= 0:
        yield zeros - 4
        zeros += 1
        if piece.startswith(_LONG_ZEROS, zeros):  # left by a crash; a length of 0 has another checksum
            following = _NOT_ZERO.search(piece, zeros)
            zeros = max(zeros, (following.start() if following else len(piece)) - _HEADER)
        zeros = piece.find(_UPPER_LENGTH, zeros)


def _is_intact(data: bytes, checksum: bytes) -> bool:
    return len(checksum) == _FOOTER and _checksum(data) == _CHECKSUM.unpack(checksum)[0]


def _checksum(data: bytes) -> int:
    """CRC-32C, masked as the format requires."""
    value: int = google_crc32c.value(data)
    return (((value >> 15) | (value << 17)) + 0xA282EAD8) & 0xFFFFFFFF
