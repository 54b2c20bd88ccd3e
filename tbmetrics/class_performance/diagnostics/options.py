"""The options of diagnostics that every attribute shares, and their checks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tbmetrics.errors import InputError
from tbmetrics.records import GROUPS, MULTI_LABEL
from tbmetrics.tracking.checks import check_whole_numbers

TAUS = (0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 2.0)
BALANCED_ACCURACY = "balanced_accuracy"
#: Samples in the Projector tab by default.
PROJECTED = 1000


@dataclass(frozen=True, slots=True)
class Options:
    """Options of the user, see `LongTailDiagnostics`."""

    taus: tuple[float, ...]
    objective: str | Mapping[str, float]
    max_bytes: int
    gallery_size: int
    gallery_side: int
    training_samples: int | None
    projector: int = 0

    def aim(self, decision: str) -> str:
        """The objective in words."""
        metric = "mean F1" if decision == MULTI_LABEL else "balanced accuracy"
        if isinstance(self.objective, str):
            return metric
        weights = ", ".join(f"{g} × {w:g}" for g, w in self.objective.items() if w)
        return f"{'F1' if decision == MULTI_LABEL else 'recall'} weighted by group ({weights})"


def checked_taus(taus: Sequence[float]) -> tuple[float, ...]:
    """`taus` as numbers.

    Raises:
        InputError: they are not above 0 and ascending.
    """
    values = tuple(float(tau) for tau in taus)
    if not values or any(not 0 < tau < 100 for tau in values) or list(values) != sorted(set(values)):
        raise InputError(f"taus must be numbers above 0, ascending, got {taus!r}")
    return values


def checked_projector(projector: bool | int) -> int:
    """The number of samples for the Projector tab; True = `PROJECTED`, 0 = none.

    Raises:
        InputError: it is neither a bool nor a whole number.
    """
    if isinstance(projector, bool):
        return PROJECTED if projector else 0
    check_whole_numbers(0, projector=projector)
    return projector


def checked_objective(objective: str | Mapping[str, float]) -> str | Mapping[str, float]:
    """`objective`, if it is "balanced_accuracy" or weights by group.

    Raises:
        InputError: it is neither.
    """
    if isinstance(objective, str):
        if objective != BALANCED_ACCURACY:
            raise InputError(f"objective must be {BALANCED_ACCURACY!r} or weights by group, got {objective!r}")
        return objective
    unknown = [g for g in objective if g not in GROUPS]
    if unknown or not sum(objective.values()) > 0 or any(w < 0 for w in objective.values()):
        raise InputError(f"objective must give weights of at least 0 for {', '.join(GROUPS)}, got {dict(objective)!r}")
    return dict(objective)
