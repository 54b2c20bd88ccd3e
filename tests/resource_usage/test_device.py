"""Which device is measured, mistakes in naming it, and its meters from a stand-in for NVML."""

import threading

import pytest
import torch

from tbmetrics import InputError, TBMetricsWarning
from tbmetrics.resource_usage import device as device_module
from tbmetrics.resource_usage.device import DeviceMeters, checked_device, open_device, open_meters
from tbmetrics.resource_usage.memory import MpsMemory
from tests.resource_usage.fakes import CUDA, FakeClock, FakeCuda, FakeNvml


def test_mistakes_say_what_is_possible():
    with pytest.raises(InputError, match="device must be one of torch's, such as 'cuda:0' or 'cpu', got 'gpu'"):
        checked_device("gpu")
    with pytest.raises(InputError, match=r"got 1\.5"):
        checked_device(1.5)


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without CUDA")
def test_cuda_that_is_not_there_is_refused():
    with pytest.raises(InputError, match="'cuda:1' was asked for, but CUDA is not available"):
        checked_device("cuda:1")


def test_the_cpu_has_nothing_to_measure():
    assert open_device(checked_device("cpu")) is None


def test_an_opened_device_is_taken_as_it_is():
    device = FakeCuda(FakeClock()).device()
    assert checked_device(device) is device
    assert device.torch_device == CUDA


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_the_cuda_device_in_use_is_found():
    torch.zeros(1, device="cuda")
    device = open_device(None)
    assert device is not None
    assert device.torch_device == torch.device("cuda", torch.cuda.current_device())
    assert device.name == torch.cuda.get_device_name()


def test_cuda_is_opened_once_it_is_in_use(monkeypatch):
    state = {"initialized": False}
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: state["initialized"])
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 3)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: f"Fake A100 at {device}")
    monkeypatch.setattr(device_module, "open_meters", lambda device: f"meters of {device}")
    assert open_device(None) is None  # the process may still choose its device
    assert not state["initialized"]
    state["initialized"] = True
    device = open_device(None)
    assert (device.name, device.torch_device) == ("Fake A100 at cuda:3", torch.device("cuda", 3))
    assert device.meters == "meters of cuda:3"
    assert open_device(checked_device("cuda:1")).torch_device == torch.device("cuda", 1)


def test_apples_gpu_has_memory_only(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    device = open_device(None)
    assert isinstance(device.memory, MpsMemory)
    assert (device.clock, device.meters) == (None, None)


# --------------------------------------------------------------------------------------------------------------- meters


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
    assert nvml.temperature_readings == 1


def test_the_thread_reads_until_it_is_stopped():
    nvml = FakeNvml()
    meters = DeviceMeters(nvml, "handle", interval_seconds=0.001)
    meters.start()
    meters.start()
    assert [t.name for t in threading.enumerate()].count("tbmetrics-nvml") == 1
    nvml.has_three_readings.wait()
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

    monkeypatch.setattr(device_module, "import_module", missing)
    assert _open(None) is None
