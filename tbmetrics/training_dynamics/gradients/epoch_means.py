"""Means of a table's values over the samples of each epoch, in memory that does not grow with their number."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tbmetrics.records import Float32Array, FloatArray


class EpochMeans:
    """Adds up samples; `end` makes them the values of an epoch.

    Attributes:
        epochs: those that had samples.
    """

    def __init__(self) -> None:
        self.epochs: list[int] = []
        self._means: list[FloatArray] = []
        self._sum: FloatArray = np.zeros((0, 0))
        self._count: FloatArray = np.zeros((0, 0))

    def add(self, table: Float32Array) -> None:
        """Takes one sample of shape (rows, columns), rows at least as many as before; only what is finite counts."""
        finite = np.isfinite(table)
        self._sum = _grown(self._sum, table.shape) + np.where(finite, table, 0).astype(np.float64)
        self._count = _grown(self._count, table.shape) + finite

    def end(self, epoch: int) -> None:
        """The samples since the last call are those of `epoch`; where it was ended before, they replace its values."""
        if not self._count.size:
            return
        mean = np.divide(self._sum, self._count, out=np.full(self._sum.shape, np.nan), where=self._count > 0)
        if self.epochs and self.epochs[-1] == epoch:
            self._means[-1] = mean
        else:
            self.epochs.append(epoch)
            self._means.append(mean)
        self._sum = self._count = np.zeros((0, 0))

    def state(self) -> dict[str, Any]:
        """Everything held, for `restore`."""
        return {"epochs": list(self.epochs), "means": list(self._means), "sum": self._sum, "count": self._count}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Takes what `state` gave."""
        self.epochs, self._means = list(state["epochs"]), list(state["means"])
        self._sum, self._count = state["sum"], state["count"]

    def column(self, names: Sequence[str], column: int) -> dict[str, list[float]]:
        """{row's name: one value an epoch} of the rows that have any."""
        found = {}
        for row, name in enumerate(names):
            values = [float(mean[row, column]) if row < len(mean) else np.nan for mean in self._means]
            if not np.isnan(values).all():
                found[name] = values
        return found


def _grown(array: FloatArray, shape: tuple[int, ...]) -> FloatArray:
    """`array` with zeros added up to `shape`."""
    if array.shape == shape:
        return array
    larger = np.zeros(shape)
    larger[: array.shape[0], : array.shape[1]] = array
    return larger
