"""A training that is killed or interrupted: every log is readable, nothing flushed is lost, and it goes on."""

import csv
import os
import random
import signal
import time

import numpy as np
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tbmetrics import read_run
from tbmetrics.exporting import export
from tests.faults.loop import BATCHES, assert_free, make_model, processes, run_epoch, session, train_from_checkpoint

KILLS = 50
#: What a kill may cost: the writer's pause of 0.2 s (far below `flush_secs`), and what a busy machine adds to it.
MOST_SECONDS_LOST = 1.0


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


def _check_export(logs, out, history):
    """All that the reader finds is exported, as if the run were whole."""
    assert export(logs, out, formats=("csv",)).problems == {}
    files = [path.read_text(encoding="utf-8").splitlines() for path in out.rglob("*scalars*.csv")]
    rows = [row for lines in files for row in csv.DictReader(lines)]
    for tag, series in history.scalars.items():
        assert [int(row["step"]) for row in rows if row["tag"] == tag] == series.steps.tolist(), tag


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
        if kill % 10 == 9:
            EventAccumulator(log_dir).Reload()
            _check_export(tmp_path / "logs", tmp_path / "killed" / str(kill), history)
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


def _train_by_the_clock(log_dir, steps, started):
    """Notes in `steps` when each step was logged; never flushes. Interrupted, it ends as a program that cleans up."""
    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background is started with it ignored
    model, optimizer = make_model()
    try:
        with session(log_dir, model, optimizer, strict=True) as tb:
            started.set()

            def note():
                steps[tb.global_step] = time.monotonic()

            for epoch in tb.epochs(range(10**6)):
                run_epoch(tb, model, optimizer, epoch, note)
    except KeyboardInterrupt:
        assert_free(model)
        os._exit(42)


def _ended_by(number, log_dir, after):
    """Such a training that gets a signal `after` seconds: its end, when the signal was sent, and the steps' times."""
    steps, started = processes.Array("d", 200_000), processes.Event()
    process = processes.Process(target=_train_by_the_clock, args=(str(log_dir), steps, started))
    process.start()
    assert started.wait(60)
    time.sleep(after)
    sent = time.monotonic()
    os.kill(process.pid, number)
    process.join(60)
    process.kill()  # where the signal did not end it
    return process.exitcode, sent, np.trim_zeros(np.array(steps[:])[1:], "b")


@pytest.mark.slow
@pytest.mark.parametrize("after", [1.5, 2.1, 2.8])
def test_a_kill_costs_what_was_measured_just_before(tmp_path, after):
    code, sent, times = _ended_by(signal.SIGKILL, tmp_path, after)
    assert code == -signal.SIGKILL
    due = int((times < sent - MOST_SECONDS_LOST).sum())
    assert due > 10
    history = read_run(tmp_path)
    assert history.problems == []
    assert history.scalars["loss"].steps[:due].tolist() == list(range(1, due + 1))


@pytest.mark.parametrize("seed", range(8))
def test_ctrl_c_at_any_moment_leaves_a_whole_log_and_no_hooks(tmp_path, seed):
    code, _, times = _ended_by(signal.SIGINT, tmp_path, random.Random(seed).uniform(0.02, 0.3))
    assert code == 42
    history = read_run(tmp_path)
    assert history.problems == []
    logged = history.scalars["loss"].steps.tolist() if "loss" in history.scalars else []
    assert logged == list(range(1, len(logged) + 1))
    assert len(logged) >= len(times) - 1
