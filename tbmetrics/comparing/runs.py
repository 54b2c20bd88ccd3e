"""Two runs of one attribute at one validation each: groups side by side, and the classes that moved most."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tbmetrics.classes.groups import macro_mean
from tbmetrics.comparing.evidence import difference_interval
from tbmetrics.comparing.regrouping import class_interval
from tbmetrics.errors import InputError
from tbmetrics.records import (
    ALL,
    GAP,
    GROUPS,
    HEAD,
    MEAN_METRICS,
    TAIL,
    UNKNOWN,
    FloatArray,
    Table,
    class_table_tag,
    group_table_tag,
)
from tbmetrics.records.history import History
from tbmetrics.statistics.intervals import Interval
from tbmetrics.statistics.sign_flips import SignFlipTest


class GroupMean(NamedTuple):
    """The mean of a group over its own classes and its 95 % interval, as a run recorded them; NaN if undefined."""

    value: float = math.nan
    lower: float = math.nan
    upper: float = math.nan


@dataclass(frozen=True, slots=True, eq=False)
class Validation:
    """One metric of one attribute at one validation of one run.

    Attributes:
        attribute, metric, step: what was validated, and when.
        names, groups: one per class.
        values: of the metric, float (classes,); NaN if undefined.
        recorded: means by group as the run recorded them; empty for groups drawn anew.
        intervals: lower and upper ends of the classes' own 95 % intervals, float (2, classes); None = unknown.
    """

    attribute: str
    metric: str
    step: int
    names: tuple[str, ...]
    groups: tuple[str, ...]
    values: FloatArray
    recorded: Mapping[str, GroupMean] = field(default_factory=dict)
    intervals: FloatArray | None = None

    def mean(self, group: str) -> GroupMean:
        """The recorded mean of `group`; NaN if there is none."""
        return self.recorded.get(group, GroupMean())


@dataclass(frozen=True, slots=True)
class ClassComparison:
    """One class in both runs, with the ends of the 95 % interval of their difference; NaN if unknown."""

    name: str
    group: str
    a: float
    b: float
    lower: float = math.nan
    upper: float = math.nan

    @property
    def difference(self) -> float:
        """B minus A."""
        return self.b - self.a


@dataclass(frozen=True, slots=True)
class GroupComparison:
    """One group in both runs; NaN if undefined.

    Attributes:
        n_classes: classes of the group that both runs have.
        n_defined: those of them whose value is defined in both runs; everything below is about these.
        mean_a, mean_b: macro means.
        difference: `mean_b - mean_a`.
        n_higher, n_lower: classes whose value is higher, or lower, in B.
        sign_flip_p: two-sided p-value of the sign-flip test over the classes. It says how consistent the classes are,
            nothing about what another random seed would give.
        least_p: the smallest p-value that this many classes allow; above 0.05 there are too few to tell.
        lower, upper: the differences that the test does not reject at 5 %; NaN if there are too few classes.
    """

    n_classes: int
    n_defined: int
    mean_a: float
    mean_b: float
    difference: float
    n_higher: int
    n_lower: int
    sign_flip_p: float = math.nan
    least_p: float = math.nan
    lower: float = math.nan
    upper: float = math.nan


@dataclass(frozen=True, slots=True)
class RunComparison:
    """Run B against run A on the classes that both have by name, grouped as in A.

    Attributes:
        a, b: the validations compared, with each run's own group means.
        groups: by "head", "medium", "tail", "unknown", "all", and "gap" (head minus tail).
        classes: those defined in both runs, by difference, the largest gain of B first.
        n_joined: classes that both runs have.
        n_regrouped: those of them that B puts into another group than A.
        only_in_a, only_in_b: names of the classes that the other run lacks.
    """

    a: Validation
    b: Validation
    groups: Mapping[str, GroupComparison]
    classes: tuple[ClassComparison, ...]
    n_joined: int
    n_regrouped: int
    only_in_a: tuple[str, ...]
    only_in_b: tuple[str, ...]

    @property
    def attribute(self) -> str:
        """The attribute that both runs validated."""
        return self.a.attribute


def compare(a: Validation, b: Validation) -> RunComparison:
    """Compares run `b` with run `a`, the baseline."""
    index_in_b = {name: index for index, name in enumerate(b.names)}
    joined = [(index, index_in_b[name]) for index, name in enumerate(a.names) if name in index_in_b]
    in_a, in_b = np.array(joined, dtype=np.int64).reshape(-1, 2).T
    names, groups = np.array(a.names, dtype=object)[in_a], np.array(a.groups, dtype=object)[in_a]
    values_a, values_b = a.values[in_a].astype(np.float64), b.values[in_b].astype(np.float64)
    ends = difference_interval(values_a, _ends(a, in_a), values_b, _ends(b, in_b))
    columns = (column.tolist() for column in (values_a, values_b, *ends))
    classes = map(ClassComparison, names, groups, *columns)
    defined = [c for c in classes if not math.isnan(c.difference)]
    names_in_a = set(a.names)
    return RunComparison(
        a=a,
        b=b,
        groups=_compare_groups(groups, values_a, values_b),
        classes=tuple(sorted(defined, key=lambda c: (-c.difference, c.name))),
        n_joined=len(joined),
        n_regrouped=int(np.count_nonzero(groups != np.array(b.groups, dtype=object)[in_b])),
        only_in_a=tuple(name for name in a.names if name not in index_in_b),
        only_in_b=tuple(name for name in b.names if name not in names_in_a),
    )


def _ends(validation: Validation, classes: NDArray[np.int64]) -> Interval:
    if validation.intervals is None:
        unknown = np.full(len(classes), np.nan)
        return unknown, unknown
    lower, upper = validation.intervals[:, classes]
    return lower, upper


def compare_runs(
    a: History, b: History, *, attribute: str | None = None, metric: str = "f1", step: int | None = None
) -> RunComparison:
    """Compares two runs as they were recorded.

    Args:
        a, b: the runs.
        attribute: may be left out if the runs have a single one in common.
        metric: "precision", "recall", "f1" or "ap".
        step: the validation to compare; None = the last of each run.

    Raises:
        InputError: an unknown attribute, metric or step.
    """
    if metric not in MEAN_METRICS:
        raise InputError(f"metric {metric!r} is unknown; use one of {', '.join(MEAN_METRICS)}")
    name = _common_attribute(a, b, attribute)
    return compare(_validation(a, name, metric, step), _validation(b, name, metric, step))


def _common_attribute(a: History, b: History, name: str | None) -> str:
    common = [attribute for attribute in sorted(a.class_lists) if attribute in b.class_lists]
    if name is None and len(common) == 1:
        return common[0]
    if name not in common:
        reason = "several attributes; choose one with --attribute" if name is None else f"no common attribute {name!r}"
        known = ", ".join(map(repr, common)) or "none"
        raise InputError(f"runs {a.run!r} and {b.run!r} have {reason}: there are {known}")
    return name


def _validation(history: History, attribute: str, metric: str, step: int | None) -> Validation:
    groups, classes = (history.tables.get(tag) for tag in (group_table_tag(attribute), class_table_tag(attribute)))
    if groups is None or classes is None or not len(groups):
        raise InputError(f"run {history.run!r} has no validation of {attribute!r} yet")
    step = int(groups.steps[-1]) if step is None else step
    if step not in groups.steps:
        nearest = sorted(groups.steps[np.argsort(np.abs(groups.steps - step))[:5]].tolist())
        raise InputError(f"run {history.run!r} has no validation at step {step}; the nearest are {nearest}")
    listed, values = history.class_lists[attribute], classes.at(step).column(metric).astype(np.float64)
    if len(listed.names) != len(values):
        raise InputError(f"run {history.run!r} has {len(values)} rows for {len(listed.names)} classes of {attribute!r}")
    recorded = _recorded_means(groups.at(step), metric)
    intervals = np.stack(class_interval(metric, lambda name: classes.at(step).column(name).astype(np.float64)))
    return Validation(attribute, metric, step, listed.names, listed.groups, values, recorded, intervals)


def _recorded_means(table: Table, metric: str) -> dict[str, GroupMean]:
    columns = (table.column(metric + end).tolist() for end in ("", "_lower", "_upper"))
    return dict(zip(table.rows, map(GroupMean, *columns), strict=True))


def _compare_groups(groups: NDArray[np.object_], a: FloatArray, b: FloatArray) -> dict[str, GroupComparison]:
    members = {group: np.flatnonzero(groups == group) for group in (*GROUPS, UNKNOWN)}
    members[ALL] = np.arange(len(groups))
    compared = {group: _compare_group(a[classes], b[classes]) for group, classes in members.items()}
    return {**compared, GAP: _gap(compared[HEAD], compared[TAIL])}


def _compare_group(a: FloatArray, b: FloatArray) -> GroupComparison:
    defined = np.flatnonzero(~(np.isnan(a) | np.isnan(b)))
    differences = b[defined] - a[defined]
    mean_a, mean_b = macro_mean(a, defined)[0], macro_mean(b, defined)[0]
    test = SignFlipTest(differences)
    lower, upper = test.interval()
    return GroupComparison(
        n_classes=len(a),
        n_defined=len(defined),
        mean_a=mean_a,
        mean_b=mean_b,
        difference=mean_b - mean_a,
        n_higher=int(np.count_nonzero(differences > 0)),
        n_lower=int(np.count_nonzero(differences < 0)),
        sign_flip_p=test.p(),
        least_p=test.least_p,
        lower=lower,
        upper=upper,
    )


def _gap(head: GroupComparison, tail: GroupComparison) -> GroupComparison:
    return GroupComparison(
        n_classes=head.n_classes + tail.n_classes,
        n_defined=head.n_defined + tail.n_defined,
        mean_a=head.mean_a - tail.mean_a,
        mean_b=head.mean_b - tail.mean_b,
        difference=(head.mean_b - tail.mean_b) - (head.mean_a - tail.mean_a),
        n_higher=head.n_higher + tail.n_higher,
        n_lower=head.n_lower + tail.n_lower,
    )
