"""Norms and changes against numpy in float64, for every kind of tensor."""

import numpy as np
import pytest
import torch

from tbmetrics.training_dynamics.gradients import norms
from tbmetrics.training_dynamics.gradients.norms import WeightsBefore, norm_packets


def _values(packets):
    return {row: value for packet in packets for row, value in packet.pairs()}


def _measured(tensors, divisor=None):
    values = _values(norm_packets(list(range(len(tensors))), tensors, divisor))
    return [values[row] for row in range(len(tensors))]


def _expected(tensor):
    dense = tensor.detach().to_dense() if tensor.is_sparse else tensor.detach()
    wide = dense.to(torch.complex128 if dense.is_complex() else torch.float64).numpy()
    return np.linalg.norm(wide.ravel())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.complex64])
def test_norms_equal_numpys(dtype):
    generator = torch.Generator().manual_seed(0)
    shapes = [(3, 4), (1,), (), (5, 2, 2), (0,)]
    tensors = [torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype) for shape in shapes]
    np.testing.assert_allclose(_measured(tensors), [_expected(t) for t in tensors], rtol=1e-5)


def test_half_precision_does_not_overflow():
    assert _measured([torch.full((10_000,), 60_000.0, dtype=torch.float16)]) == [pytest.approx(6e6, rel=1e-3)]


def test_kinds_may_be_mixed_and_rows_keep_their_values():
    tensors = [torch.ones(4), torch.ones(9, dtype=torch.float64), torch.ones(16, dtype=torch.float16), torch.ones(25)]
    assert _measured(tensors) == [2, 3, 4, 5]


def test_a_sparse_gradient_has_the_norm_of_the_dense_one():
    embedding = torch.nn.Embedding(10, 3, sparse=True)
    embedding(torch.tensor([1, 1, 7])).sum().backward()
    gradient = embedding.weight.grad
    assert gradient.is_sparse
    assert _measured([gradient]) == [pytest.approx(_expected(gradient))]


def test_a_loss_scale_is_divided_out():
    assert _measured([torch.full((4,), 8.0)], torch.tensor(16.0)) == [1.0]


def test_nan_and_infinity_come_through():
    nan, infinite = _measured([torch.tensor([1.0, float("nan")]), torch.tensor([float("inf")])])
    assert np.isnan(nan)
    assert np.isinf(infinite)


def test_the_change_is_what_happened_to_the_weights():
    weights = [torch.nn.Parameter(torch.zeros(3, 4)), torch.nn.Parameter(torch.ones(5))]
    before = WeightsBefore([7, 2], weights)
    with torch.no_grad():
        weights[0] += 2
        weights[1][0] = 4
    assert _values(before.changed()) == {7: pytest.approx(np.sqrt(48)), 2: 3}


def test_copies_stay_within_their_budget_smallest_first(monkeypatch):
    monkeypatch.setattr(norms, "MOST_COPY_BYTES", 4 * 100)
    weights = [torch.zeros(90), torch.zeros(10), torch.zeros(80)]
    before = WeightsBefore([0, 1, 2], weights)
    assert set(_values(before.changed())) == {1, 2}
