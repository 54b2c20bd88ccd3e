"""Component times: against the clock around the same work, nested, re-entrant, and with mistakes in the calls."""

import random
import time
import tracemalloc
from collections import Counter
from contextlib import contextmanager

import pytest
import torch

from tbmetrics import TBMetricsWarning
from tbmetrics.resource_usage.device import MOST_MARKS, CudaClock
from tbmetrics.resource_usage.timers import ComponentBlock, ComponentTimer
from tests.resource_usage.fakes import CUDA, FakeClock, FakeCuda


def _work():
    return sum(i * i for i in range(20_000))


@contextmanager
def _measured(nanoseconds, name):
    began = time.perf_counter_ns()
    yield
    nanoseconds[name] += time.perf_counter_ns() - began


def test_times_lie_between_those_of_perf_counter_inside_and_around():
    timer, inside, around = ComponentTimer(), Counter(), Counter()
    for _ in range(20):
        with _measured(around, "outer"):
            timer.start("outer")
            with _measured(inside, "outer"):
                _work()
                with _measured(around, "inner"):
                    timer.start("inner")
                    timer.start("inner")  # enters itself: each moment counts once
                    with _measured(inside, "inner"):
                        _work()
                    timer.end("inner")
                    timer.end("inner")
            timer.end("outer")
    totals = timer.take()
    for name in ("outer", "inner"):
        assert inside[name] <= totals[name].nanoseconds <= around[name]
        assert totals[name].count == 20
    inner, outer = totals["inner"], totals["outer"]
    assert outer.self_nanoseconds == pytest.approx(outer.nanoseconds - inner.nanoseconds, abs=1)
    assert inner.self_nanoseconds == inner.nanoseconds


def test_self_times_of_random_nesting_add_up_to_the_time_inside():
    rng, clock = random.Random(0), FakeClock()
    timer = ComponentTimer(clock)
    inside, stack, exclusive = 0, [], {}
    for _ in range(2000):
        passed = rng.randrange(1, 9)
        clock.now += passed
        if stack:
            inside += passed
            exclusive[stack[-1]] = exclusive.get(stack[-1], 0) + passed
        if stack and (len(stack) > 6 or rng.random() < 0.5):
            timer.end(stack.pop())
        else:
            stack.append(rng.choice("abc"))
            timer.start(stack[-1])
    while stack:
        timer.end(stack.pop())
    totals = timer.take()
    assert {name: total.self_nanoseconds for name, total in totals.items()} == exclusive
    assert sum(total.self_nanoseconds for total in totals.values()) == inside


def test_a_component_left_open_inside_another_ends_with_it():
    clock = FakeClock()
    timer = ComponentTimer(clock)
    timer.start("outer")
    timer.start("inner")
    clock.pass_ms(5)
    with pytest.warns(TBMetricsWarning, match=r"'inner' was still open when 'outer' ended; .*said once") as caught:
        timer.end("outer")
    assert caught[0].filename == __file__
    timer.end("inner")  # what that warning was about: no second one
    for _ in range(2):
        timer.start("outer")
        timer.start("inner")
        clock.pass_ms(5)
        timer.end("outer")  # said once
        timer.end("inner")
    totals = timer.take()
    assert {name: (t.count, t.nanoseconds, t.self_nanoseconds) for name, t in totals.items()} == {
        "outer": (3, 15_000_000, 0),
        "inner": (3, 15_000_000, 15_000_000),
    }


def test_ending_what_is_not_open_is_ignored_with_a_warning():
    clock = FakeClock()
    timer = ComponentTimer(clock)
    with pytest.warns(TBMetricsWarning, match="'a' was ended without being started; the call is ignored"):
        timer.end("a")
    timer.start("a")
    clock.pass_ms(2)
    timer.end("a")
    timer.end("a")  # said once
    timer.start("b")
    timer.end("b")
    assert {name: total.count for name, total in timer.take().items()} == {"a": 1, "b": 1}


def test_components_do_not_cross_epochs():
    clock = FakeClock()
    timer = ComponentTimer(clock)
    timer.start("a")
    clock.pass_ms(3)
    with pytest.warns(TBMetricsWarning, match="'a' was still open when the epoch ended"):
        timer.close_all()
    assert timer.take()["a"].nanoseconds == 3_000_000
    clock.pass_ms(100)
    timer.end("a")  # was ended for it
    timer.start("a")
    clock.pass_ms(1)
    timer.end("a")
    assert timer.take()["a"].nanoseconds == 1_000_000
    timer.start("b")
    with pytest.warns(TBMetricsWarning, match="'b' was open before the epoch began"):
        timer.drop_all()
    assert timer.take() == {}


def test_an_exception_ends_its_component():
    timer = ComponentTimer()
    block = ComponentBlock(timer.start, timer.end, "a")
    with pytest.raises(KeyError), block, block:
        raise KeyError
    assert timer.take()["a"].count == 1


def test_memory_does_not_grow_with_the_number_of_calls():
    timer = ComponentTimer()

    def run(times):
        for _ in range(times):
            timer.start("a")
            timer.start("b")
            timer.end("b")
            timer.end("a")

    run(100)
    tracemalloc.start()
    run(5000)
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert held < 10_000


def test_overhead_is_the_time_between_call_and_return():
    class Ticking(FakeClock):
        def __call__(self):
            self.now += 100
            return self.now

    timer = ComponentTimer(Ticking())
    timer.start("a")
    timer.end("a")
    assert timer.overhead_nanoseconds == 200  # one tick in `start`, one in `end`
    assert timer.take()["a"].nanoseconds == 100


# ------------------------------------------------------------------------------------------------ with a device


def _cuda_timer():
    clock = FakeClock()
    cuda = FakeCuda(clock)
    return clock, cuda, ComponentTimer(clock, CudaClock(CUDA, cuda=cuda))


def test_device_times_come_from_events_and_steps_never_wait_for_them():
    clock, cuda, timer = _cuda_timer()
    for _ in range(10):
        timer.start("forward")
        cuda.launch(8)
        clock.pass_ms(1)
        timer.end("forward")
    assert cuda.waits == 0
    total = timer.take()["forward"]
    assert cuda.waits >= 1
    assert (total.count, total.device_count) == (10, 10)
    assert total.nanoseconds == 10_000_000
    assert total.device_milliseconds == pytest.approx(80)
    assert total.device_lag_milliseconds == pytest.approx(70)
    assert total.device_behind == 9  # all but the first began while the device still worked


def test_events_are_used_again_and_bounded():
    clock, cuda, timer = _cuda_timer()
    for _ in range(200):
        timer.start("a")
        cuda.launch(1)
        clock.pass_ms(1)
        timer.end("a")
    assert cuda.events <= 6
    cuda.launch(1e9)
    for _ in range(MOST_MARKS):
        timer.start("a")
        timer.end("a")
    assert cuda.events == MOST_MARKS
    total = timer.take()["a"]
    assert total.count == 200 + MOST_MARKS
    assert 200 < total.device_count < total.count


def test_nothing_is_asked_of_a_device_that_captures_a_graph():
    clock, cuda, timer = _cuda_timer()
    timer.start("before")
    cuda.launch(5)
    timer.end("before")  # its marks are not reached yet
    timer.start("around")
    cuda.capturing = True
    for _ in range(3):
        timer.start("captured")
        clock.pass_ms(1)
        timer.end("captured")
    timer.end("around")
    cuda.capturing = False
    totals = timer.take()
    assert totals["captured"].nanoseconds == 3_000_000
    assert totals["captured"].device_count == totals["around"].device_count == 0
    assert totals["before"].device_milliseconds == pytest.approx(5)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_device_times_on_a_real_device():
    device = torch.device("cuda", torch.cuda.current_device())
    timer = ComponentTimer(device=CudaClock(device))
    x = torch.randn(2048, 2048, device=device)
    torch.cuda.synchronize()
    before, began, ended, after = (torch.cuda.Event(enable_timing=True) for _ in range(4))
    before.record()
    timer.start("matmul")
    began.record()
    for _ in range(50):
        x = x @ x / 2048
    ended.record()
    timer.end("matmul")
    after.record()
    after.synchronize()
    total = timer.take()["matmul"]
    assert began.elapsed_time(ended) <= total.device_milliseconds <= before.elapsed_time(after)
