"""The recorded uncertainty of sums over buckets of training counts, which gives groups drawn anew their intervals."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tbmetrics.comparing.regrouping import ClassMeans, RecordedUncertainty
from tbmetrics.records import SINGLE_LABEL, UNCERTAINTY_COLUMNS, SchemaError
from tbmetrics.statistics.bucket_means import BIASED_BY_FEW
from tbmetrics_longtail.data import Attribute
from tbmetrics_longtail.tables import CLASSES, UNCERTAINTY, RequestError, shown


def bucket_uncertainty(attribute: Attribute, metric: str) -> tuple[dict[str, Any], NDArray[np.float32]]:
    """Biases and covariances at every step of the per-class table, NaN where there are none.

    Returns:
        the steps and buckets; and values (steps, columns): the positives of each bucket, if too few of them leave the
        metric without an interval, its bias, and the upper triangle of the covariance.
    """
    metrics = attribute.tag(UNCERTAINTY).columns if UNCERTAINTY in attribute.tags else UNCERTAINTY_COLUMNS
    if metric not in metrics:
        raise RequestError(f"metric {shown(metric)} has no recorded uncertainty", f"use one of {', '.join(metrics)}")
    steps, recorded = attribute.main_series().steps, attribute.series(UNCERTAINTY)
    example = _read(attribute, recorded.values[-1])
    column = metrics.index(metric)
    values = np.full((len(steps), example.size + recorded.values.shape[1]), np.nan, dtype=np.float32)
    is_recorded = np.isin(steps, recorded.steps)
    values[is_recorded, example.size :] = recorded.values[np.isin(recorded.steps, steps), :, column]
    if metric in BIASED_BY_FEW and is_multi_label(attribute):
        support = attribute.series(CLASSES).values[:, :, attribute.tag(CLASSES).column_index("support")]
        values[:, : example.size] = support @ np.eye(example.size, dtype=np.float32)[example.of_class]
    buckets = attribute.tag(UNCERTAINTY).details["buckets"]
    return {"steps": steps.tolist(), "buckets": buckets}, values


def class_means(attribute: Attribute, metric: str, step: int, values: NDArray[np.float64]) -> ClassMeans:
    """Means over any classes at one step; without intervals if the log has no uncertainty there.

    Args:
        attribute: of the run.
        metric: one of the means.
        step: of the validation.
        values: of the metric, (classes,).
    """
    positives = attribute.column("support", step) if is_multi_label(attribute) else None
    return ClassMeans(metric, values, _at(attribute, step), positives)


def _at(attribute: Attribute, step: int) -> RecordedUncertainty | None:
    if UNCERTAINTY not in attribute.tags:
        return None
    series = attribute.series(UNCERTAINTY)
    return _read(attribute, series.at(step)) if step in series.steps else None


def _read(attribute: Attribute, table: NDArray[np.float32]) -> RecordedUncertainty:
    tag = attribute.tag(UNCERTAINTY)
    tag.check_columns(table.shape[1], tag.columns)
    try:
        return RecordedUncertainty.read(table, tag.details.get("buckets") or (), attribute.classes, tag.columns)
    except (TypeError, ValueError) as error:
        raise SchemaError(f"tag {tag.name!r}: {error}") from error


def is_multi_label(attribute: Attribute) -> bool:
    """Whether its samples may have several classes."""
    return attribute.class_list.decision != SINGLE_LABEL
