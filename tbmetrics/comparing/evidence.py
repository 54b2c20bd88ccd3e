"""Classes ranked by evidence: by the end of an interval that is nearest to saying nothing, not by the raw number.

With few examples a class moves, or does badly, by chance, and the largest raw numbers are those of the fewest examples.
Each class is judged alone, at 95 %: of many that did not change, one of twenty looks as if it had.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tbmetrics.records import FloatArray
from tbmetrics.statistics.intervals import Interval, wilson

if TYPE_CHECKING:
    from tbmetrics.comparing.runs import ClassComparison

#: Smaller differences are shown as 0.000, and are neither gains nor losses.
_LEAST_SHOWN = 0.0005
#: Share of classes that did not change and yet are told apart, at most.
BY_CHANCE = 0.05
#: How much wider than Newcombe's an interval of a difference is. His tells 0 of 2 from 2 of 2, and 0 of 1 from 3 of 3,
#: in 6 to 10 % of equal classes; so widened it errs in at most 5 %, whatever the numbers of examples.
_WIDER = 1.08


def difference_interval(a: FloatArray, of_a: Interval, b: FloatArray, of_b: Interval) -> Interval:
    """The 95 % interval of B minus A from the intervals of both, for any equal shape.

    Newcombe's hybrid method (1998, method 10; MOVER): each end goes as far as those of A and B towards it, squared and
    added; somewhat wider for few examples. It takes A and B as independent; validated on the same samples they rarely
    are, and it is then too wide.
    """
    (lower_a, upper_a), (lower_b, upper_b) = of_a, of_b
    difference = b - a
    lower = difference - _WIDER * np.sqrt((b - lower_b) ** 2 + (upper_a - a) ** 2)
    upper = difference + _WIDER * np.sqrt((upper_b - b) ** 2 + (a - lower_a) ** 2)
    return lower, upper


def gains(classes: Iterable[ClassComparison]) -> list[ClassComparison]:
    """The classes that gained, those with the most evidence first: by the lower end of their difference."""
    return sorted((c for c in classes if c.difference >= _LEAST_SHOWN), key=lambda c: (_last(-c.lower), -c.difference))


def losses(classes: Iterable[ClassComparison]) -> list[ClassComparison]:
    """The classes that lost, those with the most evidence first: by the upper end of their difference."""
    return sorted((c for c in classes if c.difference <= -_LEAST_SHOWN), key=lambda c: (_last(c.upper), c.difference))


def could_be_chance(moved: ClassComparison) -> bool:
    """Whether the interval of the difference contains 0, or is unknown."""
    return not (moved.lower > 0 or moved.upper < 0)


def worst(upper: FloatArray) -> NDArray[np.int64]:
    """Indices of the classes, those with the most evidence of doing badly first: by the upper end of their interval.

    Classes without an interval are left out.
    """
    order = np.argsort(upper, kind="stable")
    return order[: np.count_nonzero(~np.isnan(upper))].astype(np.int64)


def chance_text(n_classes: int) -> str:
    """How many of so many classes would be told apart by chance, in words."""
    expected = BY_CHANCE * n_classes
    number = f"up to about {expected:,.0f}" if expected >= 1 else "less than one"
    return f"each class is judged alone, at 95 %: if none had changed, {number} of {n_classes:,} would stand out"


class ConfusedPairs(NamedTuple):
    """Pairs of classes, those with the most evidence first.

    Attributes:
        pairs: true class, predicted class (-1 = none), examples; int64 (pairs, 3).
        share: of the true class's positives, with its 95 % interval, (pairs, 3).
        by_chance: share of all other examples that are predicted as that class, (pairs,); NaN if unknown. A pair whose
            interval reaches down to it could be chance.
    """

    pairs: NDArray[np.int64]
    share: FloatArray
    by_chance: FloatArray


def rank_pairs(
    pairs: NDArray[np.int64], support: FloatArray, false_positives: FloatArray, n_samples: float
) -> ConfusedPairs:
    """Rank pairs of confused classes by the lower end of their share.

    Args:
        pairs: true class, predicted class (-1 = none), examples; (pairs, 3).
        support: positives of each class, (classes,).
        false_positives: of each class, (classes,).
        n_samples: examples in all.
    """
    true, predicted, count = pairs.T
    lower, upper = wilson(count, support[true])
    with np.errstate(divide="ignore", invalid="ignore"):
        rate = false_positives / (n_samples - support)
        share = np.stack([count / support[true], lower, upper], axis=1)
    order = np.lexsort((-count, -lower))
    by_chance = np.where(predicted >= 0, rate[predicted], np.nan)
    return ConfusedPairs(pairs[order], share[order], by_chance[order])


def _last(value: float) -> float:
    return np.inf if np.isnan(value) else value
