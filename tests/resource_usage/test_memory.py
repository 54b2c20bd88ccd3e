"""Memory of the host, and of devices through stands-in for torch's modules."""

import numpy as np
import psutil
import pytest
import torch

from tbmetrics.resource_usage.memory import (
    CudaMemory,
    MpsMemory,
    PeakByComponent,
    host_available_bytes,
    host_bytes,
)
from tests.resource_usage.fakes import Clock, FakeCuda

DEVICE = torch.device("cuda", 0)


def test_the_hosts_memory_is_what_psutil_says():
    found = host_bytes()
    assert found["host_rss_bytes"] == pytest.approx(psutil.Process().memory_info().rss, rel=0.05)
    assert found["host_peak_rss_bytes"] >= 0.9 * found["host_rss_bytes"]
    available = host_available_bytes()
    assert available is None or 0 < available <= psutil.virtual_memory().total


def test_cudas_allocator_is_read_by_name():
    cuda = FakeCuda(Clock())
    cuda.allocate(700)
    cuda.allocate(-300)
    memory = CudaMemory(DEVICE, cuda)
    assert memory.read() == {
        "allocated_bytes": 400,
        "reserved_bytes": 1000,
        "peak_bytes": 700,
        "fragmentation_share": 0.1,
        "alloc_retries": 3,
        "out_of_memory": 1,
    }
    assert memory.capacity() == 6000
    memory.reset_peak()
    assert memory.peak() == 400


def test_fragmentation_of_nothing_is_undefined():
    cuda = FakeCuda(Clock())
    cuda.reserved = 0
    assert np.isnan(CudaMemory(DEVICE, cuda).read()["fragmentation_share"])


def test_mps_tells_what_it_holds_and_no_peak():
    class Mps:
        current_allocated_memory = staticmethod(lambda: 5)
        driver_allocated_memory = staticmethod(lambda: 8)
        recommended_max_memory = staticmethod(lambda: 99)

    memory = MpsMemory(Mps)
    assert memory.read() == {"allocated_bytes": 5, "reserved_bytes": 8}
    assert memory.peak() is None
    assert memory.capacity() == 99


def test_peaks_belong_to_every_component_open_at_the_moment():
    cuda = FakeCuda(Clock())
    peaks = PeakByComponent(CudaMemory(DEVICE, cuda))
    peaks.start_epoch()
    cuda.allocate(100)
    peaks.entered("outer")
    cuda.allocate(50)
    peaks.entered("inner")
    cuda.allocate(500)
    cuda.allocate(-500)
    peaks.left("inner")
    cuda.allocate(20)
    peaks.left("outer")
    cuda.allocate(-100)
    assert peaks.by_component == {"inner": 650, "outer": 650}
    assert peaks.epoch_peak() == 650
    peaks.left("never entered")
    peaks.start_epoch()
    assert peaks.epoch_peak() == 70
