"""Checks and conversions of what callers give as classes: counts, labels, dictionaries of groups."""

from __future__ import annotations

import operator
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from tbmetrics.classes.rules import GROUPS

UNKNOWN_COUNT = -1
MOST_COUNT = 2**63
#: Classes that labels alone may stand for; beyond it `num_classes` must say that they are meant.
MOST_COUNTED = 2**24

Label: TypeAlias = str | int


def is_by_attribute(counts: Any) -> bool:
    """Whether counts are given by attribute, not by class."""
    return isinstance(counts, Mapping) and any(
        isinstance(value, Mapping | Sequence) or getattr(value, "ndim", 0) > 0 for value in counts.values()
    )


def counts_by_name(attribute: str, counts: Any) -> dict[Any, Any]:
    """Counts by class name in the order of the logits' columns; `ValueError` if they are neither named nor a list.

    Names that are class indices go by number: those of a dictionary if they are 0, 1, 2, … in any order, those of a
    `Counter` or a pandas Series, which counted labels, with 0 for the indices in between (-1 = unknown is left out).
    """
    is_series = hasattr(counts, "items") and hasattr(counts, "index")  # pandas, recognised without importing it
    if not (is_series or isinstance(counts, Mapping)):
        listed = as_numpy(counts)
        if listed.ndim != 1:
            raise ValueError(
                f"attribute {attribute!r}: counts must be {{class name: count}} or a list of them, got {counts!r:.200}"
            )
        return {str(index): count for index, count in enumerate(listed.tolist())}
    by_name = dict(counts.items())
    if not by_name or not all(isinstance(name, int | np.integer) and not isinstance(name, bool) for name in by_name):
        return by_name
    if is_series or isinstance(counts, Counter):
        largest = max(by_name)
        if min(by_name) < UNKNOWN_COUNT or largest >= MOST_COUNTED:
            return by_name  # numbers that name classes, not their columns
        return {index: by_name.get(index, 0) for index in range(largest + 1)}
    if sorted(by_name) == list(range(len(by_name))):
        return dict(sorted(by_name.items()))
    return by_name


def mapping(value: Any, what: str) -> Mapping[Any, Any]:
    """`value`; `ValueError` if it is not a dictionary."""
    if not isinstance(value, Mapping):
        raise ValueError(f"{what} must be a dictionary, got {type(value).__name__}")
    return value


def option_for(attribute: Any, option: Any, name: str) -> Any:
    """An option's value for `attribute`, given once for all or by attribute; `ValueError` if it is missing."""
    if not isinstance(option, Mapping):
        return option
    if attribute not in option:
        raise ValueError(f"{name} lacks attribute {attribute!r}; it has {', '.join(map(repr, option)) or 'none'}")
    return option[attribute]


def refuse_odd_options(attribute: Any, names: Any, size: Any) -> None:
    """Raises `ValueError` if names are not a list, or the number of classes is not a whole number of at least 1."""
    if names is not None and (isinstance(names, str) or not isinstance(names, Sequence | np.ndarray)):
        raise ValueError(f"attribute {attribute!r}: names must be a list of names, got {names!r}")
    if size is not None and (isinstance(size, bool) or not isinstance(size, int | np.integer) or size < 1):
        raise ValueError(f"attribute {attribute!r}: num_classes must be a whole number of at least 1, got {size!r}")


def whole_count(attribute: str, name: Any, count: Any) -> int:
    """A training count, -1 if unknown; `ValueError` for anything else."""
    try:
        whole = int(count) if float(count).is_integer() else operator.index(count)
    except (TypeError, ValueError, OverflowError, RuntimeError):  # the last is torch's
        hint = (
            "; names of classes need their training counts: {'cat': 900, 'lynx': 12}" if isinstance(count, str) else ""
        )
        raise ValueError(
            f"attribute {attribute!r}, class {name!r}: the count must be a whole number, got {count!r}{hint}"
        ) from None
    if not UNKNOWN_COUNT <= whole < MOST_COUNT:
        raise ValueError(
            f"attribute {attribute!r}, class {name!r}: the count must be >= 0, or -1 = unknown, got {whole}"
        )
    return whole


def count_labels(
    attribute: str, labels: NDArray[Any], names: Sequence[Label] | None, num_classes: int | None
) -> dict[str, int]:
    """Training counts by name from class indices (N,) or multi-hot labels (N, C); `ValueError` for anything else."""
    if labels.dtype.kind not in "biuf" or not np.isfinite(labels).all() or (labels % 1 != 0).any():
        raise ValueError(f"attribute {attribute!r}: labels must be whole numbers, got {labels.dtype} {labels!r:.200}")
    if labels.ndim == 2:
        counts = (labels > 0).sum(axis=0)
    elif labels.ndim == 1:
        counts = _bincount(attribute, labels, len(names) if names is not None else num_classes)
    else:
        raise ValueError(
            f"attribute {attribute!r}: labels must be class indices (N,) or multi-hot (N, C), got shape {labels.shape}"
        )
    class_names = [str(i) for i in range(len(counts))] if names is None else [str(n) for n in names]
    if len(class_names) != len(counts):
        raise ValueError(
            f"attribute {attribute!r}: {len(class_names)} names for {len(counts)} classes; give one per class"
        )
    refuse_duplicates(attribute, class_names)
    return dict(zip(class_names, counts.tolist(), strict=True))


def _bincount(attribute: str, labels: NDArray[Any], size: int | None) -> NDArray[np.int64]:
    known = labels[labels != UNKNOWN_COUNT].astype(np.int64)
    if known.size and known.min() < 0:
        raise ValueError(f"attribute {attribute!r}: class indices must be >= 0, or -1 = unknown, got {known.min()}")
    if size is None and known.size and known.max() >= MOST_COUNTED:
        raise ValueError(f"attribute {attribute!r}: class index {known.max()} is very large; give num_classes if meant")
    if size is not None and known.size and known.max() >= size:
        raise ValueError(f"attribute {attribute!r}: class index {known.max()} is out of range for {size} classes")
    return np.bincount(known, minlength=size or 0).astype(np.int64)


def read_hmt(attribute: str, info: Mapping[Any, Any]) -> tuple[dict[str, int], dict[str, str] | None]:
    """Counts by label, and groups by label if this form of `hmt_info` has them, else None."""
    by_group = {g: info[g] for g in GROUPS if g in info and not isinstance(info[g], str | int | float)}
    for group, labels in by_group.items():
        if not isinstance(labels, Iterable):
            raise ValueError(f"attribute {attribute!r}: {group!r} must list its labels, got {labels!r}")
    if by_group:
        groups = {str(label): g for g, labels in by_group.items() for label in labels}
        counts = {
            str(label): whole_count(attribute, label, labels[label] if isinstance(labels, Mapping) else UNKNOWN_COUNT)
            for labels in by_group.values()
            for label in labels
        }
        return counts, groups
    if info and all(isinstance(v, str) for v in info.values()):
        groups = {str(label): g for label, g in info.items()}
        return dict.fromkeys(groups, UNKNOWN_COUNT), groups
    return {str(label): whole_count(attribute, label, c) for label, c in info.items()}, None


def names_in_order(attribute: str, label_to_idx: Mapping[Any, int]) -> list[str]:
    """The labels in the order of their columns; `ValueError` if these are not 0, 1, 2, …"""
    columns = {
        label: _column(attribute, column) for label, column in mapping(label_to_idx, "label_to_idx_dict").items()
    }
    order = sorted(columns, key=columns.__getitem__)
    if [columns[label] for label in order] != list(range(len(order))):
        raise ValueError(
            f"attribute {attribute!r}: label_to_idx_dict must number its {len(order)} labels 0..{len(order) - 1}, "
            f"got {sorted(columns.values())[:10]}"
        )
    return [str(label) for label in order]


def _column(attribute: str, column: Any) -> int:
    try:
        return int(column)
    except (TypeError, ValueError, OverflowError, RuntimeError):  # the last is torch's
        raise ValueError(
            f"attribute {attribute!r}: label_to_idx_dict must give the column of each label, got {column!r}"
        ) from None


def as_numpy(values: Any) -> NDArray[Any]:
    """Arrays, lists and tensors (recognised by their methods, without importing torch) as an array."""
    if hasattr(values, "detach"):
        values = values.detach().cpu().numpy()
    return np.asarray(values)


def refuse_duplicates(attribute: str, names: Sequence[str]) -> None:
    """Raises `ValueError` if a class name occurs twice."""
    if len(set(names)) != len(names):
        twice = sorted({n for n in names if names.count(n) > 1})[:5]
        raise ValueError(f"attribute {attribute!r}: class names must be unique, these occur twice: {twice}")
