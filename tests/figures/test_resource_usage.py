"""Figures of resource usage, from histories small, large and odd."""

import warnings

import numpy as np
import pytest

from tbmetrics.figures.resource_history import COMPONENTS_SHOWN, read_components
from tbmetrics.figures.resource_usage import component_images, figures
from tbmetrics.history import History, Stamped
from tbmetrics.records import Scalar, tag_part


def history_of(epochs, components, device=True):
    random = np.random.default_rng(0)
    history = History("r")

    def put(epoch, name, value):
        history.add(Stamped(epoch, 0.0, Scalar(f"resource_usage/{name}", float(value))))

    names = ["data_loading", "forward_pass", "backward_pass", "optimizer step/αβγ $x$"]
    names = (names + [f"part {i}" for i in range(components)])[:components]
    for epoch in range(epochs):
        for i, name in enumerate([*names, "other"]):
            put(epoch, f"component_seconds/{tag_part(name)}", random.uniform(1, 2) / (i + 1))
        put(epoch, "throughput_samples_per_second", random.uniform(900, 1000))
        put(epoch, "memory/host_rss_bytes", 3e9 + 1e6 * epoch)
        put(epoch, "largest_batch_size", 2 ** (3 + epoch % 4))
        if device:
            put(epoch, "memory/allocated_bytes", 1e9)
            put(epoch, "memory/peak_bytes", 1e9 + 1e8 * 2 ** (epoch % 4))
        put(epoch, "typical_step/seconds", 0.02)
        for i, name in enumerate(names[:6]):
            put(epoch, f"typical_step/{i:02d}/{tag_part(name)}/began_seconds", 0.003 * i)
            put(epoch, f"typical_step/{i:02d}/{tag_part(name)}/ended_seconds", 0.003 * i + 0.0025)
    for name, value in (("fixed_bytes", 9e8), ("bytes_per_sample", 1.2e7), ("largest_batch", 500)):
        put(epochs, f"batch_memory/{name}", value)
    return history


@pytest.mark.parametrize(("epochs", "components"), [(1, 1), (2, 3), (30, 12), (300, 5)])
@pytest.mark.parametrize("device", [True, False])
def test_every_figure_is_drawn_without_a_warning(epochs, components, device):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        drawn = dict(figures(history_of(epochs, components, device)))
        for figure in drawn.values():
            figure.draw_without_rendering()
    assert {"component_times", "component_shares", "throughput", "memory", "typical_step"} <= set(drawn)


def test_an_empty_history_has_no_figures():
    assert dict(figures(History("r"))) == {}


def test_small_components_join_the_rest_and_nothing_is_lost():
    history = history_of(4, 12)
    found = read_components(history)
    assert len(found.names) == COMPONENTS_SHOWN + 1
    whole = sum(s.values for t, s in history.scalars.items() if t.startswith("resource_usage/component_seconds/"))
    np.testing.assert_allclose(found.seconds.sum(axis=0), whole)


def test_images_for_tensorboard_are_rgb():
    for _, pixels in component_images(history_of(3, 3), 2):
        assert pixels.dtype == np.uint8
        assert pixels.shape[2] == 3
        assert pixels.std() > 5


def test_an_epoch_that_is_not_there_is_named():
    with pytest.raises(KeyError, match="nothing was recorded at epoch 9; there are 0 to 1"):
        dict(figures(history_of(2, 2), step=9))
