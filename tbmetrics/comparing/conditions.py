"""Conditions on two compared runs, for gates: "tail.f1 < baseline - 0.02"."""

from __future__ import annotations

import math
import operator
import re
from dataclasses import dataclass

from tbmetrics.comparing.runs import RunComparison
from tbmetrics.errors import InputError
from tbmetrics.records import GROUP_ROWS, MEAN_METRICS

_NUMBER = r"[0-9]*\.?[0-9]+(?:[eE][+-]?[0-9]+)?"
_CONDITION = re.compile(
    rf"\s*(?P<group>\w+)\.(?P<metric>\w+)\s*(?P<relation><=|>=|<|>)\s*"
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
    """

    text: str
    group: str
    metric: str
    relation: str
    offset: float
    from_baseline: bool

    @classmethod
    def parse(cls, text: str) -> Condition:
        """Reads `GROUP.METRIC RELATION (NUMBER | baseline [± NUMBER])`.

        Raises:
            InputError: another form, or an unknown group or metric.
        """
        match = _CONDITION.fullmatch(text)
        if match is None:
            raise InputError(f"condition {text!r}: expected GROUP.METRIC < NUMBER, or 'tail.f1 < baseline - 0.02'")
        for part, known in (("group", GROUP_ROWS), ("metric", MEAN_METRICS)):
            if match[part] not in known:
                raise InputError(
                    f"condition {text!r}: {part} {match[part]!r} is unknown; use one of {', '.join(known)}"
                )
        offset = float(match["number"] or match["offset"] or 0)
        offset = -offset if match["sign"] == "-" else offset
        return cls(text.strip(), match["group"], match["metric"], match["relation"], offset, bool(match["baseline"]))

    def holds(self, baseline: float, value: float) -> bool:
        """Whether it holds for run B's `value`; never if a number that it needs is undefined."""
        bound = self.offset + (baseline if self.from_baseline else 0.0)
        return bool(_RELATIONS[self.relation](value, bound))

    def failure(self, comparison: RunComparison) -> str | None:
        """Why a gate with this condition fails, or None if it passes.

        Against the baseline both means are over the classes that both runs define; against a number it is run B's own.
        """
        group = comparison.groups[self.group]
        recorded = comparison.a.mean(self.group).value, comparison.b.mean(self.group).value
        a, b = (group.mean_a, group.mean_b) if self.from_baseline else recorded
        if math.isnan(b) or (self.from_baseline and math.isnan(a)):
            return f"cannot judge {self.text!r}: {self.group}.{self.metric} is undefined"
        return f"{self.text} holds: {b:.4f}, baseline {a:.4f}" if self.holds(a, b) else None
