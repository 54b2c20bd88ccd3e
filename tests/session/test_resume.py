"""A run that is killed and resumed from its checkpoint is the run that was never interrupted."""

import json
import os
import signal
from itertools import islice

import numpy as np
import pytest
import torch
from torch import nn

from tbmetrics import AttentionVisualizer, ClassGroups, GradientTracker, InputError, MetricsManager, TBMetrics, read_run
from tbmetrics.exporting import export
from tests.histories import plain_history
from tests.processes import context
from tests.training import GROUPS, load_checkpoint, make_batches, open_session, save_checkpoint, train, validate

pytestmark = pytest.mark.slow

EPOCHS, BATCHES = 4, 6


class Small(nn.Module):
    """Attention and a classifier; four tokens of eight values."""

    def __init__(self):
        super().__init__()
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.out = nn.Linear(8, 3)

    def forward(self, x):
        return self.out(self.attention(x, x, x, need_weights=False)[0].mean(1))


def _batches(epoch):
    return make_batches(epoch, BATCHES, (4, 8))


def _train_resumably(log_dir, checkpoint, *, in_epoch=None, kill=False, epochs=EPOCHS):
    """Train from the checkpoint, if there is one, which is written after each epoch, or within one.

    Args:
        in_epoch: (epoch, batch) before which the checkpoint is written instead.
        kill: end the process in the middle of epoch 2.
    """
    torch.manual_seed(0)
    model = Small()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5, momentum=0.9)
    gradients = GradientTracker(model, optimizer, every=2, detail_every=4)
    attention = AttentionVisualizer(model, probe=torch.ones(2, 4, 8).cumsum(1), quiet=True)
    first, skipped = 0, 0
    with open_session(log_dir, model, optimizer, gradients=gradients, attention=attention, strict=True) as tb:
        if os.path.exists(checkpoint):
            first, skipped = load_checkpoint(checkpoint, model, optimizer, tb)["next"]
        for epoch in tb.epochs(range(first, epochs)):

            def save_or_die(epoch=epoch):
                following = (epoch, tb.global_step - epoch * BATCHES)
                if following == in_epoch:
                    save_checkpoint(checkpoint, model, optimizer, tb, next=following)
                if kill and following == (2, 4):
                    tb.flush()
                    os.kill(os.getpid(), signal.SIGKILL)

            train(model, optimizer, islice(_batches(epoch), skipped, None), tb, save_or_die)
            skipped = 0
            validate(model, _batches(100 + epoch), tb)
            if in_epoch is None:
                tb.end_epoch()
                save_checkpoint(checkpoint, model, optimizer, tb, next=(epoch + 1, 0))
    return tb


def _die(log_dir, checkpoint, in_epoch):
    _train_resumably(log_dir, checkpoint, in_epoch=in_epoch, kill=True)


def _measured(history):
    """Everything of a history but times, resource usage and pictures that are drawn when there is time."""
    left_out = ("resource_usage", "tbmetrics/run", "HParams", *history.images)
    return {tag: values for tag, values in plain_history(history).items() if not tag.startswith(left_out)}


def _in_memory(history):
    """What `_measured` gives but for decisions on single samples, which only the log keeps over a restart."""
    return {tag: values for tag, values in _measured(history).items() if tag not in history.samples}


def _exported(log_dir, out):
    export(log_dir, out, formats=("json",), only=("class_performance", "training_dynamics"))
    found = [path for path in sorted(out.rglob("*.json")) if path.name != "manifest.json"]  # it knows the files read
    return {path.name: _timeless(json.loads(path.read_text())) for path in found}


def _timeless(value):
    """JSON without wall times, and without what resources cost."""
    if isinstance(value, dict):
        odd = {key for key in value if "wall_time" in key or "resource_usage" in key}
        return {key: _timeless(item) for key, item in value.items() if key not in odd}
    return [_timeless(item) for item in value] if isinstance(value, list) else value


@pytest.mark.parametrize("in_epoch", [None, (2, 2)], ids=["after an epoch", "within an epoch"])
def test_a_killed_and_resumed_run_equals_an_uninterrupted_one(tmp_path, in_epoch):
    whole = _train_resumably(tmp_path / "whole" / "run", tmp_path / "unused", in_epoch=(-1, -1))
    log_dir, checkpoint = tmp_path / "broken" / "run", tmp_path / "checkpoint.pt"
    process = context.Process(target=_die, args=(str(log_dir), str(checkpoint), in_epoch))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    steps_before = int(read_run(log_dir).scalars["loss"].steps[-1])
    resumed = _train_resumably(log_dir, checkpoint, in_epoch=(-1, -1))

    assert steps_before == 2 * BATCHES + 4, "the dead process had gone further than its checkpoint"
    assert resumed.global_step == whole.global_step == EPOCHS * BATCHES
    ours, theirs = resumed.get_metrics(), whole.get_metrics()
    for area in ("class_performance", "training_dynamics", "attention"):
        assert ours[area] == theirs[area], area
    rows = [[row["epoch"] for row in m["resource_usage"]["epoch_data"]] for m in (ours, theirs)]
    assert rows[0] == rows[1] == list(range(EPOCHS))
    assert _in_memory(resumed.history) == _in_memory(whole.history)
    assert _measured(read_run(log_dir)) == _measured(read_run(tmp_path / "whole" / "run"))
    exported = _exported(log_dir.parent, tmp_path / "out1")
    assert exported == _exported(tmp_path / "whole", tmp_path / "out2")
    assert exported["class_performance.json"]["attributes"]["x"]["class_metrics"]


def test_the_state_of_an_open_validation_goes_on(tmp_path):
    from tbmetrics import ClassPerformanceTracker

    logits, labels = torch.randn(30, 3, generator=torch.Generator().manual_seed(0)), torch.arange(30) % 3
    whole, before, after = (ClassPerformanceTracker(classes=GROUPS) for _ in range(3))
    whole.update(logits, labels)
    before.update(logits[:20], labels[:20])
    torch.save(before.state_dict(), tmp_path / "state.pt")
    after.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    after.update(logits[20:], labels[20:])
    assert after.get_metrics() == whole.get_metrics()


def _state(classes=GROUPS, hidden=4, directory="run"):
    model = nn.Sequential(nn.Linear(2, hidden), nn.Linear(hidden, 3))
    with TBMetrics(directory, model=model, optimizer=torch.optim.SGD(model.parameters(), 0.1), classes=classes) as tb:
        tb.update(torch.eye(3)[:, : len(classes["x"])], torch.arange(3) % len(classes["x"]))
    return tb.state_dict()


def test_states_that_do_not_fit_are_refused_in_words(tmp_path):
    state = _state(directory=tmp_path / "a")
    other_classes = ClassGroups.from_counts({"x": {"a": 5, "b": 2}})
    with pytest.raises(
        InputError, match=r"classes of 'x' are 3, here there are 2; only in the state: \['0', '1', '2'\]"
    ):
        TBMetrics(tmp_path / "b", classes=other_classes).load_state_dict(state)
    model = nn.Linear(2, 3)
    with pytest.raises(InputError, match=r"GradientTracker.*its parameters are"):
        TBMetrics(tmp_path / "c", model=model).load_state_dict(state)
    with pytest.raises(InputError, match=r"of version 99, this tbmetrics reads up to 1; update it"):
        TBMetrics(tmp_path / "d").load_state_dict({**state, "version": 99})
    with pytest.raises(InputError, match=r"expected what its state_dict\(\) gave, got list"):
        TBMetrics(tmp_path / "e").load_state_dict([])
    with TBMetrics(tmp_path / "f") as tb:
        tb.start_epoch(0)
        with pytest.raises(InputError, match="before the first epoch"):
            tb.load_state_dict(state)


def test_the_history_is_saved_once(tmp_path):
    state = _state(directory=tmp_path / "run")
    assert state["history"]["tables"]["longtail/x"]["items"]
    assert all("history" not in tracker_state for tracker_state in state["trackers"].values())


def test_a_manager_resumes(tmp_path):
    labels = {"x": {"a": 0, "b": 1}}
    first = MetricsManager(label_to_idx_dict=labels, save_dir=tmp_path / "one")
    first.start_epoch(1)
    first.update_epoch_results({"x": torch.eye(2)}, {"x": torch.tensor([0, 1])}, 2, 2)
    state = first.state_dict()
    first.finalize()
    second = MetricsManager(label_to_idx_dict=labels, save_dir=tmp_path / "two")
    second.load_state_dict(state)
    found, expected = second.get_metrics(), first.get_metrics()
    assert found["class_performance"] == expected["class_performance"]
    assert [row["epoch"] for row in found["resource_usage"]["epoch_data"]] == [1]
    np.testing.assert_array_equal(
        second.tb.history.scalars["class_performance/x/recall/all"].values,
        first.tb.history.scalars["class_performance/x/recall/all"].values,
    )
