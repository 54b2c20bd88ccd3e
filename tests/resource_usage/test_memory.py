"""Memory by name from a fake allocator, peaks by component, the host's against psutil, and snapshots of the peak."""

import math

import psutil
import pytest
import torch

from tbmetrics.resource_usage import memory
from tbmetrics.resource_usage.memory import CudaMemory, MpsMemory, PeakByComponent, PeakSnapshots
from tests.resource_usage.fakes import CUDA, MIB, FakeAllocator, FakeClock, FakeCuda


@pytest.fixture
def cuda():
    return FakeCuda(FakeClock())


def test_the_host_is_what_psutil_says():
    held = memory.host_rss_bytes()
    assert held == pytest.approx(psutil.Process().memory_info().rss, rel=0.05)
    assert memory.host_peak_rss_bytes() >= held * 0.95
    assert set(memory.host_bytes()) == {"host_rss_bytes", "host_peak_rss_bytes"}


def test_without_proc_psutil_tells(monkeypatch, tmp_path):
    monkeypatch.setattr(memory, "_STATM", tmp_path / "none")
    assert memory.host_rss_bytes() == pytest.approx(psutil.Process().memory_info().rss, rel=0.05)


def test_what_nothing_tells_is_left_out(monkeypatch, tmp_path):
    monkeypatch.setattr(memory, "_STATM", tmp_path / "none")
    monkeypatch.setattr(memory, "import_module", _missing)
    monkeypatch.setattr(memory.sys, "platform", "win32")
    assert memory.host_bytes() == {}


def _missing(name):
    raise ImportError(name)


def test_free_memory_is_within_the_control_group(monkeypatch, tmp_path):
    meminfo = tmp_path / "meminfo"
    meminfo.write_text("MemTotal: 900 kB\nMemAvailable: 500 kB\n")
    monkeypatch.setattr(memory, "_MEMINFO", meminfo)
    monkeypatch.setattr(memory, "_CGROUP", tmp_path)
    assert memory.host_available_bytes() == 500 * 1024
    (tmp_path / "memory.current").write_text("1000")
    (tmp_path / "memory.max").write_text("max\n")
    assert memory.host_available_bytes() == 500 * 1024
    (tmp_path / "memory.max").write_text("5000\n")
    assert memory.host_available_bytes() == 4000
    monkeypatch.setattr(memory, "_MEMINFO", tmp_path / "none")
    assert memory.host_available_bytes() == pytest.approx(psutil.virtual_memory().available, rel=0.2)
    monkeypatch.setattr(memory, "import_module", _missing)
    assert memory.host_available_bytes() is None


def test_the_allocator_is_read_by_name(cuda):
    device = CudaMemory(CUDA, cuda=cuda)
    assert math.isnan(device.read()["fragmentation_share"])
    cuda.allocate(300 * MIB)
    cuda.allocate(-100 * MIB)
    cuda.split, cuda.retries, cuda.ooms = 75 * MIB, 2, 1
    assert device.read() == {
        "allocated_bytes": 200 * MIB,
        "reserved_bytes": 300 * MIB,
        "peak_bytes": 300 * MIB,
        "fragmentation_share": 0.25,
        "alloc_retries": 2,
        "out_of_memory": 1,
    }
    assert device.capacity() == 1000 * MIB
    device.reset_peak()
    assert device.peak() == 200 * MIB


def test_mps_tells_no_peak():
    class Mps:
        current_allocated_memory = staticmethod(lambda: 10)
        driver_allocated_memory = staticmethod(lambda: 20)
        recommended_max_memory = staticmethod(lambda: 30)

    device = MpsMemory(mps=Mps())
    device.reset_peak()
    assert device.read() == {"allocated_bytes": 10, "reserved_bytes": 20}
    assert device.peak() is None
    assert device.capacity() == 30


def test_peaks_are_of_the_components_that_were_open(cuda):
    peaks = PeakByComponent(CudaMemory(CUDA, cuda=cuda))
    cuda.allocate(100)
    peaks.start_epoch()
    peaks.entered("step")
    cuda.allocate(50)
    peaks.entered("forward")
    cuda.allocate(500)
    cuda.allocate(-450)
    peaks.left("forward")
    peaks.entered("backward")
    cuda.allocate(20)
    peaks.left("backward")
    peaks.left("step")
    cuda.allocate(-200)
    assert peaks.by_component == {"forward": 650, "backward": 220, "step": 650}
    assert peaks.epoch_peak() == 650
    peaks.start_epoch()
    assert peaks.epoch_peak() == 20
    assert peaks.by_component == {}


def test_a_peak_outside_of_components_is_the_epochs_alone(cuda):
    peaks = PeakByComponent(CudaMemory(CUDA, cuda=cuda))
    peaks.start_epoch()
    cuda.allocate(900)
    cuda.allocate(-800)
    peaks.entered("forward")
    cuda.allocate(10)
    peaks.left("forward")
    assert peaks.by_component == {"forward": 110}
    assert peaks.epoch_peak() == 900


def test_components_that_began_before_the_sampled_step_are_passed_over(cuda):
    peaks = PeakByComponent(CudaMemory(CUDA, cuda=cuda))
    peaks.start_epoch()
    peaks.left("epoch")
    peaks.entered("forward")
    peaks.end_step()
    peaks.left("forward")
    assert peaks.by_component == {}


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_real_allocator():
    device = torch.device("cuda", torch.cuda.current_device())
    held = CudaMemory(device)
    torch.zeros(1, device=device)
    held.reset_peak()
    before = held.read()["allocated_bytes"]
    block = torch.empty(64 * MIB, dtype=torch.uint8, device=device)
    assert held.read()["allocated_bytes"] - before == pytest.approx(64 * MIB, rel=0.05)
    del block
    assert held.peak() - before == pytest.approx(64 * MIB, rel=0.05)
    assert held.capacity() > 64 * MIB


# ------------------------------------------------------------------------------------------------------------ snapshots


def test_a_snapshot_is_taken_when_the_peak_rises(tmp_path):
    allocator = FakeAllocator()
    snapshots = PeakSnapshots(tmp_path / "made", keep=2, memory=allocator)
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
    assert allocator.calls == [{"max_entries": 100_000}, {"enabled": None}]
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
