"""Rules that sort classes into head, medium and tail by their training counts: the field's, and custom ones."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

#: Rows of the "groups" table, in this order. "gap" is head minus tail, metric by metric.
HEAD, MEDIUM, TAIL, UNKNOWN, ALL, GAP = "head", "medium", "tail", "unknown", "all", "gap"
GROUPS = (HEAD, MEDIUM, TAIL)
GROUP_ROWS = (HEAD, MEDIUM, TAIL, UNKNOWN, ALL, GAP)


#: Thresholds of `terciles`, percentiles of the known counts.
TERCILE_PERCENTILES = (33, 67)


@dataclass(frozen=True, slots=True)
class GroupRule:
    """Head, medium or tail by training count: head where `count >= head_min`, tail where `count <= tail_max`."""

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
        conditions = [counts < 0, counts >= self.head_min, counts <= self.tail_max]
        names = (UNKNOWN, HEAD, TAIL, MEDIUM)
        return tuple(names[place] for place in np.select(conditions, [0, 1, 2], 3).tolist())


#: The named rules of the field with fixed bounds. The bounds move published numbers, so each record names its rule.
RULES: Mapping[str, GroupRule] = {
    rule.name: rule
    for rule in (
        GroupRule("decoupling", head_min=101, tail_max=19),  # Kang et al., ICLR 2020: ImageNet-LT, Places-LT, iNat 2018
        GroupRule("oltr", head_min=100, tail_max=20),  # Liu et al., CVPR 2019
        GroupRule("dbl", head_min=100, tail_max=19),  # Wu et al., ECCV 2020: VOC-LT, COCO-LT
        GroupRule("lvis", head_min=100, tail_max=9),  # Gupta et al., CVPR 2019: frequent, common, rare
    )
}
DEFAULT_RULE = "decoupling"
TERCILES = "terciles"
RULE_NAMES = (*RULES, TERCILES)


def tercile_bounds(counts: NDArray[np.int64]) -> tuple[float, float]:
    """The tail is below the first, the head above the second; NaN if no count is known."""
    known = counts[counts >= 0]
    low, high = np.percentile(known, TERCILE_PERCENTILES) if known.size else (np.nan, np.nan)
    return float(low), float(high)


def tercile_groups(counts: NDArray[np.int64]) -> tuple[str, ...]:
    """The group of each count by `tercile_bounds`; ties with a bound are medium."""
    low, high = tercile_bounds(counts)
    return tuple(UNKNOWN if c < 0 else HEAD if c > high else TAIL if c < low else MEDIUM for c in counts.tolist())


def custom_rule(rule: str | GroupRule, head_above: float | None, tail_below: float | None) -> str | GroupRule:
    """The rule of two thresholds, or `rule` if none are given; `ValueError` if one is missing, or they cross."""
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
