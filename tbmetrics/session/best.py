"""Which validation of a run was best by a metric of a group, and which others cannot be told from it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from tbmetrics.comparing.runs import BETTER, NARROWER, WIDER, WORSE, group_verdicts
from tbmetrics.comparing.validations import validation
from tbmetrics.errors import InputError
from tbmetrics.records import GAP, GROUP_METRICS, GROUP_ROWS, Table, group_table_tag, mean_metrics
from tbmetrics.records.history import History, Series
from tbmetrics.tracking.checks import check_choice

#: Metrics of which less is better.
_ERRORS = ("ece",)


@dataclass(frozen=True, slots=True)
class BestValidation:
    """The validation with the best value of a metric of a group.

    Attributes:
        attribute, metric, group: what it is the best of.
        step: of the validation: its epoch.
        value: of the metric; the best gap and the best calibration error are those nearest to 0.
        lower, upper: its 95 % interval; NaN if unknown.
        indistinguishable: steps of the other validations that are not worse beyond the 95 % interval of the difference,
            or of which that cannot be told; None for metrics without intervals.
    """

    attribute: str
    metric: str
    group: str
    step: int
    value: float
    lower: float
    upper: float
    indistinguishable: tuple[int, ...] | None


class _Point(NamedTuple):
    """One validation: where it is recorded, and the value of the metric with its interval."""

    history: History
    step: int
    value: float
    lower: float
    upper: float


class GroupMetric:
    """A metric of a group over the validations of a run.

    Args:
        attribute: None = the only one.
        metric: a mean over classes that the run records, or one of `GROUP_METRICS`.
        group: one of `GROUP_ROWS`.
        attributes: those that the run validates.

    Raises:
        InputError: an argument is none of these.
    """

    def __init__(self, attribute: str | None, metric: str, group: str, attributes: Sequence[str]) -> None:
        if attribute is None and len(attributes) != 1:
            raise InputError(f"attribute must be one of {', '.join(map(repr, attributes))}, as there are several")
        self.attribute = attributes[0] if attribute is None else attribute
        self.metric, self.group = metric, group
        check_choice("attribute", self.attribute, attributes)
        check_choice("group", group, GROUP_ROWS)

    def best(self, histories: Sequence[History]) -> BestValidation | None:
        """The best validation, the first of equals; None if none has a defined value."""
        points = self._points(histories)
        if not points:
            return None
        best = max(points, key=self._quality)
        told = None
        if self.metric not in GROUP_METRICS:
            others = [point for point in points if point is not best]
            told = tuple(p.step for p in others if self._verdict(best, p) not in (WORSE, WIDER))
        return BestValidation(self.attribute, self.metric, self.group, *best[1:], told)

    def is_best(self, histories: Sequence[History], step: int, *, beyond_interval: bool) -> bool:
        """Whether the validation at `step` is better than each one before.

        Args:
            histories: the recorded validations, then the one under way.
            step: of the latest validation; if there is none, the answer is False.
            beyond_interval: whether the 95 % interval of the difference from the best one before must exclude 0.

        Raises:
            InputError: `beyond_interval` for a metric without intervals.
        """
        if beyond_interval and self.metric in GROUP_METRICS:
            raise InputError(f"beyond_interval needs a mean over classes, which has intervals; {self.metric!r} is none")
        points = self._points(histories)
        latest = next((point for point in points if point.step == step), None)
        earlier = [point for point in points if point.step < step]
        if latest is None or not earlier:
            return latest is not None
        before = max(earlier, key=self._quality)
        is_better = self._quality(latest) > self._quality(before)
        return is_better and (not beyond_interval or self._verdict(before, latest) in (BETTER, NARROWER))

    def _points(self, histories: Sequence[History]) -> list[_Point]:
        """The validations with a defined value, by step; a later history replaces a step of an earlier one."""
        points: dict[int, _Point] = {}
        metrics: set[str] = set()
        for history in histories:
            tables: Series[Table] = history.tables.get(group_table_tag(self.attribute), Series())
            for step, table in zip(tables.steps.tolist(), tables, strict=True):
                row, columns = table.values[table.rows.index(self.group)], table.columns
                metrics |= {*mean_metrics(columns), *GROUP_METRICS}
                values = (
                    float(row[columns.index(name)]) if name in columns else math.nan
                    for name in (self.metric, f"{self.metric}_lower", f"{self.metric}_upper")
                )  # fmt: skip
                points[step] = _Point(history, step, *values)
        if metrics:
            check_choice("metric", self.metric, sorted(metrics))
        return [point for _, point in sorted(points.items()) if point.value == point.value]

    def _quality(self, point: _Point) -> float:
        return -abs(point.value) if self.group == GAP or self.metric in _ERRORS else point.value

    def _verdict(self, a: _Point, b: _Point) -> str:
        """B against A, paired if both recorded their decisions on the same samples."""
        verdicts, _ = group_verdicts(*(validation(p.history, self.attribute, self.metric, p.step) for p in (a, b)))
        return verdicts[self.group]
