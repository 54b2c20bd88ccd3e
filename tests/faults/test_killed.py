"""A training that is killed again and again: every log is readable, nothing flushed is lost, and it goes on."""

import os
import random
import signal
import time

import numpy as np
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tbmetrics import read_run
from tbmetrics.export import export
from tests.faults.loop import BATCHES, processes, train_from_checkpoint

KILLS = 50


def _killed(log_dir, checkpoint, after):
    """A training that is killed `after` seconds; the step up to which it had flushed."""
    flushed, started = processes.Array("q", 1), processes.Event()
    process = processes.Process(target=train_from_checkpoint, args=(log_dir, checkpoint, 10**6, flushed, started))
    process.start()
    assert started.wait(60)
    time.sleep(after)
    os.kill(process.pid, signal.SIGKILL)
    process.join(60)
    assert process.exitcode == -signal.SIGKILL
    return flushed[0]


def _measured(history):
    """What does not depend on the clock."""
    own = ("class_performance/", "training_dynamics/", "loss")
    found = {tag: series for tag, series in history.scalars.items() if tag.startswith(own)}
    return {tag: (series.steps.tolist(), np.asarray(series.values).tolist()) for tag, series in found.items()}


@pytest.mark.slow
def test_fifty_kills_and_one_run(tmp_path):
    log_dir, checkpoint = str(tmp_path / "logs" / "run"), str(tmp_path / "checkpoint.pt")
    chance = random.Random(0)
    saved = -1
    for kill in range(KILLS):
        flushed = _killed(log_dir, checkpoint, chance.uniform(0, 0.2))
        history = read_run(log_dir)
        assert history.problems == []
        if flushed:
            assert history.scalars["loss"].steps[-1] >= flushed
            assert history.scalars["flushed"].values.max() >= flushed
        if "loss" in history.scalars:
            steps = history.scalars["loss"].steps
            assert steps.tolist() == list(range(int(steps[0]), int(steps[-1]) + 1))
        if os.path.exists(checkpoint):
            now = torch.load(checkpoint, weights_only=True)["epoch"]
            assert now >= saved
            saved = now
        if kill % 10 == 0:
            EventAccumulator(log_dir).Reload()
    assert saved >= 3, "the kills came too early to mean anything"

    until = saved + 3
    resumed = train_from_checkpoint(log_dir, checkpoint, until)
    whole = train_from_checkpoint(str(tmp_path / "whole" / "run"), str(tmp_path / "unused.pt"), until)
    assert resumed.global_step == whole.global_step == until * BATCHES
    assert _measured(read_run(log_dir)) == _measured(read_run(tmp_path / "whole" / "run"))
    exported = []
    for name in ("logs", "whole"):
        out = tmp_path / "out" / name
        export(tmp_path / name, out, formats=("csv",), only=("class_performance",))
        exported.append({path.relative_to(out).as_posix() for path in out.rglob("*.csv")})
    assert exported[0] == exported[1]
    assert len(exported[0]) > 1
