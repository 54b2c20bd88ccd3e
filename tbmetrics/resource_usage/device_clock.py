"""Times on the device: marks on its stream, reached later, read without stopping it."""

from __future__ import annotations

from typing import Any, Protocol

import torch

#: Marks in flight at most; a run that is further ahead of its device loses device times, never host times.
MOST_MARKS = 4096


class DeviceClock(Protocol):
    """Marks on the stream of a device. A mark is reached when the device has done everything put in before it."""

    def mark(self) -> Any:
        """Puts a mark on the current stream; None where that is impossible just now."""

    def reached(self, mark: Any) -> bool:
        """Whether the device has come to `mark`; does not wait."""

    def wait(self, mark: Any) -> None:
        """Waits until the device has come to `mark`."""

    def milliseconds(self, began: Any, ended: Any) -> float:
        """Device time between two marks that have been reached."""

    def release(self, mark: Any) -> None:
        """Gives a mark back for another use."""


class CudaClock:
    """CUDA events from a pool, recorded on the current stream of one device.

    Args:
        device: the CUDA device.
        cuda: `torch.cuda`, or what stands for it.
    """

    def __init__(self, device: torch.device, cuda: Any = torch.cuda) -> None:
        self._device = device
        self._cuda = cuda
        self._free: list[Any] = []
        self._made = 0

    def mark(self) -> Any:
        """Records an event; None while a CUDA graph is being captured, or with `MOST_MARKS` in flight."""
        if self._cuda.is_current_stream_capturing():
            return None
        if not self._free:
            if self._made >= MOST_MARKS:
                return None
            self._made += 1
            self._free.append(self._cuda.Event(enable_timing=True))
        event = self._free.pop()
        event.record(self._cuda.current_stream(self._device))
        return event

    def reached(self, mark: Any) -> bool:
        """`query()`: does not wait."""
        return bool(mark.query())

    def wait(self, mark: Any) -> None:
        """`synchronize()` of this one event."""
        mark.synchronize()

    def milliseconds(self, began: Any, ended: Any) -> float:
        """`elapsed_time`."""
        return float(began.elapsed_time(ended))

    def release(self, mark: Any) -> None:
        """Back into the pool."""
        self._free.append(mark)
