"""The accelerator that is measured: its clock, its memory and its own meters, as far as it has them."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Protocol

import torch

from tbmetrics.errors import InputError, TBMetricsWarning
from tbmetrics.resource_usage.memory import CudaMemory, DeviceMemory, MpsMemory

#: Most marks in flight; a run that is further ahead of its device loses device times, but never host times.
MOST_MARKS = 4096

#: Meter → its reading: (pynvml module, device handle) → value in the unit that ends the name.
METERS: dict[str, Callable[[Any, Any], float]] = {
    "utilisation_percent": lambda nvml, gpu: nvml.nvmlDeviceGetUtilizationRates(gpu).gpu,
    "memory_utilisation_percent": lambda nvml, gpu: nvml.nvmlDeviceGetUtilizationRates(gpu).memory,
    "power_watts": lambda nvml, gpu: nvml.nvmlDeviceGetPowerUsage(gpu) / 1000,
    "temperature_celsius": lambda nvml, gpu: nvml.nvmlDeviceGetTemperature(gpu, nvml.NVML_TEMPERATURE_GPU),
    "sm_clock_mhz": lambda nvml, gpu: nvml.nvmlDeviceGetClockInfo(gpu, nvml.NVML_CLOCK_SM),
}


@dataclass(frozen=True, slots=True)
class Device:
    """An accelerator as the monitor sees it; what is None is not measured.

    Attributes:
        name: for messages and figures.
        torch_device: where tensors live.
        clock: marks on its stream.
        memory: its allocator.
        meters: utilisation, power, temperature, clock rate.
    """

    name: str
    torch_device: torch.device
    clock: DeviceClock | None = None
    memory: DeviceMemory | None = None
    meters: DeviceMeters | None = None


def checked_device(device: str | torch.device | Device | None) -> torch.device | Device | None:
    """The `device` argument of the monitor; None = to be found once an accelerator is in use.

    Raises:
        InputError: torch does not know the device, or CUDA is not available.
    """
    if device is None or isinstance(device, Device):
        return device
    try:
        requested = torch.device(device)
    except (RuntimeError, TypeError) as error:
        raise InputError(f"device must be one of torch's, such as 'cuda:0' or 'cpu', got {device!r}") from error
    if requested.type == "cuda" and not torch.cuda.is_available():
        raise InputError(f"device {str(requested)!r} was asked for, but CUDA is not available here; leave `device` out")
    return requested


def open_device(requested: torch.device | None) -> Device | None:
    """The accelerator to measure: `requested`, or the one in use; None on the CPU, or while none is in use.

    This never initialises CUDA: before the first tensor is on it there is nothing to measure, and the process may still
    choose its device.
    """
    if requested is None:
        requested = _available_device()
    if requested is None or requested.type not in {"cuda", "mps"}:
        return None
    if requested.type == "mps":
        return Device("mps", requested, memory=MpsMemory())
    if not torch.cuda.is_initialized():
        return None
    if requested.index is None:
        requested = torch.device("cuda", torch.cuda.current_device())
    name = torch.cuda.get_device_name(requested)
    return Device(name, requested, CudaClock(requested), CudaMemory(requested), open_meters(requested))


def _available_device() -> torch.device | None:
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps") if torch.backends.mps.is_available() else None


# --------------------------------------------------------------------------------------------------------- clock


class DeviceClock(Protocol):
    """Marks on the stream of a device. A mark is reached when the device has done everything queued before it."""

    def mark(self) -> Any:
        """Put a mark on the current stream; None if that is impossible at the moment."""

    def reached(self, mark: Any) -> bool:
        """Whether the device has reached `mark`; does not wait."""

    def wait(self, mark: Any) -> None:
        """Wait until the device has reached `mark`."""

    def milliseconds(self, began: Any, ended: Any) -> float:
        """Device time between two marks that have been reached."""

    def release(self, mark: Any) -> None:
        """Return a mark for reuse."""


class CudaClock:
    """CUDA events from a pool, recorded on the current stream of one device.

    Args:
        device: the CUDA device.
        cuda: `torch.cuda`, or a substitute for it.
    """

    def __init__(self, device: torch.device, cuda: Any = torch.cuda) -> None:
        self._device = device
        self._cuda = cuda
        self._free: list[Any] = []
        self._made = 0

    def mark(self) -> Any:
        """Record an event; None while a CUDA graph is being captured, or with `MOST_MARKS` in flight."""
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
        """`query()`, which does not wait."""
        return bool(mark.query())

    def wait(self, mark: Any) -> None:
        """`synchronize()` of this event alone."""
        mark.synchronize()

    def milliseconds(self, began: Any, ended: Any) -> float:
        """`elapsed_time`."""
        return float(began.elapsed_time(ended))

    def release(self, mark: Any) -> None:
        """Return the event to the pool."""
        self._free.append(mark)


# -------------------------------------------------------------------------------------------------------- meters


class DeviceMeters:
    """The GPU's utilisation, power, temperature and clock rate, read through NVML by a daemon thread.

    Sums and counts are kept, not readings; `take` gives the means since the last call. A meter that the device does not
    have is left out.

    Args:
        nvml: the `pynvml` module, initialised.
        handle: NVML's handle of the device.
        interval_seconds: between readings.
    """

    def __init__(self, nvml: Any, handle: Any, interval_seconds: float = 1.0) -> None:
        self._nvml = nvml
        self._handle = handle
        self._interval = interval_seconds
        self._meters = dict(METERS)
        self._sums: dict[str, tuple[float, int]] = {}
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Start the thread; idempotent."""
        if self._thread is None:
            self._stopped.clear()
            self._thread = threading.Thread(target=self._run, name="tbmetrics-nvml", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """End the thread; idempotent."""
        thread, self._thread = self._thread, None
        if thread is not None:
            self._stopped.set()
            thread.join(timeout=5)

    def take(self) -> dict[str, float]:
        """Mean of each meter since the last call; empty before the first reading."""
        with self._lock:
            sums, self._sums = self._sums, {}
        return {name: total / count for name, (total, count) in sums.items()}

    def read(self) -> None:
        """Read every meter once; one that fails is not read again."""
        for name, meter in list(self._meters.items()):
            try:
                value = float(meter(self._nvml, self._handle))
            except self._nvml.NVMLError:
                del self._meters[name]
                continue
            with self._lock:
                total, count = self._sums.get(name, (0.0, 0))
                self._sums[name] = (total + value, count + 1)

    def _run(self) -> None:
        while self._meters and not self._stopped.wait(self._interval):
            self.read()


def open_meters(device: torch.device, cuda: Any = torch.cuda, nvml: Any = None) -> DeviceMeters | None:
    """The meters of a CUDA device, or None without `nvidia-ml-py` (extra `gpu`); if NVML refuses, with a warning."""
    try:
        nvml = nvml or import_module("pynvml")
    except ImportError:
        return None
    # NVML numbers devices differently from torch under CUDA_VISIBLE_DEVICES, so they are told apart by their UUID.
    uuid = f"GPU-{cuda.get_device_properties(device).uuid}"
    try:
        nvml.nvmlInit()
        return DeviceMeters(nvml, nvml.nvmlDeviceGetHandleByUUID(uuid))
    except nvml.NVMLError as error:
        message = f"NVML does not tell about {device} ({error}); utilisation, power and temperature are left out"
        warnings.warn(message, TBMetricsWarning, stacklevel=2)
        return None
