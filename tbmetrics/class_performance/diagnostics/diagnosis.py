"""Everything measured of one attribute up to a validation, by class, with means over groups of classes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from tbmetrics.class_performance.diagnostics.label_noise import LabelNoise
from tbmetrics.class_performance.diagnostics.remedies import RemedyTable
from tbmetrics.class_performance.diagnostics.validation import RemedyInputs
from tbmetrics.classes.attributes import AttributeClasses
from tbmetrics.records import FloatArray


@dataclass(slots=True)
class Diagnosis:
    """Everything measured of one attribute up to a validation.

    Attributes:
        classes: of the attribute.
        columns: `DIAGNOSTIC_COLUMNS` → float64 (classes,), NaN if unknown.
        remedies: what they would do.
        noise: wrong labels, or None if they cannot be told.
        is_single_label: whether a sample has one class.
        aim: the objective of the remedies, in words.
        left_out: what could not be measured → why.
        inputs: what the remedies were made of.
    """

    classes: AttributeClasses
    columns: Mapping[str, FloatArray]
    remedies: RemedyTable
    noise: LabelNoise | None = None
    is_single_label: bool = True
    aim: str = "balanced accuracy"
    left_out: dict[str, str] = field(default_factory=dict)
    inputs: RemedyInputs = field(default_factory=RemedyInputs)

    def members(self, group: str) -> NDArray[np.int64]:
        """Indices of a group's classes."""
        return self.classes.members(group)

    def mean(self, column: str, group: str) -> float:
        """Mean over the group's classes, NaN if none is known."""
        return mean_of(self.columns[column], self.members(group))

    def median(self, column: str, group: str) -> float:
        """Median over the group's classes, NaN if none is known."""
        values = _defined(self.columns[column], self.members(group))
        return float(np.median(values)) if values.size else float("nan")

    def known(self, column: str, group: str) -> int:
        """Number of the group's classes for which the column is known."""
        return _defined(self.columns[column], self.members(group)).size


def mean_of(values: FloatArray, members: NDArray[np.int64]) -> float:
    """Mean of the defined values of `members`, or NaN."""
    defined = _defined(values, members)
    return float(defined.mean()) if defined.size else float("nan")


def _defined(values: FloatArray, members: NDArray[np.int64]) -> FloatArray:
    return values[members][np.isfinite(values[members])]
