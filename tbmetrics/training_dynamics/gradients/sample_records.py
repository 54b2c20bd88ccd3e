"""What a sampled step becomes once it is on the host: tables, scalars, histograms, and what there is to say of it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from tbmetrics.errors import NonFiniteError
from tbmetrics.records import (
    ACTIVATION_COLUMNS,
    ACTIVATIONS_TAG,
    PARAMETER_COLUMNS,
    PARAMETERS_TAG,
    Float32Array,
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
from tbmetrics.training_dynamics.health.nonfinite import Origin, find_origin

MOST_SCALARS = 12  # parameters with a scalar of their own: the largest


class SampleRecords:
    """Turns samples into records, in the order of their steps.

    Args:
        rows: the parameters.
        modules: names of the watched activations.
        health: told of every sample.
        look_for_origin: whether to say where values stopped being finite.

    Attributes:
        noise: running estimate of the gradient noise scale.
    """

    def __init__(self, rows: ParameterRows, modules: list[str], health: HealthLog, *, look_for_origin: bool) -> None:
        self._rows, self._modules, self._health = rows, modules, health
        self._look = look_for_origin
        self.noise = NoiseScale()
        self._last_good: int | None = None
        self._largest: list[str] | None = None

    def of(self, sample: StepSample, table: Float32Array, step: int) -> Iterator[Record]:
        """The records of one sample; `table` is `sample.table(…)`."""
        names = tuple(self._rows.names)
        yield Table(PARAMETERS_TAG, "", "parameters", PARAMETER_COLUMNS, table, names)
        yield from self._scalars(sample, table)
        yield from sample.histograms()
        yield from self._activation_records(sample.forward)
        yield from self._health.add(step, table, names, _global(table[:, GRADIENT_NORM]))
        if self._look:
            yield from self._origin_text(sample, table, step)
        if sample.detailed:
            yield from self._health.news()

    def state(self) -> dict[str, Any]:
        """Everything that later samples depend on, for `restore`."""
        return {"noise": self.noise.state(), "last_good": self._last_good}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Takes what `state` gave."""
        self.noise.restore(state["noise"])
        self._last_good = state["last_good"]

    def refusal(
        self, step: int, norms: list[tuple[str, float]], forward: ForwardSample | None
    ) -> tuple[NonFiniteError, list[Text]] | None:
        """The error for a step whose gradients are not all finite, and what to write of it; None where they are."""
        bad = [name for name, value in norms if not math.isfinite(value)]
        if not bad:
            return None
        origin = self._origin(bad, len(norms), [], forward)
        error = NonFiniteError(
            f"step {step}: {len(bad)} of {len(norms)} gradients are NaN or infinite: "
            f"{origin.message if origin else ', '.join(bad[:5])}; the weights are as before this step"
        )
        return error, list(self._health.set_origin(step, origin)) if origin else []

    def _scalars(self, sample: StepSample, table: Float32Array) -> Iterator[Scalar]:
        gradients, weights, ratios = table[:, GRADIENT_NORM], table[:, WEIGHT_NORM], table[:, UPDATE_RATIO]
        yield Scalar(dynamics_tag("gradient_norm"), _global(gradients))
        if self._largest is None:
            self._largest = self._rows.largest(MOST_SCALARS)
        for name in self._largest:
            yield Scalar(dynamics_tag("gradient_norm", name), float(gradients[self._rows.names.index(name)]))
        if np.isfinite(weights).any():
            yield Scalar(dynamics_tag("weight_norm"), _global(weights))
        both = np.isfinite(ratios)
        if both.any():
            changed = _global(ratios[both] * weights[both])
            yield Scalar(dynamics_tag("update_ratio"), changed / _global(weights[both]))
        cosines = table[:, GRADIENT_COSINE]
        known = np.isfinite(cosines)
        if known.any():
            yield Scalar(dynamics_tag("gradient_cosine"), float(np.median(cosines[known])))
        if sample.passes is not None:
            passes, squares = sample.passes
            first, total = squares.get().tolist()
            self.noise.add(first, total, passes)
            yield Scalar(dynamics_tag("noise_scale_passes"), self.noise.value)

    def _activation_records(self, forward: ForwardSample | None) -> Iterator[Record]:
        if forward is None or forward.shares is None:
            return
        found = dict(zip(forward.modules, forward.shares.get().numpy(), strict=True))
        names = tuple(self._modules)
        unseen = np.full(len(ACTIVATION_COLUMNS), np.nan, dtype=np.float32)
        table = np.stack([found.get(name, unseen) for name in names])
        self._health.add_activations({name: float(row[1]) for name, row in zip(names, table, strict=True)})
        yield Table(ACTIVATIONS_TAG, "", "activations", ACTIVATION_COLUMNS, table, names)

    def _origin_text(self, sample: StepSample, table: Float32Array, step: int) -> Iterator[Record]:
        measured = ~np.isnan(table[:, GRADIENT_NORM])
        bad = [self._rows.names[row] for row in np.flatnonzero(np.isinf(table[:, GRADIENT_NORM]))]
        bad_weights = [self._rows.names[row] for row in np.flatnonzero(np.isinf(table[:, WEIGHT_NORM]))]
        origin = self._origin(bad, int(measured.sum()), bad_weights, sample.forward)
        if origin is None:
            self._last_good = step
        else:
            yield from self._health.set_origin(step, origin)

    def _origin(
        self, bad: list[str], n_gradients: int, bad_weights: list[str], forward: ForwardSample | None
    ) -> Origin | None:
        order, finite = ([], []) if forward is None else forward.checked()
        return find_origin(bad, n_gradients, bad_weights, order, finite, self._last_good)


def _global(norms: Float32Array) -> float:
    """The norm over all parameters; infinite where one is."""
    known = norms[~np.isnan(norms)].astype(np.float64)
    return float(np.sqrt((known**2).sum())) if known.size else math.nan
