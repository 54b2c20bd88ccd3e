"""What is wrong with the gradients: pure functions on the norms of the last samples.

Every function takes `norms`, float of shape (samples, parameters), oldest first, NaN where not measured, and the
parameters' names; each returns what it found, worst first. Medians over the samples decide, so one odd step does not.
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
SPIKE_SAMPLES = 10  # before a spike can be told
DEAD_SHARE = 0.95  # of a module's units


@dataclass(frozen=True, slots=True)
class Finding:
    """One kind of trouble.

    Attributes:
        kind: "vanishing_gradients", "exploding_gradients", … a key of `detect_gradient_issues()`.
        layers: (name, value) of the parameters or modules concerned, worst first.
        message: what was found and what it usually means, in words.
        sure: whether it is trouble whatever the scale of the loss; only then it is said on the console.
    """

    kind: str
    layers: tuple[tuple[str, float], ...]
    message: str
    sure: bool = True


def vanishing(norms: Array, names: Sequence[str], threshold: float = VANISHING_THRESHOLD) -> Finding | None:
    """Parameters whose median gradient norm is below `threshold` (those that are zero throughout included).

    Small parameters of healthy models get there too, so it is sure only where gradients shrink with depth as well.
    """
    middle = _medians(norms)
    at = np.flatnonzero(middle < threshold)
    what = f"median gradient norm below {threshold:g}: these parameters hardly learn"
    found = _finding("vanishing_gradients", names, middle, at[np.argsort(middle[at], kind="stable")], what)
    if found is None:
        return None
    return replace(found, sure=by_depth(norms, names) is not None)


def exploding(norms: Array, names: Sequence[str], threshold: float = EXPLODING_THRESHOLD) -> Finding | None:
    """Parameters whose median gradient norm is above `threshold`."""
    middle = _medians(norms)
    at = np.flatnonzero(middle > threshold)
    what = f"median gradient norm above {threshold:g}: lower the learning rate, clip, or look at the initialisation"
    return _finding("exploding_gradients", names, middle, at[np.argsort(-middle[at], kind="stable")], what)


def by_depth(norms: Array, names: Sequence[str], ratio: float = DEPTH_RATIO) -> Finding | None:
    """Gradients that shrink or grow by more than `ratio` from the last quarter of the parameters to the first.

    Relative, so it holds for any scale of the loss; needs 8 parameters with a gradient. Rows are taken in the order of
    `named_parameters`, which is that of depth in most models.
    """
    middle = _medians(norms)
    known = np.flatnonzero(middle > 0)
    if known.size < 8:
        return None
    quarter = known.size // 4
    first, last = known[:quarter], known[-quarter:]
    early, late = float(np.median(middle[first])), float(np.median(middle[last]))
    if max(early / late, late / early) < ratio:
        return None
    direction = "shrink" if early < late else "grow"
    what = f"gradients {direction} from {late:.3g} in the last layers to {early:.3g} in the first"
    hint = "; normalisation, residual connections or another initialisation help"
    return _finding("gradients_by_depth", names, middle, first, what + hint)


def dead(norms: Array, names: Sequence[str]) -> Finding | None:
    """Parameters whose gradient was exactly zero in every sample (at least two)."""
    measured = np.isfinite(norms)
    at = np.flatnonzero((measured.sum(axis=0) >= 2) & (np.where(measured, norms, 0) == 0).all(axis=0))
    what = "gradient exactly zero in every sample: dead units, a detached branch, or an underflow of half precision"
    return _finding("dead_layers", names, np.zeros(norms.shape[1]), at, what)


def frozen(update_ratios: Array, names: Sequence[str], ratio: float = FROZEN_RATIO) -> Finding | None:
    """Parameters that steps leave as they are: median update-to-weight ratio below `ratio`."""
    middle = _medians(update_ratios)
    at = np.flatnonzero(middle < ratio)
    what = f"the step changes less than {ratio:g} of the weights: learning rate too small, or frozen on purpose"
    return _finding("frozen_layers", names, middle, at[np.argsort(middle[at], kind="stable")], what)


def dead_units(dead_shares: Array, names: Sequence[str], share: float = DEAD_SHARE) -> Finding | None:
    """Modules whose units are almost all zero for whole batches; `dead_shares` of shape (samples, modules)."""
    middle = _medians(dead_shares)
    at = np.flatnonzero(middle >= share)
    what = f"at least {share:.0%} of the units put out zero for the whole batch"
    return _finding("dead_units", names, middle, at[np.argsort(-middle[at], kind="stable")], what)


def is_spike(value: float, before: Sequence[float]) -> bool:
    """Whether a norm stands out from those before it: far above their median on their own robust scale.

    The scale is the median absolute deviation × 1.4826 (the standard deviation of a normal distribution).
    """
    known = np.asarray([v for v in before if np.isfinite(v)])
    if known.size < SPIKE_SAMPLES or not np.isfinite(value):
        return False
    middle = float(np.median(known))
    scale = 1.4826 * float(np.median(np.abs(known - middle)))
    return value > middle + SPIKE_DEVIATIONS * scale and value > SPIKE_FACTOR * middle


def _medians(values: Array) -> Array:
    """Median over the samples of each column, of what is finite; NaN where nothing is."""
    values = values.astype(np.float64)
    found = np.full(values.shape[1], np.nan)
    known = np.isfinite(values).any(axis=0)
    if known.any():
        found[known] = np.nanmedian(np.where(np.isfinite(values[:, known]), values[:, known], np.nan), axis=0)
    return found


def _finding(kind: str, names: Sequence[str], values: Array, at: NDArray[np.intp], what: str) -> Finding | None:
    if not at.size:
        return None
    layers = tuple((names[i], float(values[i])) for i in at)
    shown = ", ".join(f"{name} ({value:.3g})" for name, value in layers[:3])
    more = f" and {len(layers) - 3} more" if len(layers) > 3 else ""
    return Finding(kind, layers, f"{shown}{more}: {what}")
