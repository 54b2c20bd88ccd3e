"""Whole sessions around DDP and FSDP2: the same numbers as one process that sees all the data."""

import os
import signal
from functools import partial
from pathlib import Path

import pytest
import torch

from tbmetrics import TBMetrics
from tests.processes import run_ranks, wait_until
from tests.training import GROUPS, open_session, parallel_model, train

pytestmark = pytest.mark.slow

DATA = torch.randn(32, 6, generator=torch.Generator().manual_seed(1))
TARGETS = torch.randint(0, 3, (32,), generator=torch.Generator().manual_seed(2))


def _train_on_rank(rank, ranks, kind, log_dir):
    model = parallel_model(kind)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    share = slice(rank, None, ranks)
    with open_session(log_dir, model, optimizer, strict=True) as tb:
        for _ in tb.epochs(range(2)):
            train(model, optimizer, [(DATA[share], TARGETS[share])])
            with torch.no_grad():
                tb.update(model(DATA[share]), TARGETS[share], indices=torch.arange(32)[share])
    metrics = tb.get_metrics()
    return metrics["class_performance"]["class_metrics"]["x"], metrics["training_dynamics"]["gradient_norms"]


@pytest.mark.parametrize(("kind", "ranks"), [("ddp", 2), ("fsdp2", 2), ("ddp", 4), ("fsdp2", 4)])
def test_a_session_over_ranks_measures_what_one_process_does(tmp_path, kind, ranks):
    classes, norms = _train_on_rank(0, 1, None, tmp_path / "alone")
    for of_classes, of_norms in run_ranks(_train_on_rank, ranks, kind, str(tmp_path / "ranks")):
        for label, metrics in classes.items():
            for count in ("true_positives", "false_positives", "false_negatives", "support"):
                assert of_classes[label][count] == metrics[count]
            assert of_classes[label]["ap"] == pytest.approx(metrics["ap"], abs=1e-6)
        for name, values in norms.items():
            assert of_norms[name] == pytest.approx(values, rel=1e-4)


def _has_ended(pid_file):
    """Whether a process has written its number there, and is gone."""
    try:
        os.kill(int(Path(pid_file).read_text()), 0)
    except OSError as error:
        return isinstance(error, ProcessLookupError)
    return False


def _kill_the_last(rank, ranks, log_dir, pid_file):
    with TBMetrics(log_dir, classes=GROUPS) as tb:
        for epoch in tb.epochs(range(4)):
            tb.update(torch.eye(3), torch.arange(3))
            if epoch == 1 and rank == 1:
                Path(f"{pid_file}.partial").write_text(str(os.getpid()))
                os.rename(f"{pid_file}.partial", pid_file)
                os.kill(os.getpid(), signal.SIGKILL)
            if epoch == 1:
                wait_until(partial(_has_ended, pid_file))
    return tb.history.scalars["class_performance/x/recall/all"].steps.tolist()


def test_ranks_go_on_without_one_that_was_killed(tmp_path):
    assert run_ranks(_kill_the_last, 2, str(tmp_path / "run"), str(tmp_path / "pid"), killed=[1])[0] == [0]
