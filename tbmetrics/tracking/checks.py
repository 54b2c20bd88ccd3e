"""Checks of arguments that several trackers take; each message says what came and what was expected."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, TypeVar

from tbmetrics.errors import InputError

T = TypeVar("T")


def check_whole_numbers(at_least: int = 1, at_most: int | None = None, **options: Any) -> None:
    """Check that each option is an `int` (no `bool`) within the limits.

    Raises:
        InputError: names the first option that is not.
    """
    for option, value in options.items():
        is_whole = isinstance(value, int) and not isinstance(value, bool)
        if not is_whole or value < at_least or (at_most is not None and value > at_most):
            limits = f"at least {at_least}" + ("" if at_most is None else f" and at most {at_most}")
            raise InputError(f"{option} must be a whole number of {limits}, got {value!r}")


def check_choice(option: str, value: object, choices: Collection[object]) -> None:
    """Check that `value` is one of `choices`.

    Raises:
        InputError: lists the choices.
    """
    if value not in choices:
        raise InputError(f"{option} must be one of {', '.join(map(repr, choices))}, got {value!r}")


def by_attribute(argument: str, values: T | Mapping[str, T], attributes: Collection[str]) -> dict[str, T]:
    """An argument that is one value, or one per attribute, as a dictionary.

    Args:
        argument: its name, for messages.
        values: one value, if there is one attribute; or a value per attribute, for some of them.
        attributes: those that are tracked.

    Raises:
        InputError: a single value for several attributes, or an unknown attribute.
    """
    known = ", ".join(map(repr, attributes))
    if not isinstance(values, Mapping):
        if len(attributes) != 1:
            raise InputError(
                f"{argument} must be a dictionary by attribute, got {type(values).__name__}; the attributes are {known}"
            )
        return dict.fromkeys(attributes, values)
    unknown = [attribute for attribute in values if attribute not in attributes]
    if unknown:
        raise InputError(f"{argument} name attributes that are not tracked: {unknown}; tracked are {known}")
    return dict(values)


def logits_and_labels(
    logits: T | Mapping[str, T], labels: T | Mapping[str, T], attributes: Collection[str]
) -> dict[str, tuple[T, T]]:
    """The pair (logits, labels) of each attribute in a batch.

    Raises:
        InputError: attributes that are unknown, or have only one of the two.
    """
    logits_of, labels_of = by_attribute("logits", logits, attributes), by_attribute("labels", labels, attributes)
    if logits_of.keys() != labels_of.keys():
        raise InputError(f"logits are for {sorted(logits_of)}, labels for {sorted(labels_of)}; give both for each")
    return {attribute: (values, labels_of[attribute]) for attribute, values in logits_of.items()}
