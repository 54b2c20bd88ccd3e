"""Memory for what was read from logs, shared by the threads that answer requests."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np

T = TypeVar("T")

#: Memory for tables that were read.
CACHE_BYTES = 512 * 2**20


class SeriesCache:
    """The most recently used series, at most `max_bytes` of them, shared by the threads that answer requests.

    A series is loaded again if its version has changed. Loads happen one at a time: decoding holds the interpreter
    anyway, and requests for one series share one load.
    """

    def __init__(self, max_bytes: int = CACHE_BYTES) -> None:
        self.max_bytes = max_bytes
        self.bytes = 0
        self._items: OrderedDict[tuple[Any, ...], tuple[tuple[Any, ...], int, Any]] = OrderedDict()
        self._lock = threading.RLock()  # a derived series loads the one that it derives from

    def get(self, key: tuple[Any, ...], version: tuple[Any, ...], load: Callable[[], tuple[T, int]]) -> T:
        """The value cached under `key` at `version`, or that of `load`, which returns it with its size in bytes."""
        with self._lock:
            cached = self._items.get(key)
            if cached is not None and cached[0] == version:
                self._items.move_to_end(key)
                value: T = cached[2]
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


def stored_bytes(content: Any) -> int:
    """Size of the numbers or strings in a tensor, as they are stored."""
    array = np.asarray(content)
    return sum(map(len, array.reshape(-1))) if array.dtype == object else array.nbytes
