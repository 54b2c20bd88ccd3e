"""Memory of the process on the host and of the allocator on the device, with peaks by component and snapshots."""

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
_SNAPSHOT_RISE = 1.05


def host_rss_bytes() -> int | None:
    """Resident memory of this process in bytes, from /proc or psutil; None if there is neither."""
    if _STATM.exists():
        import resource

        return int(_STATM.read_text().split()[1]) * resource.getpagesize()
    try:
        return int(import_module("psutil").Process().memory_info().rss)
    except ImportError:
        return None


def host_peak_rss_bytes() -> int | None:
    """Peak resident memory of this process so far, in bytes; None on Windows without psutil."""
    if sys.platform == "win32":
        try:
            return int(import_module("psutil").Process().memory_info().peak_wset)
        except ImportError:
            return None
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(peak) if sys.platform == "darwin" else int(peak) * 1024


def host_bytes() -> dict[str, int]:
    """`host_rss_bytes` and `host_peak_rss_bytes`, without those that the platform does not report."""
    values = {"host_rss_bytes": host_rss_bytes(), "host_peak_rss_bytes": host_peak_rss_bytes()}
    return {name: value for name, value in values.items() if value is not None}


def host_available_bytes() -> int | None:
    """Bytes that this process could still take: free memory of the host, within its control group; None if unknown."""
    if not _MEMINFO.exists():
        try:
            return int(import_module("psutil").virtual_memory().available)
        except ImportError:
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
        """Current values by name; the names end in their unit."""

    def peak(self) -> int | None:
        """Peak bytes allocated since `reset_peak()`, or None if the device does not report it."""

    def reset_peak(self) -> None:
        """Count the peak from now on."""

    def capacity(self) -> int | None:
        """Bytes that this process could hold in total; None if unknown."""


class CudaMemory:
    """The caching allocator of one CUDA device, read without synchronising.

    Args:
        device: the CUDA device.
        cuda: `torch.cuda`, or a substitute for it.
    """

    def __init__(self, device: torch.device, cuda: Any = torch.cuda) -> None:
        self._device = device
        self._cuda = cuda

    def read(self) -> dict[str, float]:
        """Bytes allocated and reserved, the peak, `fragmentation_share`, and retries and failures since the start.

        `fragmentation_share` is the share of the reserved memory that is free in blocks that were split, which cannot
        be released; NaN if nothing is reserved.
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
        """Memory that is free on the device or reserved by this process."""
        free, _ = self._cuda.mem_get_info(self._device)
        return int(free) + int(self._cuda.memory_reserved(self._device))


class MpsMemory:
    """Apple's GPU, which reports its current memory but no peak.

    Args:
        mps: `torch.mps`, or a substitute for it.
    """

    def __init__(self, mps: Any = torch.mps) -> None:
        self._mps = mps

    def read(self) -> dict[str, float]:
        """`allocated_bytes` (of tensors) and `reserved_bytes` (of the driver)."""
        return {
            "allocated_bytes": float(self._mps.current_allocated_memory()),
            "reserved_bytes": float(self._mps.driver_allocated_memory()),
        }

    def peak(self) -> int | None:
        """None: not measured."""
        return None

    def reset_peak(self) -> None:
        """Do nothing: there is no peak."""

    def capacity(self) -> int | None:
        """Metal's recommended maximum."""
        return int(self._mps.recommended_max_memory())


class PeakByComponent:
    """Peak device memory of each component, in sampled steps, and of the whole epoch.

    The allocator has one peak. In a sampled step it is read and reset whenever a component begins or ends, and the
    value counts for every component that is open; the maximum of all values is the epoch's.
    """

    def __init__(self, memory: DeviceMemory) -> None:
        self.by_component: dict[str, int] = {}
        self._memory = memory
        self._open_peaks: list[tuple[str, int]] = []
        self._epoch_peak = 0

    def start_epoch(self) -> None:
        """Count all peaks from now on."""
        self.by_component = {}
        self._open_peaks.clear()
        self._epoch_peak = 0
        self._memory.reset_peak()

    def entered(self, name: str) -> None:
        """Take note that a component of a sampled step begins."""
        self._collect_peak()
        self._open_peaks.append((name, 0))

    def left(self, name: str) -> None:
        """Take note that a component ends; one that began before the sampled step is ignored."""
        self._collect_peak()
        while any(open_name == name for open_name, _ in self._open_peaks):
            inner, peak = self._open_peaks.pop()
            self.by_component[inner] = max(peak, self.by_component.get(inner, 0))
            if inner == name:
                return

    def end_step(self) -> None:
        """End the sampled step."""
        self._open_peaks.clear()

    def epoch_peak(self) -> int | None:
        """Peak bytes allocated in the epoch, or None if the device does not report it."""
        peak = self._memory.peak()
        return None if peak is None else max(peak, self._epoch_peak)

    def _collect_peak(self) -> None:
        peak = self._memory.peak()
        if peak is None:
            return
        self._memory.reset_peak()
        self._epoch_peak = max(self._epoch_peak, peak)
        self._open_peaks = [(name, max(before, peak)) for name, before in self._open_peaks]


class PeakSnapshots:
    """Snapshots of the CUDA allocator, written to `memory-{bytes}.pickle` whenever the peak rises by 5 % or more.

    Meanwhile the allocator's history is recorded with stack traces, which slows allocations down a little. The files
    open at https://pytorch.org/memory_viz.

    Args:
        folder: directory of the files.
        keep: number of files to keep, the latest.
        max_entries: allocations in the history.
        memory: `torch.cuda.memory`, or a substitute for it.
    """

    def __init__(
        self, folder: Path, *, keep: int = 2, max_entries: int = 100_000, memory: Any = torch.cuda.memory
    ) -> None:
        self.files: list[Path] = []
        self._folder = folder
        self._keep = keep
        self._max_entries = max_entries
        self._memory = memory
        self._highest = 0
        self._is_recording = False

    def start(self) -> None:
        """Begin to record the allocator's history; idempotent."""
        if not self._is_recording:
            self._memory._record_memory_history(max_entries=self._max_entries)
            self._is_recording = True

    def check(self, peak_bytes: int | None) -> None:
        """Write a snapshot if `peak_bytes` is a new peak."""
        if (
            not self._is_recording
            or peak_bytes is None
            or peak_bytes < self._highest * _SNAPSHOT_RISE
            or peak_bytes == 0
        ):
            return
        self._highest = peak_bytes
        self._folder.mkdir(parents=True, exist_ok=True)
        path = self._folder / f"memory-{peak_bytes}.pickle"
        self._memory._dump_snapshot(str(path))
        self.files.append(path)
        while len(self.files) > self._keep:
            self.files.pop(0).unlink(missing_ok=True)

    def stop(self) -> None:
        """Stop recording; idempotent."""
        if self._is_recording:
            self._memory._record_memory_history(enabled=None)
            self._is_recording = False
