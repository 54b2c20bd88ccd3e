"""Whole records of an event file, found by their checksums; damage is stepped over and reported."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import google_crc32c

from tbmetrics.errors import InputError

_LENGTH = struct.Struct("<Q")
_CHECKSUM = struct.Struct("<I")
_HEADER, _FOOTER = 12, 4
MAX_RECORD_BYTES = 2**31  # protobuf's own limit
_READ_BYTES = 8 * 2**20


@dataclass(slots=True)
class Framing:
    """One pass over an event file.

    Attributes:
        problems: what was damaged, in words.
        torn_at: where an unfinished last record begins ("not yet written"), or None.
    """

    path: Path
    problems: list[str] = field(default_factory=list)
    torn_at: int | None = None

    def records(self) -> Iterator[tuple[int, memoryview]]:
        """(offset of the payload, payload) of each whole record, in order.

        The file is read in pieces and not mapped: a writer that cuts its file back after a full disk would make a
        mapping fault. A payload is valid until the next one is asked for.
        """
        with self.path.open("rb") as file:
            size = file.seek(0, 2)
            start, data = 0, b""  # `data` holds the file from `start`
            at = 0
            while at < size:
                if at + _HEADER > start + len(data) or at < start:
                    start, data = at, _read(file, at, _READ_BYTES)
                end = self._end_of_record(data, at - start)
                if end is not None and end > len(data) and at + (end - (at - start)) <= size:
                    start, data = at, _read(file, at, max(_READ_BYTES, end - (at - start)))
                    end = self._end_of_record(data, 0)
                if end is not None and end <= len(data) and _payload_holds(data, at - start, end):
                    yield at + _HEADER, memoryview(data)[at - start + _HEADER : end - _FOOTER]
                    at = start + end
                    continue
                if (end is not None and start + end > size) or size - at < _HEADER:
                    found = None if size - at < _HEADER else self._next_record(file, at + 1, size)
                else:
                    found = self._next_record(file, at + 1, size)
                if found is None:
                    self._end_of_file(at, size, torn=size - at < _HEADER or (end is not None and start + end > size))
                    return
                self.problems.append(f"{self.path.name}: {found - at} damaged bytes at {at} were skipped")
                at = found

    def _end_of_record(self, data: bytes, at: int) -> int | None:
        """Where the record at `at` ends in `data`, by its length; None where the length's checksum does not hold."""
        if len(data) - at < _HEADER:
            return None
        header = data[at : at + 8]
        (length,) = _LENGTH.unpack(header)
        if length > MAX_RECORD_BYTES or _checksum(header) != _CHECKSUM.unpack_from(data, at + 8)[0]:
            return None
        return int(at + _HEADER + length + _FOOTER)

    def _next_record(self, file: object, at: int, size: int) -> int | None:
        """The offset of the next whole record at or after `at`: one whose length and payload both hold."""
        data = _read(file, at, size - at)
        for offset in range(len(data) - _HEADER + 1):
            if data[offset + 4 : offset + 8] != b"\0\0\0\0":  # lengths beyond 4 GiB do not occur
                continue
            end = self._end_of_record(data, offset)
            if end is not None and end <= len(data) and _payload_holds(data, offset, end):
                return at + offset
        return None

    def _end_of_file(self, at: int, size: int, torn: bool) -> None:
        if torn:
            self.torn_at = at
        else:
            self.problems.append(f"{self.path.name}: {size - at} damaged bytes at {at} up to the end were skipped")


def payload_at(path: Path, offset: int, length: int) -> bytes:
    """The payload at `offset`, its checksum verified.

    Raises:
        InputError: the file has changed since it was indexed.
    """
    try:
        with path.open("rb") as file:
            data = _read(file, offset, length + _FOOTER)
    except OSError as error:
        raise InputError(f"{path}: cannot be read any more ({error.strerror}); read the log again") from error
    if len(data) < length + _FOOTER or _checksum(data[:length]) != _CHECKSUM.unpack_from(data, length)[0]:
        raise InputError(f"{path}: changed since it was indexed; read the log again")
    return data[:length]


def _payload_holds(data: bytes, at: int, end: int) -> bool:
    payload = data[at + _HEADER : end - _FOOTER]
    return bool(_checksum(payload) == _CHECKSUM.unpack_from(data, end - _FOOTER)[0])


def _checksum(data: bytes) -> int:
    value: int = google_crc32c.value(data)
    return (((value >> 15) | (value << 17)) + 0xA282EAD8) & 0xFFFFFFFF


def _read(file: object, at: int, size: int) -> bytes:
    file.seek(at)  # type: ignore[attr-defined]
    data: bytes = file.read(size)  # type: ignore[attr-defined]
    return data
