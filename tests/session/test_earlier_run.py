"""A directory that is used again: the steps go on, and what is superseded is said."""

import logging

import pytest
import torch

from tbmetrics import ClassGroups, TBMetrics, read_run
from tbmetrics.session.earlier_run import EarlierRun

COUNTS = {"a": 900, "b": 50, "c": 5}


def _train(log_dir, epochs, *, counts=COUNTS, width=2, state=None):
    model = torch.nn.Linear(width, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with TBMetrics(log_dir, model=model, optimizer=optimizer, classes=ClassGroups.from_counts({"d": counts})) as tb:
        if state is not None:
            tb.load_state_dict(state)
        for _ in tb.epochs(epochs):
            for _ in range(3):
                model(torch.ones(1, width)).sum().backward()
                optimizer.step()
            tb.update(torch.eye(len(counts)), torch.arange(len(counts)))
        return tb.state_dict()


@pytest.fixture
def messages(caplog):
    caplog.set_level(logging.WARNING, "tbmetrics")
    return lambda: [record.message.removeprefix("tbmetrics: ") for record in caplog.records]


def test_what_a_run_left_is_read(tmp_path):
    _train(tmp_path, range(2))
    earlier = EarlierRun.read(str(tmp_path))
    assert (earlier.epochs, earlier.steps) == ((0, 1), (3, 6))
    assert (earlier.steps_before(0), earlier.steps_before(1), earlier.steps_before(9)) == (0, 3, 6)
    assert earlier.classes == {"d": ("a", "b", "c")}
    assert earlier.model_parameters == 6


def test_going_on_where_it_ended_says_nothing(tmp_path, messages):
    state = _train(tmp_path, range(2))
    _train(tmp_path, range(2, 4))
    _train(tmp_path / "restored", range(2, 4), state=state)
    assert messages() == []


def test_records_that_are_written_again_are_said_to_be_superseded(tmp_path, messages):
    _train(tmp_path, range(3))
    _train(tmp_path, range(1, 2))
    assert messages() == [
        f"this session continues the run in {tmp_path}: what it recorded from epoch 1 and step 4 on (it went to epoch "
        "2, step 9) is superseded; give a directory of its own to keep both"
    ]


def test_other_classes_and_another_model_are_said(tmp_path, messages):
    _train(tmp_path, range(1))
    _train(tmp_path, range(1, 2), counts={"x": 9, "y": 1}, width=5)
    other_classes, other_model = messages()
    assert "has other classes: attribute 'd' had 3, 'a', 'b', 'c'; now it has 2, 'x', 'y'." in other_classes
    assert "is of another model: 6 parameters, now 12" in other_model


def test_a_run_that_cannot_be_read_is_no_obstacle(tmp_path, messages):
    (tmp_path / "events.out.tfevents.1700000000.host").write_bytes(b"no event file")
    _train(tmp_path, range(1))
    assert EarlierRun.read(str(tmp_path / "missing")) == EarlierRun(str(tmp_path / "missing"))
    assert messages() == []


def test_a_run_without_steps_goes_on_after_its_epochs(tmp_path, messages):
    for epochs in (range(2), range(2, 3), range(1, 2)):
        with TBMetrics(tmp_path, classes=ClassGroups.from_counts({"d": COUNTS})) as tb:
            for _ in tb.epochs(epochs):
                tb.update(torch.eye(3), torch.arange(3))
        steps = list(read_run(tmp_path).scalars["class_performance/d/recall/all"].steps)
        assert steps == list(range(epochs.stop))
    assert len(messages()) == 1  # only the last superseded anything
