"""Precision-recall curves of groups and classes, as JSON."""

from __future__ import annotations

from typing import Any

import numpy as np

from tbmetrics.classes.groups import macro_mean
from tbmetrics.classes.rules import GroupRule
from tbmetrics.comparing.regrouping import regrouped
from tbmetrics.records import ALL, GROUPS, UNKNOWN, IntArray, MeanCurve, SchemaError, curve_points, mean_curve
from tbmetrics_longtail.data import Attribute
from tbmetrics_longtail.tables import CURVES, nullable, or_null

Json = dict[str, Any]


def group_curves(recorded: Attribute, step: int, bounds: GroupRule | None) -> Json:
    """The vertical average of each group's curves, and the means of precision and recall where the model decides."""
    groups = np.array(regrouped(recorded.classes, bounds), dtype=object)
    members = {group: np.flatnonzero((groups == group) | (group == ALL)) for group in (*GROUPS, UNKNOWN, ALL)}
    curves = {group: _mean_curve(recorded, step, inside) for group, inside in members.items()}
    answers = {group: _group_answer(curve, recorded, step, members[group]) for group, curve in curves.items()}
    return {"recall": curves[ALL].recall.tolist(), "groups": answers}


def class_curve(recorded: Attribute, step: int, index: int) -> Json:
    """The curve of one class."""
    columns = ("precision", "recall", "threshold", "best_threshold", "best_f1", "support")
    recall, precision = _points(recorded, step, index)
    return {
        "class": recorded.class_list.names[index],
        "class_index": index,
        "recall": recall,
        "precision": precision,
        "at": {name: or_null(float(recorded.column(name, step)[index])) for name in columns},
    }


def _mean_curve(recorded: Attribute, step: int, members: IntArray) -> MeanCurve:
    values, support = recorded.table(CURVES, step)[members], recorded.column("support", step)[members]
    try:
        return mean_curve(recorded.tag(CURVES).columns, values, support)
    except ValueError as error:
        raise SchemaError(f"tag {recorded.tag(CURVES).name!r}: {error}") from error


def _points(recorded: Attribute, step: int, index: int) -> tuple[list[Any], list[Any]]:
    tag = recorded.tag(CURVES)
    try:
        recall, precision = curve_points(tag.columns, recorded.table(CURVES, step)[index])
    except ValueError as error:
        raise SchemaError(f"tag {tag.name!r}: {error}") from error
    return recall.tolist(), nullable(precision)


def _group_answer(curve: MeanCurve, recorded: Attribute, step: int, members: IntArray) -> Json:
    decision: Json = {}
    for metric in ("precision", "recall"):
        mean, count = macro_mean(recorded.column(metric, step), members)
        decision |= {metric: or_null(mean), f"{metric}_n_classes": count}
    return {
        "n_classes": curve.n_classes,
        "n_few_positives": curve.n_few_positives,
        "is_point": curve.is_point,
        "precision": nullable(curve.precision),
        "at": decision,
    }
