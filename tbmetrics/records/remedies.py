"""Remedies as data: how they are recorded, and the JSON file that applies one elsewhere.

A remedy turns the logits of an attribute into (logits - offset) · scale, with an offset and a scale for each class.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from tbmetrics.records.columns import CLASS_THRESHOLDS, LOGIT_ADJUSTMENT, TAU_NORMALIZATION
from tbmetrics.records.history import to_jsonable
from tbmetrics.records.kinds import ClassList, Table
from tbmetrics.records.samples import MULTI_LABEL, SINGLE_LABEL

REMEDY_KIND, REMEDY_VERSION = "tbmetrics remedy", 1
#: Columns of the "remedy_parameters" table, one row per class: of each remedy its offset, and its scale unless it is 1,
#: with the amount that was chosen; NaN if it could not be judged.
REMEDY_PARAMETERS: Mapping[str, tuple[str, ...]] = {
    SINGLE_LABEL: (f"{LOGIT_ADJUSTMENT}_offset", f"{TAU_NORMALIZATION}_offset", f"{TAU_NORMALIZATION}_scale"),
    MULTI_LABEL: (f"{LOGIT_ADJUSTMENT}_offset", f"{CLASS_THRESHOLDS}_offset"),
}


def remedy_content(
    remedy: str,
    attribute: str,
    decision: str,
    classes: Sequence[str],
    offset: Sequence[float],
    scale: Sequence[float],
    predicted: Mapping[str, float],
    *,
    tau: float,
    temperature: float,
) -> dict[str, Any]:
    """The content of a remedy's file as plain JSON values; NaN becomes None."""
    content: dict[str, Any] = {
        "kind": REMEDY_KIND,
        "version": REMEDY_VERSION,
        "remedy": remedy,
        "attribute": attribute,
        "decision": decision,
        "tau": tau,
        "temperature": temperature,
        "classes": list(classes),
        "offset": list(offset),
        "scale": list(scale),
        "predicted": dict(predicted),
    }
    plain: dict[str, Any] = to_jsonable(content)
    return plain


def remedy_text(content: Mapping[str, Any]) -> str:
    """The file of a remedy."""
    return json.dumps(content, indent=1, allow_nan=False) + "\n"


def recorded_remedies(parameters: Table, remedies: Table, classes: ClassList) -> Iterator[dict[str, Any]]:
    """The content of a file for each remedy that a validation chose.

    Args:
        parameters: the "remedy_parameters" table of the validation, (classes, columns).
        remedies: its "remedies" table.
        classes: of the attribute.
    """
    for column in parameters.columns:
        remedy, _, what = column.rpartition("_")
        offset, row = parameters.column(column).astype(np.float64), f"{remedy}/best"
        has_scale = f"{remedy}_scale" in parameters.columns
        scale = parameters.column(f"{remedy}_scale").astype(np.float64) if has_scale else np.ones(len(offset))
        is_known = len(offset) == len(classes.names) and np.isfinite([offset, scale]).all()
        if what != "offset" or row not in remedies.rows or not is_known:
            continue
        values = remedies.values[remedies.rows.index(row)].tolist()
        predicted = dict(zip(remedies.columns, values, strict=True))
        yield remedy_content(
            remedy,
            classes.attribute,
            SINGLE_LABEL if f"{TAU_NORMALIZATION}_scale" in parameters.columns else MULTI_LABEL,
            classes.names,
            offset.tolist(),
            scale.tolist(),
            predicted,
            tau=predicted["tau"],
            temperature=predicted["temperature"],
        )
