"""The classes that are confused most, those with the most evidence first."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tbmetrics.comparing.evidence import rank_pairs
from tbmetrics.records import ALL, NO_CLASS, PAIR_COLUMNS
from tbmetrics_longtail.data import Attribute
from tbmetrics_longtail.tables import CONFUSIONS, GROUP_TABLE, nullable, or_null
from tbmetrics_longtail.uncertainty import is_multi_label

#: float32 holds whole numbers below it exactly.
MOST_EXACT = 2**24
#: Pairs of classes in one answer.
MOST_PAIRS = 200


def confusions(attribute: Attribute, step: int, class_: str | int | None) -> dict[str, Any]:
    """Pairs of classes at one step, with their share of the true class and what it would be by chance.

    Args:
        attribute: of the run.
        step: of the validation.
        class_: only pairs with this class, by name or index.
    """
    table = attribute.table(CONFUSIONS, step)
    attribute.tag(CONFUSIONS).check_columns(table.shape[1], PAIR_COLUMNS)
    known = table[np.isfinite(table).all(axis=1) & (np.abs(table) < MOST_EXACT).all(axis=1)].astype(np.int64)
    known = known[(known[:, :2] < len(attribute.classes)).all(axis=1) & (known[:, 0] >= 0) & (known[:, 1] >= NO_CLASS)]
    mistakes = attribute.column("false_negatives", step)
    pairs = known
    if class_ is not None:
        index = attribute.class_index(class_)
        pairs = known[(known[:, 0] == index) | (known[:, 1] == index)]
    ranked = rank_pairs(pairs, *_examples(attribute, step))
    return {
        "pairs": ranked.pairs[:MOST_PAIRS].tolist(),
        "shares": nullable(ranked.share[:MOST_PAIRS]),
        "by_chance": nullable(ranked.by_chance[:MOST_PAIRS]),
        "n_pairs": len(known),
        "n_mistakes": or_null(float(np.nansum(mistakes))),
        "n_recorded": int(known[:, 2].sum()),
    }


def _examples(attribute: Attribute, step: int) -> tuple[NDArray[np.float64], NDArray[np.float64], float]:
    """Positives and false positives of each class, (classes,), and the number of examples (NaN = unknown)."""
    support, false_positives = (attribute.column(name, step) for name in ("support", "false_positives"))
    if not is_multi_label(attribute):
        return support, false_positives, float(support.sum())
    if GROUP_TABLE not in attribute.tags:
        return support, false_positives, float("nan")
    tag, table = attribute.tag(GROUP_TABLE), attribute.series(GROUP_TABLE).at(step)
    tag.check_rows(len(table))
    return support, false_positives, float(table[tag.rows.index(ALL), tag.column_index("n_samples")])
