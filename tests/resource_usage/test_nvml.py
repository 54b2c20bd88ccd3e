"""The GPU's meters through a stand-in for pynvml."""

from types import SimpleNamespace

import pytest
import torch

from tbmetrics import TBMetricsWarning
from tbmetrics.resource_usage.nvml import DeviceMeters, open_meters

DEVICE = torch.device("cuda", 0)


class FakeNvml:
    class NVMLError(Exception):
        pass

    NVML_TEMPERATURE_GPU = NVML_CLOCK_SM = 0

    def __init__(self, broken=False):
        self.broken = broken
        self.power = 100_000

    def nvmlInit(self):
        if self.broken:
            raise self.NVMLError("Driver Not Loaded")

    def nvmlDeviceGetHandleByUUID(self, uuid):
        assert uuid == "GPU-abc"
        return "handle"

    def nvmlDeviceGetUtilizationRates(self, handle):
        return SimpleNamespace(gpu=80, memory=40)

    def nvmlDeviceGetPowerUsage(self, handle):
        self.power += 50_000
        return self.power

    def nvmlDeviceGetTemperature(self, handle, sensor):
        return 65

    def nvmlDeviceGetClockInfo(self, handle, kind):
        raise self.NVMLError("Not Supported")


CUDA = SimpleNamespace(get_device_properties=lambda device: SimpleNamespace(uuid="abc"))


def test_readings_are_averaged_and_a_meter_that_is_not_there_is_left_out():
    meters = open_meters(DEVICE, CUDA, FakeNvml())
    assert meters.take() == {}
    meters.read()
    meters.read()
    assert meters.take() == {
        "utilisation_percent": 80,
        "memory_utilisation_percent": 40,
        "power_watts": 175,
        "temperature_celsius": 65,
    }
    assert meters.take() == {}


def test_the_thread_starts_once_reads_and_ends():
    meters = DeviceMeters(FakeNvml(), "handle", interval_seconds=0.001)
    meters.start()
    thread = meters._thread
    meters.start()
    assert meters._thread is thread
    for _ in range(5000):
        if found := meters.take():
            break
        thread.join(0.001)
    assert found["temperature_celsius"] == 65
    meters.stop()
    meters.stop()
    assert not thread.is_alive()


def test_a_driver_that_refuses_is_said_once_and_training_goes_on():
    with pytest.warns(TBMetricsWarning, match=r"NVML does not tell about cuda:0 \(Driver Not Loaded\)"):
        assert open_meters(DEVICE, CUDA, FakeNvml(broken=True)) is None
