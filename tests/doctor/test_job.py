"""Jobs of several processes: alone, started by a launcher, and started without all that they need."""

import pytest

from tbmetrics.doctor import FAILED, OK, WARNING, job
from tests.doctor.reports import statuses


@pytest.fixture(autouse=True)
def alone(monkeypatch):
    for name in ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("GLOO_SOCKET_IFNAME", "lo")


def test_one_process_is_well_and_gloo_is_tried():
    import torch

    found = list(job.processes())
    assert statuses(found) == [OK, OK]
    assert found[0].message.startswith("one process; backends: gloo")
    assert not torch.distributed.is_initialized()


def test_one_of_many_has_what_it_needs(monkeypatch):
    for name, value in {"RANK": "1", "WORLD_SIZE": "4", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1"}.items():
        monkeypatch.setenv(name, value)
    assert next(iter(job.processes())).message.startswith("rank 1 of 4")


def test_one_of_many_that_will_not_find_the_others_is_told(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "4")
    found = next(iter(job.processes()))
    assert found.status == FAILED
    assert "RANK, MASTER_ADDR, MASTER_PORT is not set" in found.message
    assert "torchrun" in found.advice


def test_an_interface_that_is_none_is_told(monkeypatch):
    monkeypatch.setenv("GLOO_SOCKET_IFNAME", "no-such-interface")
    found = list(job.processes())[-1]
    assert found.status == WARNING
    assert found.message.startswith("gloo does not exchange")
    assert "GLOO_SOCKET_IFNAME" in found.advice
