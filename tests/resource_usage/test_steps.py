"""Where steps end, which are looked into, and how much of them is kept."""

import numpy as np
import pytest

from tbmetrics.figures.resource_data import Span
from tbmetrics.resource_usage.steps import EVERY_STEP_UNTIL, MOST_SPANS, SAMPLES_KEPT, STEPS_KEPT, StepRecorder


def _run(recorder, lengths_ms, kind="after_step"):
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
    _run(recorder, lengths)
    found = recorder.times()
    assert found["median"] == pytest.approx(np.median(lengths) / 1e3, rel=1e-5)
    assert found["p95"] == pytest.approx(np.quantile(lengths, 0.95) / 1e3, rel=1e-5)
    assert found["max"] == pytest.approx(lengths.max() / 1e3, rel=1e-5)


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
    _run(recorder, [900, 3, 1, 2])  # the first is not looked into
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
        sampled += recorder.sampling
    assert sampled < EVERY_STEP_UNTIL + 10_000 / 50 + 1
    assert len(recorder._nanoseconds) == STEPS_KEPT
    assert len(recorder._sampled) == SAMPLES_KEPT


def test_nothing_measured_is_nothing():
    recorder = StepRecorder()
    recorder.boundary("after_step", 0)
    assert recorder.times() == {}
    assert recorder.typical() is None
