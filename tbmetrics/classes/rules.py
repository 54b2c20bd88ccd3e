"""Rules that sort classes into head, medium and tail by their training counts: those of the field, and one's own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

#: Rows of the "groups" table, in this order. "gap" is head minus tail, metric by metric.
HEAD, MEDIUM, TAIL, UNKNOWN, ALL, GAP = "head", "medium", "tail", "unknown", "all", "gap"
GROUPS = (HEAD, MEDIUM, TAIL)
GROUP_ROWS = (HEAD, MEDIUM, TAIL, UNKNOWN, ALL, GAP)


@dataclass(frozen=True, slots=True)
class GroupRule:
    """Head, medium or tail by training count: head where `count >= head_min`, tail where `count <= tail_max`.

    `terciles` has no fixed bounds: it takes the 33rd and 67th percentile of the counts at hand, head above the
    upper, tail below the lower.
    """

    name: str
    head_min: float
    tail_max: float

    def __post_init__(self) -> None:
        if not self.tail_max < self.head_min:
            raise ValueError(
                f"rule {self.name!r}: the tail must end below the head, "
                f"got tail <= {self.tail_max:g} and head >= {self.head_min:g}"
            )

    def groups(self, counts: NDArray[np.int64]) -> tuple[str, ...]:
        """The group of each count; a negative count is "unknown"."""
        return tuple(self._group(int(count)) for count in counts)

    def _group(self, count: int) -> str:
        if count < 0:
            return UNKNOWN
        if count >= self.head_min:
            return HEAD
        return TAIL if count <= self.tail_max else MEDIUM


#: The named rules of the field; the boundary moves published numbers, so each record carries its rule's name.
RULES: Mapping[str, GroupRule] = {
    # Kang et al., ICLR 2020: ImageNet-LT, Places-LT, iNaturalist 2018: head > 100, tail < 20.
    "decoupling": GroupRule("decoupling", head_min=101, tail_max=19),
    # Liu et al., CVPR 2019 (OLTR).
    "oltr": GroupRule("oltr", head_min=100, tail_max=20),
    # Wu et al., ECCV 2020 (Distribution-Balanced Loss): VOC-LT, COCO-LT.
    "dbl": GroupRule("dbl", head_min=100, tail_max=19),
    # Gupta et al., CVPR 2019 (LVIS): frequent, common, rare.
    "lvis": GroupRule("lvis", head_min=100, tail_max=9),
}
TERCILES = "terciles"
RULE_NAMES = (*RULES, TERCILES)


def tercile_groups(counts: NDArray[np.int64]) -> tuple[str, ...]:
    """Head above the 67th percentile of the known counts, tail below the 33rd, medium between (ties included)."""
    known = counts[counts >= 0]
    if known.size == 0:
        return (UNKNOWN,) * len(counts)
    low, high = np.percentile(known, [33, 67])
    return tuple(UNKNOWN if c < 0 else HEAD if c > high else TAIL if c < low else MEDIUM for c in counts.tolist())


def custom_rule(rule: str | GroupRule, head_above: float | None, tail_below: float | None) -> str | GroupRule:
    """The rule as given, or the one that two bounds make; `ValueError` where one of them is missing, or they cross."""
    if head_above is None and tail_below is None:
        return rule
    if head_above is None or tail_below is None:
        raise ValueError("custom thresholds come in pairs: give both head_above and tail_below")
    if tail_below > head_above + 1:
        raise ValueError(f"tail_below ({tail_below:g}) must not lie above head_above ({head_above:g})")
    return GroupRule(
        f"head > {head_above:g}, tail < {tail_below:g}",
        head_min=float(np.floor(head_above) + 1),
        tail_max=float(np.ceil(tail_below) - 1),
    )


def groups_of_counts(rule: str | GroupRule, counts: NDArray[np.int64]) -> tuple[str, ...]:
    """The group of each count by a rule or its name; `ValueError` for an unknown name."""
    if isinstance(rule, GroupRule):
        return rule.groups(counts)
    if rule == TERCILES:
        return tercile_groups(counts)
    if not isinstance(rule, str) or rule not in RULES:
        raise ValueError(f"rule {rule!r} is unknown; use one of {', '.join(map(repr, RULE_NAMES))}, or a GroupRule")
    return RULES[rule].groups(counts)
