"""The classes of one attribute: names, training counts, head/medium/tail groups, and families."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tbmetrics.classes.rules import ALL, GROUPS, UNKNOWN
from tbmetrics.classes.sources import refuse_duplicates

#: Family of the classes that were given none.
OTHER = "other"


@dataclass(frozen=True, eq=False)
class AttributeClasses:
    """The classes of one attribute, in the order of the logits' columns.

    Attributes:
        attribute: the attribute's name.
        names: one name per class.
        counts: training examples per class, int64 of shape (classes,); -1 if unknown.
        groups: "head", "medium", "tail" or "unknown" per class.
        rule: the name of the rule that made the groups ("given" if they were given).
        families: a second grouping, by names: one per class, "other" if it was given none; empty without families.
    """

    attribute: str
    names: tuple[str, ...]
    counts: NDArray[np.int64]
    groups: tuple[str, ...]
    rule: str
    families: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not len(self.names) == len(self.counts) == len(self.groups):
            raise ValueError(
                f"attribute {self.attribute!r}: {len(self.names)} names, {len(self.counts)} counts and "
                f"{len(self.groups)} groups; give one of each per class"
            )
        if self.families and len(self.families) != len(self.names):
            raise ValueError(
                f"attribute {self.attribute!r}: {len(self.families)} families for {len(self.names)} classes"
            )
        if not self.names:
            raise ValueError(f"attribute {self.attribute!r} has no classes; give at least one")
        refuse_duplicates(self.attribute, self.names)
        _refuse_unknown_groups(self.attribute, self.groups)

    def __len__(self) -> int:
        return len(self.names)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, AttributeClasses) and (
            (self.attribute, self.names, self.groups, self.rule, self.families)
            == (other.attribute, other.names, other.groups, other.rule, other.families)
            and np.array_equal(self.counts, other.counts)
        )

    __hash__ = None  # type: ignore[assignment]  # it holds an array

    def members(self, group: str) -> NDArray[np.int64]:
        """Indices of the classes in `group` ("head", "medium", "tail", "unknown" or "all"), int64, ascending."""
        if group == ALL:
            return np.arange(len(self), dtype=np.int64)
        _refuse_unknown_groups(self.attribute, (group,))
        return np.flatnonzero(np.asarray(self.groups) == group).astype(np.int64)

    def family_members(self, family: str) -> NDArray[np.int64]:
        """Indices of the classes in `family`, int64, ascending."""
        return np.array([i for i, name in enumerate(self.families) if name == family], dtype=np.int64)

    def sizes(self) -> dict[str, int]:
        """Number of classes per group, without empty groups."""
        return {g: self.groups.count(g) for g in (*GROUPS, UNKNOWN) if g in self.groups}


def family_names(families: Sequence[str]) -> tuple[str, ...]:
    """The different families in the order of their first class, "other" last."""
    names = dict.fromkeys(families)
    return (*(name for name in names if name != OTHER), *((OTHER,) if OTHER in names else ()))


def _refuse_unknown_groups(attribute: str, groups: Sequence[str]) -> None:
    allowed = (*GROUPS, UNKNOWN)
    for group in groups:
        if not isinstance(group, str) or group not in allowed:
            raise ValueError(f"attribute {attribute!r}: group {group!r} is unknown; use one of {', '.join(allowed)}")
