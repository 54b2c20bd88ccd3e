"""What the routes about diagnostics answer: why the tail fails, what would help, and one class in detail."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tbmetrics_longtail.answer_parts import check_rows
from tbmetrics_longtail.data import DIAGNOSTICS, FINDINGS, REMEDIES, Attribute, RequestError, Series

#: Columns that hold the index of another class.
CLASS_COLUMNS = ("nearest_weight_class", "nearest_mean_class", "nearest_head_class")


def diagnosis(found: Attribute, step: int) -> dict[str, Any]:
    """Findings, strongest first, and remedies, at the last diagnosis up to `step`."""
    findings, at = _last(found, FINDINGS, step)
    answer: dict[str, Any] = {"step": at, "findings": list(_findings(found, findings)), "remedies": [], "objective": ""}
    if REMEDIES in found.tags:
        details = found.tag(REMEDIES).details
        answer |= {"remedies": list(_remedies(found, step)), "objective": str(details.get("objective", ""))}
    return answer


def class_diagnosis(found: Attribute, step: int, index: int) -> dict[str, Any]:
    """Every diagnostic of one class at the last diagnosis up to `step`; other classes by name."""
    table, at = _last(found, DIAGNOSTICS, step)
    values: dict[str, Any] = _row(found.tag(DIAGNOSTICS).columns, table[index])
    for column in (c for c in CLASS_COLUMNS if values.get(c) is not None):
        other = int(values[column])
        values[column] = found.list.names[other] if 0 <= other < len(found.list.names) else None
    return {"class": found.list.names[index], "step": at, "values": values}


def _findings(found: Attribute, table: NDArray[Any]) -> Iterator[dict[str, Any]]:
    tag = found.tag(FINDINGS)
    check_rows(tag.name, tag.rows, len(table))
    rules = tag.details.get("rules", {})
    severities = table[:, tag.column_index("severity")]
    for i in np.argsort(-np.nan_to_num(severities, nan=-1.0), kind="stable"):
        about = rules.get(tag.rows[i]) if isinstance(rules, Mapping) else None
        about = about if isinstance(about, Mapping) else {}
        words = {name: str(about.get(name, "")) for name in ("title", "advice", "reference")}
        yield {"name": tag.rows[i], **words, **_row(tag.columns, table[i])}


def _remedies(found: Attribute, step: int) -> Iterator[dict[str, Any]]:
    tag, (table, _) = found.tag(REMEDIES), _last(found, REMEDIES, step)
    check_rows(tag.name, tag.rows, len(table))
    for name, values in zip(tag.rows, table, strict=True):
        remedy, _, at = name.partition("/")
        yield {"remedy": remedy, "best": at == "best", **_row(tag.columns, values)}


def _last(found: Attribute, kind: str, step: int) -> tuple[NDArray[Any], int]:
    series: Series = found.series(kind)
    at = int(np.searchsorted(series.steps, step, side="right")) - 1
    if at < 0:
        raise RequestError(
            f"nothing was diagnosed up to step {step}", f"the first diagnosis is of step {series.steps[0]}"
        )
    return series.values[at], int(series.steps[at])


def _row(columns: tuple[str, ...], values: NDArray[Any]) -> dict[str, float | None]:
    finite = (float(v) if np.isfinite(v) else None for v in values)
    return dict(zip(columns, finite, strict=True))
