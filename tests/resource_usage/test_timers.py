"""Component times: nested, re-entrant, misused, on the host and on a (fake) device."""

import math
import time
import warnings

import pytest
import torch

from tbmetrics import TBMetricsWarning
from tbmetrics.resource_usage.device_clock import MOST_MARKS, CudaClock
from tbmetrics.resource_usage.timers import ComponentTimer
from tests.resource_usage.fakes import Clock, FakeCuda


@pytest.fixture
def clock():
    return Clock()


def _ms(totals):
    return {name: (t.count, t.nanoseconds / 1e6, t.self_nanoseconds / 1e6) for name, t in totals.items()}


def test_nested_components_count_each_moment_once(clock):
    timer = ComponentTimer(clock)
    timer.start("a")
    clock.pass_ms(1)
    timer.start("b")
    clock.pass_ms(2)
    timer.start("a")  # again, inside itself
    clock.pass_ms(4)
    timer.end("a")
    timer.end("b")
    clock.pass_ms(8)
    timer.end("a")
    totals = timer.take()
    assert _ms(totals) == {"a": (1, 15, 13), "b": (1, 6, 2)}
    assert sum(t.self_nanoseconds for t in totals.values()) == clock.now


def test_a_component_left_open_is_ended_by_the_one_around_it_and_its_own_end_is_forgiven(clock):
    timer = ComponentTimer(clock)
    timer.start("outer")
    timer.start("inner")
    clock.pass_ms(3)
    with pytest.warns(TBMetricsWarning, match="'inner' was still open when 'outer' ended") as caught:
        timer.end("outer")
    assert caught[0].filename == __file__
    timer.end("inner")
    assert _ms(timer.take()) == {"outer": (1, 3, 0), "inner": (1, 3, 3)}


def test_ending_what_is_not_open_is_said_once(clock):
    timer = ComponentTimer(clock)
    with pytest.warns(TBMetricsWarning, match="'a' was ended without being started; the call is ignored"):
        timer.end("a")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        timer.end("a")
    assert timer.take() == {}


def test_an_epochs_end_closes_what_is_open(clock):
    timer = ComponentTimer(clock)
    timer.start("a")
    clock.pass_ms(5)
    with pytest.warns(TBMetricsWarning, match="'a' was still open when the epoch ended"):
        timer.close_all()
    assert _ms(timer.take()) == {"a": (1, 5, 5)}
    timer.end("a")  # its own end comes in the next epoch, and is forgiven
    assert timer.take() == {}


def test_times_agree_with_the_clock_around_the_same_work():
    timer = ComponentTimer()

    def work():
        until = time.perf_counter_ns() + 20_000_000
        while time.perf_counter_ns() < until:
            math.sqrt(2)

    outer = inner = 0
    for _ in range(3):
        began = time.perf_counter_ns()
        timer.start("outer")
        work()
        began_inner = time.perf_counter_ns()
        timer.start("inner")
        work()
        timer.end("inner")
        inner += time.perf_counter_ns() - began_inner
        timer.end("outer")
        outer += time.perf_counter_ns() - began
    totals = timer.take()
    assert totals["outer"].nanoseconds == pytest.approx(outer, rel=0.05)
    assert totals["inner"].nanoseconds == pytest.approx(inner, rel=0.05)
    assert totals["outer"].self_nanoseconds == pytest.approx(outer - inner, rel=0.05)


def test_device_times_are_read_without_waiting_until_the_epochs_end(clock):
    cuda = FakeCuda(clock)
    timer = ComponentTimer(clock, CudaClock(torch.device("cuda", 0), cuda))
    for _ in range(10):
        timer.start("forward")
        cuda.launch(5)
        clock.pass_ms(1)
        timer.end("forward")
    assert cuda.waited == 0
    total = timer.take()["forward"]
    assert cuda.waited > 0
    assert total.device_count == total.count == 10
    assert total.device_milliseconds == pytest.approx(50)
    assert total.nanoseconds == 10_000_000
    assert total.device_behind == 9  # all but the first began while the device was still busy


def test_events_are_used_again_and_bounded(clock):
    cuda = FakeCuda(clock)
    timer = ComponentTimer(clock, CudaClock(torch.device("cuda", 0), cuda))
    for _ in range(1000):
        timer.start("a")
        clock.pass_ms(1)
        timer.end("a")
    assert cuda.events <= 4
    cuda.launch(1e9)  # the device hangs behind for good
    for _ in range(MOST_MARKS):
        timer.start("a")
        clock.pass_ms(1)
        timer.end("a")
    assert cuda.events <= MOST_MARKS


def test_nothing_is_recorded_while_a_graph_is_captured(clock):
    cuda = FakeCuda(clock)
    cuda.capturing = True
    timer = ComponentTimer(clock, CudaClock(torch.device("cuda", 0), cuda))
    timer.start("a")
    clock.pass_ms(1)
    timer.end("a")
    total = timer.take()["a"]
    assert (cuda.events, total.device_count, total.nanoseconds) == (0, 0, 1_000_000)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_cuda_components_do_not_synchronise():
    timer = ComponentTimer(device=CudaClock(torch.device("cuda", 0)))
    a = torch.randn(512, 512, device="cuda")
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        for _ in range(20):
            timer.start("matmul")
            a = a @ a / 512
            timer.end("matmul")
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert timer.take()["matmul"].device_milliseconds > 0
