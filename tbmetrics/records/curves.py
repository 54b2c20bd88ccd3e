"""Precision-recall curves from the "curves" table: of a class, and of a group as the mean of its classes.

A group's curve is the vertical average: the mean, at each recall, of the precision of its classes. Joined by straight
lines, its points enclose an area that is the group's mean average precision.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tbmetrics.records.columns import CURVE_COLUMNS, FEW_POSITIVES, OLDER_CURVE_COLUMNS, RECALL_LEVELS
from tbmetrics.records.kinds import FloatArray


@dataclass(frozen=True, slots=True, eq=False)
class MeanCurve:
    """The curve of a group.

    Attributes:
        recall: of the points, ascending, float64 (points,).
        precision: mean over the classes, float64 (points,); NaN without classes.
        n_classes: classes in the mean: those with positives.
        n_few_positives: those of them with fewer than `FEW_POSITIVES` positives.
        is_point: whether no class has more than one positive: then each has a precision at recall 1, and no curve.
    """

    recall: FloatArray
    precision: FloatArray
    n_classes: int
    n_few_positives: int
    is_point: bool


def curve_points(columns: Sequence[str], values: NDArray[np.floating[Any]]) -> tuple[FloatArray, FloatArray]:
    """Recall (points,) and precision (..., points) of the curves in rows of a "curves" table.

    A mean precision over a range of recall lies at the middle of the range; the first and the last one reach to recall
    0 and 1. Points of older logs lie where recall first reaches each level.

    Args:
        columns: `CURVE_COLUMNS` or `OLDER_CURVE_COLUMNS`.
        values: (..., columns).

    Raises:
        ValueError: other columns.
    """
    precision, levels = values.astype(np.float64), np.array(RECALL_LEVELS)
    if tuple(columns) == OLDER_CURVE_COLUMNS:
        return levels, precision
    if tuple(columns) != CURVE_COLUMNS:
        raise ValueError(f"columns of curves are {CURVE_COLUMNS[0]!r}, …; got {list(columns)[:2]}")
    middles = levels - levels[0] / 2
    reaching = [(0, 0)] * (precision.ndim - 1) + [(1, 1)]
    return np.concatenate(([0.0], middles, [1.0])), np.pad(precision, reaching, mode="edge")


def mean_curve(
    columns: Sequence[str], values: NDArray[np.floating[Any]], support: NDArray[np.floating[Any]]
) -> MeanCurve:
    """The vertical average over classes.

    Args:
        columns: of the "curves" table.
        values: rows of the classes, (classes, columns); NaN if a class has no positives.
        support: positives of each class, (classes,).

    Raises:
        ValueError: columns that are not those of curves.
    """
    is_defined = ~np.isnan(values).all(axis=1)
    n_classes = int(is_defined.sum())
    means = values[is_defined].astype(np.float64).mean(axis=0) if n_classes else np.full(len(columns), np.nan)
    positives = support[is_defined]
    is_point = n_classes > 0 and positives.max() <= 1
    return MeanCurve(*curve_points(columns, means), n_classes, int((positives < FEW_POSITIVES).sum()), bool(is_point))
