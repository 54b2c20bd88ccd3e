"""Nearest rows and rank correlation against numpy and scipy-like loops."""

import numpy as np
import pytest
import torch
from sklearn.metrics.pairwise import cosine_similarity

from tbmetrics.class_performance.diagnostics import numbers
from tbmetrics.class_performance.diagnostics.numbers import (
    nearest_by_cosine,
    neighbours,
)


@pytest.mark.parametrize("block_bytes", [1, 4 * 57 * 7, 32 * 2**20])
def test_nearest_rows_equal_the_whole_matrix(monkeypatch, block_bytes):
    monkeypatch.setattr(numbers, "BLOCK_BYTES", block_bytes)
    rows = torch.randn(57, 9, generator=torch.Generator().manual_seed(0))
    whole = cosine_similarity(rows.double().numpy())
    np.fill_diagonal(whole, -np.inf)
    nearest = nearest_by_cosine(rows)
    np.testing.assert_allclose(nearest.value, whole.max(1), rtol=1e-5)
    np.testing.assert_array_equal(nearest.row, whole.argmax(1))

    noise = torch.rand(57, generator=torch.Generator().manual_seed(1))
    usable, chosen = torch.arange(57) % 5 > 0, torch.arange(57) % 3 == 0
    both = neighbours(rows, noise, usable, chosen)
    distances = ((rows[:, None] - rows[None]).double() ** 2).sum(-1).numpy() - (noise[:, None] + noise).double().numpy()
    np.fill_diagonal(distances, np.inf)
    whole[:, ~usable.numpy()] = -np.inf
    for nearest, allowed in ((both.any, usable), (both.chosen, usable & chosen)):
        some = np.where(allowed.numpy(), distances, np.inf)
        np.testing.assert_allclose(nearest.value[usable], some.min(1)[usable], rtol=1e-4, atol=1e-4)
        np.testing.assert_array_equal(nearest.row[usable], some.argmin(1)[usable])
        assert nearest.value[~usable].isnan().all()
    np.testing.assert_allclose(both.cosine.value[usable], whole.max(1)[usable], rtol=1e-4)
    np.testing.assert_array_equal(both.cosine.row[usable], whole.argmax(1)[usable])


def test_rows_without_a_direction_have_no_neighbour_and_are_none():
    rows = torch.tensor([[1.0, 0.0], [0.0, 0.0], [1.0, 1.0], [float("nan"), 1.0]])
    nearest = nearest_by_cosine(rows)
    assert nearest.value.isnan().tolist() == [False, True, False, True]
    assert nearest.row[[0, 2]].tolist() == [2, 0]
    assert nearest_by_cosine(torch.ones(1, 3)).value.isnan().all()
