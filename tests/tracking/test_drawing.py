"""Matplotlib is loaded beside training, nothing waits for it, and drawing takes little of the time."""

import sys
from collections.abc import Callable
from itertools import pairwise

import pytest

from tbmetrics.tracking import drawing


@pytest.fixture(autouse=True)
def _not_loading(monkeypatch):
    monkeypatch.setattr(drawing, "_loading", None)


def test_what_is_loaded_can_be_drawn_with_at_once(monkeypatch):
    monkeypatch.setattr(drawing, "_MODULES", ("json",))
    assert drawing.matplotlib_is_loaded()
    assert drawing._loading is None


@pytest.mark.parametrize("module", ["this", "no_such_module_of_anybody"])
def test_what_is_not_is_loaded_in_a_thread_once(monkeypatch, module, capsys):
    monkeypatch.delitem(sys.modules, module, raising=False)
    monkeypatch.setattr(drawing, "_MODULES", (module,))
    began = []
    monkeypatch.setattr(drawing.threading.Thread, "start", lambda thread: began.append(thread))
    monkeypatch.setattr(drawing.threading.Thread, "is_alive", lambda thread: True)
    assert not drawing.matplotlib_is_loaded()
    assert not drawing.matplotlib_is_loaded()
    (thread,) = began
    thread.run()
    monkeypatch.setattr(drawing.threading.Thread, "is_alive", lambda thread: False)
    assert drawing.matplotlib_is_loaded()
    assert (module in sys.modules) == (module == "this")


class Clock:
    """Seconds that pass when told."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def _drawn_at(clock: Clock, seconds: float, wanted: Callable[[drawing.DrawingTime], bool], until: float) -> list[float]:
    """When drawings of `seconds` are made if there is something to draw each second, in seconds since the start."""
    began, budget, times = clock.now, drawing.DrawingTime(clock), []
    while clock.now - began < until:
        clock.now += 1
        if wanted(budget):
            times.append(clock.now - began)
            with budget:
                clock.now += seconds
    return times


@pytest.mark.parametrize("seconds", [0.05, 0.3, 3.0])
def test_drawing_takes_a_small_share_of_the_time_and_becomes_rarer(monkeypatch, seconds):
    monkeypatch.setattr(drawing, "_MODULES", ("json",))
    times = _drawn_at(Clock(), seconds, drawing.DrawingTime.affordable, until=10 * 3600)
    assert times[0] == pytest.approx(100, abs=2)  # before it is known what a drawing takes
    assert seconds * len(times[1:]) <= 0.002 * times[-1]
    assert len(times) < 40
    assert times[-1] > 0.7 * 10 * 3600
    assert all(later >= 1.25 * (earlier + seconds) for earlier, later in pairwise(times))


def test_nothing_is_drawn_while_matplotlib_is_loading(monkeypatch):
    monkeypatch.setattr(drawing, "matplotlib_is_loaded", lambda: False)
    assert not _drawn_at(Clock(), 0.1, drawing.DrawingTime.affordable, until=3600)


def test_a_drawing_is_long_beyond_half_a_percent_of_the_run():
    clock = Clock()
    budget = drawing.DrawingTime(clock)
    budget.due = True
    clock.now += 100
    with budget:
        assert not budget.due
        clock.now += 0.4
        assert not budget.is_long()
        clock.now += 0.2
        assert budget.is_long()
