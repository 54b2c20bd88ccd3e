"""A table of runs as Markdown, LaTeX and CSV, and the cells that the terminal shows, too."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from tbmetrics.comparing.escaping import csv_cell, latex_cell, markdown_cell, one_line
from tbmetrics.comparing.validations import evaluation_name

if TYPE_CHECKING:
    from tbmetrics.comparing.tables import RunTable, TableCell, TableRow

#: Signs of the marks; the best is bold instead.
SIGNS = {"similar": "≈", "untold": "?"}
BEST = "best"
DASH = "–"


def headings(table: RunTable) -> list[str]:
    """Names of the columns of a table to read: the row's name, what `facts_of` says, groups with their classes."""
    groups = [f"{c} ({table.sizes[c]:,})" if c in table.sizes else c for c in table.columns]
    return ["run", *_fact_names(table), *groups]


def facts_of(table: RunTable) -> list[list[str]]:
    """The evaluation, the number of runs and the step of each row, if the rows differ in them."""
    texts: Mapping[str, Callable[[TableRow], str]] = {
        "evaluation": lambda row: evaluation_name(row.evaluation),
        "runs": lambda row: f"{len(row.runs):,}",
        "step": _step_text,
    }
    return [[texts[name](row) for name in _fact_names(table)] for row in table.rows]


def number_text(cell: TableCell) -> str:
    """The mean."""
    return DASH if math.isnan(cell.mean) else f"{cell.mean:.3f}"


def spread_text(cell: TableCell) -> str:
    """The deviation over runs, or the interval of a single one, or nothing if there is none."""
    if not math.isnan(cell.deviation):
        return f"± {cell.deviation:.3f}"
    return "" if math.isnan(cell.lower) else f"[{cell.lower:.3f}, {cell.upper:.3f}]"


def notes_of(table: RunTable) -> list[str]:
    """What the table shows, and its notes."""
    return [f"{table.metric} of {table.attribute!r}, mean over the classes of each group.", *table.notes]


def markdown_text(table: RunTable) -> str:
    """A GitHub Markdown table and its notes."""
    names = headings(table)
    rows = [
        [markdown_cell(row.name), *facts, *map(_markdown_value, row.cells.values())]
        for row, facts in zip(table.rows, facts_of(table), strict=True)
    ]
    lines = [list(map(markdown_cell, names)), ["---", *("---:" for _ in names[1:])], *rows]
    notes = "".join(f"- {markdown_cell(note)}\n" for note in notes_of(table))
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines) + f"\n{notes}"


def _markdown_value(cell: TableCell) -> str:
    mean = f"**{number_text(cell)}**" if cell.mark == BEST else number_text(cell)
    return " ".join(part for part in (mean, spread_text(cell), SIGNS.get(cell.mark, "")) if part)


def latex_text(table: RunTable) -> str:
    """A LaTeX `tabular` with booktabs rules, below its notes as comments."""
    names = headings(table)
    rows = [
        [latex_cell(row.name), *map(_latex_number, facts), *map(_latex_value, row.cells.values())]
        for row, facts in zip(table.rows, facts_of(table), strict=True)
    ]
    lines = [
        *(f"% {one_line(note)}" for note in (*notes_of(table), r"needs \usepackage{booktabs}")),
        f"\\begin{{tabular}}{{l{'r' * (len(names) - 1)}}}",
        r"\toprule",
        _latex_row(list(map(latex_cell, names))),
        r"\midrule",
        *map(_latex_row, rows),
        r"\bottomrule",
        r"\end{tabular}",
    ]
    return "".join(f"{line}\n" for line in lines)


def _latex_value(cell: TableCell) -> str:
    mean, spread = _latex_number(number_text(cell)), _latex_number(spread_text(cell))
    mean = f"\\textbf{{{mean}}}" if cell.mark == BEST else mean
    sign = {"similar": r"$^{\approx}$", "untold": "$^{?}$"}.get(cell.mark, "")
    return f"{mean}{sign}" + (f" {{\\scriptsize {spread}}}" if spread else "")


def _latex_number(text: str) -> str:
    return text.replace(DASH, "--").replace("-0.", "$-$0.").replace("-1.", "$-$1.").replace("±", r"$\pm$")


def _latex_row(cells: Sequence[str]) -> str:
    return f"{' & '.join(cells)} \\\\"


def csv_text(table: RunTable) -> str:
    """Plain numbers: for every column mean, interval, deviation, number of classes and mark; empty if undefined."""
    ends = ("", "_lower", "_upper", "_deviation", "_n_classes", "_mark")
    heading = ["run", "evaluation", "n_runs", "step", *(f"{c}{end}" for c in table.columns for end in ends)]
    lines = [list(map(csv_cell, heading)), *map(_csv_row, table.rows)]
    return "".join(f"{','.join(line)}\n" for line in lines)


def _csv_row(row: TableRow) -> list[str]:
    steps = row.steps[:1] if len(set(row.steps)) == 1 else row.steps
    values: list[str] = []
    for cell in row.cells.values():
        numbers = (cell.mean, cell.lower, cell.upper, cell.deviation)
        values += ["" if math.isnan(n) else f"{n:.9g}" for n in numbers]
        values += [str(cell.n_classes), cell.mark]
    return [
        csv_cell(row.name),
        csv_cell(evaluation_name(row.evaluation)),
        str(len(row.runs)),
        ";".join(map(str, steps)),
        *values,
    ]


def _fact_names(table: RunTable) -> list[str]:
    has_several = any(len(row.runs) > 1 for row in table.rows)
    has_evaluations = any(row.evaluation for row in table.rows)
    has_steps = len({step for row in table.rows for step in row.steps}) > 1
    shown = {"evaluation": has_evaluations, "runs": has_several, "step": has_steps}
    return [name for name, is_shown in shown.items() if is_shown]


def _step_text(row: TableRow) -> str:
    lowest, highest = min(row.steps), max(row.steps)
    return f"{lowest:,}" if lowest == highest else f"{lowest:,}–{highest:,}"
