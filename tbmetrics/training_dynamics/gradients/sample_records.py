"""What samples become on the host: the records of each step, and the means over the samples of each epoch."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from tbmetrics.errors import NonFiniteError
from tbmetrics.records import (
    ACTIVATION_COLUMNS,
    ACTIVATIONS_TAG,
    PARAMETER_COLUMNS,
    PARAMETERS_TAG,
    Float32Array,
    FloatArray,
    Record,
    Scalar,
    Table,
    Text,
    dynamics_tag,
)
from tbmetrics.training_dynamics.gradients.activations import ForwardSample
from tbmetrics.training_dynamics.gradients.noise_scale import NoiseScale
from tbmetrics.training_dynamics.gradients.parameters import ParameterRows
from tbmetrics.training_dynamics.gradients.step_sample import (
    GRADIENT_COSINE,
    GRADIENT_NORM,
    UPDATE_RATIO,
    WEIGHT_NORM,
    StepSample,
)
from tbmetrics.training_dynamics.health.log import HealthLog
from tbmetrics.training_dynamics.health.rules import Origin, find_origin

MOST_SCALARS = 4  # parameters with a scalar of their own: the largest


class SampleRecords:
    """Turns samples into records, in the order of their steps.

    Args:
        rows: the parameters.
        modules: names of the watched activations.
        health: gets every sample.
        look_for_origin: whether to say where values stopped being finite.

    Attributes:
        means: of the table's values, by epoch.
        noise: running estimate of the gradient noise scale.
    """

    def __init__(self, rows: ParameterRows, modules: list[str], health: HealthLog, *, look_for_origin: bool) -> None:
        self._rows, self._modules, self._health = rows, modules, health
        self._look_for_origin = look_for_origin
        self.means = EpochMeans()
        self.noise = NoiseScale()
        self._last_good_step: int | None = None
        self._largest: list[str] | None = None

    def add(self, sample: StepSample, step: int) -> Iterator[Record]:
        """Add a sample that is on the host, and yield its records."""
        names = tuple(self._rows.names)
        table = sample.table(len(names))
        self.means.add(table)
        yield Table(PARAMETERS_TAG, "", "parameters", PARAMETER_COLUMNS, _as_float32(table), names)
        yield from self._scalars(sample, table)
        yield from sample.histograms()
        yield from self._activation_records(sample.forward)
        yield from self._health.add(step, table, names, _global(table[:, GRADIENT_NORM]))
        if self._look_for_origin:
            yield from self._origin_text(sample, table, step)
        if sample.detailed:
            yield from self._health.news()

    def state(self) -> dict[str, Any]:
        """Everything that later samples depend on, for `restore`; the means have a state of their own."""
        return {"noise": self.noise.state(), "last_good": self._last_good_step}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Restore what `state` returned."""
        self.noise.restore(state["noise"])
        self._last_good_step = state["last_good"]

    def refusal(
        self, step: int, norms: list[tuple[str, float]], forward: ForwardSample | None
    ) -> tuple[NonFiniteError, list[Text]] | None:
        """The error for a step whose gradients are not all finite, and the texts to write; None if they are finite."""
        bad = [name for name, value in norms if not math.isfinite(value)]
        if not bad:
            return None
        origin = self._origin(bad, len(norms), [], forward)
        error = NonFiniteError(
            f"step {step}: {len(bad)} of {len(norms)} gradients are NaN or infinite: "
            f"{origin.message if origin else ', '.join(bad[:5])}; the weights are as before this step"
        )
        return error, list(self._health.set_origin(step, origin)) if origin else []

    def _scalars(self, sample: StepSample, table: FloatArray) -> Iterator[Scalar]:
        gradients, weights, ratios = table[:, GRADIENT_NORM], table[:, WEIGHT_NORM], table[:, UPDATE_RATIO]
        yield Scalar(dynamics_tag("gradient_norm"), _global(gradients))
        if self._largest is None:
            self._largest = self._rows.largest(MOST_SCALARS)
        for name in self._largest:
            yield Scalar(dynamics_tag("gradient_norm", name), float(gradients[self._rows.names.index(name)]))
        if np.isfinite(weights).any():
            yield Scalar(dynamics_tag("weight_norm"), _global(weights))
        measured = np.isfinite(ratios)
        if measured.any():
            changed = _global(ratios[measured] * weights[measured])
            yield Scalar(dynamics_tag("update_ratio"), changed / _global(weights[measured]))
        cosines = table[:, GRADIENT_COSINE]
        cosines = cosines[np.isfinite(cosines)]
        if cosines.size:
            yield Scalar(dynamics_tag("gradient_cosine"), float(np.median(cosines)))
        if sample.passes is not None:
            passes, squares = sample.passes
            first, total = squares.get().tolist()
            self.noise.add(first, total, passes)
            yield Scalar(dynamics_tag("noise_scale_passes"), self.noise.value)

    def _activation_records(self, forward: ForwardSample | None) -> Iterator[Record]:
        if forward is None or forward.shares is None:
            return
        shares = dict(zip(forward.modules, forward.shares.get().numpy(), strict=True))
        names = tuple(self._modules)
        unmeasured = np.full(len(ACTIVATION_COLUMNS), np.nan, dtype=np.float32)
        table = np.stack([shares.get(name, unmeasured) for name in names])
        self._health.add_activations({name: float(row[1]) for name, row in zip(names, table, strict=True)})
        yield Table(ACTIVATIONS_TAG, "", "activations", ACTIVATION_COLUMNS, table, names)

    def _origin_text(self, sample: StepSample, table: FloatArray, step: int) -> Iterator[Record]:
        measured = ~np.isnan(table[:, GRADIENT_NORM])
        bad = [self._rows.names[row] for row in np.flatnonzero(np.isinf(table[:, GRADIENT_NORM]))]
        weights = table[:, WEIGHT_NORM]
        bad_weights = [self._rows.names[row] for row in np.flatnonzero(np.isinf(weights) & measured)]
        known = bad_weights if not np.isnan(weights).all() else None
        origin = self._origin(bad, int(measured.sum()), known, sample.forward)
        if origin is None:
            self._last_good_step = step
        else:
            yield from self._health.set_origin(step, origin)

    def _origin(
        self, bad: list[str], n_gradients: int, bad_weights: list[str] | None, forward: ForwardSample | None
    ) -> Origin | None:
        order, finite = ([], []) if forward is None else forward.finite_outputs()
        return find_origin(bad, n_gradients, bad_weights, order, finite, self._last_good_step)


class EpochMeans:
    """Means of a table's values over the samples of each epoch, in memory that does not grow with their number.

    Attributes:
        epochs: the epochs that had samples.
    """

    def __init__(self) -> None:
        self.epochs: list[int] = []
        self._means: list[FloatArray] = []
        self._sum: FloatArray = np.zeros((0, 0))
        self._count: FloatArray = np.zeros((0, 0))

    def add(self, table: FloatArray) -> None:
        """Add a sample of shape (rows, columns), rows at least as many as before; only finite values count."""
        finite = np.isfinite(table)
        self._sum = _grown(self._sum, table.shape) + np.where(finite, table, 0).astype(np.float64)
        self._count = _grown(self._count, table.shape) + finite

    def end(self, epoch: int) -> None:
        """Make the samples since the last call those of `epoch`; ended again, an epoch takes the later samples."""
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
        """All sums and means, for `restore`."""
        return {"epochs": list(self.epochs), "means": list(self._means), "sum": self._sum, "count": self._count}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Restore what `state` returned."""
        self.epochs, self._means = list(state["epochs"]), list(state["means"])
        self._sum, self._count = state["sum"], state["count"]

    def column(self, names: Sequence[str], column: int) -> dict[str, list[float]]:
        """{name of the row: one value per epoch}, for rows with any value."""
        series = {}
        for row, name in enumerate(names):
            values = [float(mean[row, column]) if row < len(mean) else np.nan for mean in self._means]
            if not np.isnan(values).all():
                series[name] = values
        return series


def _grown(array: FloatArray, shape: tuple[int, ...]) -> FloatArray:
    """`array` padded with zeros to `shape`."""
    if array.shape == shape:
        return array
    larger = np.zeros(shape)
    larger[: array.shape[0], : array.shape[1]] = array
    return larger


def _global(norms: FloatArray) -> float:
    """The norm over all parameters; infinite if one is."""
    known = norms[~np.isnan(norms)]
    if not known.size:
        return math.nan
    largest = float(known.max())
    if not 0 < largest < math.inf:
        return largest
    return largest * float(np.sqrt(((known / largest) ** 2).sum()))  # squares of the values themselves may overflow


def _as_float32(table: FloatArray) -> Float32Array:
    """As tables hold it; a value beyond float32 becomes its largest, since infinity stands for what is not finite."""
    most = float(np.finfo(np.float32).max)
    return np.where(np.isinf(table), table, np.clip(table, -most, most)).astype(np.float32)
