"""Two runs along the training count: the tail below every boundary, and classes of like count.

Where the tail ends is a choice, and it moves published numbers. With the difference at every boundary, a reader sees
whether a conclusion rests on that choice. Each interval is for its boundary alone.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tbmetrics.classes.groups import macro_mean
from tbmetrics.classes.rules import RULES, tercile_bounds
from tbmetrics.comparing.differences import Parts, nested, nested_alone
from tbmetrics.comparing.regrouping import ClassMeans
from tbmetrics.comparing.runs import interval_around, withheld_because
from tbmetrics.comparing.spreads import (
    DECIDED_METRICS,
    Joined,
    joined,
    recorded_deviation,
    spreads,
    unpaired_because,
)
from tbmetrics.comparing.validations import GroupMean, Validation
from tbmetrics.records import ALL, TAIL, UNKNOWN, FloatArray, IntArray

#: Boundaries that are compared, besides those of the named rules and of the run.
MOST_BOUNDARIES = 200
#: Bins of like training count.
MOST_BINS = 24


class CountedValidation(NamedTuple):
    """A validation, the training count of each class (-1 = unknown), and the means over any of its classes."""

    validation: Validation
    counts: IntArray
    means: ClassMeans


@dataclass(frozen=True, slots=True, eq=False)
class TailDifferences:
    """B minus A over the tail below each boundary, each (boundaries,); NaN if undefined.

    Attributes:
        tail_max: largest training count in the tail, ascending.
        n_defined: classes of the tail whose value both runs define.
        mean_a, mean_b: over these.
        lower, upper: 95 % interval of the difference.
    """

    tail_max: IntArray
    n_defined: IntArray
    mean_a: FloatArray
    mean_b: FloatArray
    lower: FloatArray
    upper: FloatArray


class CountBin(NamedTuple):
    """Classes of like training count that both runs define; the numbers as in `GroupComparison`."""

    lowest: int
    highest: int
    n_defined: int
    mean_a: float
    mean_b: float
    lower: float
    upper: float


@dataclass(frozen=True, slots=True)
class CountComparison:
    """Run B against run A along the training count in A.

    Attributes:
        tails: by the boundary of the tail.
        bins: of all classes, by ascending count.
        is_paired: whether intervals are of differences on the same samples.
        unpaired_because, withheld_because: as in `RunComparison`.
    """

    tails: TailDifferences
    bins: tuple[CountBin, ...]
    is_paired: bool
    unpaired_because: str
    withheld_because: str


def compare_by_count(a: CountedValidation, b: CountedValidation) -> CountComparison:
    """Compare run `b` with run `a`, the baseline, at every boundary and for classes of like count."""
    both = joined(a.validation, b.validation)
    reason = unpaired_because(a.validation, b.validation)
    return CountComparison(
        _tails(a, b, both, not reason),
        tuple(_bins(a, b, both)),
        not reason,
        reason,
        withheld_because(a.validation, b.validation),
    )


def _tails(a: CountedValidation, b: CountedValidation, both: Joined, is_paired: bool) -> TailDifferences:
    counts = a.counts[both.in_a]
    counts_as_tail = both.is_defined & (counts >= 0)
    boundaries = _boundaries(a)
    level = np.searchsorted(boundaries, counts)
    members = level[counts_as_tail]
    n = np.cumsum(np.bincount(members, minlength=len(boundaries)))
    with np.errstate(invalid="ignore", divide="ignore"):
        mean_a, mean_b = (
            np.cumsum(np.bincount(members, values[counts_as_tail], len(boundaries))) / n for values in (both.a, both.b)
        )
    sides = []
    for side, where in ((a, both.in_a), (b, both.in_b)):
        of_class = np.full(len(side.validation.names), -1, dtype=np.int64)
        of_class[where[counts_as_tail]] = members
        sides.append(_Side(side, Parts(of_class, len(boundaries)), boundaries, n))
    decided_a, decided_b = a.validation.decided, b.validation.decided
    if is_paired and decided_a is not None and decided_b is not None:
        variances = nested(decided_a, decided_b, a.validation.metric, sides[0].parts)
        deviations = np.sqrt(np.maximum(variances, 0.0)) / np.maximum(n, 1)
    else:
        deviations = np.hypot(*(side.deviations() for side in sides))
    ends = [interval_around(*pair, 1.0) for pair in zip((mean_b - mean_a).tolist(), deviations.tolist(), strict=True)]
    lower, upper = np.array(ends, dtype=np.float64).reshape(-1, 2).T
    return TailDifferences(boundaries, n, mean_a, mean_b, lower, upper)


def _boundaries(side: CountedValidation) -> IntArray:
    """The training counts at which a tail may end, ascending: all, or some evenly spread in proportion.

    Those at which the tails of the named rules and of the run end are among them.
    """
    known = np.unique(side.counts[side.counts >= 0])
    if len(known) <= MOST_BOUNDARIES:
        return known
    is_tail = np.array(side.validation.groups, dtype=object) == TAIL
    wanted = np.concatenate(
        [
            np.geomspace(max(known[0], 1), known[-1], MOST_BOUNDARIES),
            [rule.tail_max for rule in RULES.values()],
            [math.ceil(tercile_bounds(side.counts)[0]) - 1, side.counts[is_tail].max(initial=-1), known[-1]],
        ]
    )
    places = np.unique(np.searchsorted(known, wanted, side="right") - 1)
    boundaries: IntArray = known[places[places >= 0]]
    return boundaries


class _Side:
    """What one run alone tells about the means over its tails."""

    def __init__(self, side: CountedValidation, parts: Parts, boundaries: IntArray, n_defined: IntArray) -> None:
        self._run, self._counts, self._means = side
        self._boundaries, self._n_defined = boundaries, n_defined
        self._is_tail = np.array(self._run.groups, dtype=object) == TAIL
        self._is_defined = ~np.isnan(self._run.values)
        self.parts = parts

    def deviations(self) -> FloatArray:
        """The deviation of each tail's mean: as recorded, if that is about the same classes."""
        alike = self._is_about_joined().tolist()
        recorded = [self._recorded(index) if alike[index] else math.nan for index in range(len(self._boundaries))]
        deviations = np.array(recorded, dtype=np.float64)
        decided, is_unknown = self._run.decided, np.isnan(deviations)
        if is_unknown.any() and decided is not None and self._run.metric in DECIDED_METRICS:
            variances = np.maximum(nested_alone(decided, self._run.metric, self.parts), 0.0)
            deviations[is_unknown] = (np.sqrt(variances) / np.maximum(self._n_defined, 1))[is_unknown]
        return deviations

    def _is_about_joined(self) -> NDArray[np.bool_]:
        """Whether the run's own tail below each boundary has the joined classes, and no others."""
        n = len(self._boundaries)
        is_counted = self._is_defined & (self._counts >= 0)
        own = np.where(is_counted, np.searchsorted(self._boundaries, self._counts), n)
        of_both = np.where(self.parts.of_class >= 0, self.parts.of_class, n)
        # Where they are not the same, one of the two tails has one class more, up to the higher boundary.
        changes = np.bincount(np.minimum(own, of_both), minlength=n + 1)
        changes -= np.bincount(np.maximum(own, of_both), minlength=n + 1)
        alike: NDArray[np.bool_] = np.cumsum(changes)[:n] == 0
        return alike

    def _recorded(self, index: int) -> float:
        inside = (self._counts >= 0) & (self._counts <= self._boundaries[index])
        if TAIL in self._run.recorded and np.array_equal(inside, self._is_tail):
            mean = self._run.mean(TAIL)
        else:
            mean = GroupMean(*self._means.over(inside))
        return math.nan if math.isnan(mean.lower) else recorded_deviation(mean)


def _bins(a: CountedValidation, b: CountedValidation, both: Joined) -> list[CountBin]:
    most = int(a.counts.max(initial=0))
    edges = np.unique(np.geomspace(1, most + 1, MOST_BINS + 1).astype(np.int64))
    sides = _binned(a, edges), _binned(b, edges)
    binned = joined(*sides)
    spread, counts = spreads(*sides, binned), a.counts[both.in_a]
    bins = []
    for name in sorted(set(binned.partition) - {UNKNOWN}, key=int):
        members = binned.members(name)
        defined = members[both.is_defined[members]]
        if defined.size:
            means = macro_mean(both.a, defined)[0], macro_mean(both.b, defined)[0]
            ends = interval_around(means[1] - means[0], spread.by_group[name].difference, 1.0)
            lowest, highest = int(counts[defined].min()), int(counts[defined].max())
            bins.append(CountBin(lowest, highest, len(defined), *means, *ends))
    return bins


def _binned(side: CountedValidation, edges: IntArray) -> Validation:
    """The validation with bins, named by their place, instead of head, medium and tail."""
    places = np.searchsorted(edges, side.counts, side="right")
    groups = tuple(UNKNOWN if n < 0 else str(place) for n, place in zip(side.counts, places.tolist(), strict=True))
    by_class, partition = np.array(groups, dtype=object), tuple(dict.fromkeys(groups))
    recorded = {name: GroupMean(*side.means.over(_members(by_class, name))) for name in partition}
    recorded[ALL] = GroupMean(*side.means.over(np.ones(len(groups), dtype=bool)))
    return replace(side.validation, groups=groups, partition=partition, recorded=recorded)


def _members(by_class: NDArray[np.object_], name: str) -> NDArray[np.bool_]:
    inside: NDArray[np.bool_] = by_class == name
    return inside
