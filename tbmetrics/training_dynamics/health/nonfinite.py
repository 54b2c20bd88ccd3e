"""Where NaN or infinity came from: the first module whose output had it, or the first gradient."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Origin:
    """Where values stopped being finite.

    Attributes:
        kind: "input", "weights", "output" (of a module, in the forward pass), "loss" (what follows the model) or
            "gradient" (in the backward pass).
        name: of the module or parameter; "" where there is none.
        message: what happened, in words.
    """

    kind: str
    name: str
    message: str


def find_origin(
    bad_gradients: Sequence[str],
    n_gradients: int,
    bad_weights: Sequence[str],
    order: Sequence[str],
    finite: Sequence[bool],
    last_good_step: int | None,
) -> Origin | None:
    """The first place where values were not finite; None where all are.

    Args:
        bad_gradients: parameters whose gradient is not finite.
        n_gradients: how many gradients there are.
        bad_weights: parameters that were not finite before the step.
        order: modules in the order in which their outputs were made, "" is the model's input; empty: not watched.
        finite: whether each of these outputs was finite.
        last_good_step: the last sampled step at which everything was finite.
    """
    first = next((name for name, good in zip(order, finite, strict=True) if not good), None)
    if first is None and not bad_gradients and not bad_weights:
        return None
    if first == "":
        return Origin("input", "", "the input of the model holds NaN or infinity already: look at the data")
    if bad_weights:
        return Origin("weights", bad_weights[0], _weights_message(bad_weights, last_good_step))
    if first is not None:
        return Origin("output", first, f"the output of module {first!r} was the first that is not finite")
    if order and len(bad_gradients) == n_gradients and n_gradients > 1:
        what = "every module's output was finite but all gradients are not: look at the loss and what follows the model"
        return Origin("loss", "", what)
    latest = _first_in_backward(bad_gradients, order)
    return Origin("gradient", latest, f"the gradient of {latest!r} was the first in the backward pass not finite")


def _weights_message(bad_weights: Sequence[str], last_good_step: int | None) -> str:
    since = "from the start" if last_good_step is None else f"since some step after {last_good_step}"
    more = f" and {len(bad_weights) - 1} more" if len(bad_weights) > 1 else ""
    return (
        f"the weights of {bad_weights[0]!r}{more} were not finite before this step, {since}, so the origin is past; "
        "on_nonfinite='raise' stops at the very step and names it"
    )


def _first_in_backward(parameters: Sequence[str], order: Sequence[str]) -> str:
    """The parameter whose module ran last, for backward goes the other way; without an order the last one named."""
    position = {name: at for at, name in enumerate(order)}
    ranked = sorted(enumerate(parameters), key=lambda pair: (position.get(pair[1].rpartition(".")[0], -1), pair[0]))
    return ranked[-1][1]
