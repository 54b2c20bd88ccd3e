"""Metrics that users compute for each class themselves: checked, averaged over groups, joined to what is measured."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch

from tbmetrics.class_performance.arguments import as_column
from tbmetrics.class_performance.evaluation import ClassNumbers, class_columns
from tbmetrics.classes.attributes import AttributeClasses
from tbmetrics.classes.groups import PARTITION, ClassGroups, macro_mean
from tbmetrics.errors import InputError
from tbmetrics.records import (
    ALL,
    CLASS_COLUMNS,
    GAP,
    GROUP_COLUMNS,
    HEAD,
    MEAN_METRICS,
    TAIL,
    FloatArray,
    mean_columns,
    mean_metrics,
)
from tbmetrics.statistics.intervals import mover_difference, mover_mean

SUPPORT = "support"
#: Names that mean something else in the tables.
_RESERVED = {*CLASS_COLUMNS, *GROUP_COLUMNS} - set(MEAN_METRICS)
_ENDINGS = ("_lower", "_upper", "_n_classes", "_n_few_positives")


class TableColumns(NamedTuple):
    """The columns of an attribute's tables, which a run keeps from its first validation on."""

    classes: tuple[str, ...]
    groups: tuple[str, ...]


class OwnMetrics:
    """The metrics given since the last record, and the columns of the tables recorded so far, by attribute.

    Args:
        classes: of all attributes.
    """

    def __init__(self, classes: ClassGroups) -> None:
        self._classes = classes
        self.pending: dict[str, dict[str, FloatArray]] = {}
        self.recorded: dict[str, TableColumns] = {}

    def add(
        self,
        attribute: str,
        metrics: Mapping[str, Any],
        support: Any,
        lower: Mapping[str, Any] | None,
        upper: Mapping[str, Any] | None,
        measured: Sequence[str],
    ) -> None:
        """Take metrics into the next record; see `ClassPerformanceTracker.log_class_metrics`.

        Args:
            attribute, metrics, support, lower, upper: as there.
            measured: names of the metrics that are measured for the attribute.

        Raises:
            InputError: names or values that cannot be used.
        """
        if not isinstance(metrics, Mapping) or not metrics:
            raise InputError(f"metrics must be a dictionary of values by name, got {metrics!r:.100}")
        for name in metrics:
            self._check_name(attribute, name, measured)
        columns = _columns(self._classes[attribute], metrics, lower or {}, upper or {})
        if support is not None:
            columns[SUPPORT] = _checked(f"{attribute!r}: support", self._classes[attribute], support, most=np.inf)
        self.pending.setdefault(attribute, {}).update(columns)

    def is_measured(self, attribute: str) -> bool:
        """Whether validations of the attribute have been recorded with what was measured."""
        return attribute in self.recorded and "true_positives" in self.recorded[attribute].classes

    def _check_name(self, attribute: str, name: Any, measured: Sequence[str]) -> None:
        if not (isinstance(name, str) and name.isascii() and name.isidentifier()):
            raise InputError(f"a metric's name has letters, digits and underscores only, got {name!r:.100}")
        if name in _RESERVED or name.endswith(_ENDINGS):
            raise InputError(f"the name {name!r} means something else in the tables of classes; choose another")
        if name in measured:
            raise InputError(f"attribute {attribute!r}: {name!r} is measured here; log yours under another name")
        recorded = self.recorded.get(attribute)
        if recorded is not None and name not in recorded.groups:
            raise InputError(
                f"attribute {attribute!r} has been recorded without {name!r}, and its table keeps its columns during a "
                "run: log the metric from the first validation on (NaN where it is unknown), or for an attribute of "
                "its own"
            )

    def check_update(self, attribute: str, measured: Iterable[str]) -> None:
        """Check that the attribute can be measured too.

        Raises:
            InputError: a metric given has the name of one of `measured`, or the attribute was recorded without any.
        """
        taken = [name for name in measured if name in self.pending.get(attribute, {})]
        if taken:
            raise InputError(f"attribute {attribute!r}: {taken[0]!r} is measured here; log yours under another name")
        if attribute in self.recorded and not self.is_measured(attribute):
            raise InputError(
                f"attribute {attribute!r} has been recorded with metrics of your own alone, and its table keeps its "
                "columns during a run: update it from the first validation on, or use another attribute"
            )

    def joined(self, attribute: str, measured: ClassNumbers | None) -> ClassNumbers:
        """What is measured with the metrics given, or these alone; unknown ones that were recorded before are NaN."""
        classes, given = self._classes[attribute], self.pending.get(attribute, {})
        recorded = self.recorded.get(attribute)
        numbers = measured if measured is not None else _blank(classes, recorded)
        names = [name for name in given if name != SUPPORT and not name.endswith(_ENDINGS)]
        if recorded is not None:
            names = [m for m in mean_metrics(recorded.groups) if m in names or m not in numbers.columns]
        unknown = np.full(len(classes), np.nan)
        numbers.columns |= {column: given.get(column, unknown) for column in class_columns(names)}
        if measured is None and SUPPORT in given:
            numbers.columns[SUPPORT] = given[SUPPORT]
        for name in names:
            _add_means(numbers, name)
        return numbers

    def clear(self) -> None:
        """Forget the metrics that have not been recorded."""
        self.pending.clear()

    def state(self) -> dict[str, Any]:
        """Everything as plain containers and tensors."""
        return {
            "pending": {a: {n: torch.from_numpy(v) for n, v in columns.items()} for a, columns in self.pending.items()},
            "recorded": {a: [list(columns) for columns in recorded] for a, recorded in self.recorded.items()},
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Restore what `state` returned."""
        self.pending = {a: {n: v.numpy() for n, v in columns.items()} for a, columns in state["pending"].items()}
        self.recorded = {a: TableColumns(*map(tuple, recorded)) for a, recorded in state["recorded"].items()}

    def settle(self, attribute: str, numbers: ClassNumbers) -> None:
        """Note that the numbers have been recorded."""
        self.pending.pop(attribute, None)
        self.recorded[attribute] = TableColumns(tuple(numbers.columns), tuple(numbers.groups[ALL]))


def _columns(
    classes: AttributeClasses, metrics: Mapping[str, Any], lower: Mapping[str, Any], upper: Mapping[str, Any]
) -> dict[str, FloatArray]:
    if lower.keys() != upper.keys() or not lower.keys() <= metrics.keys():
        raise InputError(
            f"lower and upper are dictionaries by metric and belong together, got lower for {sorted(lower)}, upper for "
            f"{sorted(upper)}, metrics {sorted(metrics)}"
        )
    columns: dict[str, FloatArray] = {}
    for name, given in metrics.items():
        what = f"{classes.attribute!r}: {name}"
        values = _checked(what, classes, given)
        ends = [
            _checked(f"{what}, {end}", classes, by_metric[name]) if name in by_metric else np.full_like(values, np.nan)
            for end, by_metric in (("lower", lower), ("upper", upper))
        ]
        if (ends[0] > values + 1e-9).any() or (ends[1] < values - 1e-9).any():
            raise InputError(f"attribute {what} lies outside of its interval; give lower ≤ value ≤ upper")
        columns |= dict(zip(class_columns([name]), (values, *ends), strict=True))
    return columns


def _checked(what: str, classes: AttributeClasses, given: Any, most: float = 1.0) -> FloatArray:
    values = as_column(what, given, classes.names)
    if (values < 0).any() or (values > most).any() or np.isinf(values).any():
        odd = values[(values < 0) | (values > most) | np.isinf(values)][0]
        expected = "shares between 0 and 1, higher is better: divide percentages by 100, give 1 - rate of an error rate"
        raise InputError(f"attribute {what} must be {expected if most == 1 else 'counts'}; NaN = unknown; got {odd:g}")
    return values


def _blank(classes: AttributeClasses, recorded: TableColumns | None) -> ClassNumbers:
    """Without any number but the sizes of the groups."""
    columns = (SUPPORT,) if recorded is None else recorded.classes
    of_groups = ("n_classes",) if recorded is None else recorded.groups
    groups = {group: dict.fromkeys(of_groups, float("nan")) for group in (*PARTITION, ALL, GAP)}
    for group in (*PARTITION, ALL):
        groups[group]["n_classes"] = float(len(classes.members(group)))
    unknown = {name: np.full(len(classes), np.nan) for name in columns}
    return ClassNumbers(classes=classes, decision="", columns=unknown, groups=groups)


def _add_means(numbers: ClassNumbers, metric: str) -> None:
    """The means of every group, with MOVER intervals if every class of the mean has one."""
    values, lower, upper = (numbers.columns[column] for column in class_columns([metric]))
    intervals = {}
    for group in (*PARTITION, ALL):
        members = numbers.classes.members(group)
        members = members[~np.isnan(values[members])]
        mean, count = macro_mean(values, members)
        intervals[group] = mean, *mover_mean(values[members], lower[members], upper[members])
        numbers.groups[group] |= dict(zip(mean_columns([metric]), (*intervals[group], float(count)), strict=True))
    gap = mover_difference(intervals[HEAD], intervals[TAIL])
    numbers.groups[GAP] |= dict(zip(mean_columns([metric]), (*gap, float("nan")), strict=True))
