"""Two compared runs in words: what was compared, and what can be said of each group. The tab says the same."""

from __future__ import annotations

import math

from tbmetrics.comparing.by_count import CountComparison
from tbmetrics.comparing.runs import (
    BETTER,
    NARROWER,
    UNDECIDED,
    UNDEFINED,
    UNTOLD,
    WIDER,
    WITHHELD,
    WORSE,
    GroupComparison,
    RunComparison,
)
from tbmetrics.records import ALL, HEAD, TAIL, metric_name

#: With fewer classes the sign-flip test cannot be below 0.05.
LEAST_P = 0.05

VERDICTS = {
    BETTER: "better",
    WORSE: "worse",
    NARROWER: "gap narrower",
    WIDER: "gap wider",
    UNDECIDED: "no clear difference",
    UNTOLD: "cannot be told",
    WITHHELD: "no verdict",
    UNDEFINED: "undefined",
}


def sentence(comparison: RunComparison) -> str:
    """What B gains or loses on the tail and the head, in one sentence, or what keeps it from being said."""
    if comparison.withheld_because:
        return f"Nothing can be said of A and B: {comparison.withheld_because}."
    groups = [g for g in (TAIL, HEAD) if g in comparison.groups and comparison.groups[g].n_defined] or [ALL]
    first, *others = [(group, comparison.groups[group]) for group in groups]
    if first[1].verdict == UNDEFINED:
        return "Nothing can be said of A and B: no class has a value in both."
    clauses = [_change(*first, _in_text(comparison.a.metric))]
    for name, group in others:
        if group.verdict == first[1].verdict == UNDECIDED:
            clauses.append(f"or {_where(name)} {_ends(group)}")
        else:
            clauses.append(f"and {_change(name, group)}")
    up = f"{first[1].n_higher:,} of {first[1].n_defined:,} {'' if first[0] == ALL else f'{first[0]} '}classes up"
    return f"B {' '.join(clauses).removesuffix(',')}; {up}."


def _in_text(metric: str) -> str:
    name = metric_name(metric)
    return f" {name if name.isupper() else name.lower()}"


def _change(name: str, group: GroupComparison, of_metric: str = "") -> str:
    """What B does on a group: "gains 0.28 recall on the tail (0.23 to 0.33)"."""
    where = _where(name)
    if group.verdict == UNTOLD:
        return f"differs by {_signed(group.difference)}{of_metric} {where}, which cannot be told from chance,"
    if group.verdict == UNDECIDED:
        subject = f" of{of_metric}" if of_metric else ""
        return f"shows no clear change{subject} {where} {_ends(group)}"
    verb = "gains" if group.verdict == BETTER else "loses"
    ends = sorted((abs(group.lower), abs(group.upper)))
    return f"{verb} {abs(group.difference):.2f}{of_metric} {where} ({ends[0]:.2f} to {ends[1]:.2f})"


def _where(group: str) -> str:
    return "over all classes" if group == ALL else f"on the {group}"


def _ends(group: GroupComparison) -> str:
    return f"({_signed(group.lower)} to {_signed(group.upper)})"


def _signed(value: float) -> str:
    return f"{value:+.2f}".replace("-", "−")


def basis_text(comparison: RunComparison | CountComparison) -> str:
    """On what the intervals and verdicts rest, or why there are none."""
    if comparison.withheld_because:
        return f"No verdict: {comparison.withheld_because}."
    if comparison.is_paired:
        return "Paired: both runs decided the same validation samples."
    return f"Unpaired: {comparison.unpaired_because}."


def classes_text(comparison: RunComparison) -> str:
    """Which classes the means are over, if the runs have different ones; otherwise an empty string."""
    only = len(comparison.only_in_a), len(comparison.only_in_b)
    if not any(only):
        return ""
    return (
        f"A, B and B − A are over the {comparison.n_joined:,} classes in common; "
        f"only in A {only[0]:,}, only in B {only[1]:,}."
    )


def agreement_text(group: GroupComparison) -> str:
    """Whether other classes would agree: how many are higher and lower, and the sign-flip test over them.

    Empty if there is no verdict or nothing to compare.
    """
    if group.verdict == WITHHELD or not group.n_defined:
        return ""
    equal = group.n_defined - group.n_higher - group.n_lower
    parts = [f"{group.n_higher:,} up", f"{group.n_lower:,} down", f"{equal:,} equal" if equal else ""]
    if not math.isnan(group.sign_flip_p) and group.least_p <= LEAST_P:
        parts.append(f"p {group.sign_flip_p:.3f}")
    return ", ".join(part for part in parts if part)
