"""A training that is killed or interrupted: every log is readable, nothing flushed is lost, and it goes on."""

import csv
import os
import random
import signal

import numpy as np
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tbmetrics import read_run
from tbmetrics.exporting import export
from tests.processes import context, wait_until
from tests.training import (
    BATCHES,
    count_hooks,
    load_checkpoint,
    make_model,
    open_session,
    run_epoch,
    save_checkpoint,
)

pytestmark = pytest.mark.slow

KILLS = 20


def _train_resumably(log_dir, checkpoint, until, steps, flushed):
    """Train up to epoch `until`, from the checkpoint if there is one; count `steps` taken here, and those `flushed`."""
    torch.set_num_threads(1)
    model, optimizer = make_model()
    first = 0
    with open_session(log_dir, model, optimizer, strict=True) as tb:
        if os.path.exists(checkpoint):
            first = load_checkpoint(checkpoint, model, optimizer, tb)["epoch"] + 1
        steps.value = 0

        def count():
            steps.value += 1
            if tb.global_step % 3 == 0:
                tb.log_scalar("flushed", float(tb.global_step))
                tb.flush()
                flushed.value = tb.global_step

        for epoch in tb.epochs(range(first, until)):
            run_epoch(tb, model, optimizer, epoch, count)
            tb.end_epoch()
            save_checkpoint(checkpoint, model, optimizer, tb, epoch=epoch)
    return tb


def _train_until_interrupted(log_dir, steps):
    """Never flushes; interrupted, it ends as a program that cleans up."""
    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background is started with it ignored
    model, optimizer = make_model()
    try:
        with open_session(log_dir, model, optimizer, strict=True) as tb:
            steps.value = 0

            def count():
                steps.value = tb.global_step

            for epoch in tb.epochs(range(10**6)):
                run_epoch(tb, model, optimizer, epoch, count)
    except KeyboardInterrupt:
        assert count_hooks(model) == 0
        os._exit(42)


def _counter():
    return context.RawValue("q", -1)  # without a lock, which a killed process would keep


def _exit_code_after(number, is_due, function, *args):
    """Exit code of a process that runs `function` and gets the signal `number` once `is_due()`."""
    process = context.Process(target=function, args=args, daemon=True)
    process.start()
    wait_until(lambda: is_due() or not process.is_alive())
    os.kill(process.pid, number)
    process.join()
    return process.exitcode


def _kill_at_step(step, log_dir, checkpoint):
    """Kill a training at one of its steps; returns the step up to which it had flushed."""
    steps, flushed = _counter(), _counter()
    is_due = lambda: steps.value >= step  # noqa: E731
    assert _exit_code_after(signal.SIGKILL, is_due, _train_resumably, log_dir, checkpoint, 10**6, steps, flushed) == -9
    return flushed.value


def _measured(history):
    """What does not depend on the clock, as the steps do at which learning rates are written."""
    own, by_clock = ("class_performance/", "training_dynamics/", "loss"), "training_dynamics/learning_rate"
    found = {t: series for t, series in history.scalars.items() if t.startswith(own) and not t.startswith(by_clock)}
    return {tag: (series.steps.tolist(), np.asarray(series.values).tolist()) for tag, series in found.items()}


def _check_export(logs, out, history):
    """All that the reader finds is exported, as if the run were whole."""
    assert export(logs, out, formats=("csv",)).problems == {}
    files = [path.read_text(encoding="utf-8").splitlines() for path in out.rglob("*scalars*.csv")]
    rows = [row for lines in files for row in csv.DictReader(lines)]
    for tag, series in history.scalars.items():
        assert [int(row["step"]) for row in rows if row["tag"] == tag] == series.steps.tolist(), tag


def test_twenty_kills_and_one_run(tmp_path):
    log_dir, checkpoint = str(tmp_path / "logs" / "run"), str(tmp_path / "checkpoint.pt")
    chance = random.Random(0)
    saved = -1
    for kill in range(KILLS):
        flushed = _kill_at_step(chance.randrange(3 * BATCHES), log_dir, checkpoint)
        history = read_run(log_dir)
        assert history.problems == []
        if flushed > 0:
            assert history.scalars["loss"].steps[-1] >= flushed
            assert history.scalars["flushed"].values.max() >= flushed
        if "loss" in history.scalars:
            steps = history.scalars["loss"].steps
            assert steps.tolist() == list(range(int(steps[0]), int(steps[-1]) + 1))
        if os.path.exists(checkpoint):
            epoch = torch.load(checkpoint, weights_only=True)["epoch"]
            assert epoch >= saved
            saved = epoch
        if kill % 10 == 9:
            EventAccumulator(log_dir).Reload()
            _check_export(tmp_path / "logs", tmp_path / "killed" / str(kill), history)
    assert saved >= 3, "the kills came too early to mean anything"

    until = saved + 3
    resumed = _train_resumably(log_dir, checkpoint, until, _counter(), _counter())
    whole = _train_resumably(
        str(tmp_path / "whole" / "run"), str(tmp_path / "unused.pt"), until, _counter(), _counter()
    )
    assert resumed.global_step == whole.global_step == until * BATCHES
    assert _measured(read_run(log_dir)) == _measured(read_run(tmp_path / "whole" / "run"))
    exported = []
    for name in ("logs", "whole"):
        out = tmp_path / "out" / name
        export(tmp_path / name, out, formats=("csv",), only=("class_performance",))
        exported.append({path.relative_to(out).as_posix() for path in out.rglob("*.csv")})
    assert exported[0] == exported[1]
    assert len(exported[0]) > 1


def _logged_steps(log_dir):
    """Steps of the loss in a log as it is on the disk."""
    history = read_run(log_dir)
    assert history.problems == []
    return history.scalars["loss"].steps.tolist() if "loss" in history.scalars else []


@pytest.mark.parametrize("n_steps", [11, 60])
def test_a_kill_loses_nothing_that_had_reached_the_disk_without_a_flush(tmp_path, n_steps):
    logged = []

    def is_due():
        logged[:] = _logged_steps(tmp_path) if list(tmp_path.iterdir()) else []
        return len(logged) >= n_steps

    assert _exit_code_after(signal.SIGKILL, is_due, _train_until_interrupted, str(tmp_path), _counter()) == -9
    steps = _logged_steps(tmp_path)
    assert steps == list(range(1, len(steps) + 1))
    assert len(steps) >= len(logged) >= n_steps


@pytest.mark.parametrize("seed", range(8))
def test_ctrl_c_at_any_moment_leaves_a_whole_log_and_no_hooks(tmp_path, seed):
    step, steps = random.Random(seed).randrange(4 * BATCHES), _counter()
    assert (
        _exit_code_after(signal.SIGINT, lambda: steps.value >= step, _train_until_interrupted, str(tmp_path), steps)
        == 42
    )
    logged = _logged_steps(tmp_path)
    assert logged == list(range(1, len(logged) + 1))
    assert len(logged) >= steps.value
