"""Index of one event file: scalars as columns, everything else as offsets to decode from on demand."""

from __future__ import annotations

import zlib
from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.summary_pb2 import Summary

from tbmetrics.errors import InputError
from tbmetrics.events import decoding
from tbmetrics.events.event_file import bytes_at, note
from tbmetrics.records import HParams, IntArray, SchemaError


class StoredRecord(NamedTuple):
    """A record in an event file; calling it decodes it.

    Attributes:
        offset, length: of the bytes in the file: those of the value, or of its whole event if `occurrence` >= 0.
        tag: of the value.
        occurrence: which of the event's values of this tag; -1 if the bytes are those of the value alone.
        metadata: of the tag's first value, the only one that carries it.
        checksum: of the bytes; equal content has an equal one, wherever the file lies.
    """

    path: Path
    offset: int
    length: int
    tag: str
    occurrence: int
    metadata: Any
    checksum: int

    def __call__(self) -> Any:
        """The record.

        Raises:
            InputError: the file has changed since it was indexed.
            SchemaError: written by a newer schema, or not as its metadata says.
        """
        return decoding.decode(self.value(), self.metadata)

    def value(self) -> Any:
        """The protobuf value as it is in the file.

        Raises:
            InputError: the file has changed since it was indexed.
        """
        content = bytes_at(self.path, self.offset, self.length)
        if zlib.crc32(content) != self.checksum:
            raise InputError(f"{self.path}: changed since it was indexed; read the log again")
        if self.occurrence < 0:
            return Summary.Value.FromString(content)
        return decoding.value_at(content, self.tag, self.occurrence)


@dataclass(slots=True)
class Points:
    """The points of one tag in one file, in the order written; `items` are floats, or `StoredRecord`."""

    kind: str
    metadata: Any
    steps: array[int] = field(default_factory=lambda: array("q"))
    wall_times: array[float] = field(default_factory=lambda: array("d"))
    items: Any = field(default_factory=list)


class _Block:
    """Events that hold the same scalars and nothing else: a row per event, a column per tag."""

    __slots__ = ("order", "steps", "tags", "values", "wall_times")

    def __init__(self, tags: tuple[str, ...]) -> None:
        self.tags = tags
        self.order, self.steps, self.wall_times, self.values = array("q"), array("q"), array("d"), array("d")

    def columns(self) -> Iterator[tuple[str, _Column]]:
        rows = np.frombuffer(self.values).reshape(len(self.steps), len(self.tags))
        steps, times = np.frombuffer(self.steps, dtype=np.int64), np.frombuffer(self.wall_times)
        order = np.frombuffer(self.order, dtype=np.int64)
        for i, tag in enumerate(self.tags):
            yield tag, _Column(order, steps, times, rows[:, i])


class _Column(NamedTuple):
    """The scalars of one tag in one block."""

    order: IntArray
    steps: IntArray
    wall_times: Any
    values: Any


class FileIndex:
    """Contents of one event file, filled by `read_event`.

    Attributes:
        began: earliest time in the file.
        restart: step of the last `SessionLog.START`, or None.
        points: by tag, complete after `finish`.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.began = float("inf")
        self.restart: int | None = None
        self.points: dict[str, Points] = {}
        self.hparams: HParams | None = None
        self.problems: list[str] = []
        self._events = 0
        self._blocks: dict[tuple[str, ...], _Block | None] = {}
        self._outside_blocks: dict[str, array[int]] = {}  # by tag, the events of scalars that are in no block

    def read_event(self, offset: int, payload: bytes) -> None:
        """Add one event; a payload that is no event is noted as a problem."""
        try:
            event = Event.FromString(payload)
        except Exception as error:  # protobuf's DecodeError has no public base but Exception
            note(self.problems, f"{self.path.name}: the record at {offset} is no event ({error})")
            return
        self._events += 1
        wall_time = event.wall_time
        if wall_time < self.began:
            self.began = wall_time
        what = event.WhichOneof("what")
        if what == "summary":
            self._read_values(offset, payload, event, list(event.summary.value))
        elif what == "session_log" and event.session_log.status == SessionLog.START:
            self.restart = event.step

    def _read_values(self, offset: int, payload: bytes, event: Any, values: Any) -> None:
        tags = tuple([value.tag for value in values])
        block = self._blocks[tags] if tags in self._blocks else self._begin_block(tags, values)
        if block is not None:
            numbers = [value.simple_value for value in values]
            # A value of another kind reads as 0.
            if 0.0 not in numbers or all(value.HasField("simple_value") for value in values):
                block.order.append(self._events)
                block.steps.append(event.step)
                block.wall_times.append(event.wall_time)
                block.values.fromlist(numbers)
                return
        self._read_one_by_one(offset, payload, event, values)

    def _begin_block(self, tags: tuple[str, ...], values: Any) -> _Block | None:
        """A block for events with these tags, or None if they hold anything but plain scalars."""
        only_scalars = bool(tags) and len(set(tags)) == len(tags) and all(v.HasField("simple_value") for v in values)
        known = [self._begin_tag(value) for value in values]
        block = None
        if only_scalars and all(points is not None and points.kind == decoding.SCALARS for points in known):
            block = _Block(tags)
        if block is not None or len(tags) == 1:
            self._blocks[tags] = block
        return block

    def _begin_tag(self, value: Any) -> Points | None:
        """The points of a tag; None if its kind is not read, or is read whole at once."""
        points = self.points.get(value.tag)
        if points is not None:
            return points
        metadata = value.metadata if value.HasField("metadata") else None
        kind = decoding.kind_of(value, metadata)
        if kind is None:
            return None
        if kind == decoding.HPARAMS:
            try:
                self.hparams = decoding.hparams(metadata) or self.hparams
            except SchemaError as error:
                note(self.problems, f"{self.path.name}: {error}")
            return None
        points = self.points[value.tag] = Points(kind, metadata)
        return points

    def _read_one_by_one(self, offset: int, payload: bytes, event: Any, values: Any) -> None:
        step, wall_time, end_of_last = event.step, event.wall_time, 0
        seen: dict[str, int] = {}
        for value in values:
            points = self._begin_tag(value)
            if points is None:
                continue
            tag = value.tag
            try:
                number = _number_in(value, points)
            except SchemaError as error:
                note(self.problems, f"{self.path.name}: a value at {offset} is left out: {error}")
                continue
            points.steps.append(step)
            points.wall_times.append(wall_time)
            if points.kind == decoding.SCALARS:
                points.items.append(number)
                self._outside_blocks.setdefault(tag, array("q")).append(self._events)
                continue
            occurrence = seen[tag] = seen.get(tag, -1) + 1
            content = value.SerializeToString()
            start = _start_of_value(content, payload, end_of_last)
            if start >= 0:
                end_of_last = start + len(content)
                place = (offset + start, len(content), tag, -1, points.metadata, zlib.crc32(content))
            else:  # encoded in another way than this library does
                place = (offset, len(payload), tag, occurrence, points.metadata, zlib.crc32(payload))
            points.items.append(StoredRecord(self.path, *place))

    def finish(self) -> None:
        """Join the columns of each scalar, in the order written."""
        columns: dict[str, list[_Column]] = {}
        for block in self._blocks.values():
            for tag, column in block.columns() if block is not None else ():
                columns.setdefault(tag, []).append(column)
        for tag, order in self._outside_blocks.items():
            points = self.points[tag]
            parts = (np.array(order), np.array(points.steps), np.array(points.wall_times), np.array(points.items))
            columns.setdefault(tag, []).append(_Column(*parts))
        for tag, parts_of_tag in columns.items():
            joined = _joined(parts_of_tag)
            points = self.points[tag]
            points.steps = array("q", joined.steps.tobytes())
            points.wall_times = array("d", joined.wall_times.tobytes())
            points.items = array("d", np.ascontiguousarray(joined.values, dtype=np.float64).tobytes())
        self._blocks.clear()
        self._outside_blocks.clear()


def _number_in(value: Any, points: Points) -> float:
    """The number of a scalar, or 0 for a value of any other kind.

    Raises:
        SchemaError: the value is not of the kind that its tag has.
    """
    if points.kind == decoding.SCALARS:
        return decoding.scalar(value)
    metadata = value.metadata if value.HasField("metadata") else points.metadata
    if decoding.kind_of(value, metadata) != points.kind:
        raise SchemaError(f"tag {value.tag!r} was {points.kind} before and is something else here")
    return 0.0


def _start_of_value(content: bytes, payload: bytes, end_of_last: int) -> int:
    """Where an encoded value starts in its event, or -1 if it is not found.

    Values follow each other, each after a byte for its field and its length, seven bits to a byte.
    """
    expected = end_of_last + 1 + max((len(content).bit_length() + 6) // 7, 1)
    return expected if payload.startswith(content, expected) else payload.find(content, end_of_last)


def _joined(columns: list[_Column]) -> _Column:
    """Columns of one tag as one, in the order of their events."""
    if len(columns) == 1:
        return columns[0]
    order, steps, times, values = (np.concatenate(parts) for parts in zip(*columns, strict=True))
    by_order = np.argsort(order, kind="stable")
    return _Column(order[by_order], steps[by_order], times[by_order], values[by_order])
