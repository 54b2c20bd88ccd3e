"""Steps: where they end, which are sampled, and their bounds; rates and the time left, against plain sums."""

import math

import numpy as np
import pytest

from tbmetrics.figures.resource_data import Span
from tbmetrics.resource_usage.steps import (
    EVERY_STEP_UNTIL,
    MOST_POINTS,
    MOST_SAMPLED_STEPS,
    MOST_SPANS,
    MOST_STEP_TIMES,
    SmoothedRate,
    StepRecorder,
    ThinnedPoints,
    remaining_seconds,
)


def _record_steps(recorder, lengths_ms, kind="after_step"):
    now = 0
    recorder.boundary(kind, now)
    for length in lengths_ms:
        end = now + round(length * 1e6)
        recorder.left("work", now, end)
        now = end
        recorder.boundary(kind, now)


def test_step_times_are_those_between_boundaries():
    recorder = StepRecorder()
    lengths = np.random.default_rng(0).uniform(1, 9, 100)
    _record_steps(recorder, lengths)
    times = recorder.times()
    assert times["median"] == pytest.approx(np.median(lengths) / 1e3, rel=1e-5)
    assert times["p95"] == pytest.approx(np.quantile(lengths, 0.95) / 1e3, rel=1e-5)
    assert times["max"] == pytest.approx(lengths.max() / 1e3, rel=1e-5)


def test_the_first_kind_of_boundary_rules():
    recorder = StepRecorder()
    for now in range(0, 50, 10):
        recorder.boundary("data_loading", now)
        recorder.boundary("count_samples", now + 3)
        recorder.boundary("after_step", now + 5)
    assert recorder.steps_seen == 4
    assert recorder.times()["max"] == pytest.approx(1e-8)


def test_the_typical_step_is_that_of_middle_length():
    recorder = StepRecorder()
    _record_steps(recorder, [900, 3, 1, 2])  # the first is not looked into
    typical = recorder.typical()
    assert typical.seconds == pytest.approx(2e-3)
    assert typical.spans == (Span("work", 0.0, 2e-3),)


def test_spans_are_ordered_by_their_beginning_and_bounded():
    recorder = StepRecorder()
    recorder.boundary("after_step", 0)
    recorder.boundary("after_step", 10)
    recorder.left("early", 5, 12)  # began in the step before
    recorder.left("inner", 20, 30)
    recorder.left("outer", 15, 40)
    for _ in range(100):
        recorder.left("many", 50, 51)
    recorder.boundary("after_step", 60)
    spans = recorder.typical().spans
    assert [span.name for span in spans[:3]] == ["outer", "inner", "many"]
    assert len(spans) == MOST_SPANS


def test_what_is_kept_does_not_grow_with_the_epoch():
    recorder = StepRecorder()
    sampled = 0
    for now in range(10_000):
        recorder.boundary("after_step", now)
        sampled += recorder.is_sampling
    assert sampled < EVERY_STEP_UNTIL + 10_000 / 50 + 1
    assert len(recorder._nanoseconds) == MOST_STEP_TIMES
    assert len(recorder._sampled) == MOST_SAMPLED_STEPS


def test_nothing_measured_is_nothing():
    recorder = StepRecorder()
    recorder.boundary("after_step", 0)
    assert recorder.times() == {}
    assert recorder.typical() is None


# ----------------------------------------------------------------------------------------------------------- throughput


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
        if points.accepts(step + 1):
            points.put(step, 0.0, float(step))
    steps = [step for step, _, _ in points.points]
    assert MOST_POINTS / 2 <= len(steps) <= MOST_POINTS
    assert len(set(np.diff(steps))) == 1
    assert steps[0] == 0
    assert steps[-1] > 9_000


def test_the_time_left_is_of_the_median_epoch():
    assert remaining_seconds([100, 10, 12, 11, 10, 60], 10) == 4 * 11
    assert remaining_seconds([10], 1) == 0
    assert remaining_seconds([10, 10], 1) == 0
    assert remaining_seconds([10], None) is None
    assert remaining_seconds([], 3) is None
