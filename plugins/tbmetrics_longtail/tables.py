"""Tags as TensorBoard lists them, the tables in them over steps, and their numbers as JSON."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tbmetrics.errors import InputError
from tbmetrics.records import DECISIONS, GROUP_COUNTS, LABELS, Float32Array, SchemaError

CLASS_LIST, CLASSES, GROUP_TABLE, CONFUSION = "class_list", "classes", "groups", "confusion"
CURVES, CONFUSIONS, FLOW, CALIBRATION = "curves", "confusions", "flow", "calibration"
LIFT_SUMS = "lift_sums"
UNCERTAINTY = "uncertainty"
FAMILIES = "families"
DIAGNOSTICS, REMEDIES, FINDINGS, CLASS_IMAGES = "diagnostics", "remedies", "findings", "class_images"
#: Tags that hold data of single samples, no tables; of labels there is one for each checksum.
SAMPLES = (DECISIONS, LABELS)

#: Columns that belong to the mean of a metric: the metric's name with one of these endings.
COMPANIONS = ("_lower", "_upper", "_n_classes", "_n_few_positives")


class RequestError(InputError):
    """A request that cannot be answered; `hint` says which could."""

    def __init__(self, error: str, hint: str) -> None:
        super().__init__(error)
        self.hint = hint


@dataclass(frozen=True, slots=True)
class Series:
    """One tag over steps: `steps` int64, `wall_times` float64 (points,); `values` float32 (points, rows, columns)."""

    steps: NDArray[np.int64]
    wall_times: NDArray[np.float64]
    values: Float32Array

    def last_index(self, step: int) -> int | None:
        """Index of the last point up to `step`, or None."""
        index = int(np.searchsorted(self.steps, step, side="right")) - 1
        return index if index >= 0 else None

    def at(self, step: int) -> Float32Array:
        """The table of `step`, float32 of shape (rows, columns).

        Raises:
            RequestError: nothing was recorded at that step; the hint names the nearest ones.
        """
        index = int(np.searchsorted(self.steps, step))
        if index < len(self.steps) and self.steps[index] == step:
            table: Float32Array = self.values[index]
            return table
        raise nothing_at(step, self.steps)


def nothing_at(step: int, steps: NDArray[np.int64]) -> RequestError:
    """The error for a step that is not among `steps`; it names the nearest."""
    nearest = steps[np.argsort(np.abs(steps.astype(np.float64) - step), kind="stable")[:5]]
    named = ", ".join(map(str, sorted(nearest.tolist())))
    return RequestError(f"nothing was recorded at step {step}", f"the nearest steps are {named}")


@dataclass(frozen=True, slots=True)
class Tag:
    """One tag of a run as the data provider lists it; `version` changes whenever the tag grows or is rewritten."""

    run: str
    name: str
    content: bytes
    fields: Mapping[str, Any]
    version: tuple[Any, ...]

    @property
    def columns(self) -> tuple[str, ...]:
        """The names of the table's columns."""
        return tuple(self.fields.get("columns", ()))

    @property
    def rows(self) -> tuple[str, ...]:
        """The names of the table's rows; empty for the per-class table."""
        return tuple(self.fields.get("rows", ()))

    @property
    def details(self) -> Mapping[str, Any]:
        """Further metadata of the table; empty if there is none."""
        details = self.fields.get("details", {})
        return details if isinstance(details, Mapping) else {}

    @property
    def metrics(self) -> list[str]:
        """The metrics among the columns: without counts, intervals and class counts."""
        companions = {metric + ending for metric in self.columns for ending in COMPANIONS}
        return [column for column in self.columns if column not in companions and column not in GROUP_COUNTS]

    def with_companions(self, metrics: Sequence[str]) -> list[str]:
        """`metrics`, each followed by those of its interval and class count that are columns."""
        names = (
            m + ending for m in metrics for ending in ("", *COMPANIONS) if not ending or m + ending in self.columns
        )
        return list(dict.fromkeys(names))

    def column_index(self, column: str, word: str = "column") -> int:
        """Index of `column` in the table.

        Raises:
            RequestError: there is no such column.
        """
        if column not in self.columns:
            raise RequestError(f"{word} {shown(column)} is unknown", f"use one of {', '.join(self.columns)}")
        return self.columns.index(column)

    def check_rows(self, n_rows: int) -> None:
        """Raises `SchemaError` if a tensor has not the rows that the metadata names."""
        if len(self.rows) != n_rows:
            raise SchemaError(f"tag {self.name!r}: its metadata names {len(self.rows)} rows, its tensor has {n_rows}")

    def check_columns(self, n_columns: int, expected: Sequence[str]) -> None:
        """Raises `SchemaError` if a tensor has not the columns of its kind."""
        if n_columns != len(expected) or self.columns != tuple(expected):
            raise SchemaError(f"tag {self.name!r}: its columns are not those of its kind")

    def buckets(self, n_rows: int) -> list[Any]:
        """The buckets of training counts that the rows of a tensor stand for.

        Raises:
            SchemaError: the metadata does not describe as many.
        """
        buckets = self.details.get("buckets")
        if not isinstance(buckets, list) or len(buckets) != n_rows or not all(isinstance(b, dict) for b in buckets):
            raise SchemaError(f"tag {self.name!r}: its metadata does not describe the buckets of its {n_rows} rows")
        return buckets


@dataclass(slots=True)
class RunTags:
    """The tags of one run by attribute and kind, and a message for each that could not be read."""

    attributes: dict[str, dict[str, Tag]] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)


def natural_order(name: str) -> list[tuple[int, float, str]]:
    """A sort key like TensorBoard's own for runs: 'a2' before 'a10', and '/' or '_' before anything else."""
    parts = re.findall(r"[0-9]+(?:\.[0-9]+)?|.", name, re.DOTALL)
    return [
        (1, float(part), "") if part[0] in "0123456789" else (0 if part in "/_" else 2, 0.0, part) for part in parts
    ]


def nullable(values: NDArray[Any]) -> list[Any]:
    """`values` as nested lists, non-finite numbers as None."""
    plain = values.astype(object)
    plain[~np.isfinite(values)] = None
    nested: list[Any] = plain.tolist()
    return nested


def or_null(value: float) -> float | None:
    """`value`, or None where it is not finite."""
    return value if np.isfinite(value) else None


def shown(text: str, limit: int = 120) -> str:
    """`text` quoted for a message, cut after `limit` characters."""
    return repr(text if len(text) <= limit else text[:limit] + "…")


def stacked(tag: str, tables: list[Float32Array]) -> Float32Array:
    """Tables over steps as one array, (points, rows, columns); `SchemaError` if their shapes differ."""
    shapes = sorted({table.shape for table in tables})
    if len(shapes) > 1:
        raise SchemaError(
            f"tag {tag!r} has tables of different shapes, {shapes[0]} and {shapes[-1]}: "
            "two different problems were written into one directory; give each run its own"
        )
    return np.stack(tables)
