"""Two compared runs in words: what was compared, and what can be said of each group. The tab says the same."""

from __future__ import annotations

import math

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


def basis_text(comparison: RunComparison) -> str:
    """On what the intervals and verdicts rest, or why there are none."""
    if comparison.withheld_because:
        return f"No verdict: {comparison.withheld_because}. Compare the runs at one step."
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
