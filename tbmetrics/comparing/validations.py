"""One validation of one run, as it is compared with another: values of the classes, recorded means, decisions."""

from __future__ import annotations

import math
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import NamedTuple

import numpy as np

from tbmetrics.classes.attributes import family_names
from tbmetrics.classes.groups import PARTITION
from tbmetrics.comparing.regrouping import class_interval
from tbmetrics.errors import InputError
from tbmetrics.records import (
    ALL,
    DecidedSamples,
    Float32Array,
    FloatArray,
    IntArray,
    SampleData,
    SchemaError,
    Table,
    class_table_tag,
    decided_samples,
    decisions_tag,
    family_table_tag,
    group_table_tag,
    labels_tag,
    mean_metrics,
)
from tbmetrics.records.history import History, Series
from tbmetrics.statistics.intervals import Interval


class GroupMean(NamedTuple):
    """The mean of a group over its own classes and its 95 % interval, as a run recorded them; NaN if undefined."""

    value: float = math.nan
    lower: float = math.nan
    upper: float = math.nan


@dataclass(frozen=True, eq=False)
class Validation:
    """One metric of one attribute at one validation of one run.

    Attributes:
        attribute, metric, step: what was validated, and when.
        names, groups: one per class.
        partition: the different groups, in order: head, medium, tail and unknown, or families.
        values: of the metric, float (classes,); NaN if undefined.
        recorded: means by group as the run recorded them; empty for groups drawn anew.
        decision: "single_label" or "multi_label"; empty if unknown.
        decided: what was decided on each sample; None if that was not recorded.
        intervals: lower and upper ends of the classes' own 95 % intervals, float (2, classes); None if unknown.
        evaluation: name of the evaluation, such as "test"; empty for the validation.
    """

    attribute: str
    metric: str
    step: int
    names: tuple[str, ...]
    groups: tuple[str, ...]
    values: FloatArray
    recorded: Mapping[str, GroupMean] = field(default_factory=dict)
    decision: str = ""
    decided: DecidedSamples | None = None
    intervals: FloatArray | None = None
    partition: tuple[str, ...] = PARTITION
    evaluation: str = ""

    @cached_property
    def group_indices(self) -> IntArray:
        """Index in `partition` of each class's group, int64 (classes,)."""
        indices = {group: index for index, group in enumerate(self.partition)}
        return np.array([indices[group] for group in self.groups], dtype=np.int64)

    def group_indices_in(self, partition: Sequence[str]) -> IntArray:
        """The same in another partition; a group that it lacks gets an index beyond its last."""
        indices = {group: index for index, group in enumerate(partition)}
        own = [indices.get(group, len(partition) + index) for index, group in enumerate(self.partition)]
        return np.array(own, dtype=np.int64)[self.group_indices]

    def mean(self, group: str) -> GroupMean:
        """The recorded mean of `group`; NaN if there is none."""
        return self.recorded.get(group, GroupMean())

    def class_intervals(self, classes: IntArray) -> Interval:
        """The 95 % intervals of these classes; NaN if unknown."""
        if self.intervals is None:
            unknown = np.full(len(classes), np.nan)
            return unknown, unknown
        lower, upper = self.intervals[:, classes]
        return lower, upper


def evaluation_of(run: str, runs: Container[str], recorded: str | None) -> str:
    """The evaluation that a run holds, empty for the validation.

    Args:
        run: its name.
        runs: the names of all runs.
        recorded: the name that it recorded, or None; then a run directly below another is an evaluation of that one.
    """
    parent, _, name = run.rpartition("/")
    return (name if parent in runs else "") if recorded is None else recorded


def evaluation_name(evaluation: str) -> str:
    """How an evaluation is called: the validation has no name of its own."""
    return evaluation or "validation"


def common_attributes(a: History, b: History) -> list[str]:
    """The attributes that both runs have, sorted."""
    return [attribute for attribute in sorted(a.class_lists) if attribute in b.class_lists]


def attributes_with(a: History, b: History, metric: str) -> list[str]:
    """The attributes of which both runs recorded the metric.

    Raises:
        InputError: there is none.
    """
    first_error: InputError | None = None
    attributes = []
    for attribute in common_attributes(a, b):
        try:
            check_metric(a, b, attribute, metric)
        except InputError as error:
            first_error = first_error or error
        else:
            attributes.append(attribute)
    if not attributes:
        raise first_error or InputError(f"runs {a.run!r} and {b.run!r} have no attribute in common")
    return attributes


def common_attribute(a: History, b: History, name: str | None) -> str:
    """The attribute to compare: `name`, or the only one that both runs have.

    Raises:
        InputError: there is none, or several and no name.
    """
    common = common_attributes(a, b)
    if name is None and len(common) == 1:
        return common[0]
    if name not in common:
        reason = "several attributes; choose one with --attribute" if name is None else f"no common attribute {name!r}"
        known = ", ".join(map(repr, common)) or "none"
        raise InputError(f"runs {a.run!r} and {b.run!r} have {reason}: there are {known}")
    return name


def check_metric(a: History, b: History, attribute: str, metric: str) -> None:
    """Check that both runs recorded means of `metric` over the classes of the attribute.

    Raises:
        InputError: a run did not; the message lists what both did.
    """
    in_a, in_b = (mean_metrics(group_tables(history, attribute)[-1].columns) for history in (a, b))
    lacking = [history.run for history, metrics in ((a, in_a), (b, in_b)) if metric not in metrics]
    if lacking:
        where = f"is not in run {lacking[0]!r}" if len(lacking) == 1 else "is unknown"
        common = ", ".join(name for name in in_a if name in in_b)
        raise InputError(f"metric {metric!r} {where}; use one of {common or 'none: the runs have none in common'}")


def steps_to_compare(a: History, b: History, attribute: str, step: int | None) -> tuple[int, int]:
    """The step of each run: `step`, or the last one that both have, or, if there is none, the last of each.

    Raises:
        InputError: a run has no validation, or none at `step`.
    """
    steps = [group_tables(history, attribute).steps for history in (a, b)]
    if step is None:
        return last_steps(*(of_run.tolist() for of_run in steps))
    for history, of_run in zip((a, b), steps, strict=True):
        if step not in of_run:
            nearest = sorted(of_run[np.argsort(np.abs(of_run - step))[:5]].tolist())
            raise InputError(f"run {history.run!r} has no validation at step {step}; the nearest are {nearest}")
    return step, step


def last_steps(a: Sequence[int], b: Sequence[int]) -> tuple[int, int]:
    """The step of each run: the last one that both have, or, if there is none, the last of each; steps ascend."""
    common = set(a) & set(b)
    return (max(common),) * 2 if common else (a[-1], b[-1])


def group_tables(history: History, attribute: str) -> Series[Table]:
    """The tables of groups of a run, one a validation.

    Raises:
        InputError: there is none, or none of classes.
    """
    tables = history.tables.get(group_table_tag(attribute))
    if tables is None or not len(tables) or class_table_tag(attribute) not in history.tables:
        raise InputError(f"run {history.run!r} has no validation of {attribute!r} yet")
    return tables


def validation(history: History, attribute: str, metric: str, step: int, evaluation: str = "") -> Validation:
    """The validation of a run at `step`, or the evaluation that the run holds.

    Raises:
        InputError: its tables do not fit its classes, or are damaged.
    """
    groups = group_tables(history, attribute).at(step)
    listed, classes = history.class_lists[attribute], history.tables[class_table_tag(attribute)].at(step)
    values = classes.column(metric).astype(np.float64)
    if len(listed.names) != len(values):
        raise InputError(f"run {history.run!r} has {len(values)} rows for {len(listed.names)} classes of {attribute!r}")
    recorded = recorded_means(groups.rows, groups.columns, groups.values, metric)
    decided = _decided(history, attribute, step, len(values))
    intervals = np.stack(class_interval(metric, lambda name: classes.column(name).astype(np.float64)))
    return Validation(
        attribute,
        metric,
        step,
        listed.names,
        listed.groups,
        values,
        recorded,
        listed.decision,
        decided,
        intervals,
        evaluation=evaluation,
    )


def by_family(history: History, recorded: Validation) -> Validation:
    """The same validation with families instead of head, medium and tail, and the means over these.

    Raises:
        InputError: the run has no families.
    """
    families, tag = history.class_lists[recorded.attribute].families, family_table_tag(recorded.attribute)
    if not families:
        raise InputError(f"run {history.run!r} has no families of {recorded.attribute!r}")
    means = {ALL: recorded.mean(ALL)}
    if tag in history.tables and recorded.step in history.tables[tag].steps:
        table = history.tables[tag].at(recorded.step)
        means |= recorded_means(table.rows, table.columns, table.values, recorded.metric)
    return replace(recorded, groups=families, partition=family_names(families), recorded=means)


def recorded_means(
    rows: Sequence[str], columns: Sequence[str], values: Float32Array, metric: str
) -> dict[str, GroupMean]:
    """The means of a metric in a table of groups, whose values are (rows, columns)."""
    by_end = (values[:, columns.index(metric + end)].tolist() for end in ("", "_lower", "_upper"))
    return dict(zip(rows, map(GroupMean, *by_end), strict=True))


def _decided(history: History, attribute: str, step: int, n_classes: int) -> DecidedSamples | None:
    """The decisions at `step`; None if they, or their labels, are not there or not readable."""
    try:
        decisions: SampleData = history.samples[decisions_tag(attribute)].at(step)
        labels = history.samples[labels_tag(attribute, decisions.checksum)][-1]
        decided = decided_samples(labels, decisions)
    except (KeyError, IndexError, SchemaError):
        return None
    return decided if decided.n_classes == n_classes else None
