"""Argument checks shared by several trackers."""

from __future__ import annotations

import operator
from collections.abc import Collection, Mapping
from typing import Any, TypeVar

from tbmetrics.errors import InputError

T = TypeVar("T")


def check_whole_numbers(at_least: int = 1, at_most: int | None = None, **options: Any) -> None:
    """Check that each option is an `int` (not a `bool`) within the limits.

    Raises:
        InputError: an option is not; the message names the first.
    """
    for option, value in options.items():
        is_whole = isinstance(value, int) and not isinstance(value, bool)
        if not is_whole or value < at_least or (at_most is not None and value > at_most):
            limits = f"at least {at_least}" + ("" if at_most is None else f" and at most {at_most}")
            raise InputError(f"{option} must be a whole number of {limits}, got {value!r}")


def whole_epoch(epoch: Any) -> int:
    """The number of an epoch as an `int`.

    Raises:
        InputError: it is no whole number.
    """
    try:
        return operator.index(epoch)
    except TypeError:
        raise InputError(
            f"an epoch must be a whole number, got {epoch!r}; number validations 0, 1, 2, … if they come more often "
            "than epochs"
        ) from None


def check_choice(option: str, value: object, choices: Collection[object]) -> None:
    """Check that `value` is one of `choices`.

    Raises:
        InputError: it is not; the message lists the choices.
    """
    if value not in choices:
        raise InputError(f"{option} must be one of {', '.join(map(repr, choices))}, got {value!r}")


def by_attribute(argument: str, values: T | Mapping[str, T], attributes: Collection[str]) -> dict[str, T]:
    """Return an argument that is one value, or one per attribute, as a dictionary by attribute.

    Args:
        argument: name of the argument, for messages.
        values: a single value if there is one attribute, or a mapping for some or all attributes.
        attributes: the tracked attributes.

    Raises:
        InputError: a single value for several attributes, or an unknown attribute.
    """
    if not isinstance(values, dict | Mapping):  # a dict needs no look at the abstract class
        if len(attributes) != 1:
            raise InputError(
                f"{argument} must be a dictionary by attribute, got {type(values).__name__}; the attributes are "
                f"{_listed(attributes)}"
            )
        return dict.fromkeys(attributes, values)
    if unknown := [attribute for attribute in values if attribute not in attributes]:
        output = f"; of a model's output give output[{argument!r}]" if argument in unknown else ""
        raise InputError(
            f"{argument} name attributes that are not tracked: {unknown}; tracked are {_listed(attributes)}{output}"
        )
    return dict(values)


def _listed(attributes: Collection[str]) -> str:
    return ", ".join(map(repr, attributes))


def logits_and_labels(
    logits: T | Mapping[str, T], labels: T | Mapping[str, T], attributes: Collection[str]
) -> dict[str, tuple[T, T]]:
    """Return the pair (logits, labels) of each attribute in a batch.

    Raises:
        InputError: an attribute is unknown, or has only one of the two.
    """
    all_logits, all_labels = by_attribute("logits", logits, attributes), by_attribute("labels", labels, attributes)
    if all_logits.keys() != all_labels.keys():
        raise InputError(f"logits are for {sorted(all_logits)}, labels for {sorted(all_labels)}; give both for each")
    return {attribute: (values, all_labels[attribute]) for attribute, values in all_logits.items()}
