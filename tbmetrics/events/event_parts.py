"""What one event file holds: scalars as columns, everything else as places in the file to decode from when asked."""

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
from tbmetrics.events.framing import bytes_at, note
from tbmetrics.records import HParams, IntArray, SchemaError


class Stored(NamedTuple):
    """A record in an event file; calling it decodes it.

    Attributes:
        offset, length: of the bytes in the file: those of the value, or of its whole event where `occurrence` >= 0.
        tag: of the value.
        occurrence: which of the event's values of this tag; -1 where the bytes are those of the value alone.
        metadata: of the tag's first value, which alone carries it.
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
        alone = self.occurrence < 0
        return Summary.Value.FromString(content) if alone else decoding.value_at(content, self.tag, self.occurrence)


@dataclass(slots=True)
class Points:
    """The points of one tag in one file, in the order written; `items` are floats, or `Stored`."""

    kind: str
    metadata: Any
    steps: array[int] = field(default_factory=lambda: array("q"))
    wall_times: array[float] = field(default_factory=lambda: array("d"))
    items: Any = field(default_factory=list)


class _Block:
    """Events that hold the same scalars and nothing else: one row an event, one column a tag."""

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
    """One tag's share of a block."""

    order: IntArray
    steps: IntArray
    wall_times: Any
    values: Any


class FilePart:
    """What one event file holds, filled by `read_event`.

    Attributes:
        began: the earliest time in it.
        restart: the step that the last `SessionLog.START` names, or None.
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
        self._loose: dict[str, array[int]] = {}  # by tag, the events of scalars that came outside of blocks

    def read_event(self, offset: int, payload: bytes) -> None:
        """Takes in one event; what is none is a problem."""
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
        """A block for events with these tags; None where they hold anything but plain scalars."""
        only_scalars = bool(tags) and len(set(tags)) == len(tags) and all(v.HasField("simple_value") for v in values)
        known = [self._begin_tag(value) for value in values]
        block = None
        if only_scalars and all(points is not None and points.kind == decoding.SCALARS for points in known):
            block = _Block(tags)
        if block is not None or len(tags) == 1:
            self._blocks[tags] = block
        return block

    def _begin_tag(self, value: Any) -> Points | None:
        """The points of a tag; None for what is not read, or read whole at once."""
        found = self.points.get(value.tag)
        if found is not None:
            return found
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
        found = self.points[value.tag] = Points(kind, metadata)
        return found

    def _read_one_by_one(self, offset: int, payload: bytes, event: Any, values: Any) -> None:
        step, wall_time, after = event.step, event.wall_time, 0
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
                self._loose.setdefault(tag, array("q")).append(self._events)
                continue
            occurrence = seen[tag] = seen.get(tag, -1) + 1
            content = value.SerializeToString()
            at = _place_of(content, payload, after)
            if at >= 0:
                after = at + len(content)
                place = (offset + at, len(content), tag, -1, points.metadata, zlib.crc32(content))
            else:  # encoded as this library would not
                place = (offset, len(payload), tag, occurrence, points.metadata, zlib.crc32(payload))
            points.items.append(Stored(self.path, *place))

    def finish(self) -> None:
        """Puts the columns of scalars together, in the order written."""
        columns: dict[str, list[_Column]] = {}
        for block in self._blocks.values():
            for tag, column in block.columns() if block is not None else ():
                columns.setdefault(tag, []).append(column)
        for tag, order in self._loose.items():
            loose = self.points[tag]
            parts = (np.array(order), np.array(loose.steps), np.array(loose.wall_times), np.array(loose.items))
            columns.setdefault(tag, []).append(_Column(*parts))
        for tag, found in columns.items():
            joined = found[0] if len(found) == 1 else _joined(found)
            points = self.points[tag]
            points.steps, points.wall_times = (
                array("q", joined.steps.tobytes()),
                array("d", joined.wall_times.tobytes()),
            )
            points.items = array("d", np.ascontiguousarray(joined.values, dtype=np.float64).tobytes())
        self._blocks.clear()
        self._loose.clear()


def _number_in(value: Any, points: Points) -> float:
    """The number of a scalar; of anything else 0, after a look whether it is of the kind that the tag has.

    Raises:
        SchemaError: it is not of that kind.
    """
    if points.kind == decoding.SCALARS:
        return decoding.scalar(value)
    metadata = value.metadata if value.HasField("metadata") else points.metadata
    if decoding.kind_of(value, metadata) != points.kind:
        raise SchemaError(f"tag {value.tag!r} was {points.kind} before and is something else here")
    return 0.0


def _place_of(content: bytes, payload: bytes, after: int) -> int:
    """Where an encoded value lies in its event; -1 where it is not to be found.

    Values follow each other, each after a byte that says so and its length, seven bits to a byte.
    """
    next_one = after + 1 + max((len(content).bit_length() + 6) // 7, 1)
    return next_one if payload.startswith(content, next_one) else payload.find(content, after)


def _joined(columns: list[_Column]) -> _Column:
    """Columns of one tag as one, by the order of their events."""
    order, steps, times, values = (np.concatenate(parts) for parts in zip(*columns, strict=True))
    by_order = np.argsort(order, kind="stable")
    return _Column(order[by_order], steps[by_order], times[by_order], values[by_order])
