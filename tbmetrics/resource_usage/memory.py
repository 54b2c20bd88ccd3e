"""Memory in use: what the device's allocator holds, and what the process holds on the host."""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

import torch

_STATM, _MEMINFO = Path("/proc/self/statm"), Path("/proc/meminfo")
_CGROUP = Path("/sys/fs/cgroup")

#: Counters of `torch.cuda.memory_stats` since the process began, reported by epoch.
COUNTERS = {"alloc_retries": "num_alloc_retries", "out_of_memory": "num_ooms"}


def host_rss_bytes() -> int | None:
    """Resident memory of this process now, in bytes: from /proc, else from psutil; None where neither is there."""
    if _STATM.exists():
        import resource

        return int(_STATM.read_text().split()[1]) * resource.getpagesize()
    try:
        return int(import_module("psutil").Process().memory_info().rss)
    except ImportError:
        return None


def host_peak_rss_bytes() -> int | None:
    """The most that this process ever held resident, in bytes; None on Windows."""
    if sys.platform == "win32":
        return None
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(peak) if sys.platform == "darwin" else int(peak) * 1024


def host_bytes() -> dict[str, int]:
    """`host_rss_bytes` and `host_peak_rss_bytes`, those that the platform tells."""
    found = {"host_rss_bytes": host_rss_bytes(), "host_peak_rss_bytes": host_peak_rss_bytes()}
    return {name: value for name, value in found.items() if value is not None}


def host_available_bytes() -> int | None:
    """What this process could still take on the host: free memory, within a control group's limit; None if unknown."""
    if not _MEMINFO.exists():
        return None
    fields = dict(line.split(":", 1) for line in _MEMINFO.read_text().splitlines() if ":" in line)
    available = int(fields["MemAvailable"].split()[0]) * 1024
    try:
        limit = (_CGROUP / "memory.max").read_text().strip()
        used = int((_CGROUP / "memory.current").read_text())
    except (OSError, ValueError):
        return available
    return available if limit == "max" else min(available, int(limit) - used)


class DeviceMemory(Protocol):
    """The memory of one accelerator."""

    def read(self) -> dict[str, float]:
        """What is known now, by name; the names end in their unit."""

    def peak(self) -> int | None:
        """The most allocated since `reset_peak`, in bytes; None where it is not measured."""

    def reset_peak(self) -> None:
        """The peak counts from now on."""

    def capacity(self) -> int | None:
        """Bytes that this process could hold in all; None if unknown."""


class CudaMemory:
    """The caching allocator of one CUDA device, read without synchronising.

    Args:
        device: the CUDA device.
        cuda: `torch.cuda`, or what stands for it.
    """

    def __init__(self, device: torch.device, cuda: Any = torch.cuda) -> None:
        self._device = device
        self._cuda = cuda

    def read(self) -> dict[str, float]:
        """Bytes allocated, reserved, their peak; `fragmentation_share`; retries and failures since the start.

        `fragmentation_share` is the share of the reserved memory that lies free in blocks that were split and so
        cannot be given back. NaN with nothing reserved.
        """
        stats = self._cuda.memory_stats(self._device)
        reserved = stats.get("reserved_bytes.all.current", 0)
        split = stats.get("inactive_split_bytes.all.current", 0)
        return {
            "allocated_bytes": float(stats.get("allocated_bytes.all.current", 0)),
            "reserved_bytes": float(reserved),
            "peak_bytes": float(stats.get("allocated_bytes.all.peak", 0)),
            "fragmentation_share": split / reserved if reserved else float("nan"),
            **{name: float(stats.get(key, 0)) for name, key in COUNTERS.items()},
        }

    def peak(self) -> int | None:
        """`max_memory_allocated`."""
        return int(self._cuda.max_memory_allocated(self._device))

    def reset_peak(self) -> None:
        """`reset_peak_memory_stats`."""
        self._cuda.reset_peak_memory_stats(self._device)

    def capacity(self) -> int | None:
        """What is free on the device and what this process has reserved of it."""
        free, _ = self._cuda.mem_get_info(self._device)
        return int(free) + int(self._cuda.memory_reserved(self._device))


class MpsMemory:
    """Apple's GPU: it tells what is held, not the peak.

    Args:
        mps: `torch.mps`, or what stands for it.
    """

    def __init__(self, mps: Any = torch.mps) -> None:
        self._mps = mps

    def read(self) -> dict[str, float]:
        """`allocated_bytes` (tensors) and `reserved_bytes` (the driver's whole)."""
        return {
            "allocated_bytes": float(self._mps.current_allocated_memory()),
            "reserved_bytes": float(self._mps.driver_allocated_memory()),
        }

    def peak(self) -> int | None:
        """Not measured."""
        return None

    def reset_peak(self) -> None:
        """Nothing to reset."""

    def capacity(self) -> int | None:
        """The most that Metal recommends to hold."""
        return int(self._mps.recommended_max_memory())


class PeakByComponent:
    """The peak of device memory in each component, in sampled steps, and in the whole epoch.

    The allocator has one peak. In a sampled step it is read and reset wherever a component begins or ends, and what
    was read counts for every component open at that moment; their common maximum stays the epoch's.
    """

    def __init__(self, memory: DeviceMemory) -> None:
        self.by_component: dict[str, int] = {}
        self._memory = memory
        self._open: list[tuple[str, int]] = []
        self._epoch = 0

    def start_epoch(self) -> None:
        """Peaks count from now on."""
        self.by_component = {}
        self._open.clear()
        self._epoch = 0
        self._memory.reset_peak()

    def entered(self, name: str) -> None:
        """A component of a sampled step begins."""
        self._turn()
        self._open.append((name, 0))

    def left(self, name: str) -> None:
        """A component ends; one that began before the sampled step is passed over."""
        self._turn()
        while self._open and any(n == name for n, _ in self._open):
            inner, peak = self._open.pop()
            self.by_component[inner] = max(peak, self.by_component.get(inner, 0))
            if inner == name:
                return

    def end_step(self) -> None:
        """The sampled step is over."""
        self._open.clear()

    def epoch_peak(self) -> int | None:
        """The most allocated in the epoch, in bytes; None where the device does not tell."""
        now = self._memory.peak()
        return None if now is None else max(now, self._epoch)

    def _turn(self) -> None:
        peak = self._memory.peak()
        if peak is None:
            return
        self._memory.reset_peak()
        self._epoch = max(self._epoch, peak)
        self._open = [(name, max(before, peak)) for name, before in self._open]
