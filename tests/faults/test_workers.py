"""Data-loader workers, forked and spawned, beside a session that writes: they write nothing, and nothing hangs."""

import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from tbmetrics import read_run
from tests.training import make_model, open_session, train

pytestmark = pytest.mark.slow


class Rows(Dataset):
    """Forty rows; a worker that is asked for the odd one raises."""

    def __init__(self, odd=None):
        self.odd = odd

    def __len__(self):
        return 40

    def __getitem__(self, index):
        if index == self.odd:
            raise ValueError("a broken file")
        return torch.full((6,), float(index)), index % 3


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
@pytest.mark.parametrize("start", ["fork", "forkserver", pytest.param("spawn", marks=pytest.mark.slow)])
def test_workers_write_nothing_and_every_batch_counts(tmp_path, start):
    model, optimizer = make_model()
    persistent = start == "spawn"  # each of its workers imports torch
    loader = DataLoader(
        Rows(), batch_size=8, num_workers=2, multiprocessing_context=start, persistent_workers=persistent
    )
    with open_session(tmp_path, model, optimizer, strict=True) as tb:
        for _ in tb.epochs(range(2)):
            train(model, optimizer, loader, tb)
    assert len(list(tmp_path.glob("*tfevents*"))) == 1
    history = read_run(tmp_path)
    assert history.problems == []
    assert history.scalars["loss"].steps.tolist() == list(range(1, 11))
    assert [row["num_samples"] for row in tb.resources.epoch_data] == [40, 40]


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_worker_that_fails_is_the_users_exception(tmp_path):
    model, optimizer = make_model()
    loader = DataLoader(Rows(odd=20), batch_size=8, num_workers=1, multiprocessing_context="fork")
    with pytest.raises(ValueError, match="a broken file"), open_session(tmp_path, model, optimizer) as tb:  # noqa: PT012
        for _ in tb.epochs(range(2)):
            train(model, optimizer, loader, tb)
    assert read_run(tmp_path).scalars["loss"].steps.tolist() == [1, 2]
