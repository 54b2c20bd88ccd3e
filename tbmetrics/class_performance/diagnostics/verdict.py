"""What a verdict is made of: all that is known of an attribute, what a rule says of it, and the finding of the two."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tbmetrics.class_performance.diagnostics.numbers import mean_of, median_of
from tbmetrics.class_performance.diagnostics.remedies import RemedyTable
from tbmetrics.classes.groups import AttributeClasses
from tbmetrics.records import FINDING_COLUMNS, FloatArray

SEVERITIES = ("not found", "noted", "strong")


@dataclass(slots=True)
class Diagnosis:
    """All that is known of one attribute after a validation.

    Attributes:
        classes: of the attribute.
        columns: `DIAGNOSTIC_COLUMNS` → float64 (classes,), NaN where not known.
        remedies: what they would do.
        left_out: what could not be measured → why.
    """

    classes: AttributeClasses
    columns: Mapping[str, FloatArray]
    remedies: RemedyTable
    left_out: dict[str, str] = field(default_factory=dict)

    def of(self, group: str) -> NDArray[np.int64]:
        """Indices of a group's classes."""
        return self.classes.members(group)

    def mean(self, column: str, group: str) -> float:
        """Mean of the group's classes, NaN where none is known."""
        return mean_of(self.columns[column], self.of(group))

    def median(self, column: str, group: str) -> float:
        """Median of the group's classes, NaN where none is known."""
        return median_of(self.columns[column], self.of(group))

    def known(self, column: str, group: str) -> int:
        """Classes of the group for which the column is known."""
        return int(np.isfinite(self.columns[column][self.of(group)]).sum())


_NAN = float("nan")


class Judgement(NamedTuple):
    """What a rule says: its number, where it begins to find, and the evidence in words; NaN = could not be told."""

    value: float
    noted_at: float
    strong_at: float
    says: str
    head: float = float("nan")
    tail: float = float("nan")
    n_classes: int = 0
    holds: bool = True  # whether the rule's further conditions are met

    @property
    def severity(self) -> float:
        """0 not found, 1 noted, 2 strong, NaN could not be told; thresholds may run either way."""
        if np.isnan(self.value):
            return float("nan")
        sign = 1 if self.strong_at >= self.noted_at else -1
        reached = sum(sign * self.value >= sign * at for at in (self.noted_at, self.strong_at))
        return float(reached) if self.holds else 0.0


class Rule(NamedTuple):
    """One row of the rule table."""

    name: str
    title: str
    judge: Callable[[Diagnosis], Judgement]
    advice: str
    reference: str


class Finding(NamedTuple):
    """A rule and what it says of one attribute."""

    rule: Rule
    judgement: Judgement

    @property
    def severity(self) -> str:
        """ "strong", "noted", "not found" or "could not be told"."""
        value = self.judgement.severity
        return "could not be told" if np.isnan(value) else SEVERITIES[int(value)]

    def row(self) -> list[float]:
        """In the order of `FINDING_COLUMNS`."""
        values = self.judgement._asdict() | {"severity": self.judgement.severity}
        return [float(values[column]) for column in FINDING_COLUMNS]
