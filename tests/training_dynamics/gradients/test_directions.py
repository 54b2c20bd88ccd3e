"""Cosines between successive gradients against numpy in float64, dense and sparse."""

import numpy as np
import pytest
import torch

from tbmetrics.training_dynamics.gradients.directions import SKETCH_VALUES, DirectionSketch


def _values(packets):
    return {row: value for packet in packets for row, value in packet.pairs()}


@pytest.mark.parametrize("scale", [1.0, 1e-30, 1e30])
def test_cosines_equal_numpys(scale):
    generator = torch.Generator().manual_seed(0)
    a, b = (torch.randn(20, 30, generator=generator, dtype=torch.float64) * scale for _ in range(2))
    sketch = DirectionSketch()
    assert _values(sketch.turn([3], [a])) == {}
    found = _values(sketch.turn([3], [b]))[3]
    x, y = a.numpy().ravel(), b.numpy().ravel()
    assert found == pytest.approx(x @ y / np.linalg.norm(x) / np.linalg.norm(y), abs=1e-6)


def test_gradients_of_several_types_and_sizes_are_compared_in_one_turn():
    generator = torch.Generator().manual_seed(0)
    sizes = {7: torch.float32, 5: torch.float64, 300: torch.bfloat16, 0: torch.float32}
    before, now = ([torch.randn(n, generator=generator).to(t) for n, t in sizes.items()] for _ in range(2))
    sketch = DirectionSketch()
    sketch.turn([4, 2, 9, 0], before)
    found = _values(sketch.turn([4, 2, 9, 0], now))
    for row, a, b in zip([4, 2, 9], before, now, strict=False):
        x, y = a.double().numpy(), b.double().numpy()
        assert found[row] == pytest.approx(x @ y / np.linalg.norm(x) / np.linalg.norm(y), abs=1e-6)
    assert np.isnan(found[0])  # of no values
    assert _values(DirectionSketch().turn([0], now[3:])) == {}


def test_a_sketch_does_not_follow_its_gradient():
    gradient = torch.ones(4)
    sketch = DirectionSketch()
    sketch.turn([0], [gradient])
    gradient.neg_()
    assert _values(sketch.turn([0], [gradient]))[0] == pytest.approx(-1)


def test_a_large_gradient_is_compared_on_a_bounded_sample():
    generator = torch.Generator().manual_seed(0)
    a = torch.randn(1024, 768, generator=generator)
    b = 0.6 * a + 0.8 * torch.randn(1024, 768, generator=generator)
    sketch = DirectionSketch()
    sketch.turn([0], [a])
    assert sketch._last[0].numel() <= SKETCH_VALUES
    assert sketch._last[0].untyped_storage().nbytes() <= 4 * SKETCH_VALUES
    assert _values(sketch.turn([0], [b]))[0] == pytest.approx(0.6, abs=0.06)


def test_the_cosine_with_a_zero_gradient_is_undefined():
    sketch = DirectionSketch()
    sketch.turn([0], [torch.zeros(3)])
    assert np.isnan(_values(sketch.turn([0], [torch.ones(3)]))[0])


def _sparse(rows, width, indices, generator):
    values = torch.randn(len(indices), width, generator=generator, dtype=torch.float64)
    index = torch.tensor(indices, dtype=torch.int64)[None]
    return torch.sparse_coo_tensor(index, values, (rows, width), check_invariants=True)


@pytest.mark.parametrize("scale", [1.0, 1e-60, 1e60])
def test_sparse_gradients_are_compared_by_index(scale):
    generator = torch.Generator().manual_seed(0)
    a = _sparse(50, 3, [7, 1, 1, 30], generator) * scale
    b = _sparse(50, 3, [30, 2, 7, 7, 7], generator) * scale
    sketch = DirectionSketch()
    sketch.turn([0], [a])
    x, y = (t.to_dense().numpy().ravel() / scale for t in (a, b))
    assert _values(sketch.turn([0], [b]))[0] == pytest.approx(x @ y / np.linalg.norm(x) / np.linalg.norm(y), abs=1e-6)


def test_large_sparse_gradients_are_compared_on_the_same_bounded_sample_of_rows():
    generator = torch.Generator().manual_seed(0)
    rows = torch.randperm(100_000, generator=generator)[:40_000].tolist()
    a = _sparse(100_000, 2, rows, generator)
    b = 0.6 * a.coalesce() + 0.8 * _sparse(100_000, 2, rows, generator)
    sketch = DirectionSketch()
    sketch.turn([0], [a])
    assert sketch._last[0]["values"].numel() <= SKETCH_VALUES
    restored = DirectionSketch()
    restored.restore(sketch.state())
    assert _values(restored.turn([0], [b]))[0] == pytest.approx(0.6, abs=0.06)


def test_a_gradient_that_is_sparse_now_and_was_dense_before_is_not_compared():
    generator = torch.Generator().manual_seed(0)
    sketch = DirectionSketch()
    a = _sparse(50, 3, [7, 1], generator)
    sketch.turn([0], [a.to_dense()])
    assert _values(sketch.turn([0], [a])) == {}
    assert _values(sketch.turn([0], [a.to_dense()])) == {}
    empty = _sparse(50, 3, [], generator)
    sketch.turn([0], [a])
    assert np.isnan(_values(sketch.turn([0], [empty]))[0])
