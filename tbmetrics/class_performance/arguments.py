"""What the arguments of `ClassPerformanceTracker` mean: classes, attributes, thresholds and indices, checked."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tbmetrics.classes.groups import ClassGroups
from tbmetrics.errors import InputError


def as_indices(indices: Any, logits: Any) -> Tensor | None:
    """`indices` as int64 (N,) beside the logits; None where there are none.

    Raises:
        InputError: they are no integers.
    """
    if indices is None:
        return None
    try:
        found = torch.as_tensor(indices)
    except (TypeError, ValueError, RuntimeError) as error:
        raise InputError(f"indices must be integers (N,), got {type(indices).__name__} ({error})") from error
    if found.is_floating_point() or found.is_complex() or found.dtype == torch.bool:
        raise InputError(f"indices must be integers (N,), got {found.dtype}")
    return found.detach().to(device=getattr(logits, "device", found.device), dtype=torch.int64)


def known_classes(
    label_to_idx: Mapping[str, Mapping[Any, int]] | None,
    idx_to_label: Mapping[str, Mapping[int, Any]] | None,
    hmt_info: Mapping[str, Mapping[Any, Any]] | None,
) -> ClassGroups:
    """The classes from the three forms of dictionaries.

    Raises:
        InputError: none of them was given.
    """
    if label_to_idx is None and idx_to_label is not None:
        label_to_idx = {a: {label: int(i) for i, label in names.items()} for a, names in idx_to_label.items()}
    if label_to_idx is None and hmt_info is None:
        raise InputError("no classes: give classes=ClassGroups.from_counts({...}), or label_to_idx_dict and hmt_info")
    return ClassGroups.from_hmt_info(hmt_info or {}, label_to_idx_dict=label_to_idx)


def chosen_attributes(attributes: Iterable[str] | None, classes: ClassGroups) -> tuple[str, ...]:
    """The attributes to track; None = all.

    Raises:
        InputError: one has no classes, or there is none.
    """
    chosen = tuple(classes) if attributes is None else tuple(attributes)
    unknown = [a for a in chosen if a not in classes]
    if unknown or not chosen:
        raise InputError(
            f"attributes without classes: {unknown}; classes are known for {', '.join(map(repr, classes))}"
        )
    return chosen


def decision_thresholds(attribute: str, thresholds: Any, classes: int) -> NDArray[np.float64]:
    """The decision thresholds of an attribute as probabilities, (classes,): from one, one a class, or a mapping.

    Raises:
        InputError: no probabilities, or not as many as there are classes.
    """
    chosen = thresholds.get(attribute, 0.5) if isinstance(thresholds, Mapping) else thresholds
    try:
        plain = chosen.detach().cpu().tolist() if isinstance(chosen, torch.Tensor) else chosen
        values = np.asarray(plain, dtype=np.float64)
    except (TypeError, ValueError, RuntimeError) as error:
        raise InputError(f"attribute {attribute!r}: thresholds must be numbers, got {chosen!r:.200}") from error
    if values.ndim and values.shape != (classes,):
        raise InputError(f"attribute {attribute!r}: thresholds must be one or {classes}, got shape {values.shape}")
    if not ((values > 0) & (values < 1)).all():
        raise InputError(f"attribute {attribute!r}: thresholds are probabilities in (0, 1), got {chosen!r}")
    return np.full(classes, 0.0) + values


def checked_pr_classes(chosen: Mapping[str, Sequence[str]], classes: ClassGroups) -> Mapping[str, Sequence[str]]:
    """`chosen`, refused where it names classes that there are not.

    Raises:
        InputError: the message names them.
    """
    for attribute, names in chosen.items():
        unknown = [n for n in names if n not in classes[attribute].names]
        if unknown:
            raise InputError(f"attribute {attribute!r}: pr_classes names unknown classes {unknown[:5]}")
    return chosen
