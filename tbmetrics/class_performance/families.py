"""Means over the classes of each family with their intervals: as of head, medium and tail, with families as buckets."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import numpy as np

from tbmetrics.class_performance.group_intervals import cannot_be_told, group_interval
from tbmetrics.classes.groups import CountBuckets, macro_mean
from tbmetrics.records import ALL, Table, family_table_tag, visible
from tbmetrics.statistics.bucket_means import MeanUncertainty

if TYPE_CHECKING:
    from tbmetrics.class_performance.evaluation import Evaluation


def family_means(
    result: Evaluation, uncertainty: Mapping[str, MeanUncertainty], families: CountBuckets
) -> dict[str, dict[str, float]]:
    """The mean of every metric over each family, with its interval and number of classes.

    Args:
        result: with its columns and the means of all classes.
        uncertainty: of the means of each metric, by family.
        families: of the classes.
    """
    metrics = [name for name in result.groups[ALL] if f"{name}_n_classes" in result.groups[ALL]]
    means = {}
    for index, family in enumerate(families.groups):
        members = np.flatnonzero(families.of_class == index)
        untold = cannot_be_told(result.decision, result.columns["support"], [members])
        means[family] = {"n_classes": float(len(members))}
        for metric in metrics:
            mean, n_classes = macro_mean(result.columns[metric], members)
            known = uncertainty.get(metric) if metric not in untold and n_classes else None
            interval = group_interval(known, families, family, mean) if known else (float("nan"),) * 2
            values = (mean, *interval, float(n_classes))
            means[family] |= dict(zip((f"{metric}{end}" for end in _ENDINGS), values, strict=True))
    return means


_ENDINGS = ("", "_lower", "_upper", "_n_classes")


def family_table(result: Evaluation) -> Iterator[Table]:
    """The means as a record; none without families."""
    if result.families:
        attribute, columns = result.classes.attribute, tuple(next(iter(result.families.values())))
        values = np.array([list(means.values()) for means in result.families.values()], dtype=np.float32)
        rows = tuple(map(visible, result.families))
        yield Table(family_table_tag(attribute), attribute, "families", columns, values, rows)
