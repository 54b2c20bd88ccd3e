"""Problems of training, as pure functions: rules on the norms of the last samples, and where NaN or infinity began.

A rule takes `norms`, float of shape (samples, parameters), oldest first, NaN if not measured, and the parameters'
names. It returns a finding with the worst parameter first, or None. Medians over the samples decide, so that a single
odd step does not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating[Any]]

VANISHING_THRESHOLD = 1e-3
EXPLODING_THRESHOLD = 1e3
DEPTH_RATIO = 1e3  # between the first and the last quarter of the layers
FROZEN_RATIO = 1e-7  # update / weight; below it float32 weights do not move
SPIKE_DEVIATIONS = 10.0  # robust standard deviations above the running median
SPIKE_FACTOR = 5.0
SPIKE_SAMPLES = 10  # before a spike can be recognised
DEAD_SHARE = 0.95  # of a module's units


@dataclass(frozen=True, slots=True)
class Finding:
    """One kind of problem.

    Attributes:
        kind: "vanishing_gradients", "exploding_gradients", … a key of `detect_gradient_issues()`.
        layers: (name, value) of the parameters or modules concerned, worst first.
        message: description and usual meaning.
        sure: whether it is a problem at any scale of the loss; only then it is logged to the console.
    """

    kind: str
    layers: tuple[tuple[str, float], ...]
    message: str
    sure: bool = True


def vanishing(norms: Array, names: Sequence[str], threshold: float = VANISHING_THRESHOLD) -> Finding | None:
    """Parameters whose median gradient norm is below `threshold`, including those that are always zero.

    Small parameters of healthy models get there too, so it is sure only if gradients shrink with depth as well.
    """
    medians = _medians(norms)
    meaning = f"median gradient norm below {threshold:g}: these parameters hardly learn"
    finding = _finding("vanishing_gradients", names, medians, _smallest_first(medians < threshold, medians), meaning)
    return None if finding is None else replace(finding, sure=by_depth(norms, names) is not None)


def exploding(norms: Array, names: Sequence[str], threshold: float = EXPLODING_THRESHOLD) -> Finding | None:
    """Parameters whose median gradient norm is above `threshold`."""
    medians = _medians(norms)
    meaning = f"median gradient norm above {threshold:g}: lower the learning rate, clip, or look at the initialisation"
    return _finding("exploding_gradients", names, medians, _smallest_first(medians > threshold, -medians), meaning)


def by_depth(norms: Array, names: Sequence[str], ratio: float = DEPTH_RATIO) -> Finding | None:
    """Gradients that shrink or grow by more than `ratio` from the last quarter of the parameters to the first.

    Relative, so it holds for any scale of the loss; needs 8 parameters with a gradient. Rows are taken in the order of
    `named_parameters`, which is that of depth in most models.
    """
    medians = _medians(norms)
    known = np.flatnonzero(medians > 0)
    if known.size < 8:
        return None
    quarter = known.size // 4
    first, last = known[:quarter], known[-quarter:]
    early, late = float(np.median(medians[first])), float(np.median(medians[last]))
    if max(early / late, late / early) < ratio:
        return None
    direction = "shrink" if early < late else "grow"
    meaning = f"gradients {direction} from {late:.3g} in the last layers to {early:.3g} in the first"
    hint = "; normalisation, residual connections or another initialisation help"
    return _finding("gradients_by_depth", names, medians, first, meaning + hint)


def dead(norms: Array, names: Sequence[str]) -> Finding | None:
    """Parameters whose gradient was exactly zero in every sample (at least two)."""
    measured = np.isfinite(norms)
    columns = np.flatnonzero((measured.sum(axis=0) >= 2) & (np.where(measured, norms, 0) == 0).all(axis=0))
    meaning = "gradient exactly zero in every sample: dead units, a detached branch, or an underflow of half precision"
    return _finding("dead_layers", names, np.zeros(norms.shape[1]), columns, meaning)


def frozen(update_ratios: Array, names: Sequence[str], ratio: float = FROZEN_RATIO) -> Finding | None:
    """Parameters that steps hardly change: median update-to-weight ratio below `ratio`."""
    medians = _medians(update_ratios)
    meaning = f"the step changes less than {ratio:g} of the weights: learning rate too small, or frozen on purpose"
    return _finding("frozen_layers", names, medians, _smallest_first(medians < ratio, medians), meaning)


def dead_units(dead_shares: Array, names: Sequence[str], share: float = DEAD_SHARE) -> Finding | None:
    """Modules whose units are almost all zero for whole batches; `dead_shares` of shape (samples, modules)."""
    medians = _medians(dead_shares)
    meaning = f"at least {share:.0%} of the units put out zero for the whole batch"
    return _finding("dead_units", names, medians, _smallest_first(medians >= share, -medians), meaning)


def is_spike(value: float, before: Sequence[float]) -> bool:
    """Whether a norm stands out from the norms before it: far above their median on their robust scale.

    The scale is the median absolute deviation × 1.4826 (the standard deviation of a normal distribution).
    """
    known = np.asarray([v for v in before if np.isfinite(v)])
    if known.size < SPIKE_SAMPLES or not np.isfinite(value):
        return False
    median = float(np.median(known))
    scale = 1.4826 * float(np.median(np.abs(known - median)))
    return value > median + SPIKE_DEVIATIONS * scale and value > SPIKE_FACTOR * median


def _medians(values: Array) -> Array:
    """Median of the finite values of each column; NaN if there are none."""
    finite = np.isfinite(values)
    ordered = np.sort(np.where(finite, values, np.nan).astype(np.float64), axis=0)  # NaN comes last
    number, column = finite.sum(axis=0), np.arange(values.shape[1])
    middle = ordered[np.maximum(number - 1, 0) // 2, column], ordered[np.minimum(number // 2, len(values) - 1), column]
    return np.where(number > 0, (middle[0] + middle[1]) / 2, np.nan)


def _smallest_first(chosen: NDArray[np.bool_], values: Array) -> NDArray[np.intp]:
    """The chosen columns, in ascending order of their values."""
    columns = np.flatnonzero(chosen)
    return columns[np.argsort(values[columns], kind="stable")]


def _finding(kind: str, names: Sequence[str], values: Array, columns: NDArray[np.intp], meaning: str) -> Finding | None:
    if not columns.size:
        return None
    layers = tuple((names[i], float(values[i])) for i in columns)
    shown = ", ".join(f"{name} ({value:.3g})" for name, value in layers[:3])
    more = f" and {len(layers) - 3} more" if len(layers) > 3 else ""
    return Finding(kind, layers, f"{shown}{more}: {meaning}")


@dataclass(frozen=True, slots=True)
class Origin:
    """Where values stopped being finite.

    Attributes:
        kind: "input", "weights", "output" (of a module, in the forward pass), "loss" (what follows the model) or
            "gradient" (in the backward pass).
        name: of the module or parameter, or "".
        message: description.
    """

    kind: str
    name: str
    message: str


_EXACTLY = "GradientTracker(model, optimizer, on_nonfinite='raise') stops at the very step and names it"


def find_origin(
    bad_gradients: Sequence[str],
    n_gradients: int,
    bad_weights: Sequence[str] | None,
    order: Sequence[str],
    finite: Sequence[bool],
    last_good_step: int | None,
) -> Origin | None:
    """The first place where values were not finite, or None if gradients, weights and the last output were finite.

    What a module puts out on the way does no harm if it reaches neither: −∞ in a mask, or NaN that is replaced.

    Args:
        bad_gradients: parameters whose gradient is not finite.
        n_gradients: number of gradients.
        bad_weights: parameters that were not finite before the step; None if weights were not looked at.
        order: modules in the order of their outputs, "" is the model's input; empty if not watched.
        finite: whether each of these outputs was free of NaN and +∞.
        last_good_step: the last sampled step at which everything was finite.
    """
    if not bad_gradients and not bad_weights and all(finite[-1:]):
        return None
    first = next((name for name, good in zip(order, finite, strict=True) if not good), None)
    if first == "":
        return Origin("input", "", "the input of the model holds NaN or infinity already: look at the data")
    if bad_weights:
        return Origin("weights", bad_weights[0], _weights_message(bad_weights, last_good_step))
    earlier = (
        "" if bad_weights is not None else f", unless weights, which are not tracked, were spoilt before; {_EXACTLY}"
    )
    if first is not None:
        return Origin("output", first, f"the output of module {first!r} was the first that is not finite{earlier}")
    if order and len(bad_gradients) == n_gradients and n_gradients > 1:
        hint = "look at the loss and what follows the model"
        return Origin(
            "loss", "", f"no module put out NaN or infinity but all gradients are not finite: {hint}{earlier}"
        )
    latest = _first_in_backward(bad_gradients, order)
    if not order:
        return Origin("gradient", latest, _unwatched_message(latest, last_good_step))
    return Origin(
        "gradient", latest, f"the gradient of {latest!r} was the first in the backward pass not finite{earlier}"
    )


def _weights_message(bad_weights: Sequence[str], last_good_step: int | None) -> str:
    more = f" and {len(bad_weights) - 1} more" if len(bad_weights) > 1 else ""
    since = _since(last_good_step)
    return (
        f"the weights of {bad_weights[0]!r}{more} were not finite before this step, {since}, so the origin is past; "
        f"{_EXACTLY}"
    )


def _unwatched_message(parameter: str, last_good_step: int | None) -> str:
    return (
        f"the gradient of {parameter!r} is not finite, {_since(last_good_step)}; modules were not watched (they are "
        "not in a compiled model, nor if only parts of the model are called), so the one where it began is not known: "
        f"with the uncompiled model {_EXACTLY}"
    )


def _since(last_good_step: int | None) -> str:
    return "from the first step looked at" if last_good_step is None else f"since some step after {last_good_step}"


def _first_in_backward(parameters: Sequence[str], order: Sequence[str]) -> str:
    """The parameter whose module ran last, since backward runs in reverse; without an order, the last parameter."""
    position = {name: index for index, name in enumerate(order)}
    ranked = sorted(enumerate(parameters), key=lambda pair: (position.get(pair[1].rpartition(".")[0], -1), pair[0]))
    return ranked[-1][1]
