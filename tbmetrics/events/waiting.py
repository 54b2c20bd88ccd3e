"""What waits to be written: a queue bounded in bytes, and what is given up when it is full."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tbmetrics.records import ClassList, Histogram, Image, Layout, PRCurve, Record, Scalar, Table, Text

_SCALAR_BYTES = 120
_OVERHEAD_BYTES = 250


@dataclass(slots=True)
class Waiting:
    """One event to be written: records of one step, or a finished `Event` message."""

    step: int
    wall_time: float
    records: tuple[Record, ...]
    event: Any = None
    size: int = 0


def size_of(record: Record) -> int:
    """About how many bytes `record` holds in memory."""
    if isinstance(record, Scalar):
        return _SCALAR_BYTES
    arrays = {Image: "pixels", Table: "values", PRCurve: "precision", Histogram: "counts"}
    if type(record) in arrays:
        repeated = {PRCurve: 7, Histogram: 2}.get(type(record), 1)
        return _OVERHEAD_BYTES + repeated * int(getattr(record, arrays[type(record)]).nbytes)
    if isinstance(record, Text):
        return _OVERHEAD_BYTES + len(record.markdown)
    return _OVERHEAD_BYTES + 60 * len(record.names) if isinstance(record, ClassList) else 10 * _OVERHEAD_BYTES


#: What is given up, in this order, until the rest fits. Scalars are merged last of all and never dropped.
_SACRIFICES: tuple[tuple[type, ...], ...] = ((Image,), (Histogram,), (PRCurve, Text, Layout), (Table,))


class WaitingRoom:
    """A queue of events, not thread-safe by itself."""

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self.bytes = 0
        self.dropped = 0  # records given up so far
        self._items: deque[Waiting] = deque()

    def __len__(self) -> int:
        return len(self._items)

    def has_room_for(self, item: Waiting) -> bool:
        """Whether `item` fits; an empty room takes anything."""
        return not self._items or self.bytes + item.size <= self.max_bytes

    def is_half_full(self) -> bool:
        """Whether more than half of the room is taken."""
        return self.bytes > self.max_bytes // 2

    def put(self, item: Waiting) -> None:
        """Takes `item`."""
        self._items.append(item)
        self.bytes += item.size

    def take(self, at_most: int = 200) -> list[Waiting]:
        """The oldest items, removed."""
        taken = [self._items.popleft() for _ in range(min(at_most, len(self._items)))]
        self.bytes -= sum(item.size for item in taken)
        return taken

    def make_room(self) -> None:
        """Gives up records by rank until the room is at most half full, then merges scalars: the last value stays."""
        for kinds in _SACRIFICES:
            if self.bytes <= self.max_bytes // 2:
                return
            self._filter(lambda record, kinds=kinds: not isinstance(record, kinds))  # type: ignore[misc]
        if self.bytes > self.max_bytes // 2:
            self._merge_scalars()

    def _filter(self, keep: Callable[[Record], bool]) -> None:
        for item in self._items:
            kept = tuple(record for record in item.records if keep(record))
            self._replace(item, kept)
        self._items = deque(item for item in self._items if item.records or item.event is not None)

    def _merge_scalars(self) -> None:
        seen: set[str] = set()
        for item in reversed(self._items):
            kept = tuple(r for r in item.records if not (isinstance(r, Scalar) and r.tag in seen))
            seen.update(r.tag for r in kept if isinstance(r, Scalar))
            self._replace(item, kept)
        self._items = deque(item for item in self._items if item.records or item.event is not None)

    def _replace(self, item: Waiting, kept: tuple[Record, ...]) -> None:
        if len(kept) == len(item.records):
            return
        self.dropped += len(item.records) - len(kept)
        size = sum(map(size_of, kept))
        self.bytes += size - item.size
        item.records, item.size = kept, size
