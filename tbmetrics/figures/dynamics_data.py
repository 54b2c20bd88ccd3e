"""The series behind the figures of training dynamics: norms by layer over time."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tbmetrics.records import ACTIVATIONS_TAG, OPTIMIZER_STEP_TAG, PARAMETERS_TAG, FloatArray, Table
from tbmetrics.records.history import History


@dataclass(frozen=True)
class Times:
    """When samples were taken: in epochs if the history has them, otherwise in optimizer steps.

    Attributes:
        x: float64 of shape (samples,).
        label: of the axis.
    """

    x: FloatArray
    label: str


@dataclass(frozen=True)
class Grid:
    """One quantity of layers over time.

    Attributes:
        times: of the samples.
        names: of the layers (modules), first to last.
        values: float64 of shape (samples, layers), NaN if not measured.
    """

    times: Times
    names: tuple[str, ...]
    values: FloatArray


def times_of(history: History, steps: FloatArray) -> Times:
    """Optimizer steps as epochs, interpolated between the ends of epochs in the history."""
    ends = history.scalars.get(OPTIMIZER_STEP_TAG)
    if ends is None or not len(ends) or (ends.values <= 0).any():
        return Times(steps.astype(np.float64), "optimizer step")
    epochs = np.concatenate(([ends.steps[0]], ends.steps + 1)).astype(np.float64)
    steps_at_ends = np.concatenate(([0.0], ends.values))
    return Times(np.interp(steps, steps_at_ends, epochs), "epoch")


def layer_norms(history: History, column: str) -> Grid | None:
    """Norms by module: the root of the sum of squares over its direct parameters. None if nothing was measured."""
    by_parameter = _stacked(history, column)
    return None if by_parameter is None else _by_layer(by_parameter)


def layer_update_ratios(history: History) -> Grid | None:
    """Norm of a step's change ÷ norm of the weights, by module; samples without it are left out."""
    ratios, weights = _stacked(history, "update_ratio"), _stacked(history, "weight_norm")
    if ratios is None or weights is None:
        return None
    both = np.isfinite(ratios.values).any(axis=1) & np.isfinite(weights.values).any(axis=1)
    if not both.any():
        return None
    times = Times(ratios.times.x[both], ratios.times.label)
    weight = np.where(np.isfinite(ratios.values[both]), weights.values[both], np.nan)
    changed = _by_layer(Grid(times, ratios.names, ratios.values[both] * weight))
    with np.errstate(divide="ignore", invalid="ignore"):
        return Grid(times, changed.names, changed.values / _by_layer(Grid(times, ratios.names, weight)).values)


def activations(history: History) -> Table | None:
    """The last table of activations."""
    series = history.tables.get(ACTIVATIONS_TAG)
    return series[-1] if series is not None and len(series) else None


def _owner(parameter: str) -> str:
    return parameter.rpartition(".")[0] or parameter


def _by_layer(grid: Grid) -> Grid:
    layers = list(dict.fromkeys(_owner(name) for name in grid.names))
    layer_of_parameter = np.array([layers.index(_owner(name)) for name in grid.names])
    is_finite = np.isfinite(grid.values)
    squares, counts = np.zeros((len(layers), len(is_finite))), np.zeros((len(layers), len(is_finite)))
    np.add.at(squares, layer_of_parameter, np.where(is_finite, grid.values, 0.0).T ** 2)
    np.add.at(counts, layer_of_parameter, is_finite.T)
    norms = np.where(counts > 0, np.sqrt(squares), np.nan).T
    measured = np.isfinite(norms).any(axis=1)
    return Grid(Times(grid.times.x[measured], grid.times.label), tuple(layers), norms[measured])


def _stacked(history: History, column: str) -> Grid | None:
    """One column of all samples, as samples × parameters; None if nothing was measured."""
    series = history.tables.get(PARAMETERS_TAG)
    if series is None or not len(series):
        return None
    tables = list(series)
    names = max((table.rows for table in tables), key=len)
    names = (*names, *(f"parameter {i}" for i in range(len(names), max(len(table.values) for table in tables))))
    values = np.full((len(tables), len(names)), np.nan)
    for i, table in enumerate(tables):
        values[i, : len(table.values)] = table.column(column)
    if not np.isfinite(values).any():
        return None
    return Grid(times_of(history, series.steps.astype(np.float64)), names, values)
