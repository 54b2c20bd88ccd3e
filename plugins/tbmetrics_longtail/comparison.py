"""Two runs compared class by class: classes joined by name, summarised by group; numpy only."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tbmetrics.class_groups import macro_mean
from tbmetrics.records import ALL, GAP, GROUPS, HEAD, TAIL, UNKNOWN, FloatArray

#: Up to this many classes all sign patterns are tried, beyond it `FLIPS` random ones.
EXACT_FLIPS_UP_TO = 12
FLIPS = 1999


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
            large arises when each class's difference is as likely to have the other sign. It says how consistent the
            classes are, nothing about what another random seed would give.
    """

    n_classes: int
    n_defined: int
    mean_a: float
    mean_b: float
    difference: float
    n_higher: int
    n_lower: int
    sign_flip_p: float


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
        n_regrouped=int(np.count_nonzero(groups != np.array(b.groups, dtype=object)[in_b])),
        only_in_a=tuple(name for name in a.names if name not in place_in_b),
        only_in_b=tuple(name for name in b.names if name not in known_in_a),
    )


def sign_flip_p(differences: FloatArray, *, seed: int = 0) -> float:
    """Two-sided p-value of the sign-flip test on `differences` of shape (classes,), NaN for none.

    Exact up to `EXACT_FLIPS_UP_TO` classes, else from `FLIPS` random sign patterns (the same for the same `seed`),
    counting the observed one, so that it is never 0. Costs O(classes × FLIPS).
    """
    n = len(differences)
    if n == 0:
        return math.nan
    if n <= EXACT_FLIPS_UP_TO:
        negative = (np.arange(2**n)[:, None] >> np.arange(n)) & 1
    else:
        negative = np.random.default_rng(seed).integers(0, 2, size=(FLIPS, n), dtype=np.int8)
    sums = np.abs(differences.sum() - 2 * (negative @ differences))
    extreme = int(np.count_nonzero(sums >= abs(differences.sum()) - 1e-12 * np.abs(differences).sum()))
    return extreme / 2**n if n <= EXACT_FLIPS_UP_TO else (1 + extreme) / (1 + FLIPS)


def _by_group(groups: NDArray[np.object_], a: FloatArray, b: FloatArray) -> dict[str, GroupComparison]:
    members = {group: np.flatnonzero(groups == group) for group in (*GROUPS, UNKNOWN)}
    members[ALL] = np.arange(len(groups))
    summaries = {group: _summary(a[chosen], b[chosen]) for group, chosen in members.items()}
    return {**summaries, GAP: _gap(summaries[HEAD], summaries[TAIL])}


def _summary(a: FloatArray, b: FloatArray) -> GroupComparison:
    defined = np.flatnonzero(~(np.isnan(a) | np.isnan(b)))
    differences = b[defined] - a[defined]
    mean_a, mean_b = macro_mean(a, defined)[0], macro_mean(b, defined)[0]
    return GroupComparison(
        n_classes=len(a),
        n_defined=len(defined),
        mean_a=mean_a,
        mean_b=mean_b,
        difference=mean_b - mean_a,
        n_higher=int(np.count_nonzero(differences > 0)),
        n_lower=int(np.count_nonzero(differences < 0)),
        sign_flip_p=sign_flip_p(differences),
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
    )
