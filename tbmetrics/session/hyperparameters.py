"""Hyperparameters of any type as TensorBoard takes them: numbers, truth values and text."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, is_dataclass
from typing import Any

import numpy as np
from torch import Tensor

from tbmetrics.errors import InputError
from tbmetrics.records import visible

_LONGEST_TEXT = 1000


def plain_hparams(hparams: Any) -> dict[str, bool | str | int | float]:
    """Hyperparameters by name; what is no number becomes text, and nested ones are joined by dots.

    Args:
        hparams: a mapping, `argparse.Namespace` or another object with attributes, dataclass instance, or None.

    Raises:
        InputError: something else.
    """
    if hparams is None:
        return {}
    if is_dataclass(hparams) and not isinstance(hparams, type):
        hparams = asdict(hparams)
    elif not isinstance(hparams, Mapping) and hasattr(hparams, "__dict__") and not isinstance(hparams, type):
        hparams = vars(hparams)
    if not isinstance(hparams, Mapping):
        raise InputError(f"hparams must be a dictionary such as {{'lr': 0.1}}, got {type(hparams).__name__}")
    return {name: _plain(value) for name, value in _flat(hparams, "")}


def _flat(hparams: Mapping[Any, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    for key, value in hparams.items():
        name = f"{prefix}{visible(str(key))}"
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{name}.")
        else:
            yield name, value


def _plain(value: Any) -> bool | str | int | float:
    if isinstance(value, np.generic) or (isinstance(value, Tensor) and value.numel() == 1 and not value.is_meta):
        value = value.item()
    if isinstance(value, bool | float):
        return value
    if isinstance(value, int) and abs(value) < 2**1000:  # TensorBoard's numbers are doubles
        return int(value)
    return visible(str(value))[:_LONGEST_TEXT]
