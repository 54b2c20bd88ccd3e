"""A cache in memory of what was read from the logs, bounded in bytes, shared by the threads that answer requests."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")

CACHE_BYTES = 512 * 2**20


class SeriesCache:
    """The series used last, at most `max_bytes` of them; one whose version has changed is loaded anew.

    Loads happen one at a time: decoding holds the interpreter anyway, and requests for one series share one load.
    """

    def __init__(self, max_bytes: int = CACHE_BYTES) -> None:
        self.max_bytes = max_bytes
        self.bytes = 0
        self._items: OrderedDict[tuple[Any, ...], tuple[tuple[Any, ...], int, Any]] = OrderedDict()
        self._lock = threading.RLock()  # what is derived loads what it is derived from

    def get(self, key: tuple[Any, ...], version: tuple[Any, ...], load: Callable[[], tuple[T, int]]) -> T:
        """What is kept under `key` at `version`, else what `load` returns together with its size in bytes."""
        with self._lock:
            kept = self._items.get(key)
            if kept is not None and kept[0] == version:
                self._items.move_to_end(key)
                value: T = kept[2]
                return value
            self._drop(key)
            value, size = load()
            if size <= self.max_bytes:
                self._items[key] = (version, size, value)
                self.bytes += size
                while self.bytes > self.max_bytes:
                    self._drop(next(iter(self._items)))
            return value

    def _drop(self, key: tuple[Any, ...]) -> None:
        if key in self._items:
            self.bytes -= self._items.pop(key)[1]
