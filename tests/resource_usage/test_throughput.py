"""Rates over time, with a clock that the test sets."""

import math
from itertools import pairwise

import pytest

from tbmetrics.resource_usage.throughput import SmoothedRate, ThinnedPoints, remaining_seconds


def test_a_steady_rate_is_found_from_the_second_batch_on():
    rate = SmoothedRate()
    assert math.isnan(rate.value)
    for i in range(5):
        rate.count(32, int(i * 0.1e9))
        assert i == 0 or rate.value == pytest.approx(320)


def test_a_change_is_followed_within_the_memory():
    rate, now = SmoothedRate(memory_seconds=10), 0
    for speed in [100] * 1000 + [200] * 3000:
        rate.count(10, now)
        now += int(10 / speed * 1e9)
    assert rate.value == pytest.approx(200, rel=0.01)


def test_a_pause_does_not_count():
    rate = SmoothedRate()
    rate.count(10, 0)
    rate.count(10, 10**9)
    rate.pause()
    rate.count(10, 500 * 10**9)
    rate.count(10, 501 * 10**9)
    assert rate.value == pytest.approx(10)


def test_points_stay_few_and_even():
    points = ThinnedPoints(most=8)
    for step in range(1000):
        if points.wanted():
            points.put(step, 0.0, 1.0)
    steps = [step for step, _, _ in points.points]
    assert 4 <= len(steps) <= 8
    assert len({b - a for a, b in pairwise(steps)}) == 1


def test_time_left_goes_by_the_median_of_the_last_epochs():
    assert remaining_seconds([100, 10, 10, 12, 10, 10], 10) == 40
    assert remaining_seconds([10], None) is None
    assert remaining_seconds([], 5) is None
    assert remaining_seconds([10, 10], 1) == 0
