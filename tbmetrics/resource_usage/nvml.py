"""The GPU's own meters (utilisation, power, temperature, clock), read by a background thread through NVML."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable
from importlib import import_module
from typing import Any

import torch

from tbmetrics.errors import TBMetricsWarning

#: Meter → how it is read: (pynvml module, device handle) → value in the unit that ends the name.
METERS: dict[str, Callable[[Any, Any], float]] = {
    "utilisation_percent": lambda nvml, gpu: nvml.nvmlDeviceGetUtilizationRates(gpu).gpu,
    "memory_utilisation_percent": lambda nvml, gpu: nvml.nvmlDeviceGetUtilizationRates(gpu).memory,
    "power_watts": lambda nvml, gpu: nvml.nvmlDeviceGetPowerUsage(gpu) / 1000,
    "temperature_celsius": lambda nvml, gpu: nvml.nvmlDeviceGetTemperature(gpu, nvml.NVML_TEMPERATURE_GPU),
    "sm_clock_mhz": lambda nvml, gpu: nvml.nvmlDeviceGetClockInfo(gpu, nvml.NVML_CLOCK_SM),
}


class DeviceMeters:
    """Reads every meter once an interval in a daemon thread; `take` gives the means since the last call.

    A meter that the device does not have is left out. Counters, not samples, are kept.

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
        """Starts the thread; idempotent."""
        if self._thread is None:
            self._stopped.clear()
            self._thread = threading.Thread(target=self._run, name="tbmetrics-nvml", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """Ends the thread; idempotent."""
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
        """Reads every meter once; one that fails is not read again."""
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
    """The meters of a CUDA device; None without `nvidia-ml-py` (extra `gpu`) or where NVML refuses, with a warning."""
    try:
        nvml = nvml or import_module("pynvml")
    except ImportError:
        return None
    try:
        nvml.nvmlInit()
        return DeviceMeters(nvml, nvml.nvmlDeviceGetHandleByUUID(_uuid(device, cuda)))
    except nvml.NVMLError as error:
        message = f"NVML does not tell about {device} ({error}); utilisation, power and temperature are left out"
        warnings.warn(message, TBMetricsWarning, stacklevel=2)
        return None


def _uuid(device: torch.device, cuda: Any) -> str:
    """NVML's name of the device: its numbers differ from torch's under CUDA_VISIBLE_DEVICES."""
    return f"GPU-{cuda.get_device_properties(device).uuid}"
