"""The overhead budget, with a clock and costs that the test sets."""

import logging

import pytest

from tbmetrics import InputError, Tracker
from tbmetrics.governor import OverheadGovernor
from tbmetrics.tracker import Cadence


class _Sampling(Tracker):
    def __init__(self, name, every=10):
        self.name = name
        self.cadences = (Cadence(every, "every"),)


class _World:
    """Steps of 1 ms; each sample of a tracker costs what is set."""

    def __init__(self, budget, costs, every=10):
        self.now = 0
        self.trackers = [_Sampling(name, every) for name in costs]
        self.costs = costs
        self.governor = OverheadGovernor(budget, [*self.trackers, Tracker()], lambda: self.now)

    def train(self, steps, first=1):
        for step in range(first, first + steps):
            self.now += 1_000_000
            for tracker in self.trackers:
                if tracker.cadences[0].due(step):
                    self.now += self.costs[tracker.name]
                    self.governor.add(tracker.name, self.costs[tracker.name])
            self.governor.after_step(step)

    def factors(self):
        return [tracker.cadences[0].factor for tracker in self.trackers]


def test_the_costliest_tracker_samples_less_often_until_the_budget_holds(caplog):
    world = _World(0.01, {"dear": 700_000, "cheap": 10_000})
    with caplog.at_level(logging.WARNING, logger="tbmetrics"):
        world.train(5000)
    assert world.factors() == [8, 1]  # 7 % at first; the budget holds at every 80 steps
    (told,) = caplog.messages
    assert "dear samples less often: every=20 (asked: 10)" in told
    assert "overhead_budget (1.0 %)" in told


def test_within_the_budget_nothing_changes(caplog):
    world = _World(0.01, {"a": 90_000})
    world.train(3000)
    assert world.factors() == [1]
    assert not caplog.messages


def test_what_was_stretched_comes_back_when_there_is_room():
    world = _World(0.01, {"a": 2_000_000})
    world.train(4000)
    assert world.factors()[0] > 8
    world.costs["a"] = 1_000
    world.train(20_000, first=4001)
    assert world.factors() == [1]


def test_no_budget_is_no_limit():
    world = _World(None, {"a": 9_000_000})
    world.train(1000)
    assert world.factors() == [1]


def test_time_between_epochs_does_not_count():
    world = _World(0.01, {"a": 50_000})
    for epoch in range(40):
        world.train(20, first=1 + 20 * epoch)
        world.governor.pause()
        world.governor.add("a", 10**9)  # the end of an epoch, written out
        world.now += 10**9
    assert world.factors() == [1]


@pytest.mark.parametrize("budget", [0, -0.1, 1.5])
def test_a_budget_out_of_range_is_refused(budget):
    with pytest.raises(InputError, match=r"overhead_budget must lie in \(0, 1\] or be None"):
        OverheadGovernor(budget, [])
