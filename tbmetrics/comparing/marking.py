"""Which row is best in each column of a table, and which are not told apart from it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import product
from typing import TypeAlias

from tbmetrics.comparing.runs import UNDEFINED, WIDER, group_verdicts
from tbmetrics.comparing.runs import UNTOLD as NO_INTERVAL
from tbmetrics.comparing.runs import WORSE as LOWER
from tbmetrics.comparing.tables import BEST, SIMILAR, UNTOLD, WORSE, TableCell, TableRow
from tbmetrics.comparing.validations import Validation
from tbmetrics.records import GAP
from tbmetrics.statistics.student import LEAST_RUNS, welch

#: Marks by the verdict on a row against the best; any other verdict leaves it similar.
_MARKS = {LOWER: WORSE, WIDER: WORSE, NO_INTERVAL: UNTOLD, UNDEFINED: UNTOLD}
_TOO_LITTLE = "?: too little is known to tell, such as no intervals, or fewer than three runs of an experiment."

Validations: TypeAlias = Sequence[Validation]


def marked(
    rows: Sequence[TableRow], validations: Sequence[Validations], is_judged: Sequence[bool]
) -> tuple[list[TableRow], list[str]]:
    """The rows with their marks, and what these rest on. Only rows of one evaluation are compared.

    A single run is compared with a single run by the interval of the difference, paired if it can be; experiments of
    several runs by Welch's test over the runs. Each row is judged alone, at 95 %.

    Args:
        rows: of the table.
        validations: of the runs of each row.
        is_judged: whether each row has the classes that the table is judged by.
    """
    judge = _Judge(validations)
    marks: list[dict[str, str]] = [{} for _ in rows]
    for evaluation, column in product(dict.fromkeys(row.evaluation for row in rows), rows[0].cells):
        judged = (i for i, row in enumerate(rows) if is_judged[i] and row.evaluation == evaluation)
        for i, mark in _marks_of(column, {i: rows[i].cells[column] for i in judged}, judge).items():
            marks[i][column] = mark
    several = len({row.evaluation for row in rows}) > 1
    return [_with_marks(row, of_row) for row, of_row in zip(rows, marks, strict=True)], judge.notes(marks, several)


def _with_marks(row: TableRow, marks: Mapping[str, str]) -> TableRow:
    return replace(row, cells={c: replace(cell, mark=marks.get(c, "")) for c, cell in row.cells.items()})


def _marks_of(column: str, cells: Mapping[int, TableCell], judge: _Judge) -> dict[int, str]:
    """The mark of each defined cell of a column; none if there are fewer than two."""
    merits = {i: _merit(column, cell.mean) for i, cell in cells.items() if not math.isnan(cell.mean)}
    if len(merits) < 2:
        return {}
    best = max(merits, key=merits.__getitem__)
    return {i: BEST if merit == merits[best] else judge.mark(best, i, column) for i, merit in merits.items()}


def _merit(column: str, mean: float) -> float:
    """What is to be high: of the gap the smallness."""
    return -abs(mean) if column == GAP else mean


class _Judge:
    """Compares rows with the best one, and remembers how it did."""

    def __init__(self, validations: Sequence[Validations]) -> None:
        self._validations = validations
        self._verdicts: dict[tuple[int, int], Mapping[str, str]] = {}
        self._bases: dict[str, None] = {}

    def mark(self, best: int, other: int, column: str) -> str:
        """Of the cell of `other` in `column`."""
        sides = self._validations[best], self._validations[other]
        if len(sides[0]) == len(sides[1]) == 1:
            return _MARKS.get(self._verdicts_of(best, other)[column], SIMILAR)
        self._bases["Welch's test over the runs of an experiment"] = None
        values = [[v.mean(column).value for v in side] for side in sides]
        return _mark_of_experiments(values[0], values[1], column)

    def _verdicts_of(self, best: int, other: int) -> Mapping[str, str]:
        if (best, other) not in self._verdicts:
            (a,), (b,) = self._validations[best], self._validations[other]
            verdicts, spread = group_verdicts(a, b)
            basis = "paired" if spread.is_paired else f"unpaired: {spread.unpaired_because}"
            self._bases[f"the 95 % interval of the difference ({basis})"] = None
            self._verdicts[best, other] = verdicts
        return self._verdicts[best, other]

    def notes(self, marks: Sequence[Mapping[str, str]], several_evaluations: bool) -> list[str]:
        """What the marks mean and rest on; nothing if there are none."""
        present = {mark for of_row in marks for mark in of_row.values()}
        if not present:
            return []
        basis = f", each row judged alone by {' and '.join(self._bases)}" if self._bases else ""
        column = "column in its evaluation" if several_evaluations else "column"
        notes = [f"Bold or ★: the best of a {column}; ≈: not told apart from it{basis}."]
        return notes + ([_TOO_LITTLE] if UNTOLD in present else [])


def _mark_of_experiments(best: Sequence[float], other: Sequence[float], column: str) -> str:
    """By Welch's test; a gap differs in size if neither the difference nor the sum of both could be 0."""
    tests = [welch(best, other)]
    if column == GAP:
        tests.append(welch([-value for value in best], other))
    if min(len(best), len(other)) < LEAST_RUNS or any(math.isnan(test.p) for test in tests):
        return UNTOLD
    return WORSE if all(test.lower > 0 or test.upper < 0 for test in tests) else SIMILAR
