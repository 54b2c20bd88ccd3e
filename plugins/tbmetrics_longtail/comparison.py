"""Two runs compared class by class: classes joined by name, summarised by group; numpy only."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tbmetrics.classes.groups import macro_mean
from tbmetrics.records import ALL, GAP, GROUPS, HEAD, TAIL, UNKNOWN, FloatArray

#: Up to this many classes all sign patterns are tried, beyond it `FLIPS` random ones.
EXACT_FLIPS_UP_TO = 12
FLIPS = 1999
FLIPS_AT_ONCE = 200  # bounds the memory
LEVEL = 0.05  # of the test, and one minus that of its interval


@dataclass(frozen=True, slots=True)
class ClassValues:
    """One metric of one run at one step: `names` and `groups` per class, `values` float of shape (classes,)."""

    names: tuple[str, ...]
    groups: tuple[str, ...]
    values: FloatArray


@dataclass(frozen=True, slots=True)
class GroupComparison:
    """One group in both runs; NaN where nothing is defined.

    Attributes:
        n_classes: classes of the group that both runs have.
        n_defined: those of them whose value is defined in both; all that follows is about these.
        mean_a, mean_b: macro means.
        difference: `mean_b - mean_a`.
        n_higher, n_lower: classes whose value is higher, or lower, in B.
        sign_flip_p: two-sided p-value of the sign-flip test over classes: how often a mean difference at least this
            large arises when each class's difference is as likely to have the other sign. It asks nothing of how the
            differences are distributed, so it holds for few classes with few positives each. It says how consistent
            the classes are, nothing about what another random seed would give.
        least_p: the smallest p-value that so many classes allow; above 0.05 there are too few to tell.
        lower, upper: the differences that the test does not reject at 5 %; NaN where there are too few classes.
    """

    n_classes: int
    n_defined: int
    mean_a: float
    mean_b: float
    difference: float
    n_higher: int
    n_lower: int
    sign_flip_p: float
    least_p: float
    lower: float
    upper: float


@dataclass(frozen=True, slots=True)
class Comparison:
    """B against A on the classes both have, grouped as in A.

    Attributes:
        groups: by "head", "medium", "tail", "unknown", "all", and "gap" (head minus tail).
        n_joined: classes both runs have.
        n_regrouped: those of them that B puts into another group than A.
        only_in_a, only_in_b: names of the classes the other run lacks.
    """

    groups: Mapping[str, GroupComparison]
    n_joined: int
    n_regrouped: int
    only_in_a: tuple[str, ...]
    only_in_b: tuple[str, ...]


def compare(a: ClassValues, b: ClassValues) -> Comparison:
    """Compares run `b` with run `a`, the baseline, on the classes both have by name."""
    place_in_b = {name: index for index, name in enumerate(b.names)}
    joined = [(index, place_in_b[name]) for index, name in enumerate(a.names) if name in place_in_b]
    in_a, in_b = np.array(joined, dtype=np.int64).reshape(-1, 2).T
    groups = np.array(a.groups, dtype=object)[in_a]
    values_a, values_b = a.values[in_a].astype(np.float64), b.values[in_b].astype(np.float64)
    known_in_a = set(a.names)
    return Comparison(
        groups=_by_group(groups, values_a, values_b),
        n_joined=len(joined),
        n_regrouped=sum(b.groups[j] != group for j, group in zip(in_b.tolist(), groups, strict=True)),
        only_in_a=tuple(name for name in a.names if name not in place_in_b),
        only_in_b=tuple(name for name in b.names if name not in known_in_a),
    )


class _Flips(NamedTuple):
    """Sums under sign patterns: of the flipped differences, and of the signs themselves, each (patterns,)."""

    sums: FloatArray
    signs: FloatArray
    exact: bool


class SignFlipTest:
    """The sign-flip test of a mean difference, with all sign patterns of few classes, random ones of many.

    Args:
        differences: one a class, all defined.
        seed: of the random patterns.
    """

    def __init__(self, differences: NDArray[np.floating], seed: int = 0) -> None:
        self._n = differences.size
        self._total = float(differences.sum())
        self._tiny = 1e-12 * float(np.abs(differences).sum())
        self._flips = _flips(differences, seed)

    def p(self, shift: float = 0.0) -> float:
        """Two-sided p-value of a mean difference of `shift`; NaN without classes."""
        if self._n == 0:
            return math.nan
        at_least = abs(self._total - shift * self._n) - self._tiny
        extreme = int(np.count_nonzero(np.abs(self._flips.sums - shift * self._flips.signs) >= at_least))
        patterns = len(self._flips.sums)
        return extreme / patterns if self._flips.exact else (1 + extreme) / (1 + patterns)

    @property
    def least_p(self) -> float:
        """The smallest p-value that so many classes allow."""
        if self._n == 0:
            return math.nan
        return 2 / len(self._flips.sums) if self._flips.exact else 1 / (1 + len(self._flips.sums))

    def interval(self) -> tuple[float, float]:
        """The mean differences that are not rejected at `LEVEL`; NaN where too few classes make that all of them."""
        if self._n == 0 or self.least_p > LEVEL:
            return math.nan, math.nan
        mean = self._total / self._n
        return self._edge(mean, -1.0), self._edge(mean, 1.0)

    def _edge(self, inside: float, direction: float) -> float:
        outside, width = inside, 1e-3
        while self.p(outside) > LEVEL:
            inside, outside, width = outside, outside + direction * width, 2 * width
        for _ in range(40):
            middle = (inside + outside) / 2
            inside, outside = (middle, outside) if self.p(middle) > LEVEL else (inside, middle)
        return inside


def _flips(differences: NDArray[np.floating], seed: int) -> _Flips:
    n = differences.size
    if n <= EXACT_FLIPS_UP_TO:
        negative = (np.arange(2**n)[:, None] >> np.arange(n)) & 1
        return _Flips(*_flipped(differences, negative), exact=True)
    rng = np.random.default_rng(seed)
    parts = [_flipped(differences, _random_bits(rng, rows, n)) for rows in _chunks(FLIPS, FLIPS_AT_ONCE)]
    sums, signs = (np.concatenate(part) for part in zip(*parts, strict=True))
    return _Flips(sums, signs, exact=False)


def _flipped(differences: NDArray[np.floating], negative: NDArray[np.integer]) -> tuple[FloatArray, FloatArray]:
    chosen = negative.astype(np.float64)  # a product of floats is many times faster than one with integers
    return differences.sum() - 2 * (chosen @ differences), differences.size - 2 * chosen.sum(axis=1)


def _random_bits(rng: np.random.Generator, rows: int, n: int) -> NDArray[np.uint8]:
    drawn = rng.integers(0, 256, size=(rows, (n + 7) // 8), dtype=np.uint8)
    return np.unpackbits(drawn, axis=1, count=n)


def _chunks(total: int, size: int) -> list[int]:
    return [min(size, total - first) for first in range(0, total, size)]


def _by_group(groups: NDArray[np.object_], a: FloatArray, b: FloatArray) -> dict[str, GroupComparison]:
    members = {group: np.flatnonzero(groups == group) for group in (*GROUPS, UNKNOWN)}
    members[ALL] = np.arange(len(groups))
    summaries = {group: _summary(a[chosen], b[chosen]) for group, chosen in members.items()}
    return {**summaries, GAP: _gap(summaries[HEAD], summaries[TAIL])}


def _summary(a: FloatArray, b: FloatArray) -> GroupComparison:
    defined = np.flatnonzero(~(np.isnan(a) | np.isnan(b)))
    differences = b[defined] - a[defined]
    mean_a, mean_b = macro_mean(a, defined)[0], macro_mean(b, defined)[0]
    test = SignFlipTest(differences)
    lower, upper = test.interval()
    return GroupComparison(
        n_classes=len(a),
        n_defined=len(defined),
        mean_a=mean_a,
        mean_b=mean_b,
        difference=mean_b - mean_a,
        n_higher=int(np.count_nonzero(differences > 0)),
        n_lower=int(np.count_nonzero(differences < 0)),
        sign_flip_p=test.p(),
        least_p=test.least_p,
        lower=lower,
        upper=upper,
    )


def _gap(head: GroupComparison, tail: GroupComparison) -> GroupComparison:
    gap_a, gap_b = head.mean_a - tail.mean_a, head.mean_b - tail.mean_b
    return GroupComparison(
        n_classes=head.n_classes + tail.n_classes,
        n_defined=head.n_defined + tail.n_defined,
        mean_a=gap_a,
        mean_b=gap_b,
        difference=gap_b - gap_a,
        n_higher=head.n_higher + tail.n_higher,
        n_lower=head.n_lower + tail.n_lower,
        sign_flip_p=math.nan,
        least_p=math.nan,
        lower=math.nan,
        upper=math.nan,
    )
