"""Substitutes: a clock set by hand, a CUDA device that runs behind it, and NVML."""

from __future__ import annotations

import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch

from tbmetrics.resource_usage.device import CudaClock, Device
from tbmetrics.resource_usage.memory import CudaMemory

CUDA = torch.device("cuda", 0)
MIB = 2**20


class FakeClock:
    """Nanoseconds that pass when `pass_ms` says so."""

    def __init__(self) -> None:
        self.now = 0

    def __call__(self) -> int:
        return self.now

    def pass_ms(self, milliseconds: float) -> None:
        self.now += round(milliseconds * 1e6)


class FakeEvent:
    """A CUDA event: reached when the device has done what was in its stream."""

    def __init__(self, cuda: FakeCuda) -> None:
        self._cuda = cuda
        self.reached_at: int | None = None

    def record(self, stream: object) -> None:
        assert stream is self._cuda.stream
        self.reached_at = max(self._cuda.free_at, self._cuda.clock.now)

    def query(self) -> bool:
        assert not self._cuda.capturing, "cudaEventQuery is not allowed while a graph is captured"
        assert self.reached_at is not None
        return self._cuda.clock.now >= self.reached_at

    def synchronize(self) -> None:
        assert self.reached_at is not None
        self._cuda.waits += self._cuda.clock.now < self.reached_at
        self._cuda.clock.now = max(self._cuda.clock.now, self.reached_at)

    def elapsed_time(self, other: FakeEvent) -> float:
        assert self.reached_at is not None
        assert other.reached_at is not None
        return (other.reached_at - self.reached_at) / 1e6


class FakeCuda:
    """One stream and one allocator.

    Attributes:
        free_at: nanoseconds of the clock at which the device has done all that it was given.
        waits: how often the host really waited for an event.
        events: how many were made.
    """

    def __init__(self, clock: FakeClock) -> None:
        self.clock = clock
        self.stream = object()
        self.free_at = 0
        self.waits = self.events = 0
        self.capturing = False
        self.allocated = self.peak = self.reserved = self.split = self.retries = self.ooms = 0
        self.total = 1000 * MIB

    def launch(self, milliseconds: float) -> None:
        """The host gives the device this much work, at no cost of its own."""
        self.free_at = max(self.free_at, self.clock.now) + round(milliseconds * 1e6)

    def allocate(self, size: int) -> None:
        self.allocated += size
        self.peak = max(self.peak, self.allocated)
        self.reserved = max(self.reserved, self.allocated)

    # The parts of `torch.cuda`:

    def Event(self, *, enable_timing: bool) -> FakeEvent:
        assert enable_timing
        self.events += 1
        return FakeEvent(self)

    def current_stream(self, device: torch.device) -> object:
        assert device == CUDA
        return self.stream

    def is_current_stream_capturing(self) -> bool:
        return self.capturing

    def memory_stats(self, device: torch.device) -> dict[str, int]:
        assert device == CUDA
        return {
            "allocated_bytes.all.current": self.allocated,
            "allocated_bytes.all.peak": self.peak,
            "reserved_bytes.all.current": self.reserved,
            "inactive_split_bytes.all.current": self.split,
            "num_alloc_retries": self.retries,
            "num_ooms": self.ooms,
        }

    def max_memory_allocated(self, device: torch.device) -> int:
        return self.memory_stats(device)["allocated_bytes.all.peak"]

    def reset_peak_memory_stats(self, device: torch.device) -> None:
        assert device == CUDA
        self.peak = self.allocated

    def mem_get_info(self, device: torch.device) -> tuple[int, int]:
        assert device == CUDA
        return self.total - self.reserved, self.total

    def memory_reserved(self, device: torch.device) -> int:
        return self.memory_stats(device)["reserved_bytes.all.current"]

    def get_device_properties(self, device: torch.device) -> Any:
        assert device == CUDA
        return SimpleNamespace(uuid="1234-ab")

    def device(self, name: str = "Fake A100") -> Device:
        """This device as the monitor sees it."""
        return Device(name, CUDA, CudaClock(CUDA, cuda=self), CudaMemory(CUDA, cuda=self))


class FakeAllocator:
    """`torch.cuda.memory` as snapshots use it."""

    def __init__(self) -> None:
        self.calls: list[dict[str, Any]] = []

    def _record_memory_history(self, **options: Any) -> None:
        self.calls.append(options)

    def _dump_snapshot(self, path: str) -> None:
        Path(path).write_text("snapshot")


class NVMLError(Exception):
    pass


class FakeNvml:
    """A device without a temperature sensor; each reading of the power is 100 W higher."""

    NVMLError = NVMLError
    NVML_TEMPERATURE_GPU, NVML_CLOCK_SM = 0, 1

    def __init__(self, *, refuses=False):
        self.refuses, self.milliwatts, self.temperature_readings = refuses, 0, 0
        self.has_three_readings = threading.Event()

    def nvmlInit(self):
        if self.refuses:
            raise NVMLError("driver not loaded")

    def nvmlDeviceGetHandleByUUID(self, uuid):
        assert uuid == "GPU-1234-ab"
        return "handle"

    def nvmlDeviceGetUtilizationRates(self, handle):
        assert handle == "handle"

        class Rates:
            gpu, memory = 80, 30

        return Rates

    def nvmlDeviceGetPowerUsage(self, handle):
        self.milliwatts += 100_000
        if self.milliwatts > 300_000:  # three readings are complete
            self.has_three_readings.set()
        return self.milliwatts

    def nvmlDeviceGetTemperature(self, handle, sensor):
        self.temperature_readings += 1
        raise NVMLError("not supported")

    def nvmlDeviceGetClockInfo(self, handle, kind):
        return 1410
