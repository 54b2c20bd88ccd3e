"""Figures of training dynamics, from histories small, large and odd."""

import numpy as np
import pytest

from tbmetrics.figures.dynamics_data import layer_norms, layer_update_ratios
from tbmetrics.figures.training_dynamics import figures
from tbmetrics.records import (
    ACTIVATION_COLUMNS,
    ACTIVATIONS_TAG,
    OPTIMIZER_STEP_TAG,
    PARAMETER_COLUMNS,
    PARAMETERS_TAG,
    Histogram,
    Scalar,
    Table,
)
from tbmetrics.records.history import History, TimedRecord

ALL = {
    "gradient_flow",
    "gradient_by_depth",
    "gradient_heatmap",
    "update_ratio",
    "weight_norm_change",
    "weight_distribution",
    "activations",
}


def history_of(layers, samples, epochs=True):
    random = np.random.default_rng(0)
    names = tuple(f"blocks.{i}.{kind}" for i in range(layers) for kind in ("weight", "bias"))
    history = History("r")
    for sample in range(samples):
        step = 10 * (sample + 1)
        values = np.exp(random.normal(size=(2 * layers, len(PARAMETER_COLUMNS)))).astype(np.float32)
        values[:, 2] = values[:, 2] * 1e-3 if sample % 3 == 0 else np.nan
        history.add(TimedRecord(step, 0.0, Table(PARAMETERS_TAG, "", "parameters", PARAMETER_COLUMNS, values, names)))
        shares = random.uniform(size=(layers, len(ACTIVATION_COLUMNS))).astype(np.float32)
        modules = tuple(f"blocks.{i}.act" for i in range(layers))
        history.add(
            TimedRecord(step, 0.0, Table(ACTIVATIONS_TAG, "", "activations", ACTIVATION_COLUMNS, shares, modules))
        )
        for name in names[:8]:
            limits = np.linspace(-1, 1, 21)
            counts = np.concatenate(([0.0], random.integers(0, 100, 20).astype(float)))
            history.add(TimedRecord(step, 0.0, Histogram(f"weights/{name}", limits, counts, -1, 1, 0, 1)))
        if epochs:
            history.add(TimedRecord(sample, 0.0, Scalar(OPTIMIZER_STEP_TAG, float(step))))
    return history


@pytest.mark.slow
@pytest.mark.parametrize(("layers", "samples"), [(1, 1), (3, 2), (25, 40), (120, 300)])
def test_every_figure_is_drawn_without_a_warning(layers, samples):
    drawn = dict(figures(history_of(layers, samples)))
    for figure in drawn.values():
        figure.draw_without_rendering()
    assert set(drawn) == ALL - ({"weight_norm_change"} if samples == 1 else set())


def test_an_empty_history_has_no_figures():
    assert dict(figures(History("r"))) == {}


def test_what_was_never_finite_or_zero_has_no_empty_canvas():
    history = History("r")
    for step, value in enumerate((0.0, np.inf, np.nan), start=1):
        values = np.full((2, 4), value, dtype=np.float32)
        history.add(
            TimedRecord(step, 0.0, Table(PARAMETERS_TAG, "", "parameters", PARAMETER_COLUMNS, values, ("a", "b")))
        )
    drawn = dict(figures(history))
    assert not {"gradient_flow", "gradient_by_depth", "gradient_heatmap", "update_ratio"} & drawn.keys()
    for figure in drawn.values():
        figure.draw_without_rendering()


def test_layers_join_their_parameters_by_squares():
    history = history_of(3, 4)
    table = history.tables[PARAMETERS_TAG][1]
    grid = layer_norms(history, "gradient_norm")
    assert grid.names == ("blocks.0", "blocks.1", "blocks.2")
    np.testing.assert_allclose(grid.values[1, 2], np.hypot(*table.column("gradient_norm")[4:6]), rtol=1e-6)


def test_a_layers_update_ratio_is_that_of_its_whole_weights():
    history = history_of(2, 4)
    table = history.tables[PARAMETERS_TAG][3]
    grid = layer_update_ratios(history)
    assert len(grid.values) == 2
    ratio, weight = table.column("update_ratio")[:2], table.column("weight_norm")[:2]
    np.testing.assert_allclose(grid.values[1, 0], np.hypot(*(ratio * weight)) / np.hypot(*weight), rtol=1e-5)


def test_time_is_in_epochs_where_they_are_known():
    assert layer_norms(history_of(1, 4), "gradient_norm").times.label == "epoch"
    np.testing.assert_allclose(layer_norms(history_of(1, 4), "gradient_norm").times.x, [1, 2, 3, 4])
    assert layer_norms(history_of(1, 4, epochs=False), "gradient_norm").times.label == "optimizer step"
