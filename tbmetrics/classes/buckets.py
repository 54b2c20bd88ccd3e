"""Classes of like training count put together, so that groups can be drawn anew after training; numpy only.

What is recorded by bucket (calibration, confusions between groups) can be added up for any head/medium/tail thresholds
that lie between buckets. A bucket never mixes groups of the run's own rule, so those are always exact.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tbmetrics.classes.groups import AttributeClasses
from tbmetrics.classes.rules import GROUPS, RULES, UNKNOWN

_ORDER = (*GROUPS, UNKNOWN)


@dataclass(frozen=True, slots=True, eq=False)
class CountBuckets:
    """The buckets of one attribute, ordered by group, then by training count.

    Attributes:
        of_class: bucket of each class, int64 (classes,).
        groups: group of each bucket by the run's own rule.
        lowest, highest: smallest and largest training count among its classes, int64 (buckets,); -1 = unknown.
        n_classes: int64 (buckets,).
    """

    of_class: NDArray[np.int64]
    groups: tuple[str, ...]
    lowest: NDArray[np.int64]
    highest: NDArray[np.int64]
    n_classes: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.groups)

    def names(self) -> tuple[str, ...]:
        """One unique name a bucket, e.g. "tail 3-9"."""
        spans = zip(self.groups, self.lowest.tolist(), self.highest.tolist(), strict=True)
        return tuple(f"{group} {low if low == high else f'{low}-{high}'}" for group, low, high in spans)

    def to_json(self) -> list[dict[str, Any]]:
        """`[{"group", "lowest", "highest", "n_classes"}]`, as it stands in a table's details."""
        columns = zip(self.groups, self.lowest.tolist(), self.highest.tolist(), self.n_classes.tolist(), strict=True)
        return [dict(zip(("group", "lowest", "highest", "n_classes"), bucket, strict=True)) for bucket in columns]


def count_buckets(classes: AttributeClasses, most: int) -> CountBuckets:
    """One bucket for each training count of a group; where that makes more than `most`, wider ones for larger counts.

    The boundaries of the named rules are always boundaries of buckets (so there can be a few more than `most`).
    """
    edges = _edges(classes.counts, most)
    at = np.searchsorted(edges, classes.counts, side="right")  # 0 = unknown count
    number = np.array([_ORDER.index(group) for group in classes.groups], dtype=np.int64)
    keys, of_class = np.unique(number * (len(edges) + 1) + at, return_inverse=True)
    size = len(keys)
    lowest, highest = np.full(size, np.iinfo(np.int64).max), np.full(size, -1)
    np.minimum.at(lowest, of_class, classes.counts)
    np.maximum.at(highest, of_class, classes.counts)
    groups = tuple(_ORDER[key // (len(edges) + 1)] for key in keys.tolist())
    return CountBuckets(of_class.astype(np.int64), groups, lowest, highest, np.bincount(of_class, minlength=size))


def _edges(counts: NDArray[np.int64], most: int) -> NDArray[np.int64]:
    """Smallest counts of the buckets, ascending."""
    known = np.unique(counts[counts >= 0])
    if len(known) <= most:
        return known
    spread = np.unique(np.geomspace(1, known[-1] + 1, most).astype(np.int64))
    low, high = np.percentile(counts[counts >= 0], [33, 67])
    terciles = (int(np.ceil(low)), int(np.floor(high)) + 1)
    named = [bound for rule in RULES.values() for bound in (int(rule.tail_max) + 1, int(rule.head_min))]
    return np.unique(np.concatenate([[0], spread, named, terciles])).astype(np.int64)
