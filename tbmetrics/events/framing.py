"""How event files frame records, with checksums in C; damage is stepped over to the next whole record and reported."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import google_crc32c

from tbmetrics.errors import InputError

_LENGTH = struct.Struct("<Q")
_CHECKSUM = struct.Struct("<I")
_HEADER, _FOOTER = 12, 4
_UPPER_LENGTH = b"\0\0\0\0"  # the upper half of every length that occurs
MAX_RECORD_BYTES = 2**31  # protobuf's own limit
MOST_PROBLEMS = 1000
_PIECE = 2**20
#: Bytes that may be summed up in vain while a whole record is sought after damage, in sizes of the file: headers may be
#: made so that each of them promises the rest of the file.
_MOST_SOUGHT = 4
_LONG_ZEROS, _NOT_ZERO = bytes(64), re.compile(rb"[^\0]")


def note(problems: list[str], problem: str) -> None:
    """Adds `problem` to `problems`, of which a file may have as many as it has records: the first thousand."""
    if len(problems) < MOST_PROBLEMS:
        problems.append(problem)
    elif len(problems) == MOST_PROBLEMS:
        problems.append("further problems are not listed")


def frame(record: bytes) -> bytes:
    """`record` as event files hold it: length, checksum of the length, record, checksum of the record."""
    length = _LENGTH.pack(len(record))
    return b"".join((length, _CHECKSUM.pack(_checksum(length)), record, _CHECKSUM.pack(_checksum(record))))


@dataclass(slots=True)
class Framing:
    """One pass over an event file.

    Attributes:
        problems: what was damaged, in words.
    """

    path: Path
    problems: list[str] = field(default_factory=list)

    def records(self) -> Iterator[tuple[int, bytes]]:
        """(offset of the payload, payload) of each whole record, in order."""
        with self.path.open("rb") as file:
            window = _Window(file)
            at = 0
            while at < window.size:
                end = _end_of_record(window, at)
                payload = _payload(window, at, end) if end is not None and end <= window.size else None
                if payload is not None and end is not None:
                    yield at + _HEADER, payload
                    at = end
                    continue
                following = _next_record(window, at + 1)
                if following is None:
                    not_yet_written = window.size - at < _HEADER or (end is not None and end > window.size)
                    if not not_yet_written:
                        end_of_file = f"{window.size - at} damaged bytes at {at} up to the end"
                        note(self.problems, f"{self.path.name}: {end_of_file} were skipped")
                    return
                note(self.problems, f"{self.path.name}: {following - at} damaged bytes at {at} were skipped")
                at = following


def bytes_at(path: Path, offset: int, length: int) -> bytes:
    """The bytes at `offset`; fewer where the file has become shorter.

    Raises:
        InputError: the file cannot be read any more.
    """
    try:
        with path.open("rb", buffering=0) as file:
            file.seek(offset)
            return file.read(length)
    except OSError as error:
        raise InputError(f"{path}: cannot be read any more ({error.strerror}); read the log again") from error


class _Window:
    """A file read in large pieces.

    It is not mapped: a writer that cuts its file back after a full disk would make a mapping fault.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.size = file.seek(0, 2)
        self.sought = 0  # bytes of what looked like a record and was none
        self._start, self._data = 0, b""

    def read(self, at: int, length: int) -> bytes:
        """The bytes from `at`; fewer than `length` only at the end of the file."""
        if not self._start <= at <= at + length <= self._start + len(self._data):
            self._file.seek(at)
            self._start, self._data = at, self._file.read(max(_PIECE, length))
        return self._data[at - self._start : at - self._start + length]


def _end_of_record(window: _Window, at: int) -> int | None:
    """Where the record at `at` ends by its length, perhaps beyond the file; None where the length does not hold."""
    header = window.read(at, _HEADER)
    if len(header) < _HEADER or not _holds(header[:8], header[8:]):
        return None
    (length,) = _LENGTH.unpack(header[:8])
    return None if length > MAX_RECORD_BYTES else at + _HEADER + int(length) + _FOOTER


def _payload(window: _Window, at: int, end: int) -> bytes | None:
    """The payload of the record from `at` to `end`; None where its checksum does not hold."""
    data = window.read(at + _HEADER, end - at - _HEADER)
    return data[:-_FOOTER] if _holds(data[:-_FOOTER], data[-_FOOTER:]) else None


def _next_record(window: _Window, at: int) -> int | None:
    """Where the next whole record begins, at or after `at`; None where there is none, or it takes too long to find."""
    while at + _HEADER + _FOOTER <= window.size:
        piece = window.read(at, min(_PIECE, window.size - at))
        for found in _candidates(piece):
            end = _end_of_record(window, at + found)
            if end is None or end > window.size:
                continue
            if window.sought > _MOST_SOUGHT * window.size:
                return None
            if _payload(window, at + found, end) is not None:
                return at + found
            window.sought += end - at - found
        at += max(len(piece) - _HEADER, 1)
    return None


def _candidates(piece: bytes) -> Iterator[int]:
    """Where in `piece` the upper half of a length is zero, as it is in every record."""
    found = piece.find(_UPPER_LENGTH, 4)
    while found >= 0:
        yield found - 4
        found += 1
        if piece.startswith(_LONG_ZEROS, found):  # what a crash leaves of a file: a length of 0 has another checksum
            after = _NOT_ZERO.search(piece, found)
            found = max(found, (after.start() if after else len(piece)) - _HEADER)
        found = piece.find(_UPPER_LENGTH, found)


def _holds(data: bytes, checksum: bytes) -> bool:
    return len(checksum) == _FOOTER and _checksum(data) == _CHECKSUM.unpack(checksum)[0]


def _checksum(data: bytes) -> int:
    """CRC-32C, masked as the format asks."""
    value: int = google_crc32c.value(data)
    return (((value >> 15) | (value << 17)) + 0xA282EAD8) & 0xFFFFFFFF
