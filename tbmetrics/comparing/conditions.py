"""Conditions on two compared runs, for gates: "tail.f1 < baseline - 0.02", "tail.f1 significantly < baseline"."""

from __future__ import annotations

import math
import operator
import re
from dataclasses import dataclass

from tbmetrics.comparing.runs import RunComparison
from tbmetrics.errors import InputError
from tbmetrics.records import GROUP_ROWS

_NUMBER = r"[0-9]*\.?[0-9]+(?:[eE][+-]?[0-9]+)?"
_CONDITION = re.compile(
    rf"\s*(?P<group>\w+)\.(?P<metric>\w+)\s*(?P<evidence>\bsignificantly\b)?\s*(?P<relation><=|>=|<|>)\s*"
    rf"(?:(?P<baseline>baseline)\s*(?:(?P<sign>[+-])\s*(?P<offset>{_NUMBER}))?|(?P<number>-?{_NUMBER}))\s*"
)
_RELATIONS = {"<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge}


@dataclass(frozen=True, slots=True)
class Condition:
    """A relation of run B's group mean to a number, or to run A's mean, the baseline.

    Attributes:
        text: as it was given.
        group: of the classes.
        metric: whose mean over the group.
        relation: "<", "<=", ">" or ">=".
        offset: the number, or what is added to the baseline.
        from_baseline: whether `offset` is added to the baseline.
        needs_evidence: whether the whole 95 % interval must satisfy it: that of B minus A, or of B's mean.
    """

    text: str
    group: str
    metric: str
    relation: str
    offset: float
    from_baseline: bool
    needs_evidence: bool = False

    @classmethod
    def parse(cls, text: str) -> Condition:
        """Reads `GROUP.METRIC [significantly] RELATION (NUMBER | baseline [± NUMBER])`.

        Raises:
            InputError: another form, or an unknown group. Which metrics there are is known once runs are compared.
        """
        match = _CONDITION.fullmatch(text)
        if match is None:
            raise InputError(f"condition {text!r}: expected GROUP.METRIC < NUMBER, or 'tail.f1 < baseline - 0.02'")
        if match["group"] not in GROUP_ROWS:
            known = ", ".join(GROUP_ROWS)
            raise InputError(f"condition {text!r}: group {match['group']!r} is unknown; use one of {known}")
        offset = float(match["number"] or match["offset"] or 0)
        offset = -offset if match["sign"] == "-" else offset
        from_baseline, needs_evidence = bool(match["baseline"]), bool(match["evidence"])
        return cls(
            text.strip(), match["group"], match["metric"], match["relation"], offset, from_baseline, needs_evidence
        )

    def holds(self, baseline: float, value: float) -> bool:
        """Whether it holds for run B's `value`; never if a number that it needs is undefined."""
        bound = self.offset + (baseline if self.from_baseline else 0.0)
        return bool(_RELATIONS[self.relation](value, bound))

    def holds_with_evidence(self, lower: float, upper: float) -> bool:
        """Whether it holds for all of an interval: of B minus A, or of B's mean if there is no baseline."""
        return bool(_RELATIONS[self.relation](upper if self.relation[0] == "<" else lower, self.offset))

    def failure(self, comparison: RunComparison) -> str | None:
        """Why a gate with this condition fails, or None if it passes.

        Against the baseline both means are over the classes that both runs define; against a number it is run B's own.
        """
        missing = self._missing(comparison)
        if missing:
            return f"cannot judge {self.text!r}: {missing}"
        group, recorded = comparison.groups[self.group], comparison.b.mean(self.group)
        if not self.from_baseline:
            interval, numbers = (recorded.lower, recorded.upper), f"{recorded.value:.4f}"
            is_true = self.holds(math.nan, recorded.value)
        else:
            interval, numbers = (group.lower, group.upper), f"{group.mean_b:.4f}, baseline {group.mean_a:.4f}"
            is_true = self.holds(group.mean_a, group.mean_b)
        if not self.needs_evidence:
            return f"{self.text} holds: {numbers}" if is_true else None
        what = "B − A" if self.from_baseline else "B"
        evidence = f"95 % of {what}: {interval[0]:+.4f} to {interval[1]:+.4f}"
        return f"{self.text} holds: {numbers}; {evidence}" if self.holds_with_evidence(*interval) else None

    def _missing(self, comparison: RunComparison) -> str:
        """What the condition needs and the comparison lacks, or an empty string."""
        group, own = comparison.groups[self.group], comparison.b.mean(self.group)
        if self.from_baseline and comparison.withheld_because:
            return comparison.withheld_because
        value, lower = (group.difference, group.lower) if self.from_baseline else (own.value, own.lower)
        if math.isnan(value):
            return f"{self.group}.{self.metric} is undefined"
        if self.needs_evidence and math.isnan(lower):
            return f"{self.group}.{self.metric} has no interval"
        return ""
