"""Precision, recall and F1 of classes from counts, and what one more sample adds to them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

FloatArray: TypeAlias = NDArray[np.float64]
#: Counts and metrics of each class by name, each float64 (classes,).
Columns: TypeAlias = Mapping[str, FloatArray]


def scores_of(tp: FloatArray, predicted: FloatArray, support: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Precision, recall and F1 from counts of any equal shape.

    Recall and F1 are undefined (NaN) without positives; precision without predictions; F1 of a class that has
    positives and no prediction is 0.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        precision = np.where(predicted > 0, tp / predicted, np.nan)
        recall = np.where(support > 0, tp / support, np.nan)
        f1 = np.where(support > 0, 2 * tp / (predicted + support), np.nan)
    return precision, recall, f1


class Influence(NamedTuple):
    """What one more sample adds to a metric of its class, each (classes,); 0 if the metric is undefined."""

    hit: FloatArray
    miss: FloatArray
    false_alarm: FloatArray


def influences(columns: Columns) -> dict[str, Influence]:
    """The derivatives of precision, recall and F1 with respect to the counts."""
    support, predicted = columns["support"], columns["true_positives"] + columns["false_positives"]
    precision, recall, f1 = columns["precision"], columns["recall"], columns["f1"]
    nothing = np.zeros(len(support))
    with np.errstate(divide="ignore", invalid="ignore"):
        by_metric = {
            "precision": ((1 - precision) / predicted, nothing, -precision / predicted),
            "recall": ((1 - recall) / support, -recall / support, nothing),
            "f1": (2 * (1 - f1) / (predicted + support), *[-f1 / (predicted + support)] * 2),
        }
    return {metric: Influence(*map(np.nan_to_num, parts)) for metric, parts in by_metric.items()}
