"""Entropy, sparsity, mass and rollout against numpy and scipy."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import entropy as scipy_entropy

from tbmetrics.training_dynamics.attention.store import entropy, mass_by_group, sparsity
from tbmetrics.training_dynamics.attention.views import patch_grid, rollout


def _weights(samples=2, heads=3, queries=4, keys=5):
    return np.random.default_rng(0).dirichlet(np.ones(keys), size=(samples, heads, queries))


def test_entropy_is_scipys():
    weights = _weights()
    expected = scipy_entropy(weights, axis=-1).mean(axis=(0, 2)) / np.log(5)
    np.testing.assert_allclose(entropy(weights), expected)


def test_extremes_and_rows_of_padding():
    weights = np.zeros((1, 2, 3, 4))
    weights[:, 0, :2] = 0.25
    weights[:, 1, :2, 1] = 1
    np.testing.assert_allclose(entropy(weights), [1, 0], atol=1e-12)  # four keys are seen, by head 0
    np.testing.assert_allclose(sparsity(weights), [1, 0.25])
    assert np.isnan(entropy(np.zeros((1, 1, 2, 3)))).all()


@given(st.integers(1, 30), st.floats(0.05, 0.99))
def test_sparsity_counts_the_fewest_keys_that_hold_the_share(keys, share):
    weights = _weights(1, 1, 3, keys)
    needed = []
    for row in weights[0, 0]:
        total, count = 0.0, 0
        for value in sorted(row, reverse=True):
            total, count = total + value, count + 1
            if total >= share * row.sum() - 1e-12:
                break
        needed.append(count / keys)
    np.testing.assert_allclose(sparsity(weights, share), np.mean(needed), atol=1 / keys + 1e-9)


def test_mass_adds_up_over_groups():
    weights = _weights()
    mass = mass_by_group(weights.mean((1, 2)), ["head", "tail", "head", "medium", "tail"])
    assert sum(mass.values()) == pytest.approx(1)
    assert mass["head"] == pytest.approx(weights[..., [0, 2]].sum(-1).mean())


def test_rollout_multiplies_layers_with_their_residuals():
    layers = [_weights(2, 3, 4, 4), _weights(2, 2, 4, 4)[::-1]]
    rolled = rollout(layers)
    a, b = ((0.5 * layer.mean(1) + 0.5 * np.eye(4)) for layer in layers)
    np.testing.assert_allclose(rolled, b @ a)
    np.testing.assert_allclose(rolled.sum(-1), 1)
    with pytest.raises(ValueError, match="square self-attention"):
        rollout([_weights()])


def test_a_causal_mask_is_no_focus():
    weights = np.tril(np.ones((6, 6))) / np.arange(1, 7)[:, None]
    entropies = entropy(np.broadcast_to(weights, (2, 3, 6, 6)))
    np.testing.assert_allclose(entropies, 5 / 6)  # all but the first query, which sees one key, look at all alike
    collapsed = np.broadcast_to(np.eye(6), (2, 3, 6, 6))
    np.testing.assert_allclose(entropy(collapsed), 0, atol=1e-12)


@pytest.mark.parametrize(
    ("tokens", "image", "given", "grid"),
    [
        (16, (8, 8), None, (0, (4, 4))),
        (197, (224, 224), None, (1, (14, 14))),
        (198, (224, 224), None, (2, (14, 14))),
        (261, (224, 224), None, (5, (16, 16))),
        (129, (64, 128), None, (1, (8, 16))),
        (3, (8, 8), None, None),
        (12, (8, 8), None, None),
        (12, (8, 8), (3, 4), (0, (3, 4))),
        (20, (8, 8), (3, 4), (8, (3, 4))),
        (10, (8, 8), (3, 4), None),
    ],
)
def test_patch_grids(tokens, image, given, grid):
    assert patch_grid(tokens, image, given) == grid
