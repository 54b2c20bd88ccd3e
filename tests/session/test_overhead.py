"""The overhead budget: simulated trackers of known cost settle within it, sample on steps asked for, and come back."""

import logging

import pytest

from tbmetrics import InputError, TBMetrics, Tracker
from tbmetrics.session.overhead import OverheadBudget
from tbmetrics.tracking.cadence import Cadence
from tests.resource_usage.fakes import FakeClock


class Sampling(Tracker):
    """Costs `milliseconds` at every sampled step."""

    def __init__(self, name, every, milliseconds):
        self.name = name
        self.milliseconds = milliseconds
        self.cadences = (Cadence(every, "every"),)
        self.sampled = []


def _pass_steps(budget, clock, trackers, steps, *, step_ms=10.0, fixed_ms=0.0, first=1):
    """The share of the time that was spent on trackers, over `steps` steps."""
    spent, began = 0.0, clock.now
    for step in range(first, first + steps):
        clock.pass_ms(step_ms)
        costs = {t.name: t.milliseconds for t in trackers if t.cadences[0].due(step)}
        for tracker in trackers:
            if tracker.name in costs:
                tracker.sampled.append(step)
        for name, cost in {**costs, "fixed": fixed_ms}.items():
            clock.pass_ms(cost)
            spent += cost
            budget.add(name, round(cost * 1e6))
        if budget.concerns(step):
            budget.after_step(step)
    return spent * 1e6 / (clock.now - began)


def _budget(trackers, share=0.01):
    clock = FakeClock()
    return clock, OverheadBudget(share, trackers, clock)


def test_a_tracker_that_costs_too_much_is_stretched_until_the_budget_holds(caplog):
    tracker = Sampling("gradients", every=10, milliseconds=20.0)  # 17 % of the time
    clock, budget = _budget([tracker])
    with caplog.at_level(logging.INFO, "tbmetrics"):
        _pass_steps(budget, clock, [tracker], 5_000)
    assert _pass_steps(budget, clock, [tracker], 20_000, first=5_001) <= 0.01
    assert tracker.cadences[0].factor == 32
    assert all(step % 10 == 0 for step in tracker.sampled)
    assert len(caplog.messages) == 1
    assert "gradients took" in caplog.messages[0]
    (now,) = budget.records()
    assert (now.tag, now.value) == ("resource_usage/steps_between_samples/gradients/every", 320)


def test_the_costliest_is_stretched_first():
    cheap, dear = Sampling("cheap", 10, 0.2), Sampling("dear", 10, 20.0)
    clock, budget = _budget([cheap, dear])
    _pass_steps(budget, clock, [cheap, dear], 10_000)
    assert cheap.cadences[0].factor == 1
    assert dear.cadences[0].factor > 8


def test_within_the_budget_nothing_changes():
    tracker = Sampling("gradients", 10, 0.5)
    clock, budget = _budget([tracker])
    _pass_steps(budget, clock, [tracker], 20_000)
    assert tracker.cadences[0].factor == 1


def test_when_there_is_room_again_it_samples_as_asked_for():
    tracker = Sampling("gradients", 10, 20.0)
    clock, budget = _budget([tracker])
    _pass_steps(budget, clock, [tracker], 5_000)
    stretched = tracker.cadences[0].factor
    assert stretched > 1
    tracker.milliseconds = 0.1
    _pass_steps(budget, clock, [tracker], 50_000, first=5_001)
    assert tracker.cadences[0].factor == 1


def test_a_settled_cadence_does_not_swing():
    tracker = Sampling("gradients", 10, 20.0)
    clock, budget = _budget([tracker])
    _pass_steps(budget, clock, [tracker], 5_000)
    seen = set()
    for i in range(50):
        _pass_steps(budget, clock, [tracker], 1_000, first=5_001 + 1_000 * i)
        seen.add(tracker.cadences[0].factor)
    assert len(seen) == 1


def test_what_cannot_be_stretched_narrows_the_allowance_by_half_at_most():
    tracker = Sampling("gradients", 10, 0.8)  # 0.8 %
    clock, budget = _budget([tracker])
    _pass_steps(budget, clock, [tracker], 20_000, fixed_ms=0.04)  # leaves 0.6 %
    assert tracker.cadences[0].factor == 2
    other = Sampling("gradients", 10, 0.4)
    clock, budget = _budget([other])
    _pass_steps(budget, clock, [other], 20_000, fixed_ms=5.0)  # leaves half
    assert other.cadences[0].factor == 1


def test_the_start_of_the_run_is_left_out():
    tracker = Sampling("gradients", 10, 0.5)
    clock, budget = _budget([tracker])
    budget.add("gradients", 60_000_000_000)
    _pass_steps(budget, clock, [tracker], 2_000)
    assert tracker.cadences[0].factor == 1


def test_the_budget_holds_from_the_second_sample_on():
    tracker = Sampling("gradients", 10, 20.0)
    clock, budget = _budget([tracker])
    _pass_steps(budget, clock, [tracker], 20)
    assert tracker.cadences[0].factor == 32
    assert _pass_steps(budget, clock, [tracker], 640, first=21) <= 0.01


def test_dear_details_and_cheap_samples_are_told_apart():
    tracker = Sampling("gradients", 1, 0.0)
    tracker.cadences = (Cadence(1, "every"), Cadence(100, "detail_every"))
    clock, budget = _budget([tracker])
    for step in range(1, 1001):
        clock.pass_ms(10)
        if budget.concerns(step):
            cost = 50.0 if tracker.cadences[1].has_sampled(step) else 0.02
            clock.pass_ms(cost)
            budget.add("gradients", round(cost * 1e6))
            budget.after_step(step)
    assert tracker.cadences[0].factor == 8  # 0.2 % and 5 % of the time: 0.65 % together at an eighth


def test_stretching_has_an_end():
    tracker = Sampling("gradients", 1, 0.0)
    clock, budget = _budget([tracker])
    for step in range(1, 3 * 4096):
        clock.pass_ms(1)
        budget.add("gradients", 10**12)
        if budget.concerns(step):
            budget.after_step(step)
    assert tracker.cadences[0].factor == 4096


@pytest.mark.parametrize("budget", [0, -0.1, 1.5, True, float("nan")])
def test_a_budget_that_is_no_share(budget, tmp_path):
    with pytest.raises(InputError, match=r"overhead_budget must be a share .* None switches it off"):
        TBMetrics(tmp_path, overhead_budget=budget)


class Spinning(Tracker):
    """Samples every step and takes half of the time, on a clock that the test sets."""

    name = "spinning"

    def __init__(self):
        self.cadences = (Cadence(1, "every"),)
        self.sampled = 0

    def after_step(self, step):
        if self.cadences[0].due(step):
            self.sampled += 1


def test_the_session_counts_steps_and_writes_the_cadence(tmp_path):
    clock, tracker = FakeClock(), Spinning()
    tb = TBMetrics(tmp_path, trackers=[tracker])
    tb._budget._clock = clock
    with tb:
        for _ in tb.epochs(range(1)):
            for _ in tb.batches(range(30)):
                clock.pass_ms(10_000)
        values = tb.history.scalars["resource_usage/steps_between_samples/spinning/every"].values
    assert values.tolist() == [1]
    assert tracker.sampled == 30


def test_a_session_stretches_what_costs_too_much(tmp_path, monkeypatch):
    clock = FakeClock()
    monkeypatch.setattr("tbmetrics.session.tracker_calls.time.perf_counter_ns", clock)
    monkeypatch.setattr("tbmetrics.session.overhead.time.perf_counter_ns", clock)
    tracker = Spinning()

    def costly(step):
        if tracker.cadences[0].due(step):
            clock.pass_ms(100)

    tracker.after_step = costly
    tb = TBMetrics(tmp_path, trackers=[tracker], resources=False)
    tb._budget._clock = clock
    with tb:
        for _ in tb.epochs(range(1)):
            for _ in tb.batches(range(400)):
                clock.pass_ms(100)
    assert tracker.cadences[0].factor >= 16


def test_without_a_budget_nothing_is_stretched(tmp_path):
    with TBMetrics(tmp_path, trackers=[Spinning()], overhead_budget=None) as tb:
        for _ in tb.epochs(range(1)):
            pass
        assert not [tag for tag in tb.history.scalars if "steps_between_samples" in tag]
