"""The GPU's meters, from a stand-in for NVML: means, what is missing, the thread's end."""

import threading

import pytest

from tbmetrics import TBMetricsWarning
from tbmetrics.resource_usage import nvml as nvml_module
from tbmetrics.resource_usage.nvml import DeviceMeters, open_meters
from tests.resource_usage.fakes import CUDA, FakeClock, FakeCuda


class NVMLError(Exception):
    pass


class FakeNvml:
    """A device without a temperature sensor; each reading of the power is 100 W higher."""

    NVMLError = NVMLError
    NVML_TEMPERATURE_GPU, NVML_CLOCK_SM = 0, 1

    def __init__(self, *, refuses=False):
        self.refuses, self.milliwatts, self.temperature_asked, self.enough = refuses, 0, 0, threading.Event()

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
        if self.milliwatts >= 300_000:
            self.enough.set()
        return self.milliwatts

    def nvmlDeviceGetTemperature(self, handle, sensor):
        self.temperature_asked += 1
        raise NVMLError("not supported")

    def nvmlDeviceGetClockInfo(self, handle, kind):
        return 1410


def _open(nvml):
    return open_meters(CUDA, cuda=FakeCuda(FakeClock()), nvml=nvml)


def test_means_since_the_last_call_without_what_the_device_lacks():
    nvml = FakeNvml()
    meters = _open(nvml)
    assert meters.take() == {}
    meters.read()
    meters.read()
    assert meters.take() == {
        "utilisation_percent": 80,
        "memory_utilisation_percent": 30,
        "power_watts": 150,
        "sm_clock_mhz": 1410,
    }
    meters.read()
    assert meters.take()["power_watts"] == 300
    assert nvml.temperature_asked == 1


def test_the_thread_reads_until_it_is_stopped():
    nvml = FakeNvml()
    meters = DeviceMeters(nvml, "handle", interval_seconds=0.001)
    meters.start()
    meters.start()
    assert [t.name for t in threading.enumerate()].count("tbmetrics-nvml") == 1
    assert nvml.enough.wait(30)
    meters.stop()
    meters.stop()
    assert "tbmetrics-nvml" not in [t.name for t in threading.enumerate()]
    assert meters.take()["power_watts"] >= 200


def test_a_driver_that_refuses_is_said():
    with pytest.warns(TBMetricsWarning, match=r"does not tell about cuda:0 \(driver not loaded\)"):
        assert _open(FakeNvml(refuses=True)) is None


def test_without_the_extra_nothing_is_said(monkeypatch):
    def missing(name):
        raise ImportError(name)

    monkeypatch.setattr(nvml_module, "import_module", missing)
    assert _open(None) is None
