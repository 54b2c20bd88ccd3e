"""Snapshots of the CUDA allocator when its peak rises, for PyTorch's memory viewer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

_RISE = 1.05


class PeakSnapshots:
    """Writes `memory-{bytes}.pickle` whenever the peak rises by 5 % or more; the last `keep` are kept.

    The allocator's history with stack traces is recorded meanwhile, which slows allocations down a little. The files
    open at https://pytorch.org/memory_viz.

    Args:
        folder: where the files go.
        keep: how many.
        max_entries: allocations remembered.
        memory: `torch.cuda.memory`, or what stands for it.
    """

    def __init__(
        self, folder: Path, *, keep: int = 2, max_entries: int = 100_000, memory: Any = torch.cuda.memory
    ) -> None:
        self.files: list[Path] = []
        self._folder = folder
        self._keep = keep
        self._max_entries = max_entries
        self._memory = memory
        self._highest = 0.0
        self._recording = False

    def start(self) -> None:
        """Begins to record the allocator's history; idempotent."""
        if not self._recording:
            self._memory._record_memory_history(max_entries=self._max_entries)
            self._recording = True

    def check(self, peak_bytes: int | None) -> None:
        """Writes a snapshot where `peak_bytes` is a new height."""
        if not self._recording or peak_bytes is None or peak_bytes < self._highest * _RISE or peak_bytes == 0:
            return
        self._highest = peak_bytes
        self._folder.mkdir(parents=True, exist_ok=True)
        path = self._folder / f"memory-{peak_bytes}.pickle"
        self._memory._dump_snapshot(str(path))
        self.files.append(path)
        while len(self.files) > self._keep:
            self.files.pop(0).unlink(missing_ok=True)

    def stop(self) -> None:
        """Stops recording; idempotent."""
        if self._recording:
            self._memory._record_memory_history(enabled=None)
            self._recording = False
