"""Allocator snapshots: written when the peak rises, bounded in number, and recording ends."""

import pytest
import torch

from tbmetrics.resource_usage.snapshots import PeakSnapshots


class FakeMemory:
    def __init__(self):
        self.calls = []

    def _record_memory_history(self, **options):
        self.calls.append(options)

    def _dump_snapshot(self, path):
        with open(path, "w") as file:
            file.write("snapshot")


def test_a_snapshot_is_taken_when_the_peak_rises(tmp_path):
    memory = FakeMemory()
    snapshots = PeakSnapshots(tmp_path / "made", keep=2, memory=memory)
    snapshots.check(100)
    assert not (tmp_path / "made").exists()
    snapshots.start()
    snapshots.start()
    for peak in (None, 0, 100, 104, 90, 105, 200, 300):
        snapshots.check(peak)
    assert sorted(p.name for p in (tmp_path / "made").iterdir()) == ["memory-200.pickle", "memory-300.pickle"]
    assert [p.name for p in snapshots.files] == ["memory-200.pickle", "memory-300.pickle"]
    snapshots.stop()
    snapshots.stop()
    assert memory.calls == [{"max_entries": 100_000}, {"enabled": None}]
    snapshots.check(1000)
    assert len(snapshots.files) == 2


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_real_snapshot(tmp_path):
    snapshots = PeakSnapshots(tmp_path)
    snapshots.start()
    block = torch.empty(2**20, device="cuda")
    snapshots.check(torch.cuda.max_memory_allocated())
    snapshots.stop()
    assert snapshots.files[0].stat().st_size > 1000
    del block
