"""Rates and the time left, against sums over the same counts."""

import math

import numpy as np
import pytest

from tbmetrics.resource_usage.throughput import POINTS_KEPT, SmoothedRate, ThinnedPoints, remaining_seconds


def test_a_constant_rate_is_found_from_the_first_batch():
    rate = SmoothedRate()
    assert math.isnan(rate.value)
    for i in range(5):
        rate.count(32, i * 500_000_000)
        assert math.isnan(rate.value) if i == 0 else rate.value == pytest.approx(64)


def test_the_smoothed_rate_is_the_weighted_mean_over_time():
    rng = np.random.default_rng(0)
    sizes, lengths = rng.integers(1, 64, 50), rng.uniform(0.1, 2.0, 50)
    rate, now = SmoothedRate(memory_seconds=3.0), 0.0
    for size, length in zip(sizes, lengths, strict=True):
        rate.count(float(size), round(now * 1e9))
        now += length
    rate.count(1, round(now * 1e9))
    ends = np.cumsum(lengths)
    weights = np.exp(-(now - ends) / 3.0)
    assert rate.value == pytest.approx((weights * sizes).sum() / (weights * lengths).sum(), rel=1e-6)


def test_time_between_epochs_does_not_count():
    rate = SmoothedRate()
    rate.count(10, 0)
    rate.count(10, 1_000_000_000)
    rate.pause()
    rate.count(10, 500_000_000_000)
    rate.count(10, 501_000_000_000)
    assert rate.value == pytest.approx(10)


def test_points_thin_out_evenly():
    points = ThinnedPoints()
    for step in range(10_000):
        if points.wanted():
            points.put(step, 0.0, float(step))
    steps = [step for step, _, _ in points.points]
    assert POINTS_KEPT / 2 <= len(steps) <= POINTS_KEPT
    assert len(set(np.diff(steps))) == 1
    assert steps[0] == 0
    assert steps[-1] > 9_000


def test_the_time_left_is_of_the_median_epoch():
    assert remaining_seconds([100, 10, 12, 11, 10, 60], 10) == 4 * 11
    assert remaining_seconds([10], 1) == 0
    assert remaining_seconds([10, 10], 1) == 0
    assert remaining_seconds([10], None) is None
    assert remaining_seconds([], 3) is None
