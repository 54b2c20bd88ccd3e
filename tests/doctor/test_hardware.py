"""The accelerator (none, not found, not computing, real), and jobs of several processes."""

import pytest
import torch

from tbmetrics.doctor import FAILED, OK, WARNING, hardware
from tests.doctor.reports import only, statuses


@pytest.fixture(autouse=True)
def alone(monkeypatch):
    for name in ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("GLOO_SOCKET_IFNAME", "lo")


@pytest.mark.skipif(torch.cuda.is_available(), reason="for machines without one")
def test_a_processor_alone_is_well(monkeypatch):
    monkeypatch.setattr(torch.version, "cuda", None)
    assert only(hardware.device()).status == OK


@pytest.mark.skipif(torch.cuda.is_available(), reason="for machines without one")
def test_a_gpu_that_is_not_found_is_told(monkeypatch):
    monkeypatch.setattr(torch.version, "cuda", "12.8")
    found = only(hardware.device())
    assert found.status == WARNING
    assert "is built for GPUs (12.8), but finds none" in found.message


def test_a_gpu_that_does_not_compute_is_told(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda i: "A GPU")

    def event(**_):
        raise RuntimeError("CUDA error: no kernel image is available\nfor execution on the device")

    monkeypatch.setattr(torch.cuda, "Event", event)
    found = only(hardware.device())
    assert found.status == FAILED
    assert found.message == "A GPU does not compute (CUDA error: no kernel image is available)"


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_real_gpu_is_well():
    found = list(hardware.device())
    assert statuses(found)[0] == OK
    assert torch.cuda.get_device_name(0) in found[0].message


def test_one_process_is_well_and_gloo_is_tried():
    found = list(hardware.processes())
    assert statuses(found) == [OK, OK]
    assert found[0].message.startswith("one process; backends: gloo")
    assert not torch.distributed.is_initialized()


def test_one_of_many_has_what_it_needs(monkeypatch):
    for name, value in {"RANK": "1", "WORLD_SIZE": "4", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1"}.items():
        monkeypatch.setenv(name, value)
    assert next(iter(hardware.processes())).message.startswith("rank 1 of 4")


def test_one_of_many_that_will_not_find_the_others_is_told(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "4")
    found = next(iter(hardware.processes()))
    assert found.status == FAILED
    assert "RANK, MASTER_ADDR, MASTER_PORT is not set" in found.message
    assert "torchrun" in found.advice


def test_an_interface_that_is_none_is_told(monkeypatch):
    monkeypatch.setenv("GLOO_SOCKET_IFNAME", "no-such-interface")
    found = list(hardware.processes())[-1]
    assert found.status == WARNING
    assert found.message.startswith("gloo does not exchange")
    assert "GLOO_SOCKET_IFNAME" in found.advice
