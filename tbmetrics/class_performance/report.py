"""An evaluation as records for TensorBoard, and as the plain dictionaries of `get_metrics()`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from tbmetrics.class_performance import flows
from tbmetrics.class_performance.arguments import SINGLE_LABEL
from tbmetrics.class_performance.evaluation import Evaluation, scores_of
from tbmetrics.class_performance.ranking import THRESHOLDS
from tbmetrics.classes.groups import AttributeClasses
from tbmetrics.records import (
    ALL,
    BY_CLASS,
    BY_PREDICTED_CLASS,
    CALIBRATION_COLUMNS,
    CLASS_COLUMNS,
    CURVE_COLUMNS,
    GAP,
    GROUP_COLUMNS,
    GROUP_METRICS,
    GROUP_ROWS,
    GROUPS,
    MEAN_METRICS,
    PAIR_COLUMNS,
    UNKNOWN,
    ClassList,
    PRCurve,
    Record,
    Scalar,
    Table,
    calibration_tag,
    class_list_tag,
    class_pr_curve_tag,
    class_table_tag,
    confusion_tag,
    confusions_tag,
    curves_tag,
    flow_tag,
    group_table_tag,
    pr_curve_tag,
    scalar_tag,
    visible,
)
from tbmetrics.records.history import to_jsonable


def class_list(classes: AttributeClasses, decision: str) -> ClassList:
    """The classes as a record, written once per run."""
    tag = class_list_tag(classes.attribute)
    names, attribute = tuple(map(visible, classes.names)), visible(classes.attribute)
    return ClassList(tag, attribute, names, classes.counts, classes.groups, visible(classes.rule), decision)


def records(result: Evaluation, pr_classes: Sequence[str]) -> Iterator[Record]:
    """The records of one validation of one attribute."""
    attribute = result.classes.attribute
    values = np.stack([result.columns[c] for c in CLASS_COLUMNS], axis=1).astype(np.float32)
    yield Table(class_table_tag(attribute), attribute, "classes", CLASS_COLUMNS, values)
    rows = np.array([[result.groups[g][c] for c in GROUP_COLUMNS] for g in GROUP_ROWS], dtype=np.float32)
    yield Table(group_table_tag(attribute), attribute, "groups", GROUP_COLUMNS, rows, GROUP_ROWS)
    confusion = result.confusion.astype(np.float32)
    yield Table(confusion_tag(attribute), attribute, "confusion", flows.COLUMNS, confusion, flows.ROWS)
    yield from _details(result)
    yield from _scalars(result)
    yield from _curves(result, pr_classes)


def _details(result: Evaluation) -> Iterator[Table]:
    """Tables from which the tab regroups classes and shows single ones."""
    attribute, buckets = result.classes.attribute, result.buckets
    curves: Any = result.precision_at_recall.astype(np.float16)  # a curve needs no more, and there are many
    yield Table(curves_tag(attribute), attribute, "curves", CURVE_COLUMNS, curves)
    pairs = result.pairs.astype(np.float32)
    yield Table(confusions_tag(attribute), attribute, "confusions", PAIR_COLUMNS, pairs)
    names, bounds = buckets.names(), buckets.to_json()
    flow = result.flow.astype(np.float32)
    yield Table(flow_tag(attribute), attribute, "flow", (*names, "none"), flow, names, {"buckets": bounds})
    sums = result.reliability.reshape(len(buckets), -1).astype(np.float32)
    about = {"buckets": bounds, "by": BY_PREDICTED_CLASS if result.decision == SINGLE_LABEL else BY_CLASS}
    yield Table(calibration_tag(attribute), attribute, "calibration", CALIBRATION_COLUMNS, sums, names, about)


def _scalars(result: Evaluation) -> Iterator[Scalar]:
    columns = [f"{m}{end}" for m in MEAN_METRICS for end in ("", "_lower", "_upper", "_n_classes")]
    for group, metrics in result.groups.items():
        if metrics["n_classes"] == 0:
            continue
        for column in (*columns, *GROUP_METRICS, "n_samples", "n_skipped"):
            value = metrics[column]
            if value == value:
                yield Scalar(scalar_tag(result.classes.attribute, column, group), value)


def _curves(result: Evaluation, pr_classes: Sequence[str]) -> Iterator[PRCurve]:
    attribute = result.classes.attribute
    for group in (*GROUPS, UNKNOWN, ALL):
        members = result.classes.members(group)
        members = members[result.columns["support"][members] > 0]
        if len(members):
            note = f"mean over {len(members)} classes at each threshold; counts are sums"
            yield _curve(result, pr_curve_tag(attribute, group), members, f"{attribute}: {group}", note)
    for name in pr_classes:
        member = np.array([result.classes.names.index(name)])
        if result.columns["support"][member[0]] > 0:
            yield _curve(result, class_pr_curve_tag(attribute, name), member, f"{attribute}: {name}", "one class")


def _curve(result: Evaluation, tag: str, members: np.ndarray[Any, Any], title: str, note: str) -> PRCurve:
    tp, predicted = result.positives_above[members], result.predicted_above[members]
    support, known = tp[:, :1], predicted[:, :1]
    precision, recall, _ = scores_of(tp, predicted, support)
    precision = np.where(predicted > 0, precision, 1.0)  # nothing predicted yet: the curve starts at precision 1
    fp = predicted - tp
    return PRCurve(
        tag,
        np.linspace(0, 1, THRESHOLDS),
        true_positives=tp.sum(axis=0),
        false_positives=fp.sum(axis=0),
        true_negatives=(known - support - fp).sum(axis=0),
        false_negatives=(support - tp).sum(axis=0),
        precision=precision.mean(axis=0),
        recall=recall.mean(axis=0),
        display_name=title,
        description=note,
    )


def class_metrics(result: Evaluation) -> dict[str, dict[str, Any]]:
    """`{label: {...}}`, JSON-ready: undefined precision, recall, F1 and AP are 0 with "defined": False beside them."""
    return {name: _class_entry(result, i) for i, name in enumerate(result.classes.names)}


def _class_entry(result: Evaluation, index: int) -> dict[str, Any]:
    values = {name: float(column[index]) for name, column in result.columns.items()}
    entry: dict[str, Any] = to_jsonable(values)
    for count in ("support", "true_positives", "false_positives", "false_negatives"):
        entry[count] = int(values[count])
    entry["defined"] = all(values[m] == values[m] for m in ("recall", "f1", "ap"))
    entry |= {metric: entry[metric] or 0.0 for metric in MEAN_METRICS}
    entry["type"] = result.classes.groups[index]
    entry["training_count"] = int(result.classes.counts[index])
    return entry


def type_metrics(result: Evaluation) -> dict[str, dict[str, Any]]:
    """`{group: {...}}`, JSON-ready, for the groups that have classes, with "all" and the "gap"."""
    return {g: _group_entry(result, g, m) for g, m in result.groups.items() if g == GAP or m["n_classes"]}


def _group_entry(result: Evaluation, group: str, metrics: dict[str, float]) -> dict[str, Any]:
    entry: dict[str, Any] = to_jsonable(dict(metrics))
    entry["defined"] = metrics["recall"] == metrics["recall"]
    entry |= {metric: entry[metric] or 0.0 for metric in MEAN_METRICS}
    if group != GAP:
        entry["count"] = int(metrics["n_classes"])
        entry["worst_class"] = _worst_class(result, group)
    return entry


def _worst_class(result: Evaluation, group: str) -> str | None:
    members = result.classes.members(group)
    f1 = result.columns["f1"][members]
    return None if np.isnan(f1).all() else result.classes.names[int(members[np.nanargmin(f1)])]
