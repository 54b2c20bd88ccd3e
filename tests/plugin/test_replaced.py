"""A run that was removed and written anew while TensorBoard's Python loader shows the earlier one."""

import shutil

import pytest
import torch
from tensorboard import context
from tensorboard.backend.event_processing.data_provider import MultiplexerDataProvider
from tensorboard.backend.event_processing.plugin_event_multiplexer import EventMultiplexer

from tbmetrics import ClassGroups, TBMetrics
from tbmetrics_longtail import replaced
from tbmetrics_longtail.answers import Answers
from tbmetrics_longtail.data import LongTailData
from tbmetrics_longtail.listing import Experiment


def _train(log_dir, names, epochs):
    with TBMetrics(log_dir, classes=ClassGroups.from_counts({"d": dict.fromkeys(names, 9)})) as tb:
        for _ in tb.epochs(epochs):
            tb.update(torch.eye(len(names)), torch.arange(len(names)))


def _problems(multiplexer, logdir):
    multiplexer.AddRunsFromDirectory(str(logdir))
    multiplexer.Reload()
    answers = Answers(LongTailData(MultiplexerDataProvider(multiplexer, str(logdir))), str(logdir))
    (run,) = answers.runs(Experiment(context.RequestContext(), "x"))["runs"]
    return run.get("problem")


def test_it_is_said_until_tensorboard_is_restarted(tmp_path, monkeypatch):
    monkeypatch.setattr(replaced, "_SLACK_SECONDS", 0.0)
    multiplexer = EventMultiplexer()
    _train(tmp_path / "run", "abc", range(2))
    assert _problems(multiplexer, tmp_path) is None
    _train(tmp_path / "run", "abc", range(2, 4))  # goes on in a second file
    assert _problems(multiplexer, tmp_path) is None
    shutil.rmtree(tmp_path / "run")
    _train(tmp_path / "run", "xy", range(2))
    assert "was replaced after TensorBoard had read it" in _problems(multiplexer, tmp_path)
    assert _problems(EventMultiplexer(), tmp_path) is None


@pytest.mark.parametrize("logdir", ["missing", "s3://bucket/logs", "a:runs/a,b:runs/b", "\0"])
def test_where_the_files_cannot_be_listed_nothing_is_said(logdir):
    assert not replaced.is_replaced(logdir, "run", 0.0)
