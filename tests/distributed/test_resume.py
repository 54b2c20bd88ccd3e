"""A run that is saved on some ranks and goes on on another number of them is the run of one process."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from tbmetrics import ClassGroups, GradientTracker, TBMetrics, read_run
from tests.distributed.jobs import run

GROUPS = ClassGroups.from_counts({"x": [900, 50, 5]})
GENERATOR = torch.Generator().manual_seed(1)
DATA, TARGETS = torch.randn(32, 6, generator=GENERATOR), torch.randint(0, 3, (32,), generator=GENERATOR)


def _train(rank, ranks, log_dir, checkpoint, first, until):
    """Epochs `first` to `until`, from the checkpoint where `first` is not 0; the first rank writes it at the end."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 7), nn.ReLU(), nn.Linear(7, 3))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    own = slice(rank, None, ranks)
    with TBMetrics(
        log_dir, model=model, optimizer=optimizer, classes=GROUPS, strict=True, overhead_budget=None,
        gradients=GradientTracker(model, optimizer, every=1, detail_every=2),
    ) as tb:  # fmt: skip
        if first:
            saved = torch.load(checkpoint, weights_only=True)
            model.load_state_dict(saved["model"])
            optimizer.load_state_dict(saved["optimizer"])
            tb.load_state_dict(saved["tbmetrics"])
        parallel = nn.parallel.DistributedDataParallel(model) if ranks > 1 else model
        for _ in tb.epochs(range(first, until)):
            optimizer.zero_grad()
            F.cross_entropy(parallel(DATA[own]), TARGETS[own]).backward()
            optimizer.step()
            with torch.no_grad():
                tb.update(parallel(DATA[own]), TARGETS[own], indices=torch.arange(32)[own])
            tb.end_epoch()
        if rank == 0:
            parts = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "tbmetrics": tb.state_dict()}
            torch.save(parts, checkpoint)
    return tb.global_step, {tag: (s.steps.tolist(), s.values.tolist()) for tag, s in tb.history.scalars.items()}


@pytest.mark.parametrize(("before", "after"), [(2, 4), (4, 1), (1, 2)])
def test_a_run_goes_on_on_another_number_of_ranks(tmp_path, before, after):
    alone_steps, alone = _train(0, 1, str(tmp_path / "alone"), tmp_path / "alone.pt", 0, 4)
    place = (str(tmp_path / "resumed"), str(tmp_path / "resumed.pt"))
    run(_train, before, *place, 0, 2)
    for steps, resumed in run(_train, after, *place, 2, 4):
        assert steps == alone_steps
        wanted = {tag: of for tag, of in alone.items() if tag.startswith(("class_performance/", "training_dynamics/"))}
        assert len(wanted) > 20
        for tag, (at, values) in wanted.items():
            resampled = "_lower/" in tag or "_upper/" in tag  # in the order of the ranks
            if (tag.startswith("class_performance/") and not resampled) or "gradient_norm" in tag:
                assert resumed[tag][0] == at, tag
                np.testing.assert_allclose(resumed[tag][1], values, rtol=1e-3, atol=2e-5, err_msg=tag)
    ours, theirs = (read_run(tmp_path / name).tables for name in ("resumed", "alone"))
    assert ours.keys() == theirs.keys()
    for tag, tables in theirs.items():
        assert ours[tag].steps.tolist() == tables.steps.tolist()
