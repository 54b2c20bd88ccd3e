"""How far the means of two runs, and their difference, may be from the truth: from decisions, or recorded intervals."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tbmetrics.classes.groups import PARTITION
from tbmetrics.comparing.differences import Covariances, Parts, alone, paired
from tbmetrics.comparing.validations import GroupMean, Validation
from tbmetrics.records import ALL, GAP, HEAD, TAIL, FloatArray, IntArray
from tbmetrics.statistics.intervals import Z95

#: Metrics that decisions tell; average precision needs scores.
DECIDED_METRICS = ("precision", "recall", "f1")


@dataclass(frozen=True, eq=False)
class Joined:
    """The classes that two runs have by name, in the order of A.

    Attributes:
        partition: the different groups in A.
        group_indices: index in it of each class's group in A, int64 (joined,).
        in_a, in_b: where each class is in its run, int64 (joined,).
        a, b: its values, float64 (joined,).
    """

    partition: tuple[str, ...]
    group_indices: IntArray
    in_a: IntArray
    in_b: IntArray
    a: FloatArray
    b: FloatArray

    def __len__(self) -> int:
        return len(self.in_a)

    @property
    def has_gap(self) -> bool:
        """Whether the groups are head, medium and tail, so that there is a gap between them."""
        return self.partition == PARTITION

    @property
    def rows(self) -> tuple[str, ...]:
        """The groups, "all" and, if there is one, the gap."""
        return (*self.partition, ALL, *((GAP,) if self.has_gap else ()))

    @cached_property
    def is_defined(self) -> NDArray[np.bool_]:
        """Whether both runs have a value, bool (joined,)."""
        defined: NDArray[np.bool_] = ~(np.isnan(self.a) | np.isnan(self.b))
        return defined

    @cached_property
    def n_defined(self) -> FloatArray:
        """Number of classes of each group whose value both runs have, (groups,)."""
        return np.bincount(self.group_indices[self.is_defined], minlength=len(self.partition)).astype(np.float64)

    def members(self, group: str) -> IntArray:
        """Indices of the classes in `group`, or of all."""
        if group == ALL:
            return np.arange(len(self))
        return np.flatnonzero(self.group_indices == self.partition.index(group))


def joined(a: Validation, b: Validation) -> Joined:
    """The classes that both runs have."""
    in_a, in_b = _common_classes(a.names, b.names)
    values = a.values[in_a].astype(np.float64), b.values[in_b].astype(np.float64)
    return Joined(a.partition, a.group_indices[in_a], in_a, in_b, *values)


def _common_classes(a: tuple[str, ...], b: tuple[str, ...]) -> tuple[IntArray, IntArray]:
    """Where each name that both have is in A, and where in B."""
    if a == b:
        everywhere = np.arange(len(a), dtype=np.int64)
        return everywhere, everywhere
    index_in_b = {name: index for index, name in enumerate(b)}
    indices = [(index, index_in_b[name]) for index, name in enumerate(a) if name in index_in_b]
    in_a, in_b = np.array(indices, dtype=np.int64).reshape(-1, 2).T
    return in_a, in_b


class Spread(NamedTuple):
    """Of one group, or the gap: intervals of both means, deviations of their difference and sum; NaN if unknown."""

    interval_a: tuple[float, float]
    interval_b: tuple[float, float]
    difference: float
    total: float


@dataclass(frozen=True, slots=True)
class Spreads:
    """What is known of every group.

    Attributes:
        by_group: by each of `Joined.rows`.
        is_paired: whether the deviations are of differences on the same samples.
        unpaired_because: why not; empty if they are.
    """

    by_group: Mapping[str, Spread]
    is_paired: bool
    unpaired_because: str


def spreads(a: Validation, b: Validation, both: Joined) -> Spreads:
    """The spread of every group."""
    reason = unpaired_because(a, b)
    sides = _Side(a, both.in_a, both), _Side(b, both.in_b, both)
    covariances = None
    if not reason and a.decided is not None and b.decided is not None:
        covariances = paired(a.decided, b.decided, a.metric, sides[0].parts)
    by_group = {group: _spread(group, sides, both, covariances) for group in both.rows}
    return Spreads(by_group, not reason, reason)


def unpaired_because(a: Validation, b: Validation) -> str:
    """Why the runs cannot be compared sample by sample; empty if they can."""
    if a.metric not in DECIDED_METRICS:
        what = "average precision" if a.metric == "ap" else a.metric
        return f"{what} depends on scores, which are not recorded"
    for letter, run in (("A", a), ("B", b)):
        if run.decided is None:
            return f"there are no decisions on single samples of {letter} at its step"
    if a.names != b.names:
        return "the class lists differ"
    if a.decided is not None and b.decided is not None and a.decided.checksum != b.decided.checksum:
        return "the validation samples differ, or their order does"
    return ""


def recorded_deviation(mean: GroupMean) -> float:
    """The deviation of a mean from its interval, whose ends are cut at 0 and 1: the side that is not tells it."""
    return max(mean.upper - mean.value, mean.value - mean.lower) / Z95


def _spread(group: str, sides: tuple[_Side, _Side], both: Joined, covariances: Covariances | None) -> Spread:
    weights = _weights(both, group)
    (interval_a, deviation_a), (interval_b, deviation_b) = (side.of_group(group, weights) for side in sides)
    if covariances is None:
        independent = math.hypot(deviation_a, deviation_b)
        return Spread(interval_a, interval_b, independent, independent)
    deviations = (_deviation(weights, part) for part in (covariances.difference, covariances.total))
    return Spread(interval_a, interval_b, *deviations)


def _weights(both: Joined, group: str) -> FloatArray:
    """The weight of each part's sum in the mean over a group, or in the gap, (parts,); NaN if it is undefined."""
    groups, sizes = both.partition, both.n_defined
    if group == ALL:
        return np.full(len(groups), 1 / sizes.sum() if sizes.sum() else math.nan)
    weights = np.zeros(len(groups))
    for name, sign in ((HEAD, 1.0), (TAIL, -1.0)) if group == GAP else ((group, 1.0),):
        size = sizes[groups.index(name)]
        weights[groups.index(name)] = sign / size if size else math.nan
    return weights


def _deviation(weights: FloatArray, covariance: FloatArray) -> float:
    return float(np.sqrt(np.maximum(weights @ covariance @ weights, 0.0)))


class _Side:
    """What one run alone tells about its means over the joined classes."""

    def __init__(self, run: Validation, where: IntArray, both: Joined) -> None:
        self._run, self._both = run, both
        self._values = run.values[where].astype(np.float64)
        of_class = np.full(len(run.names), -1, dtype=np.int64)
        of_class[where[both.is_defined]] = both.group_indices[both.is_defined]
        self.parts = Parts(of_class, len(both.partition))
        self._has_recorded = self._covered()
        if both.has_gap:
            self._has_recorded[GAP] = self._has_recorded[HEAD] and self._has_recorded[TAIL]

    def of_group(self, group: str, weights: FloatArray) -> tuple[tuple[float, float], float]:
        """The interval of the mean and its deviation: as recorded, if that is about the same classes."""
        recorded = self._run.mean(group)
        if self._has_recorded[group] and not math.isnan(recorded.lower):
            return (recorded.lower, recorded.upper), recorded_deviation(recorded)
        if self._covariance is None:
            return (math.nan, math.nan), math.nan
        deviation = _deviation(weights, self._covariance)
        lowest, mean = -1.0 if group == GAP else 0.0, self._mean(weights)
        return (max(mean - Z95 * deviation, lowest), min(mean + Z95 * deviation, 1.0)), deviation

    @cached_property
    def _covariance(self) -> FloatArray | None:
        if self._run.decided is None or self._run.metric not in DECIDED_METRICS:
            return None
        return alone(self._run.decided, self._run.metric, self.parts)

    def _mean(self, weights: FloatArray) -> float:
        defined = self._both.is_defined
        return float((weights[self._both.group_indices[defined]] * self._values[defined]).sum())

    def _covered(self) -> dict[str, bool]:
        """Whether the recorded mean of each group, and of all, is over its joined, defined classes."""
        run, partition, joined_groups = self._run, self._both.partition, self.parts.of_class
        own_groups = np.where(np.isnan(run.values), -1, run.group_indices_in(partition))
        differs = own_groups != joined_groups
        unlike = {*own_groups[differs].tolist(), *joined_groups[differs].tolist()}
        covered = {group: index not in unlike for index, group in enumerate(partition)}
        covered[ALL] = not np.any((own_groups < 0) != (joined_groups < 0))
        return {group: covers and group in run.recorded for group, covers in covered.items()}
