"""What several answers are made of: names in order, attributes described, curves of groups, numbers as JSON."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tbmetrics.classes.groups import macro_mean
from tbmetrics.records import CURVE_COLUMNS, GROUP_COUNTS, GROUPS, UNKNOWN, SchemaError
from tbmetrics_longtail.data import CLASSES, CURVES, GROUP_TABLE, Attribute, RequestError, Tag, shown

#: Columns that stand beside a mean `metric` and come along with it.
COMPANIONS = ("_lower", "_upper", "_n_classes")


def natural_order(name: str) -> list[tuple[int, float, str]]:
    """A sort key like TensorBoard's own for runs: 'a2' before 'a10', and '/' or '_' before anything else."""
    parts = re.findall(r"[0-9]+(?:\.[0-9]+)?|.", name, re.DOTALL)
    return [
        (1, float(part), "") if part[0] in "0123456789" else (0 if part in "/_" else 2, 0.0, part) for part in parts
    ]


def base_metrics(columns: Iterable[str]) -> list[str]:
    """The metrics among `columns`: neither an interval or class count that belongs to one, nor a count."""
    known = set(columns)
    beside = {metric + suffix for metric in known for suffix in COMPANIONS}
    return [column for column in columns if column not in beside and column not in GROUP_COUNTS]


def described(found: Attribute) -> dict[str, Any]:
    """An attribute as the route `runs` lists it."""
    classes = found.list
    return {
        "attribute": found.name,
        "n_classes": len(classes.names),
        "group_sizes": {group: classes.groups.count(group) for group in (*GROUPS, UNKNOWN)},
        "rule": classes.rule,
        "decision": classes.decision,
        "steps": found.main_series().steps.tolist(),
        "columns": list(found.tag(CLASSES).columns),
        "metrics": base_metrics(found.tag(GROUP_TABLE).columns) if GROUP_TABLE in found.tags else [],
        "kinds": sorted(found.tags),
    }


def with_companions(columns: Sequence[str], metrics: Sequence[str]) -> list[str]:
    """`metrics`, each followed by its interval and class count where `columns` has them."""
    wanted = [m + suffix for m in metrics for suffix in ("", *COMPANIONS) if not suffix or m + suffix in columns]
    return list(dict.fromkeys(wanted))


def recall_levels(found: Attribute) -> list[float]:
    """The recalls behind the columns of the curves."""
    tag = found.tag(CURVES)
    check_columns(tag, len(tag.columns), CURVE_COLUMNS)
    return [float(column.rpartition("_")[2]) for column in CURVE_COLUMNS]


def group_curve(
    precision: NDArray[Any], points: Mapping[str, NDArray[Any]], members: NDArray[np.int64]
) -> dict[str, Any]:
    """Mean curve of the classes `members` and the means of `points`; `precision` is (classes, levels)."""
    chosen = precision[members].astype(np.float64)
    defined = ~np.isnan(chosen).all(axis=1) if len(chosen) else np.zeros(0, dtype=bool)
    means = chosen[defined].mean(axis=0) if defined.any() else np.full(precision.shape[1], np.nan)
    return {
        "n_classes": int(defined.sum()),
        "precision": nullable(means),
        "at": {name: or_null(macro_mean(values, members)[0]) for name, values in points.items()},
    }


def class_index(found: Attribute, class_: str | int) -> int:
    """Where a class stands, by name or index.

    Raises:
        RequestError: there is no such class.
    """
    names = found.list.names
    if isinstance(class_, str):
        if class_ not in names:
            raise RequestError(f"class {shown(class_)} is unknown", "the route `classes` lists the names")
        return names.index(class_)
    if not 0 <= class_ < len(names):
        raise RequestError(f"class_index {class_} is out of range", f"use 0 to {len(names) - 1}")
    return class_


def check_columns(tag: Tag, n_columns: int, expected: Sequence[str]) -> None:
    """Refuses a tensor whose columns are not those of its kind.

    Raises:
        SchemaError: the message names the tag.
    """
    if n_columns != len(expected) or tag.columns != tuple(expected):
        raise SchemaError(f"tag {tag.name!r}: its columns are not those of its kind")


def check_rows(tag: str, rows: Sequence[str], n_rows: int) -> None:
    """Refuses a tensor that has not the rows that its metadata names.

    Raises:
        SchemaError: the message says how many each has.
    """
    if len(rows) != n_rows:
        raise SchemaError(f"tag {tag!r}: its metadata names {len(rows)} rows, its tensor has {n_rows}")


def buckets_of(tag: Tag, n_rows: int) -> list[Any]:
    """The buckets of training counts that the rows of a tensor stand for.

    Raises:
        SchemaError: its metadata does not describe as many.
    """
    found = tag.details.get("buckets")
    if not isinstance(found, list) or len(found) != n_rows or not all(isinstance(bucket, dict) for bucket in found):
        raise SchemaError(f"tag {tag.name!r}: its metadata does not describe the buckets of its {n_rows} rows")
    return found


def nullable(values: NDArray[Any]) -> list[Any]:
    """`values` as nested lists, non-finite numbers as None."""
    plain = values.astype(object)
    plain[~np.isfinite(values)] = None
    nested: list[Any] = plain.tolist()
    return nested


def or_null(value: float) -> float | None:
    """`value`, or None where it is not finite."""
    return value if np.isfinite(value) else None
