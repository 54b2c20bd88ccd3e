"""Data-parallel and sharded training: norms are those of the whole gradient, the same on every rank."""

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
