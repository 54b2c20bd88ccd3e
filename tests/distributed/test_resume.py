"""A run that is saved on some ranks and goes on on another number of them is the run of one process."""

import numpy as np
import pytest
import torch

from tbmetrics import read_run
from tests.processes import run_ranks
from tests.training import load_checkpoint, open_session, parallel_model, save_checkpoint, train

pytestmark = pytest.mark.slow

GENERATOR = torch.Generator().manual_seed(1)
DATA, TARGETS = torch.randn(32, 6, generator=GENERATOR), torch.randint(0, 3, (32,), generator=GENERATOR)


def _train_on_rank(rank, ranks, log_dir, checkpoint, first, until):
    """Epochs `first` to `until`, from the checkpoint unless `first` is 0; the first rank writes it at the end."""
    model = parallel_model(None)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    share = slice(rank, None, ranks)
    with open_session(log_dir, model, optimizer, strict=True) as tb:
        if first:
            load_checkpoint(checkpoint, model, optimizer, tb)
        parallel = torch.nn.parallel.DistributedDataParallel(model) if ranks > 1 else model
        for _ in tb.epochs(range(first, until)):
            train(parallel, optimizer, [(DATA[share], TARGETS[share])])
            with torch.no_grad():
                tb.update(parallel(DATA[share]), TARGETS[share], indices=torch.arange(32)[share])
            tb.end_epoch()
        if rank == 0:
            save_checkpoint(checkpoint, model, optimizer, tb)
    return tb.global_step, {tag: (s.steps.tolist(), s.values.tolist()) for tag, s in tb.history.scalars.items()}


@pytest.mark.parametrize(("before", "after"), [(2, 4), (4, 1), (1, 2)])
def test_a_run_goes_on_on_another_number_of_ranks(tmp_path, before, after):
    alone_steps, alone = _train_on_rank(0, 1, str(tmp_path / "alone"), tmp_path / "alone.pt", 0, 4)
    place = (str(tmp_path / "resumed"), str(tmp_path / "resumed.pt"))
    run_ranks(_train_on_rank, before, *place, 0, 2)
    for steps, resumed in run_ranks(_train_on_rank, after, *place, 2, 4):
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
