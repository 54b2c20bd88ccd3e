"""Two runs of one attribute at one validation each: groups side by side, their difference, and the classes that moved.

The difference of two means has a 95 % interval, and a verdict if the interval leaves out zero. It is paired if both
runs decided the same samples, which the checksum of their labels proves; otherwise the variances of both are added.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from tbmetrics.classes.groups import macro_mean
from tbmetrics.comparing.differences import DEVIATIONS
from tbmetrics.comparing.evidence import difference_interval
from tbmetrics.comparing.spreads import Joined, Spread, Spreads, joined, spreads
from tbmetrics.comparing.validations import (
    Validation,
    check_metric,
    common_attribute,
    evaluation_name,
    evaluation_of,
    steps_to_compare,
    validation,
)
from tbmetrics.records import ALL, GAP, HEAD, TAIL
from tbmetrics.records.history import History
from tbmetrics.statistics.mcnemar import mcnemar_p
from tbmetrics.statistics.sign_flips import SignFlipTest

#: Verdicts on a group. "undecided": the interval contains zero. "untold": there is no interval. "withheld": what is
#: compared is not alike.
BETTER, WORSE, UNDECIDED, UNTOLD, WITHHELD, UNDEFINED = (
    "better",
    "worse",
    "undecided",
    "untold",
    "withheld",
    "undefined",
)
#: Verdicts on the gap; they speak of its size.
NARROWER, WIDER = "narrower", "wider"


@dataclass(frozen=True, slots=True)
class ClassComparison:
    """One class in both runs; NaN if unknown.

    Attributes:
        name, group: of the class.
        a, b: its values.
        lower, upper: 95 % interval of B minus A.
        p: two-sided p-value of McNemar's exact test on the samples that only one run hits; for recall and runs that
            decided the same samples, otherwise NaN. No test is given for precision, F1 and AP of a single class.
    """

    name: str
    group: str
    a: float
    b: float
    lower: float = math.nan
    upper: float = math.nan
    p: float = math.nan

    @property
    def difference(self) -> float:
        """B minus A."""
        return self.b - self.a


@dataclass(frozen=True, slots=True)
class GroupComparison:
    """One group in both runs; NaN if undefined.

    Attributes:
        n_classes: classes of the group that both runs have.
        n_defined: those of them whose value is defined in both runs; everything below is about these.
        mean_a, mean_b: macro means.
        lower_a, upper_a, lower_b, upper_b: their 95 % intervals; NaN if not known for these classes.
        difference: `mean_b - mean_a`.
        lower, upper: its 95 % interval; NaN if it cannot be told.
        verdict: "better", "worse" (of the gap "narrower", "wider"), "undecided", "untold", "withheld" or "undefined".
        n_higher, n_lower: classes whose value is higher, or lower, in B.
        sign_flip_p: two-sided p-value of the sign-flip test over the classes: whether other classes would agree.
        least_p: the smallest p-value that this many classes allow; above 0.05 there are too few to tell.
    """

    n_classes: int
    n_defined: int
    mean_a: float
    mean_b: float
    lower_a: float
    upper_a: float
    lower_b: float
    upper_b: float
    difference: float
    lower: float
    upper: float
    verdict: str
    n_higher: int
    n_lower: int
    sign_flip_p: float = math.nan
    least_p: float = math.nan


@dataclass(frozen=True, eq=False)
class RunComparison:
    """Run B against run A on the classes that both have by name, grouped as in A.

    Attributes:
        a, b: the validations compared, with each run's own group means.
        joined: the classes that both runs have.
        spreads: how far the means of their groups may be from the truth.
        groups: by "head", "medium", "tail", "unknown", "all", and "gap" (head minus tail); or by families and "all".
        n_regrouped: classes of both runs that B puts into another group than A.
        only_in_a, only_in_b: names of the classes that the other run lacks.
        withheld_because: why there is no verdict; empty if there is.
    """

    a: Validation
    b: Validation
    joined: Joined
    spreads: Spreads
    groups: Mapping[str, GroupComparison]
    n_regrouped: int
    only_in_a: tuple[str, ...]
    only_in_b: tuple[str, ...]
    withheld_because: str

    @property
    def attribute(self) -> str:
        """The attribute that both runs validated."""
        return self.a.attribute

    @property
    def n_joined(self) -> int:
        """Number of classes that both runs have."""
        return len(self.joined)

    @property
    def is_paired(self) -> bool:
        """Whether intervals are of differences on the same samples."""
        return self.spreads.is_paired

    @property
    def unpaired_because(self) -> str:
        """Why they are not; empty if they are."""
        return self.spreads.unpaired_because

    @cached_property
    def classes(self) -> tuple[ClassComparison, ...]:
        """The classes defined in both runs, by difference, the largest gain of B first."""
        a, b, both = self.a, self.b, self.joined
        ends = difference_interval(both.a, a.class_intervals(both.in_a), both.b, b.class_intervals(both.in_b))
        columns = (column.tolist() for column in (both.a, both.b, *ends, _mcnemar(a, b, both, self.spreads)))
        names, groups = ([of_a[index] for index in both.in_a.tolist()] for of_a in (a.names, a.groups))
        defined = [c for c in map(ClassComparison, names, groups, *columns) if not math.isnan(c.difference)]
        return tuple(sorted(defined, key=lambda c: (-c.difference, c.name)))


def compare(a: Validation, b: Validation) -> RunComparison:
    """Compares run `b` with run `a`, the baseline."""
    both, withheld = joined(a, b), withheld_because(a, b)
    spread = spreads(a, b, both)
    in_a, in_b = set(a.names), set(b.names)
    groups_in_b = b.group_indices_in(a.partition)[both.in_b]
    return RunComparison(
        a=a,
        b=b,
        joined=both,
        spreads=spread,
        groups=_compare_groups(both, spread, bool(withheld)),
        n_regrouped=int(np.count_nonzero(both.group_indices != groups_in_b)),
        only_in_a=tuple(name for name in a.names if name not in in_b),
        only_in_b=tuple(name for name in b.names if name not in in_a),
        withheld_because=withheld,
    )


def compare_runs(
    a: History, b: History, *, attribute: str | None = None, metric: str = "f1", step: int | None = None
) -> RunComparison:
    """Compares two runs as they were recorded.

    Args:
        a, b: the runs.
        attribute: may be left out if the runs have a single one in common.
        metric: "precision", "recall", "f1", "ap", or another mean over classes that both runs recorded.
        step: the validation to compare; None = the last one that both runs have. If they have none in common, the last
            of each is shown and no verdict given.

    Raises:
        InputError: an unknown attribute, metric or step.
    """
    name = common_attribute(a, b, attribute)
    check_metric(a, b, name, metric)
    steps = steps_to_compare(a, b, name, step)
    runs = (a.run, b.run)
    evaluations = [evaluation_of(run.run, runs, run.class_lists[name].evaluation) for run in (a, b)]
    sides = zip((a, b), steps, evaluations, strict=True)
    return compare(*(validation(run, name, metric, s, evaluation) for run, s, evaluation in sides))


def group_verdicts(a: Validation, b: Validation) -> tuple[Mapping[str, str], Spreads]:
    """The verdict on each group and the gap, B against A, and the spreads that they rest on.

    As `compare` gives it, but at unlike steps, too: for steps that were chosen on purpose.
    """
    both = joined(a, b)
    spread = spreads(a, b, both)
    means = {group: _means(both, both.members(group)) for group in (*both.partition, ALL)}
    verdicts = {group: _judged(*mean, spread.by_group[group], False)[2] for group, mean in means.items()}
    if not both.has_gap:
        return verdicts, spread
    gap_a, gap_b = (head - tail for head, tail in zip(means[HEAD], means[TAIL], strict=True))
    return {**verdicts, GAP: _judged_gap(gap_a, gap_b, spread.by_group[GAP], False)[2]}, spread


def withheld_because(a: Validation, b: Validation) -> str:
    """Why no verdict can be given: what is not alike; empty if nothing."""
    if a.evaluation != b.evaluation:
        names = [evaluation_name(side.evaluation) for side in (a, b)]
        return f'A is of the evaluation "{names[0]}", B of "{names[1]}"'
    if a.step != b.step:
        return f"A is at step {a.step:,}, B is at step {b.step:,}"
    if a.decision and b.decision and a.decision != b.decision:
        return f"A is {a.decision.replace('_', '-')}, B is {b.decision.replace('_', '-')}"
    return ""


def _mcnemar(a: Validation, b: Validation, both: Joined, spread: Spreads) -> NDArray[np.float64]:
    """P-value of each joined class; NaN unless recall of the same samples is compared."""
    if not spread.is_paired or a.metric != "recall" or a.decided is None or b.decided is None:
        return np.full(len(both), math.nan)
    only_a, only_b = (
        np.bincount(a.decided.classes[mask], minlength=len(a.names))[both.in_a]
        for mask in (a.decided.hits & ~b.decided.hits, b.decided.hits & ~a.decided.hits)
    )
    return mcnemar_p(only_a, only_b)


def _compare_groups(both: Joined, spread: Spreads, is_withheld: bool) -> dict[str, GroupComparison]:
    compared = {
        group: _compare_group(both, both.members(group), spread.by_group[group], is_withheld)
        for group in (*both.partition, ALL)
    }
    if not both.has_gap:
        return compared
    return {**compared, GAP: _gap(compared[HEAD], compared[TAIL], spread.by_group[GAP], is_withheld)}


def _compare_group(both: Joined, members: NDArray[np.int64], spread: Spread, is_withheld: bool) -> GroupComparison:
    defined = members[both.is_defined[members]]
    differences = both.b[defined] - both.a[defined]
    mean_a, mean_b = _means(both, members)
    test = SignFlipTest(differences)
    lower, upper, verdict = _judged(mean_a, mean_b, spread, is_withheld)
    return GroupComparison(
        len(members),
        len(defined),
        mean_a,
        mean_b,
        *spread.interval_a,
        *spread.interval_b,
        mean_b - mean_a,
        lower,
        upper,
        verdict=verdict,
        n_higher=int(np.count_nonzero(differences > 0)),
        n_lower=int(np.count_nonzero(differences < 0)),
        sign_flip_p=test.p(),
        least_p=test.least_p,
    )


def _gap(head: GroupComparison, tail: GroupComparison, spread: Spread, is_withheld: bool) -> GroupComparison:
    gap_a, gap_b = head.mean_a - tail.mean_a, head.mean_b - tail.mean_b
    lower, upper, verdict = _judged_gap(gap_a, gap_b, spread, is_withheld)
    return GroupComparison(
        head.n_classes + tail.n_classes,
        head.n_defined + tail.n_defined,
        gap_a,
        gap_b,
        *spread.interval_a,
        *spread.interval_b,
        gap_b - gap_a,
        lower,
        upper,
        verdict=verdict,
        n_higher=head.n_higher + tail.n_higher,
        n_lower=head.n_lower + tail.n_lower,
    )


def _means(both: Joined, members: NDArray[np.int64]) -> tuple[float, float]:
    """The means of A and B over those members that both define."""
    defined = members[both.is_defined[members]]
    return macro_mean(both.a, defined)[0], macro_mean(both.b, defined)[0]


def _judged(mean_a: float, mean_b: float, spread: Spread, is_withheld: bool) -> tuple[float, float, str]:
    """The 95 % interval of B minus A, and the verdict."""
    lower, upper = interval_around(mean_b - mean_a, spread.difference, 1.0)
    return lower, upper, _verdict(mean_b - mean_a, lower, upper, is_withheld, (WORSE, BETTER))


def _judged_gap(gap_a: float, gap_b: float, spread: Spread, is_withheld: bool) -> tuple[float, float, str]:
    """The 95 % interval of B's gap minus A's, and the verdict on their sizes."""
    lower, upper = interval_around(gap_b - gap_a, spread.difference, 2.0)
    # |b| > |a| if b - a and b + a have one sign, so a verdict needs both to be clear of zero.
    total = interval_around(gap_a + gap_b, spread.total, 2.0)
    sign = 1 if total[0] > 0 else -1 if total[1] < 0 else 0
    words = {1: (NARROWER, WIDER), -1: (WIDER, NARROWER), 0: (UNDECIDED, UNDECIDED)}[sign]
    return lower, upper, _verdict(gap_b - gap_a, lower, upper, is_withheld, words)


def interval_around(centre: float, deviation: float, most: float) -> tuple[float, float]:
    """95 % around `centre`, within ±`most`; NaN if the deviation is."""
    half = DEVIATIONS * deviation
    return max(centre - half, -most), min(centre + half, most)


def _verdict(value: float, lower: float, upper: float, is_withheld: bool, words: tuple[str, str]) -> str:
    if math.isnan(value):
        return UNDEFINED
    if is_withheld:
        return WITHHELD
    if math.isnan(lower):
        return UNTOLD
    return words[0] if upper < 0 else words[1] if lower > 0 else UNDECIDED
