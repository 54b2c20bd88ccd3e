"""Conditions on two compared runs, for gates: "tail.f1 < baseline - 0.02"."""

from __future__ import annotations

import operator
import re
from dataclasses import dataclass

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
    """A relation that the second run's group mean may have to a number or to the first run's, the baseline.

    Attributes:
        text: as it was given.
        group: of the classes.
        metric: whose mean over the group.
        relation: "<", "<=", ">" or ">=".
        offset: the number, or what is added to the baseline.
        from_baseline: whether `offset` is added to the first run's value.
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
            InputError: another form, or a group or metric that does not exist.
        """
        found = _CONDITION.fullmatch(text)
        if found is None:
            raise InputError(f"condition {text!r}: expected GROUP.METRIC < NUMBER, or 'tail.f1 < baseline - 0.02'")
        for what, known in (("group", GROUP_ROWS), ("metric", MEAN_METRICS)):
            if found[what] not in known:
                raise InputError(
                    f"condition {text!r}: {what} {found[what]!r} is unknown; use one of {', '.join(known)}"
                )
        offset = float(found["number"] or found["offset"] or 0)
        offset = -offset if found["sign"] == "-" else offset
        return cls(text.strip(), found["group"], found["metric"], found["relation"], offset, bool(found["baseline"]))

    def holds(self, baseline: float, value: float) -> bool:
        """Whether it holds for the second run's `value`; never where one of the numbers is undefined."""
        bound = self.offset + (baseline if self.from_baseline else 0.0)
        return bool(_RELATIONS[self.relation](value, bound))
