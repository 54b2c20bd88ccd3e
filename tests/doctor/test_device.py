"""The accelerator: none, one that PyTorch does not find, one that does not compute; the real one where it is."""

import pytest
import torch

from tbmetrics.doctor import FAILED, OK, WARNING, device
from tests.doctor.reports import only, statuses


@pytest.mark.skipif(torch.cuda.is_available(), reason="for machines without one")
def test_a_processor_alone_is_well(monkeypatch):
    monkeypatch.setattr(torch.version, "cuda", None)
    assert only(device.device()).status == OK


@pytest.mark.skipif(torch.cuda.is_available(), reason="for machines without one")
def test_a_gpu_that_is_not_found_is_told(monkeypatch):
    monkeypatch.setattr(torch.version, "cuda", "12.8")
    found = only(device.device())
    assert found.status == WARNING
    assert "is built for GPUs (12.8), but finds none" in found.message


def test_a_gpu_that_does_not_compute_is_told(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda i: "A GPU")

    def event(**_):
        raise RuntimeError("CUDA error: no kernel image is available\nfor execution on the device")

    monkeypatch.setattr(torch.cuda, "Event", event)
    found = only(device.device())
    assert found.status == FAILED
    assert found.message == "A GPU does not compute (CUDA error: no kernel image is available)"


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_real_gpu_is_well():
    found = list(device.device())
    assert statuses(found)[0] == OK
    assert torch.cuda.get_device_name(0) in found[0].message
