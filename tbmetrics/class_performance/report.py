"""An evaluation as records for TensorBoard, and as the plain dictionaries of `get_metrics()`."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from tbmetrics.class_performance import flows
from tbmetrics.class_performance.evaluation import ClassNumbers, Evaluation
from tbmetrics.class_performance.families import family_table
from tbmetrics.class_performance.ranking import THRESHOLDS
from tbmetrics.classes.attributes import AttributeClasses
from tbmetrics.classes.groups import covariance_buckets
from tbmetrics.comparing.evidence import worst
from tbmetrics.records import (
    ALL,
    BY_CLASS,
    BY_PREDICTED_CLASS,
    CALIBRATION_COLUMNS,
    CURVE_COLUMNS,
    FEW_POSITIVES,
    GAP,
    GROUP_ROWS,
    GROUPS,
    LIFT_COLUMNS,
    MEAN_METRICS,
    PAIR_COLUMNS,
    RECALL_LEVELS,
    ROWS_WITH_MARGIN,
    SINGLE_LABEL,
    UNCERTAINTY_COLUMNS,
    UNKNOWN,
    ClassList,
    IntArray,
    MeanCurve,
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
    lift_sum_columns,
    lift_sums_tag,
    lifts_tag,
    main_metric,
    mean_curve,
    mean_metrics,
    pr_curve_tag,
    scalar_metrics,
    scalar_tag,
    uncertainty_tag,
    visible,
)
from tbmetrics.records.history import to_jsonable
from tbmetrics.statistics.bucket_means import column_length
from tbmetrics.statistics.scores import scores_of


def class_list(classes: AttributeClasses, decision: str, evaluation: str = "") -> ClassList:
    """The classes as a record, written once per run."""
    tag = class_list_tag(classes.attribute)
    names, attribute = tuple(map(visible, classes.names)), visible(classes.attribute)
    families = tuple(map(visible, classes.families))
    rule = visible(classes.rule)
    return ClassList(tag, attribute, names, classes.counts, classes.groups, rule, decision, families, evaluation)


def records(result: ClassNumbers, pr_classes: Sequence[str]) -> Iterator[Record]:
    """The records of one validation of one attribute."""
    attribute = result.classes.attribute
    yield from tables(result)
    if not isinstance(result, Evaluation):
        yield from scalars(result)
        return
    yield from family_table(result)
    confusion = result.confusion.astype(np.float32)
    yield Table(confusion_tag(attribute), attribute, "confusion", flows.COLUMNS, confusion, flows.ROWS)
    yield from _details(result)
    yield from scalars(result)
    yield from _curves(result, pr_classes)


def tables(result: ClassNumbers) -> Iterator[Table]:
    """The numbers by class, and by group."""
    attribute, columns, of_groups = result.classes.attribute, tuple(result.columns), tuple(result.groups[ALL])
    values = np.stack([result.columns[c] for c in columns], axis=1).astype(np.float32)
    yield Table(class_table_tag(attribute), attribute, "classes", columns, values)
    rows = np.array([[result.groups[g][c] for c in of_groups] for g in GROUP_ROWS], dtype=np.float32)
    yield Table(group_table_tag(attribute), attribute, "groups", of_groups, rows, GROUP_ROWS)


def _details(result: Evaluation) -> Iterator[Table]:
    """Tables from which the tab regroups classes and shows single ones."""
    attribute, buckets = result.classes.attribute, result.buckets
    curves: Any = result.precision_at_recall.astype(np.float16)  # a curve needs no more, and there are many classes
    yield Table(curves_tag(attribute), attribute, "curves", CURVE_COLUMNS, curves)
    pairs = result.pairs.astype(np.float32)
    yield Table(confusions_tag(attribute), attribute, "confusions", PAIR_COLUMNS, pairs)
    names, bounds = buckets.names(), buckets.to_json()
    flow = result.flow.astype(np.float32)
    yield Table(flow_tag(attribute), attribute, "flow", (*names, "none"), flow, names, {"buckets": bounds})
    yield from _lifts(result, names, bounds)
    sums = result.reliability.reshape(len(buckets), -1).astype(np.float32)
    about = {"buckets": bounds, "by": BY_PREDICTED_CLASS if result.decision == SINGLE_LABEL else BY_CLASS}
    yield Table(calibration_tag(attribute), attribute, "calibration", CALIBRATION_COLUMNS, sums, names, about)
    if result.uncertainty:
        yield _uncertainty(result)


def _uncertainty(result: Evaluation) -> Table:
    attribute, buckets = result.classes.attribute, covariance_buckets(result.classes)
    unknown = np.full(column_length(len(buckets)), np.nan)
    names = (*UNCERTAINTY_COLUMNS, *result.further)
    columns = [u.to_column() if (u := result.uncertainty.get(m)) else unknown for m in names]
    values = np.stack(columns, axis=1).astype(np.float32)
    about = {"buckets": buckets.to_json()}
    return Table(uncertainty_tag(attribute), attribute, "uncertainty", names, values, details=about)


def _lifts(result: Evaluation, names: tuple[str, ...], bounds: list[dict[str, Any]]) -> Iterator[Table]:
    attribute, of_groups = result.classes.attribute, result.group_lifts
    if result.lift_sums is None or of_groups is None:
        return
    lifts, sums = of_groups.lifts().astype(np.float32), result.lift_sums.astype(np.float32)
    yield Table(lifts_tag(attribute), attribute, "lifts", LIFT_COLUMNS, lifts, flows.ROWS)
    columns = lift_sum_columns(names)
    yield Table(lift_sums_tag(attribute), attribute, "lift_sums", columns, sums, names, {"buckets": bounds})


def scalars(result: ClassNumbers) -> Iterator[Scalar]:
    """The means of each group that has classes, few intervals, and the accuracy; all else is in the tables alone."""
    columns = list(result.groups[ALL])
    metrics, main = scalar_metrics(mean_metrics(columns)), main_metric(columns)
    for group, values in result.groups.items():
        if values["n_classes"] == 0:
            continue
        margin = (f"{main}_lower", f"{main}_upper") if group in ROWS_WITH_MARGIN else ()
        accuracy = ("accuracy",) if group == ALL else ()
        for column in (*metrics, *margin, *accuracy):
            value = values.get(column, math.nan)
            if value == value:
                yield Scalar(scalar_tag(result.classes.attribute, column, group), value)


def _curves(result: Evaluation, pr_classes: Sequence[str]) -> Iterator[PRCurve]:
    attribute, support = result.classes.attribute, result.columns["support"]
    if not result.predicted_above.any():  # no scores, no curve
        return
    for group in (*GROUPS, UNKNOWN, ALL):
        members = result.classes.members(group)
        members = members[support[members] > 0]
        if len(members):
            yield _mean_curve(result, pr_curve_tag(attribute, group), members, f"{attribute}: {group}")
    for name in pr_classes:
        index = result.classes.names.index(name)
        tag, title = class_pr_curve_tag(attribute, name), f"{attribute}: {name}"
        if support[index] == 1:
            yield _mean_curve(result, tag, np.array([index]), title)
        elif support[index] > 1:
            yield _class_curve(result, tag, index, title)


def _mean_curve(result: Evaluation, tag: str, members: IntArray, title: str) -> PRCurve:
    """The vertical average over `members` (all with positives), its recall falling; counts are sums.

    A class has as many true positives as its recall needs, and as many false ones as its precision then says.
    """
    support, levels = result.columns["support"][members, None], result.precision_at_recall[members]
    curve = mean_curve(CURVE_COLUMNS, levels, support)
    level_of_point = np.clip(np.ceil(curve.recall * len(RECALL_LEVELS)) - 1, 0, None).astype(np.int64)
    tp = np.ceil(np.array(RECALL_LEVELS) * support - 1e-9)
    negatives = result.predicted_above[members, :1] - support
    fp = np.clip(tp / levels - tp, 0, negatives)
    true, false = (counts.sum(axis=0)[level_of_point][::-1] for counts in (tp, fp))
    recall = np.ones_like(curve.recall) if curve.is_point else curve.recall[::-1]
    return PRCurve(
        tag,
        np.linspace(0, 1, len(recall)),
        true_positives=true,
        false_positives=false,
        true_negatives=negatives.sum() - false,
        false_negatives=support.sum() - true,
        precision=curve.precision[::-1],
        recall=recall,
        display_name=title,
        description=_note(curve),
    )


def _note(curve: MeanCurve) -> str:
    size = "1 class" if curve.n_classes == 1 else f"{curve.n_classes} classes"
    few = (
        f", {curve.n_few_positives} of them with fewer than {FEW_POSITIVES} positives" if curve.n_few_positives else ""
    )
    if curve.is_point:
        return f"one positive a class: a precision and no curve; mean over {size}"
    return (
        f"mean precision at each recall over {size}{few}; its area is the mean AP. Each class reaches a recall at a "
        "threshold of its own: what is shown as the threshold is 1 - recall; counts are sums"
    )


def _class_curve(result: Evaluation, tag: str, index: int, title: str) -> PRCurve:
    tp, predicted = result.positives_above[index], result.predicted_above[index]
    support, fp = tp[0], predicted - tp
    precision, recall, _ = scores_of(tp, predicted, np.full_like(tp, support))
    return PRCurve(
        tag,
        np.linspace(0, 1, THRESHOLDS),
        true_positives=tp,
        false_positives=fp,
        true_negatives=predicted[0] - support - fp,
        false_negatives=support - tp,
        precision=np.where(predicted > 0, precision, 1.0),  # nothing predicted yet: the curve starts at precision 1
        recall=recall,
        display_name=title,
        description="one class",
    )


def class_metrics(result: ClassNumbers) -> dict[str, dict[str, Any]]:
    """`{label: {...}}`, JSON-ready: undefined precision, recall, F1 and AP are 0 with "defined": False beside them."""
    return {name: _class_entry(result, i) for i, name in enumerate(result.classes.names)}


def _class_entry(result: ClassNumbers, index: int) -> dict[str, Any]:
    values = {name: float(column[index]) for name, column in result.columns.items()}
    entry: dict[str, Any] = to_jsonable(values)
    if isinstance(result, Evaluation):
        for count in ("support", "true_positives", "false_positives", "false_negatives"):
            entry[count] = int(values[count])
        entry |= {metric: entry[metric] or 0.0 for metric in MEAN_METRICS}
    main = ("recall", "f1", "ap") if isinstance(result, Evaluation) else mean_metrics(result.groups[ALL])
    entry["defined"] = all(values[m] == values[m] for m in main)
    entry["type"] = result.classes.groups[index]
    entry["training_count"] = int(result.classes.counts[index])
    return entry


def type_metrics(result: ClassNumbers) -> dict[str, dict[str, Any]]:
    """`{group: {...}}`, JSON-ready, for the groups that have classes, with "all" and the "gap"."""
    return {g: _group_entry(result, g, m) for g, m in result.groups.items() if g == GAP or m["n_classes"]}


def _group_entry(result: ClassNumbers, group: str, metrics: dict[str, float]) -> dict[str, Any]:
    entry: dict[str, Any] = to_jsonable(dict(metrics))
    main = metrics["recall" if isinstance(result, Evaluation) else main_metric(metrics)]
    entry["defined"] = main == main
    if isinstance(result, Evaluation):
        entry |= {metric: entry[metric] or 0.0 for metric in MEAN_METRICS}
    if group != GAP:
        entry["count"] = int(metrics["n_classes"])
        entry["worst_class"] = _worst_class(result, group)
    return entry


def _worst_class(result: ClassNumbers, group: str) -> str | None:
    """The class with the most evidence of a low F1, or of another metric without one, see `evidence.worst`."""
    members = result.classes.members(group)
    ranked = worst(result.columns[f"{main_metric(result.groups[ALL])}_upper"][members])
    return result.classes.names[int(members[ranked[0]])] if len(ranked) else None
