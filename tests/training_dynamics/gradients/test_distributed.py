"""Data-parallel and sharded training: norms are those of the whole gradient, the same on every rank."""

import warnings

import pytest
import torch

from tbmetrics import GradientTracker
from tests.processes import run_ranks
from tests.training import parallel_model, train

pytestmark = pytest.mark.slow

DATA = torch.randn(16, 6, generator=torch.Generator().manual_seed(1))
TARGETS = torch.randint(0, 3, (16,), generator=torch.Generator().manual_seed(2))


def _norms_on_rank(rank, ranks, kind):
    model = parallel_model(kind)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    tracker = GradientTracker(model, optimizer, every=1, detail_every=2)
    tracker.register_hooks()
    share = slice(rank * 16 // ranks, (rank + 1) * 16 // ranks)
    train(model, optimizer, [(DATA[share], TARGETS[share])] * 2)
    tracker.update(epoch=0)
    return {name: tracker.get_metrics()[name] for name in ("gradient_norms", "weight_norms", "update_ratios")}


@pytest.mark.parametrize("kind", ["ddp", "fsdp2"])
def test_norms_over_two_ranks_equal_those_of_one_process(kind):
    expected = _norms_on_rank(0, 1, None)
    for metrics in run_ranks(_norms_on_rank, 2, kind):
        for kind_of_value in ("gradient_norms", "weight_norms", "update_ratios"):
            assert list(metrics[kind_of_value]) == list(expected[kind_of_value])
            for name, values in expected[kind_of_value].items():
                assert metrics[kind_of_value][name] == pytest.approx(values, rel=1e-4), (kind_of_value, name)


def _tensor_parallel_norms_on_rank(rank, ranks, with_optimizer):
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.tensor import DTensor, Replicate, Shard, distribute_tensor

    model = torch.nn.Linear(6, 4)
    torch.manual_seed(0)
    whole = torch.randn(4, 6)
    if ranks > 1:
        mesh = init_device_mesh("cpu", (ranks,))
        model.weight = torch.nn.Parameter(distribute_tensor(whole, mesh, [Shard(0)]))
        model.bias = torch.nn.Parameter(distribute_tensor(torch.zeros(4), mesh, [Replicate()]))
        inputs = DTensor.from_local(DATA, mesh, [Replicate()])
    else:
        model.weight, model.bias = torch.nn.Parameter(whole), torch.nn.Parameter(torch.zeros(4))
        inputs = DATA
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    tracker = GradientTracker(model, optimizer if with_optimizer else None, every=1, detail_every=1)
    tracker.register_hooks()
    for epoch in range(2):
        optimizer.zero_grad()
        model(inputs).square().sum().backward()
        optimizer.step()
        tracker.update(epoch)
    return {name: tracker.get_metrics()[name] for name in ("gradient_norms", "weight_norms")}


@pytest.mark.parametrize("with_optimizer", [True, False])
def test_norms_of_tensor_parallel_weights_are_those_of_the_whole(with_optimizer):
    expected = _tensor_parallel_norms_on_rank(0, 1, with_optimizer)
    for metrics in run_ranks(_tensor_parallel_norms_on_rank, 2, with_optimizer):
        for kind, norms in expected.items():
            assert metrics[kind] == {name: pytest.approx(values, rel=1e-5) for name, values in norms.items()}


def _zero_norms_on_rank(rank, ranks, sharded):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # torch scripts optimizers there
        from torch.distributed.optim import ZeroRedundancyOptimizer

    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(6, 7), torch.nn.Linear(7, 3))
    if sharded:
        optimizer = ZeroRedundancyOptimizer(model.parameters(), optimizer_class=torch.optim.SGD, lr=0.1)
    else:
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    tracker = GradientTracker(model, optimizer, every=1, detail_every=1)
    tracker.register_hooks()
    train(model, optimizer, [(DATA, TARGETS)] * 3)
    tracker.update(epoch=0)
    steps = tracker.history.scalars["training_dynamics/gradient_norm"].steps.tolist()
    return steps, {name: tracker.get_metrics()[name] for name in ("gradient_norms", "weight_norms", "update_ratios")}


def test_an_optimizer_that_shares_its_states_among_ranks_is_measured_whole():
    steps, expected = _zero_norms_on_rank(0, 1, False)
    for measured_steps, metrics in run_ranks(_zero_norms_on_rank, 2, True):
        assert measured_steps == steps == [1, 2, 3]
        for kind, norms in expected.items():
            assert metrics[kind] == {name: pytest.approx(values, rel=1e-4) for name, values in norms.items()}
