"""Fault isolation: a tracker's faults never reach training, the caller's mistakes always do."""

import logging

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tbmetrics import AttentionVisualizer, ClassGroups, GradientTracker, LongTailDiagnostics, TBMetrics, read_run
from tbmetrics.errors import InputError, NonFiniteError
from tbmetrics.records import Scalar, TimedRecord
from tbmetrics.tracking.batches import TrainingBatch
from tbmetrics.tracking.cadence import FIRST_STEPS, Cadence
from tbmetrics.tracking.isolation import FAULTS_BEFORE_STOP, Isolation
from tbmetrics.tracking.tracker import Tracker


def _boom() -> None:
    raise RuntimeError("sensor on fire")


def test_a_fault_is_logged_once_with_its_traceback_and_a_default_returned(caplog):
    isolation = Isolation("tracker 'x'", lambda: None)
    with caplog.at_level(logging.WARNING, logger="tbmetrics"):
        assert isolation.call(_boom, default="nothing") == "nothing"
        assert isolation.call(_boom) is None
    assert len(caplog.records) == 1
    assert "tracker 'x'" in caplog.text
    assert "sensor on fire" in caplog.text
    assert "Traceback" in caplog.text


def test_after_three_faults_the_part_is_stopped_for_good():
    stopped = []
    isolation = Isolation("x", lambda: stopped.append(True))
    calls = []

    def failing() -> None:
        calls.append(1)
        _boom()

    for _ in range(10):
        isolation.call(failing)
    assert len(calls) == FAULTS_BEFORE_STOP
    assert stopped == [True]
    assert isolation.stopped


def test_a_stop_that_fails_is_survived():
    isolation = Isolation("x", _boom)
    for _ in range(FAULTS_BEFORE_STOP):
        isolation.call(_boom)
    assert isolation.stopped


def test_input_errors_pass_and_are_not_counted():
    def wrong() -> None:
        raise InputError("3 logits for 4 classes")

    isolation = Isolation("x", lambda: None)
    for _ in range(5):
        with pytest.raises(InputError, match="3 logits"):
            isolation.call(wrong)
    assert not isolation.stopped


def test_strict_lets_everything_pass():
    with pytest.raises(RuntimeError, match="on fire"):
        Isolation("x", lambda: None, strict=True).call(_boom)


def test_the_base_tracker_measures_nothing_and_may_be_stopped_twice():
    tracker = Tracker()
    tracker.start()
    tracker.start_epoch(0)
    tracker.after_step(1)
    tracker.observe(TrainingBatch(torch.zeros(2, 3), torch.zeros(2).long()))
    assert list(tracker.records(0)) == []
    assert tracker.get_metrics() == {}
    tracker.stop()
    tracker.stop()


class _Clock:
    """Seconds that pass by `step` at each step."""

    def __init__(self, step):
        self.now, self._step = 0.0, step

    def __call__(self):
        return self.now

    def sampled(self, cadence, steps):
        sampled = []
        for step in range(1, steps + 1):
            if cadence.due(step):
                cadence.sampled(step)
                sampled.append(step)
            self.now += self._step
        return sampled


def test_a_number_is_kept_exactly():
    for every in (1, 3, 10, 100):
        sampled = [step for step in range(1, 501) if Cadence(every, "every").due(step)]
        assert sampled == list(range(every, 501, every))


def test_without_a_number_the_first_steps_are_dense_and_then_time_decides():
    fast, slow = _Clock(0.003), _Clock(0.2)
    assert fast.sampled(Cadence(None, "every", clock=fast), 900) == [1, 2, 5, 10, 20, 50, 100, 200, 370, 500, 670, 840]
    assert slow.sampled(Cadence(None, "every", clock=slow), 70) == [1, 2, 5, 10, 20, 30, 40, 50, 60, 70]
    cadence = Cadence(None, "detail_every", steps=100, seconds=5.0, first=FIRST_STEPS[::2], clock=fast)
    assert fast.sampled(cadence, 6_000) == [1, 5, 20, 100, 500, 2000, 3700, 5400]
    assert cadence.interval == 1700


def test_an_epoch_has_a_sample_however_short():
    clock = _Clock(0.0)
    cadence = Cadence(None, "every", clock=clock)
    clock.sampled(cadence, 30)
    assert not cadence.due(31)
    cadence.begin_epoch()
    assert cadence.due(31)
    cadence.sampled(31)
    assert not cadence.due(32)
    exact = Cadence(10, "every")
    exact.begin_epoch()
    assert not exact.due(31)


def test_without_the_clock_a_cadence_goes_by_steps_alone():
    clock = _Clock(0.0)
    cadence = Cadence(None, "every", clock=clock)
    cadence.by_steps()
    assert clock.sampled(cadence, 60) == [1, 2, 5, 10, 20, 30, 40, 50, 60]


def test_a_stretched_cadence_keeps_to_steps_of_the_one_asked_for_and_comes_back():
    cadence = Cadence(10, "norms_every")
    cadence.stretch()
    assert [step for step in range(1, 61) if cadence.due(step)] == [20, 40, 60]
    assert cadence.interval == 20
    cadence.relax()
    cadence.relax()
    assert cadence.due(10)


def test_a_stretched_cadence_of_time_waits_twice_as_long():
    clock = _Clock(1 / 64)
    cadence = Cadence(None, "every", clock=clock)
    cadence.stretch()
    assert clock.sampled(cadence, 480) == [1, 2, 5, 10, 20, 50, 100, 180, 200, 280, 360, 440]
    cadence.thin()
    assert cadence.state() == (20, 2)
    again = Cadence(None, "every", clock=clock)
    again.restore(cadence.state())
    assert again.due(520)
    again.sampled(520)
    clock.now += 1.9
    assert not again.due(560)
    clock.now += 0.2
    assert again.due(560)


@given(st.none() | st.integers(1, 30), st.integers(0, 3), st.integers(0, 400), st.booleans())
def test_no_step_before_the_next_possible_one_is_due(every, stretches, step, is_wanted):
    cadence = Cadence(every, "every", clock=_Clock(1.0))
    for _ in range(stretches):
        cadence.stretch()
    if is_wanted:
        cadence.begin_epoch()
    following = cadence.next_after(step)
    assert following > step
    assert not any(cadence.due(between) for between in range(step + 1, following))
    cadence._last_time = -1e9  # enough time has passed
    assert cadence.due(following)


@pytest.mark.parametrize("every", [0, -1, 2.5, True, "10"])
def test_a_cadence_that_cannot_be_is_refused_by_name(every):
    with pytest.raises(InputError, match="norms_every must be a whole number of at least 1"):
        Cadence(every, "norms_every")


class _Counting(Tracker):
    """Yields a count, and then what the history says of it."""

    name = "counting"

    def records(self, epoch):
        yield TimedRecord(epoch, 1.0, Scalar("count", epoch + 1.0))
        yield TimedRecord(epoch, 1.0, Scalar("filed", self.history.scalars["count"].values[-1]))


def test_a_tracker_of_its_own_files_what_it_yields_record_by_record():
    tracker = _Counting()
    assert [timed.record.value for timed in tracker.collect(4)] == [5.0, 5.0]
    assert not tracker.in_session
    assert tracker.history.scalars["filed"].values.tolist() == [5.0]


def test_a_session_lends_its_history_and_takes_over_what_was_measured_before(tmp_path):
    tracker = _Counting()
    tracker.collect(0)
    with TBMetrics(tmp_path, trackers=[tracker], resources=False) as tb:
        assert tracker.history is tb.history
        for _ in tb.epochs(range(1, 3)):
            pass
    written = read_run(tmp_path).scalars
    for tag in ("count", "filed"):
        assert tb.history.scalars[tag].values.tolist() == [1.0, 2.0, 3.0]
        assert written[tag].values.tolist() == [1.0, 2.0, 3.0]


@pytest.mark.parametrize("with_optimizer", [True, False])
def test_faults_of_a_tracker_alone_never_leave_forward_backward_or_step(monkeypatch, caplog, with_optimizer):
    def trained(tracked):
        torch.manual_seed(0)
        model = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.Dropout(0.5), torch.nn.Linear(4, 2))
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        trackers = []
        if tracked:
            gradients = GradientTracker(model, optimizer if with_optimizer else None, every=1, detail_every=1)
            diagnostics = LongTailDiagnostics(model=model, classes=ClassGroups.from_counts([9, 2]))
            trackers = [gradients, AttentionVisualizer(model, quiet=True), diagnostics]
            for tracker in trackers:
                getattr(tracker, "register_hooks", tracker.start)()
                monkeypatch.setattr(tracker, "_isolation", Isolation(tracker.name, tracker.stop, later=True))
                monkeypatch.setattr(tracker._isolation, "call", _failing(tracker._isolation.call))
        for epoch in range(2):
            for _ in range(4):
                optimizer.zero_grad()
                model(torch.ones(3, 4)).square().sum().backward()
                optimizer.step()
            if tracked:
                gradients.update(epoch)
        return [p.detach() for p in model.parameters()], model

    plain, _ = trained(False)
    with caplog.at_level(logging.WARNING, logger="tbmetrics"):
        tracked, model = trained(True)
    torch.testing.assert_close(tracked, plain, rtol=0, atol=0)
    assert "training_dynamics failed 3 times and is switched off" in caplog.text
    assert all(not p._post_accumulate_grad_hooks for p in model.parameters())


def _failing(call):
    def fail(action, *args, **kwargs):
        return call(_boom)

    return fail


def test_a_tracker_alone_passes_on_what_the_caller_asked_for_or_did_wrong():
    tracker = Tracker()
    for error in (InputError("3 logits for 4 classes"), NonFiniteError("step 3")):

        def wrong(error=error):
            raise error

        with pytest.raises(type(error)):
            tracker.guard(wrong)
