"""Where steps end, how long they take, and the typical one."""

import pytest

from tbmetrics.resource_usage.steps import SAMPLES_KEPT, STEPS_KEPT, StepRecorder


def _run(recorder, lengths, kinds=("after_step",)):
    now = 0
    for length in [0, *lengths]:
        now += int(length * 1e6)
        for kind in kinds:
            recorder.boundary(kind, now)
        if recorder.sampling:
            recorder.left("forward", now + 100_000, now + 200_000)


def test_times_are_those_between_the_ends_of_steps():
    recorder = StepRecorder()
    _run(recorder, [10] * 19 + [30])
    assert recorder.times() == {"median": 0.01, "p95": pytest.approx(0.011), "max": 0.03}


def test_one_kind_of_end_counts():
    recorder = StepRecorder()
    _run(recorder, [10] * 5, kinds=("count_samples", "after_step"))
    assert recorder.steps_seen == 5


def test_the_typical_step_is_the_sampled_one_of_middle_length():
    recorder = StepRecorder()
    _run(recorder, [100, 100, 100, 5, 7, 6, 100])
    typical = recorder.typical()
    assert typical.seconds == pytest.approx(0.007)
    assert [(s.name, s.began, s.ended) for s in typical.spans] == [("forward", 0.0001, 0.0002)]


def test_memory_is_bounded():
    recorder = StepRecorder()
    _run(recorder, [1] * 20_000)
    assert recorder.steps_seen == 20_000
    assert len(recorder._nanoseconds) == STEPS_KEPT
    assert len(recorder._sampled) == SAMPLES_KEPT


def test_nothing_seen_is_nothing_said():
    recorder = StepRecorder()
    assert recorder.times() == {}
    assert recorder.typical() is None
