"""What a table of runs holds: a row for each run, or each experiment with its seeds, and a column for each group."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

#: Marks of a cell. "similar": not told apart from the best of its column. "untold": there is too little to tell.
BEST, SIMILAR, WORSE, UNTOLD = "best", "similar", "worse", "untold"


@dataclass(frozen=True, slots=True)
class TableCell:
    """One group of one row; NaN if undefined or unknown.

    Attributes:
        mean: over the group's classes and, if the row is of several runs, over these.
        lower, upper: 95 % interval: of one run for these validation samples, of several the t-interval over them.
        deviation: standard deviation over the runs (n − 1); NaN for one run.
        n_classes: classes in the mean; the fewest of the runs. Of the gap, those of head and tail.
        mark: "best", "similar", "worse", "untold", or "" if the column, or the row, is not judged.
    """

    mean: float
    lower: float
    upper: float
    deviation: float
    n_classes: int
    mark: str = ""


@dataclass(frozen=True, slots=True)
class TableRow:
    """A run, or an experiment.

    Attributes:
        name: of the run or the experiment.
        runs: names of its runs.
        steps: of each run.
        cells: by column.
        evaluation: what its runs hold, such as "test"; empty for the validation.
    """

    name: str
    runs: tuple[str, ...]
    steps: tuple[int, ...]
    cells: Mapping[str, TableCell]
    evaluation: str = ""


@dataclass(frozen=True, slots=True)
class RunTable:
    """Runs, or experiments, by group.

    Attributes:
        attribute, metric: what was validated.
        columns: groups that have classes, "all" and, if there are head and tail, "gap".
        sizes: classes in each column but the gap; empty if the rows have different classes.
        rows: by evaluation, the validation first, and within it in the order of the runs' names.
        notes: what was compared and what limits it, in sentences.
    """

    attribute: str
    metric: str
    columns: tuple[str, ...]
    sizes: Mapping[str, int]
    rows: tuple[TableRow, ...]
    notes: tuple[str, ...]

    def markdown(self) -> str:
        """A GitHub Markdown table and its notes."""
        from tbmetrics.comparing.table_text import markdown_text

        return markdown_text(self)

    def latex(self) -> str:
        """A LaTeX `tabular` with booktabs rules, below its notes as comments."""
        from tbmetrics.comparing.table_text import latex_text

        return latex_text(self)

    def csv(self) -> str:
        """CSV with plain numbers: mean, interval, deviation, number of classes and mark of every column."""
        from tbmetrics.comparing.table_text import csv_text

        return csv_text(self)

    _repr_markdown_ = markdown  # what notebooks show
