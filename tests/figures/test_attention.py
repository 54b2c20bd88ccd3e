"""Pictures of attention, small and large, with names and without."""

import warnings

import numpy as np
import pytest

from tbmetrics.figures import attention


def _weights(*shape):
    return np.random.default_rng(0).dirichlet(np.ones(shape[-1]), size=shape[:-1])


@pytest.fixture(autouse=True)
def _strict():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


@pytest.mark.parametrize(("heads", "queries", "keys"), [(1, 1, 2), (4, 10, 16), (40, 256, 256)])
def test_heads_side_by_side(heads, queries, keys):
    figure = attention.heads(_weights(heads, queries, keys), "m", [f"query {i} $x$" for i in range(queries)])
    assert attention.pixels(figure).shape[2] == 3
    assert sum(bool(ax.get_title()) for ax in figure.axes) == min(heads, attention.HEADS_SHOWN)


@pytest.mark.parametrize("epochs", [1, 3, 50])
def test_evolution_shows_the_first_and_the_latest_epoch(epochs):
    figure = attention.evolution({e: _weights(10, 16) for e in range(epochs)}, "m")
    attention.pixels(figure)
    titles = [ax.get_title() for ax in figure.axes if ax.get_title()]
    assert titles[0] == "epoch 0"
    assert titles[-1] == f"epoch {epochs - 1}"


@pytest.mark.parametrize("shape", [(8, 8), (32, 32, 3)])
def test_an_overlay_has_a_row_an_epoch_and_a_column_an_image(shape):
    images = [np.random.default_rng(i).normal(size=shape) for i in range(3)]
    patches = [[_weights(16).reshape(4, 4) for _ in images] for _ in range(2)]
    figure = attention.overlay(images, patches, ["1 (head)", "5 (tail)", "0 (tail)"], ["epoch 0", "epoch 9"], "m")
    attention.pixels(figure)
    assert sum(len(ax.images) > 0 for ax in figure.axes[:9]) == 9


def test_entropy_of_many_modules():
    rows = {f"blocks.{i}.attn": (list(range(5)), np.random.default_rng(i).uniform(size=(5, 4))) for i in range(12)}
    attention.pixels(attention.entropy_over_epochs(rows, "Entropy"))
