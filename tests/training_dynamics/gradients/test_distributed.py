"""Data-parallel and sharded training: norms are those of the whole gradient, the same on every rank."""

import multiprocessing
import os
import tempfile

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from tbmetrics import GradientTracker

DATA = torch.randn(16, 6, generator=torch.Generator().manual_seed(1))
TARGETS = torch.randint(0, 3, (16,), generator=torch.Generator().manual_seed(2))


def _model():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 7), nn.ReLU(), nn.Linear(7, 3))


def _wrapped(kind):
    model = _model()
    if kind == "ddp":
        return nn.parallel.DistributedDataParallel(model)
    from torch.distributed.fsdp import fully_shard

    for module in (model[0], model[2], model):
        fully_shard(module)
    return model


def _rank(kind, rank, ranks, store, results):
    torch.set_num_threads(1)
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    torch.distributed.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=ranks)
    model = _wrapped(kind)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    tracker = GradientTracker(model, optimizer, every=1, detail_every=2)
    tracker.register_hooks()
    share = slice(rank * 16 // ranks, (rank + 1) * 16 // ranks)
    for _ in range(2):
        optimizer.zero_grad()
        F.cross_entropy(model(DATA[share]), TARGETS[share]).backward()
        optimizer.step()
    tracker.update(epoch=0)
    results.put((rank, {k: tracker.get_metrics()[k] for k in ("gradient_norms", "weight_norms", "update_ratios")}))
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()


def _alone():
    model = _model()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    tracker = GradientTracker(model, optimizer, every=1, detail_every=2)
    tracker.register_hooks()
    for _ in range(2):
        optimizer.zero_grad()
        F.cross_entropy(model(DATA), TARGETS).backward()
        optimizer.step()
    tracker.update(epoch=0)
    return tracker.get_metrics()


@pytest.mark.parametrize("kind", ["ddp", "fsdp2"])
def test_norms_over_two_ranks_equal_those_of_one_process(kind):
    context = multiprocessing.get_context("spawn")
    results = context.Queue()
    with tempfile.TemporaryDirectory() as folder:
        ranks = [
            context.Process(target=_rank, args=(kind, rank, 2, f"{folder}/store", results), daemon=True)
            for rank in range(2)
        ]
        for process in ranks:
            process.start()
        found = dict(results.get(timeout=120) for _ in ranks)
        for process in ranks:
            process.join(60)
            assert process.exitcode == 0
    expected = _alone()
    for metrics in found.values():
        for kind_of_value in ("gradient_norms", "weight_norms", "update_ratios"):
            assert list(metrics[kind_of_value]) == list(expected[kind_of_value])
            for name, values in expected[kind_of_value].items():
                assert metrics[kind_of_value][name] == pytest.approx(values, rel=1e-4), (kind_of_value, name)
