"""Scalars from numbers and tensors; the CUDA path with a fake event, and for real where a GPU is."""

import numpy as np
import pytest
import torch

from tbmetrics.errors import InputError
from tbmetrics.tracking.host_copies import DeferredScalars, HostCopy, _PendingScalars


def _flat(events):
    return [(step, scalar.tag, scalar.value) for step, _, scalars in events for scalar in scalars]


def test_numbers_and_cpu_tensors_are_ready_at_once():
    deferred = DeferredScalars()
    values = {"a": 1, "b": 2.5, "c": torch.tensor([3.0], requires_grad=True), "d": np.float32(4), "e": True}
    deferred.put(values, step=7)
    assert _flat(deferred.ready()) == [
        (7, "a", 1.0),
        (7, "b", 2.5),
        (7, "c", 3.0),
        (7, "d", 4.0),
        (7, "e", 1.0),
    ]
    assert list(deferred.ready()) == []


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (torch.ones(3), r"shape \(3,\); reduce it first"),
        ("0.5", "expected a number or a tensor of one element, got str"),
        (None, "got NoneType"),
        (np.ones(2), "got ndarray"),
    ],
)
def test_what_is_no_number_is_refused_by_name(value, message):
    with pytest.raises(InputError, match=message) as caught:
        DeferredScalars().put({"loss": value}, step=1)
    assert "'loss'" in str(caught.value)


class _FakeEvent:
    def __init__(self):
        self.reached = False
        self.waited = False

    def query(self):
        return self.reached

    def synchronize(self):
        self.waited = not self.reached


def _in_flight(values, event):
    copy = HostCopy(torch.tensor(values))
    copy._copied = event
    return copy


def test_a_copy_in_flight_is_handed_out_when_its_event_is_reached_and_not_before():
    deferred, event = DeferredScalars(), _FakeEvent()
    deferred._in_flight.append(_PendingScalars(3, 1.0, ("x", "y"), _in_flight([1.0, 2.0], event)))
    deferred.put({"later": 5.0}, step=4)
    assert _flat(deferred.ready()) == [(4, "later", 5.0)]
    event.reached = True
    assert _flat(deferred.ready()) == [(3, "x", 1.0), (3, "y", 2.0)]
    assert not event.waited


def test_wait_hands_out_everything():
    deferred, event = DeferredScalars(), _FakeEvent()
    deferred._in_flight.append(_PendingScalars(3, 1.0, ("x",), _in_flight([1.0], event)))
    assert _flat(deferred.ready(wait=True)) == [(3, "x", 1.0)]
    assert event.waited


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_cuda_scalars_do_not_synchronise():
    deferred = DeferredScalars()
    loss = torch.tensor(2.5, device="cuda")
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        deferred.put({"loss": loss, "twice": loss * 2}, step=1)
        list(deferred.ready())
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert _flat(deferred.ready(wait=True)) in ([(1, "loss", 2.5), (1, "twice", 5.0)], [])
