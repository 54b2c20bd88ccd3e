"""Pictures of attention, small and large, with names and without."""

import numpy as np
import pytest

from tbmetrics.figures import attention
from tbmetrics.figures.output import pixels


def _weights(*shape):
    return np.random.default_rng(0).dirichlet(np.ones(shape[-1]), size=shape[:-1])


def _texts(figure):
    return [text.get_text() for text in figure.axes[0].texts]


def _images(figure):
    return list(figure.axes[0].images)


@pytest.mark.parametrize(("heads", "queries", "keys"), [(1, 1, 2), (4, 10, 16), (40, 256, 256)])
def test_heads_side_by_side(heads, queries, keys):
    figure = attention.heads(_weights(heads, queries, keys), "m", [f"query {i} $x$" for i in range(queries)])
    assert pixels(figure).shape[2] == 3
    shown = min(heads, attention.HEADS_SHOWN)
    assert [text for text in _texts(figure) if text.startswith("head ")] == [f"head {i}" for i in range(shown)]
    assert len(_images(figure)) == shown + 1  # and the bar


@pytest.mark.slow
@pytest.mark.parametrize("epochs", [1, 3, 50])
def test_evolution_shows_the_first_and_the_latest_epoch(epochs):
    figure = attention.evolution({e: _weights(10, 16) for e in range(epochs)}, "m")
    pixels(figure)
    titles = [text for text in _texts(figure) if text.startswith("epoch ")]
    assert titles[0] == "epoch 0"
    assert titles[-1] == f"epoch {epochs - 1}"


@pytest.mark.parametrize("shape", [(8, 8), (32, 32, 3)])
def test_an_overlay_has_a_row_an_epoch_and_a_column_an_image(shape):
    images = [np.random.default_rng(i).normal(size=shape) for i in range(3)]
    patches = [[_weights(16).reshape(4, 4) for _ in images] for _ in range(2)]
    figure = attention.overlay(images, patches, ["1 (head)", "5 (tail)", "0 (tail)"], ["epoch 0", "epoch 9"], "m")
    pixels(figure)
    assert len(_images(figure)) == 9 + 1  # and the bar
    assert [text for text in _texts(figure) if text in ("image", "epoch 0", "epoch 9")] == [
        "image",
        "epoch 0",
        "epoch 9",
    ]


@pytest.mark.parametrize("shape", [(8, 16), (16, 8)])
def test_images_and_what_lies_over_them_keep_their_proportions(shape):
    patches = [[_weights(9).reshape(3, 3)]]
    figure = attention.overlay([np.eye(*shape)], patches, ["1"], ["epoch 0"], "m")
    for image in _images(figure)[:2]:
        left, right, bottom, top = image.get_extent()
        assert (top - bottom) / (right - left) == pytest.approx(shape[0] / shape[1])


def test_patches_lie_over_the_pixels_that_they_belong_to():
    """A patch that has all of the attention is brown where it lies, and what it covers is seen through it."""
    image = np.zeros((8, 8))
    image[:, 4:] = 1.0
    looked_at = np.zeros((2, 2))
    looked_at[0, 1] = 1.0
    figure = attention.overlay([image], [[looked_at]], ["1"], ["epoch 0"], "m")
    laid = np.asarray(_images(figure)[1].get_array())
    corner = laid.shape[0] // 2 - 1
    red, _, blue = laid[corner, corner + 1]
    assert red - blue > 0.25  # upper right: looked at
    assert laid[-1, -1].mean() - laid[-1, 0].mean() == pytest.approx(0.4)  # white and black through the same colour
    assert laid[0, 0] == pytest.approx(laid[-1, 0])


def test_names_are_at_the_edges_and_numbers_where_there_are_too_many():
    names = ["a name that is too long for an edge", "dog", "left-right symmet"]
    named = attention.heads(_weights(5, 3, 4), "m", names, [f"k{i}" for i in range(4)])
    texts = _texts(named)
    assert texts.count("dog") == 2  # a row of four heads, and one of one
    assert {"a name that is t…", "left-right symmet"} <= set(texts)
    assert texts.count("k3") == 4
    numbered = _texts(attention.heads(_weights(1, 300, 300), "m", [f"q{i}" for i in range(300)]))
    assert not any(text.startswith("q") and text != "query" for text in numbered)
    assert {"0", "query", "key"} <= set(numbered)


@pytest.mark.parametrize("epochs", [2, 5])
def test_entropy_of_many_modules_over_whole_epochs(epochs):
    values = np.random.default_rng(0).uniform(size=(12, epochs, 4))
    rows = {f"blocks.{i}.attn": (list(range(epochs)), of_heads) for i, of_heads in enumerate(values)}
    figure = attention.entropy_over_epochs(rows, "Entropy")
    pixels(figure)
    ticks = figure.axes[0].get_xticks()
    np.testing.assert_array_equal(ticks, ticks.round())
    assert {0, epochs - 1} <= set(ticks)
