"""One attribute of a history at one step, as the figures of class performance read it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from tbmetrics.figures.style import short
from tbmetrics.records import (
    ALL,
    GROUPS,
    UNKNOWN,
    ClassList,
    FloatArray,
    IntArray,
    MeanCurve,
    Table,
    class_table_tag,
    curves_tag,
    group_table_tag,
    mean_curve,
    mean_metrics,
)
from tbmetrics.records.history import History


@dataclass(frozen=True)
class ClassView:
    """One attribute of a history at one step.

    Attributes:
        history: from memory or from disk.
        classes: of the attribute.
        step: of the validation, or None if there was none.
    """

    history: History
    classes: ClassList
    step: int | None

    @property
    def attribute(self) -> str:
        """Its name."""
        return self.classes.attribute

    @property
    def title(self) -> str:
        """Its name, not too long."""
        return short(self.attribute)

    def groups(self) -> list[str]:
        """The groups that have classes, head first."""
        return [g for g in (*GROUPS, UNKNOWN) if g in self.classes.groups]

    def size(self, group: str) -> int:
        """Number of classes in the group."""
        return len(self.classes.groups) if group == ALL else self.classes.groups.count(group)

    def table(self, tag: str) -> Table | None:
        """The table of `tag` at the step, or None."""
        series = self.history.tables.get(tag)
        return None if series is None or self.step not in series.steps else series.at(int(self.step or 0))

    def mean_metrics(self) -> list[str]:
        """The metrics whose means over classes were recorded at the step."""
        return list(mean_metrics(self.history.tables[group_table_tag(self.attribute)].at(self.step or 0).columns))

    def group_value(self, group: str, column: str) -> float:
        """One value of the table of groups; NaN if the log is older than the column."""
        table = self.history.tables[group_table_tag(self.attribute)].at(self.step or 0)
        return float(table.column(column)[table.rows.index(group)]) if column in table.columns else math.nan

    def group_history(self, group: str, column: str) -> tuple[IntArray, FloatArray]:
        """Steps, and one value of the table of groups at each."""
        series = self.history.tables[group_table_tag(self.attribute)]
        values = [table.column(column)[table.rows.index(group)] for table in series]
        return series.steps, np.array(values, dtype=np.float64)

    def counted(self, group: str, metric: str) -> str:
        """How many classes the mean of `metric` covers, if it is not the whole group: "4 of 6"; otherwise empty."""
        number, size = self.group_value(group, f"{metric}_n_classes"), self.size(group)
        return "" if math.isnan(number) or number == size else f"{number:,.0f} of {size:,}"

    def curve(self, group: str) -> MeanCurve | None:
        """The vertical average of the group's precision-recall curves, or None if no class has one."""
        curves, classes = self.table(curves_tag(self.attribute)), self.table(class_table_tag(self.attribute))
        if curves is None or classes is None:
            return None
        inside = np.array([group in (of_class, ALL) for of_class in self.classes.groups])
        curve = mean_curve(curves.columns, curves.values[inside], classes.column("support")[inside])
        return curve if curve.n_classes else None
