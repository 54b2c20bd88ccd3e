"""Turns, ratios and their spread, against numbers worked out by hand and by scipy."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from benchmarks.measuring import Comparison, Run, in_turns, median_error, seconds

TIMES = st.lists(st.floats(0.01, 100), min_size=3, max_size=30)


def test_ratios_are_those_of_each_turn():
    found = Comparison("x", "s", "base", {"base": [1.0, 2.0, 4.0], "way": [2.0, 2.0, 2.0]})
    assert found.ratios("way") == [2.0, 1.0, 0.5]
    summary = found.summaries()["way"]
    assert (summary.ratio, summary.of_totals, summary.of_fastest, summary.turns) == (1.0, 6 / 7, 2.0, 3)
    assert summary.low <= summary.ratio <= summary.high


@given(TIMES, st.floats(1.5, 50))
def test_times_cheaper_is_the_inverse(base, factor):
    values = {"base": base, "way": [value * factor for value in base]}
    dearer = Comparison("x", "s", "base", values).summaries()["way"]
    cheaper = Comparison("x", "s", "base", values, inverse=True).summaries()["way"]
    for name in ("ratio", "of_totals", "of_fastest"):
        assert getattr(dearer, name) == pytest.approx(factor)
        assert getattr(cheaper, name) == pytest.approx(1 / factor)
    assert dearer.error == pytest.approx(0, abs=1e-9)


def test_a_smaller_ratio_is_a_loss_where_it_says_how_much_dearer_a_peer_is():
    values = {"ours": [1.0], "peer": [2.0]}
    assert Comparison("x", "s", "ours", values).falling_is_worse
    assert Comparison("x", "s", "peer", values, inverse=True, watched=("ours",)).falling_is_worse
    assert not Comparison("x", "s", "peer", values, watched=("ours",)).falling_is_worse


@given(TIMES)
def test_the_error_of_a_median_is_that_of_scipys_spread(values):
    spread = stats.median_abs_deviation(values) * 1.4826
    assert median_error(np.array(values)) == pytest.approx(1.2533 * spread / math.sqrt(len(values)))


def test_two_values_have_no_error():
    assert math.isnan(median_error(np.array([1.0, 2.0])))


def test_ways_take_turns_and_each_begins_as_often():
    order = []
    ways = {name: lambda name=name: order.append(name) or float(len(order)) for name in "abc"}
    values = in_turns(ways, 3, warm_up=1)
    assert "".join(order) == "cab" + "abc" + "bca" + "cab"
    assert values == {"a": [4.0, 9.0, 11.0], "b": [5.0, 7.0, 12.0], "c": [6.0, 8.0, 10.0]}


def test_sizes_and_what_is_missing():
    run = Run("large")
    assert run.choose(1, 2) == 2
    assert run.choose(1, 2, 3) == 3
    assert Run("quick").choose(1, 2) == 1
    assert run.has("numpy")
    assert not run.has("no_such_package", "The peer")
    assert run.skipped == ["The peer is not installed: pip install 'tbmetrics[bench]'"]


def test_seconds_are_those_of_the_action():
    assert seconds(lambda: None) >= 0
