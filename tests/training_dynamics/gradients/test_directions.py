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
