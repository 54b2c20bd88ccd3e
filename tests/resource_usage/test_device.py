"""Which device is measured, and mistakes in naming it."""

import pytest
import torch

from tbmetrics import InputError
from tbmetrics.resource_usage import device as device_module
from tbmetrics.resource_usage.device import checked_device, open_device
from tbmetrics.resource_usage.memory import MpsMemory
from tests.resource_usage.fakes import CUDA, FakeClock, FakeCuda


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
    found = open_device(None)
    assert (found.name, found.torch_device) == ("Fake A100 at cuda:3", torch.device("cuda", 3))
    assert found.meters == "meters of cuda:3"
    assert open_device(checked_device("cuda:1")).torch_device == torch.device("cuda", 1)


def test_apples_gpu_has_memory_only(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    found = open_device(None)
    assert isinstance(found.memory, MpsMemory)
    assert (found.clock, found.meters) == (None, None)
