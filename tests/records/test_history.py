"""Histories: later writes win, JSON keeps what it can and says null for the rest."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tbmetrics.records import Scalar, Text
from tbmetrics.records.history import History, ScalarSeries, Series, TimedRecord, to_jsonable

floats = st.floats(width=32)


@given(st.lists(st.tuples(st.integers(-5, 30), floats)))
def test_a_series_is_sorted_and_the_later_write_of_a_step_wins(points):
    series = ScalarSeries()
    for step, value in points:
        series.put(step, 0.0, value)
    expected = dict(points)
    assert series.steps.tolist() == sorted(expected)
    np.testing.assert_array_equal(series.values, [expected[step] for step in sorted(expected)])


def test_what_is_filed_comes_out_again_record_by_record():
    history = History("run")
    records = [
        TimedRecord(0, 1.0, Text("notes", "begun")),
        TimedRecord(0, 1.5, Scalar("a/b", 0.5)),
        TimedRecord(2, 2.5, Scalar("a/b", math.inf)),
    ]
    filed = history.filed(iter(records))
    assert history.is_empty()
    assert next(filed) == records[0]
    assert "notes" in history.texts  # before the next one is asked for
    assert list(filed) == records[1:]
    assert sorted(history, key=lambda timed: timed.wall_time) == records


def test_items_load_when_asked_for_and_only_then():
    loads = []
    series: Series[str] = Series()
    series.put(1, 0.0, lambda: loads.append(1) or "loaded")
    assert loads == []
    assert series.at(1) == "loaded"
    with pytest.raises(KeyError, match="nothing was recorded at step 2"):
        series.at(2)


def test_truncate_drops_a_step_and_what_follows():
    series = ScalarSeries()
    for step in (1, 3, 5):
        series.put(step, 0.0, float(step))
    series.truncate(3)
    assert series.steps.tolist() == [1]


def test_to_jsonable_walks_everything():
    value = {1: (np.float32(0.5), math.nan, [np.arange(2)]), "x": {"y": -math.inf}, "s": "text", "n": None}
    assert to_jsonable(value) == {"1": [0.5, None, [[0, 1]]], "x": {"y": None}, "s": "text", "n": None}


@pytest.mark.parametrize(("most", "points"), [(2, 1), (10, 10), (10, 11), (10, 1000), (11, 4097), (5000, 100_000)])
def test_a_bounded_series_keeps_few_points_evenly_spread_and_the_latest(most, points):
    series = ScalarSeries(most)
    for step in range(points):
        series.put(step, 0.0, float(step))
        assert len(series) <= most
    steps = series.steps
    assert steps[0] == 0
    assert steps[-1] == points - 1
    assert len(steps) >= min(points, most // 2)
    assert len(set(np.diff(steps)[:-1])) <= 1
    np.testing.assert_array_equal(series.values, steps)


def test_a_bounded_series_still_replaces_and_truncates():
    series = ScalarSeries(4)
    for step in range(20):
        series.put(step, 0.0, 0.0)
    series.put(19, 0.0, 7.0)
    assert series.at(19) == 7.0
    series.truncate(9)
    for step in range(9, 30):
        series.put(step, 0.0, 1.0)
    assert len(series) <= 4
    assert series.steps[-1] == 29


def test_only_a_bounded_history_forgets():
    histories = History(), History(bounded=True)
    for history in histories:
        for step in range(6000):
            history.add(TimedRecord(step, 0.0, Scalar("a", 1.0)))
    assert [len(history.scalars["a"]) for history in histories] == [6000, 3001]


@pytest.mark.parametrize("steps", [[1, 2, 3], [1, 3, 2], [2, 2, 5], [], [9]])
@pytest.mark.parametrize("before", [[], [0], [2], [7, 8]])
def test_extending_is_putting_each(before, steps):
    one, other = ScalarSeries(), ScalarSeries()
    for step in before:
        one.put(step, 0.0, -1.0)
        other.put(step, 0.0, -1.0)
    one.extend(steps, [float(s) for s in steps], [float(s) for s in steps])
    for step in steps:
        other.put(step, float(step), float(step))
    assert (one.steps.tolist(), one.values.tolist()) == (other.steps.tolist(), other.values.tolist())
    np.testing.assert_array_equal(one.wall_times, other.wall_times)
