"""Which device is measured, and mistakes in naming it."""

import pytest
import torch

from tbmetrics import InputError
from tbmetrics.resource_usage.device import checked_device, open_device
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
