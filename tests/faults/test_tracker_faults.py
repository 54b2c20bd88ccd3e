"""A tracker that raises, wherever it is called: training is bit for bit that without it, and the others go on."""

import logging

import pytest

from tbmetrics import AttentionVisualizer, LongTailDiagnostics, Tracker, read_run
from tests.training import (
    assert_same_parameters,
    count_hooks,
    make_model,
    open_session,
    run_epoch,
    unmeasured_parameters,
)

pytestmark = pytest.mark.slow

EPOCHS = 5
CALLS = ("start", "start_epoch", "after_step", "arrived", "observe", "validate", "records", "closing")
CALLS += ("get_metrics", "state_dict", "load_state_dict", "stop")


class Faulty(Tracker):
    """Raises in one of the calls a session makes."""

    name = "faulty"

    def state_dict(self):
        return {"seen": 1}


def _raise(*args, **kwargs):
    raise ValueError("planted")


def _train_with_a_fault(tmp_path, caplog, plant, trackers=()):
    model, optimizer = make_model()
    options = {"diagnostics": LongTailDiagnostics(), "attention": AttentionVisualizer(model, quiet=True)}
    tb = open_session(tmp_path, model, optimizer, trackers=trackers, **options)
    plant(tb)
    with caplog.at_level(logging.WARNING, logger="tbmetrics"), tb:
        tb.load_state_dict(tb.state_dict())
        for epoch in tb.epochs(range(EPOCHS)):
            run_epoch(tb, model, optimizer, epoch)
        tb.state_dict()
        tb.get_metrics()
    assert_same_parameters(model, unmeasured_parameters(EPOCHS))
    return model, read_run(tmp_path)


@pytest.mark.parametrize("call", CALLS)
def test_a_tracker_of_ones_own_that_raises_anywhere(tmp_path, caplog, call):
    faulty = Faulty()
    setattr(faulty, call, _raise)
    model, history = _train_with_a_fault(tmp_path, caplog, lambda tb: None, [faulty])
    assert count_hooks(model) == 0
    assert caplog.text.count("ValueError: planted") >= 1
    assert caplog.text.count("Traceback") == 1
    assert history.tables["longtail/x"].steps.tolist() == list(range(EPOCHS))
    assert history.scalars["training_dynamics/gradient_norm"].steps.size == EPOCHS * 4


PARTS = ("class_performance", "gradients", "attention", "resources", "diagnostics")


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("call", CALLS)
def test_a_tracker_of_ours_that_raises_anywhere(tmp_path, caplog, part, call):
    def plant(tb):
        object.__setattr__(getattr(tb, part), call, _raise)

    _, history = _train_with_a_fault(tmp_path, caplog, plant)
    assert history.problems == []
    assert history.scalars["loss"].steps.tolist() == list(range(1, EPOCHS * 4 + 1))
    if part != "class_performance":
        assert history.tables["longtail/x"].steps.tolist() == list(range(EPOCHS))
    if part != "gradients":
        assert history.scalars["training_dynamics/gradient_norm"].steps.size == EPOCHS * 4


@pytest.mark.parametrize("part", ["gradients", "attention", "diagnostics"])
def test_what_torchs_hooks_call_raises(tmp_path, caplog, monkeypatch, part):
    """Everything that these trackers do in a hook goes through their guard: there it raises."""
    raised = []

    def plant(tb):
        tracker = getattr(tb, part)
        call = tracker._session_call
        monkeypatch.setattr(tracker, "_session_call", lambda action, *args: raised.append(part) or call(_raise))

    model, history = _train_with_a_fault(tmp_path, caplog, plant)
    assert count_hooks(model) == 0
    assert len(raised) >= 3
    assert "is switched off" in caplog.text
    assert history.tables["longtail/x"].steps.tolist() == list(range(EPOCHS))
    assert ("training_dynamics/gradient_norm" in history.scalars) == (part != "gradients")
