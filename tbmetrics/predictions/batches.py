"""What the columns of a file of predictions mean: scores or predicted classes, labels, steps, indices."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from tbmetrics.class_performance.inputs import CLASSES, LOGITS, PROBABILITIES
from tbmetrics.errors import InputError
from tbmetrics.predictions.counts import LABEL_NAMES
from tbmetrics.predictions.files import UNNAMED, Rows, column_name

#: Names of columns, by what they are given as; the first that a file has counts.
SCORE_NAMES: Mapping[str, Sequence[str]] = {
    LOGITS: ("logits",),
    PROBABILITIES: ("probabilities", "probs"),
    CLASSES: ("predictions", "predicted", "prediction", "preds", "pred", "y_pred"),
}
#: Columns whose values may be of any kind: integers are predicted classes, anything else needs `inputs`.
AMBIGUOUS_NAMES = ("scores", "outputs", UNNAMED)
STEP_NAMES = ("step", "steps", "epoch", "epochs")
INDEX_NAMES = ("indices", "index")


@dataclass(frozen=True, slots=True)
class PredictedRows:
    """Some rows of predictions.

    Attributes:
        scores: (N, C), or predicted classes (N,) or (N, k).
        labels: class indices (N,), multi-hot (N, C), or texts; None if they are in another file.
        steps: integers (N,), or None.
        indices: integers (N,), or None.
    """

    scores: Any
    labels: Any
    steps: Any
    indices: Any


class Roles:
    """Finds the scores, labels, steps and indices among columns.

    Args:
        inputs: "logits", "probabilities" or "classes"; None = told by the names of the columns.
        names: of the classes, which the columns of a table may bear.
    """

    def __init__(self, inputs: str | None, names: Sequence[str] = ()) -> None:
        self.inputs = inputs
        self.names = tuple(names)

    def read(self, rows: Rows) -> PredictedRows:
        """The predictions in these rows; settles `inputs` if it was None.

        Raises:
            InputError: there are none, or it cannot be told what they are.
        """
        labels, steps, indices = (_first(rows, names) for names in (LABEL_NAMES, STEP_NAMES, INDEX_NAMES))
        scores = self._scores(rows)
        if self.inputs == CLASSES:
            scores = self.as_indices(scores, "predicted classes")
        return PredictedRows(scores, labels, _whole(steps, "steps"), _whole(indices, "indices"))

    def _scores(self, rows: Rows) -> Any:
        kinds = SCORE_NAMES if self.inputs is None else {self.inputs: SCORE_NAMES[self.inputs]}
        for kind, names in kinds.items():
            if (scores := _first(rows, names)) is not None:
                return self._settled(kind, scores)
        scores = _first(rows, AMBIGUOUS_NAMES)
        if scores is not None:
            return self._settled(self.inputs or _kind_of(scores), scores)
        return self._by_column(rows)

    def _settled(self, kind: str, scores: Any) -> Any:
        if kind == CLASSES and _is_float(scores):
            raise InputError(
                "predictions are floating-point numbers: give inputs='logits' or 'probabilities' and call them so, or "
                "integers for predicted classes"
            )
        self.inputs = kind
        return scores

    def _by_column(self, rows: Rows) -> Any:
        """Scores that have a column a class, or predicted classes that have a column a rank."""
        known = {*LABEL_NAMES, *STEP_NAMES, *INDEX_NAMES}
        columns = [name for name in rows if name.lower() not in known]
        ranked = [name for name in columns if re.fullmatch(r"(predictions?|preds?|top)_?\d+", name.lower())]
        if ranked and self.inputs in (None, CLASSES):
            self.inputs = CLASSES
            ranked.sort(key=lambda name: int(re.sub(r"\D", "", name)))
            return np.stack([self.as_indices(rows[name], "predicted classes") for name in ranked], axis=1)
        if set(self.names) <= set(columns):
            columns = list(self.names)
        if len(columns) != len(self.names) or self.inputs == CLASSES:
            raise InputError(
                f"no predictions among the columns {list(rows)[:20]}; expected one of "
                f"{', '.join(name for names in SCORE_NAMES.values() for name in names)}, or a column for each of the "
                f"{len(self.names)} classes"
            )
        self.inputs = self.inputs or LOGITS
        try:
            return np.stack([np.asarray(rows[name], dtype=np.float64) for name in columns], axis=1)
        except ValueError as error:
            raise InputError(f"the columns {columns[:5]}… must be numbers ({error})") from error

    def as_indices(self, values: Any, what: str) -> Any:
        """Class names as class indices; numbers as they are.

        Raises:
            InputError: a text is neither a class name nor a number.
        """
        if not _is_text(values):
            return values
        texts, inverse = np.unique(np.asarray(values, dtype=str), return_inverse=True)
        positions = {name: index for index, name in enumerate(self.names)}
        unknown = [text for text in texts.tolist() if text not in positions and not text.lstrip("-").isdigit()]
        if unknown:
            raise InputError(f"{what} name classes without counts: {unknown[:5]}; known are {list(self.names[:20])}")
        codes = [positions[text] if text in positions else int(text) for text in texts.tolist()]
        return np.array(codes, dtype=np.int64)[inverse].reshape(np.shape(values))


def num_classes_of(rows: Rows, inputs: str | None) -> int | None:
    """Number of classes that the scores in `rows` have, or None if there are only predicted classes."""
    names = [name for kind, names in SCORE_NAMES.items() if kind != CLASSES for name in names]
    scores = _first(rows, (*names, *AMBIGUOUS_NAMES))
    has_classes = inputs != CLASSES and getattr(scores, "ndim", 0) == 2 and _is_float(scores)
    return int(scores.shape[1]) if has_classes else None


def by_step(rows: PredictedRows) -> Iterator[tuple[int | None, PredictedRows]]:
    """Yield the rows of each step apart, in their order."""
    if rows.steps is None:
        yield None, rows
        return
    edges = [0, *(np.flatnonzero(np.diff(rows.steps)) + 1).tolist(), len(rows.steps)]
    for start, stop in pairwise(edges):
        columns = (rows.scores, rows.labels, rows.steps, rows.indices)
        parts = (None if column is None else column[start:stop] for column in columns)
        yield int(rows.steps[start]), PredictedRows(*parts)


def _first(rows: Rows, names: Sequence[str]) -> Any:
    """The column that bears the first of `names`, or None."""
    name = column_name(rows, names)
    return None if name is None else rows[name]


def _kind_of(scores: Any) -> str:
    if _is_float(scores):
        raise InputError("it cannot be told what the scores are: give inputs='logits' or inputs='probabilities'")
    return CLASSES


def _is_float(values: Any) -> bool:
    dtype = getattr(values, "dtype", None)
    return "float" in str(dtype)


def _is_text(values: Any) -> bool:
    kind = getattr(getattr(values, "dtype", None), "kind", "")
    return isinstance(values, list) or kind in "UO"


def _whole(values: Any, what: str) -> Any:
    if values is None:
        return None
    try:
        numbers = np.asarray(values, dtype=np.float64)
        if not (numbers % 1 == 0).all():
            raise ValueError("some are not")
    except (TypeError, ValueError) as error:
        raise InputError(f"{what} must be whole numbers ({error})") from error
    return np.asarray(values).astype(np.int64)
