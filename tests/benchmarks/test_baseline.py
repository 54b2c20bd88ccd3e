"""What counts as a loss: more than what ratios scatter, whatever the machine's speed."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks import baseline
from benchmarks.measuring import Comparison
from benchmarks.tables import as_json

SPREADS = st.lists(st.floats(0.98, 1.02), min_size=5, max_size=40)
EMPTY = {"version": baseline.VERSION, "machine": "", "ratios": {}}


def _area(factor, spreads, *, inverse=False, speed=1.0):
    """Ours takes `factor` of the peer's time, turn by turn, give or take the spreads."""
    values = {"peer": [speed] * len(spreads), "ours": [speed * factor * spread for spread in spreads]}
    return {"area": {"results": as_json([Comparison("x", "s", "peer", values, inverse=inverse, watched=("ours",))])}}


def _verdict(before, now):
    kept = baseline.keep(EMPTY, before, "quick", "here")
    (verdict,) = baseline.verdicts(kept, now, "quick")
    return verdict


@given(st.floats(0.01, 100), SPREADS, st.floats(0.1, 10), st.booleans())
def test_the_same_ratio_on_a_faster_or_slower_machine_is_no_loss(factor, spreads, speed, inverse):
    before = _area(factor, spreads, inverse=inverse)
    assert not _verdict(before, _area(factor, spreads, inverse=inverse, speed=speed)).worse


@given(st.floats(0.05, 20), SPREADS, st.booleans())
def test_twice_as_dear_is_a_loss_and_half_as_dear_is_none(factor, spreads, inverse):
    before = _area(factor, spreads, inverse=inverse)
    assert _verdict(before, _area(2 * factor, spreads, inverse=inverse)).worse
    assert not _verdict(before, _area(factor / 2, spreads, inverse=inverse)).worse


def test_a_ratio_near_one_may_not_lose_five_percent():
    steady = [1.0, 1.001, 0.999] * 10
    assert _verdict(_area(1.0, steady), _area(1.05, steady)).worse
    assert not _verdict(_area(1.0, steady), _area(1.01, steady)).worse


def test_ratios_that_scatter_are_given_room():
    wild = [0.7, 1.0, 1.4, 0.8, 1.3]
    assert not _verdict(_area(1.0, wild), _area(1.05, wild)).worse


def test_the_latest_runs_of_a_machine_are_kept():
    kept = EMPTY
    for _ in range(2 * baseline.MOST_RUNS):
        kept = baseline.keep(kept, _area(1.0, [1.0] * 5), "quick", "here")
    assert [len(runs) for runs in kept["ratios"].values()] == [baseline.MOST_RUNS]
    assert [len(runs) for runs in baseline.keep(kept, _area(1.0, [1.0] * 5), "quick", "there")["ratios"].values()] == [
        1
    ]


def test_sizes_are_not_compared_with_each_other():
    kept = baseline.keep(EMPTY, _area(1.0, [1.0] * 5), "normal", "here")
    assert list(baseline.verdicts(kept, _area(9.0, [1.0] * 5), "quick")) == []


def test_a_baseline_of_another_version_is_refused(tmp_path):
    path = tmp_path / "baseline.json"
    assert baseline.read(path) == EMPTY
    path.write_text(json.dumps({**EMPTY, "version": 0}))
    with pytest.raises(ValueError, match="version 0"):
        baseline.read(path)
