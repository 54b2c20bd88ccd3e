"""Memory in use: what the CUDA allocator holds, and what the process holds on the host."""

from __future__ import annotations

import sys
from pathlib import Path

import torch

_STATM = Path("/proc/self/statm")


def host_rss_bytes() -> int | None:
    """Resident memory of this process in bytes; None where the platform does not tell."""
    if _STATM.exists():
        import resource

        return int(_STATM.read_text().split()[1]) * resource.getpagesize()
    if sys.platform == "win32":
        return None
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(peak) if sys.platform == "darwin" else int(peak) * 1024


def device_bytes() -> dict[str, int]:
    """`allocated_bytes`, `reserved_bytes`, `peak_bytes` of the current CUDA device; empty without one."""
    if not torch.cuda.is_available() or not torch.cuda.is_initialized():
        return {}
    return {
        "allocated_bytes": torch.cuda.memory_allocated(),
        "reserved_bytes": torch.cuda.memory_reserved(),
        "peak_bytes": torch.cuda.max_memory_allocated(),
    }


def start_peak() -> None:
    """Makes the next `peak_bytes` count from now on."""
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        torch.cuda.reset_peak_memory_stats()


def in_use() -> dict[str, int]:
    """Everything known now, by name."""
    rss = host_rss_bytes()
    return {**device_bytes(), **({} if rss is None else {"host_rss_bytes": rss})}
