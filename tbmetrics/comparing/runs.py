"""Two runs of one attribute at one validation each: groups side by side, and the classes that moved most."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tbmetrics.errors import InputError
from tbmetrics.records import (
    GROUP_ROWS,
    MEAN_METRICS,
    ClassList,
    FloatArray,
    Table,
    class_table_tag,
    group_table_tag,
)
from tbmetrics.records.history import History


@dataclass(frozen=True, slots=True)
class GroupComparison:
    """One group's mean in both runs with its interval; NaN where undefined."""

    group: str
    n_classes: int | None
    a: tuple[float, float, float]  # value, lower, upper
    b: tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class ClassComparison:
    """One class in both runs."""

    name: str
    group: str
    a: float
    b: float

    @property
    def difference(self) -> float:
        """B minus A."""
        return self.b - self.a


@dataclass(frozen=True, slots=True)
class RunComparison:
    """Run A against run B.

    Attributes:
        groups: head, medium, tail, …, as far as both runs have them.
        classes: the classes that both runs have and define, by difference, the biggest gain of B first.
        only_in_a, only_in_b: names of the other classes.
    """

    attribute: str
    metric: str
    step_a: int
    step_b: int
    groups: tuple[GroupComparison, ...]
    classes: tuple[ClassComparison, ...]
    only_in_a: tuple[str, ...]
    only_in_b: tuple[str, ...]


def compare_runs(
    a: History, b: History, *, attribute: str | None = None, metric: str = "f1", step: int | None = None
) -> RunComparison:
    """Compares `metric` of every group and class, classes joined by name.

    Args:
        a, b: the runs.
        attribute: may be left out where both runs have the same single one.
        metric: "precision", "recall", "f1" or "ap".
        step: the validation to compare; None = the last of each run.

    Raises:
        InputError: an unknown attribute, metric or step.
    """
    if metric not in MEAN_METRICS:
        raise InputError(f"metric {metric!r} is unknown; use one of {', '.join(MEAN_METRICS)}")
    chosen = _attribute(a, b, attribute)
    (step_a, groups_a, classes_a), (step_b, groups_b, classes_b) = (_at(h, chosen, step) for h in (a, b))
    value_a, value_b = (_by_name(h.class_lists[chosen], t, metric) for h, t in ((a, classes_a), (b, classes_b)))
    group_of = dict(zip(a.class_lists[chosen].names, a.class_lists[chosen].groups, strict=True))
    joined = [ClassComparison(n, group_of[n], value_a[n], value_b[n]) for n in value_a if n in value_b]
    moved = sorted((c for c in joined if c.difference == c.difference), key=lambda c: (-c.difference, c.name))
    rows = [g for g in GROUP_ROWS if g in groups_a.rows and g in groups_b.rows]
    groups = (_group(g, metric, groups_a, groups_b) for g in rows)
    return RunComparison(
        chosen,
        metric,
        step_a,
        step_b,
        tuple(g for g in groups if g.a[0] == g.a[0] or g.b[0] == g.b[0]),
        tuple(moved),
        tuple(n for n in value_a if n not in value_b),
        tuple(n for n in value_b if n not in value_a),
    )


def _attribute(a: History, b: History, wanted: str | None) -> str:
    common = [name for name in sorted(a.class_lists) if name in b.class_lists]
    if wanted is None and len(common) == 1:
        return common[0]
    if wanted not in common:
        came = (
            "several attributes; choose one with --attribute" if wanted is None else f"no common attribute {wanted!r}"
        )
        there = ", ".join(map(repr, common)) or "none"
        raise InputError(f"runs {a.run!r} and {b.run!r} have {came}: there are {there}")
    return wanted


def _at(history: History, attribute: str, step: int | None) -> tuple[int, Table, Table]:
    groups, classes = (history.tables.get(tag) for tag in (group_table_tag(attribute), class_table_tag(attribute)))
    if groups is None or classes is None or not len(groups):
        raise InputError(f"run {history.run!r} has no validation of {attribute!r} yet")
    chosen = int(groups.steps[-1]) if step is None else step
    if chosen not in groups.steps:
        nearest = sorted(groups.steps[np.argsort(np.abs(groups.steps - chosen))[:5]].tolist())
        raise InputError(f"run {history.run!r} has no validation at step {chosen}; the nearest are {nearest}")
    return chosen, groups.at(chosen), classes.at(chosen)


def _by_name(classes: ClassList, table: Table, metric: str) -> dict[str, float]:
    return dict(zip(classes.names, table.column(metric).astype(np.float64).tolist(), strict=True))


def _group(group: str, metric: str, a: Table, b: Table) -> GroupComparison:
    row_a, row_b = a.rows.index(group), b.rows.index(group)
    size: FloatArray = a.column("n_classes")[row_a]
    return GroupComparison(
        group, None if np.isnan(size) else int(size), _with_interval(a, row_a, metric), _with_interval(b, row_b, metric)
    )


def _with_interval(table: Table, row: int, metric: str) -> tuple[float, float, float]:
    value, lower, upper = (float(table.column(metric + end)[row]) for end in ("", "_lower", "_upper"))
    return value, lower, upper
