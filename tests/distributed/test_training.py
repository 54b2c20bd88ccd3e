"""Whole sessions around DDP and FSDP2: the same numbers as one process that sees all the data."""

import os
import signal
import time

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from tbmetrics import ClassGroups, GradientTracker, TBMetrics
from tests.distributed.jobs import run

GROUPS = ClassGroups.from_counts({"x": [900, 50, 5]})
DATA = torch.randn(32, 6, generator=torch.Generator().manual_seed(1))
TARGETS = torch.randint(0, 3, (32,), generator=torch.Generator().manual_seed(2))


def _wrapped(kind):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 7), nn.ReLU(), nn.Linear(7, 3))
    if kind == "ddp":
        return nn.parallel.DistributedDataParallel(model)
    if kind == "fsdp2":
        from torch.distributed.fsdp import fully_shard

        for module in (model[0], model[2], model):
            fully_shard(module)
    return model


def _train(rank, ranks, kind, log_dir):
    model = _wrapped(kind)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    own = slice(rank, None, ranks)
    gradients = GradientTracker(model, optimizer, every=1, detail_every=2)
    with TBMetrics(
        log_dir,
        model=model,
        optimizer=optimizer,
        classes=GROUPS,
        gradients=gradients,
        strict=True,
        overhead_budget=None,
    ) as tb:
        for _ in tb.epochs(range(2)):
            optimizer.zero_grad()
            F.cross_entropy(model(DATA[own]), TARGETS[own]).backward()
            optimizer.step()
            with torch.no_grad():
                tb.update(model(DATA[own]), TARGETS[own], indices=torch.arange(32)[own])
    found = tb.get_metrics()
    return found["class_performance"]["class_metrics"]["x"], found["training_dynamics"]["gradient_norms"]


@pytest.mark.parametrize(("kind", "ranks"), [("ddp", 2), ("fsdp2", 2), ("ddp", 4), ("fsdp2", 4)])
def test_a_session_over_ranks_measures_what_one_process_does(tmp_path, kind, ranks):
    classes, norms = _train(0, 1, None, tmp_path / "alone")
    for of_classes, of_norms in run(_train, ranks, kind, str(tmp_path / "ranks")):
        for label, metrics in classes.items():
            for count in ("true_positives", "false_positives", "false_negatives", "support"):
                assert of_classes[label][count] == metrics[count]
            assert of_classes[label]["ap"] == pytest.approx(metrics["ap"], abs=1e-6)
        for name, values in norms.items():
            assert of_norms[name] == pytest.approx(values, rel=1e-4)


def _one_is_killed(rank, ranks, log_dir):
    with TBMetrics(log_dir, classes=GROUPS) as tb:
        for epoch in tb.epochs(range(4)):
            tb.update(torch.eye(3), torch.arange(3))
            if epoch == 1 and rank == 1:
                os.kill(os.getpid(), signal.SIGKILL)
            if epoch == 1:
                time.sleep(0.5)
    return tb.history.scalars["class_performance/x/recall/all"].steps.tolist()


def test_ranks_go_on_without_one_that_was_killed(tmp_path):
    assert run(_one_is_killed, 2, str(tmp_path), expect=[0])[0] == [0]
