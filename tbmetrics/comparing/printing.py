"""Two compared runs, and the table of all, as tables in the terminal."""

from __future__ import annotations

import math

from rich.console import Console
from rich.table import Table
from rich.text import Text

from tbmetrics.comparing.evidence import chance_text, could_be_chance, gains, losses
from tbmetrics.comparing.runs import ClassComparison, GroupComparison, RunComparison
from tbmetrics.comparing.table_text import BEST, SIGNS, facts_of, headings, notes_of, number_text, spread_text
from tbmetrics.comparing.tables import RunTable, TableCell
from tbmetrics.comparing.wording import VERDICTS, agreement_text, basis_text, classes_text, sentence
from tbmetrics.records import GAP

#: Of the best, since a file or a pipe shows nothing in bold.
STAR = "★"
_CAPTION = """[ ]: 95 % intervals of these validation samples; another seed may differ by more
classes up, down: a second question, whether other classes would agree; p: sign-flip test over the classes"""


def print_comparison(result: RunComparison, run_a: str, run_b: str, top: int) -> None:
    """Print a comparison.

    Args:
        result: the comparison.
        run_a, run_b: how the runs are called.
        top: number of gains, and of losses, to list.
    """
    console = Console()
    console.print(_groups(result, run_a, run_b))
    for heading, classes in (("gains of B", gains(result.classes)), ("losses of B", losses(result.classes))):
        if classes[:top]:
            console.print(_classes(heading, classes[:top]))
    if top and result.classes:
        console.print(Text(f"{chance_text(len(result.classes)).capitalize()}."))
    for run, names in (("A", result.only_in_a), ("B", result.only_in_b)):
        if names:
            console.print(Text(f"only in {run}: {len(names):,} classes, e.g. {', '.join(names[:5])}"))


def print_table(table: RunTable, console: Console) -> None:
    """Print a table of runs."""
    shown = Table(show_edge=False, pad_edge=False, caption_justify="left")
    shown.caption = Text("\n".join(notes_of(table)))
    for index, name in enumerate(headings(table)):
        shown.add_column(name, justify="right" if index else "left")
    evaluation = table.rows[0].evaluation
    for row, facts in zip(table.rows, facts_of(table), strict=True):
        if row.evaluation != evaluation:
            evaluation = row.evaluation
            shown.add_section()
        shown.add_row(Text(row.name), *map(Text, facts), *map(_marked_text, row.cells.values()))
    console.print(shown)


def _marked_text(cell: TableCell) -> Text:
    mean = Text(number_text(cell), style="bold" if cell.mark == BEST else "")
    sign = STAR if cell.mark == BEST else SIGNS.get(cell.mark, "")
    return Text(" ").join([mean, *(Text(part) for part in (spread_text(cell), sign) if part)])


def _groups(result: RunComparison, run_a: str, run_b: str) -> Table:
    sides = f"A = {run_a} (step {result.a.step})   B = {run_b} (step {result.b.step})"
    title = Text(f"{result.attribute}: {result.a.metric}   {sides}")
    table = Table("group", title=title, title_justify="left", caption_justify="left", show_edge=False, pad_edge=False)
    notes = (sentence(result), basis_text(result), classes_text(result), _CAPTION)
    table.caption = Text("\n".join(note for note in notes if note))
    for heading in ("A", "B", "classes", "B − A"):
        table.add_column(heading, justify="right")
    table.add_column("verdict")
    table.add_column("classes up, down")
    for name, group in result.groups.items():
        if not (math.isnan(group.mean_a) and math.isnan(group.mean_b)):
            table.add_row(*map(Text, (name, *_cells(name, group))))
    return table


def _cells(name: str, group: GroupComparison) -> tuple[str, ...]:
    is_gap = name == GAP
    return (
        _with_interval(group.mean_a, group.lower_a, group.upper_a, ".3f"),
        _with_interval(group.mean_b, group.lower_b, group.upper_b, ".3f"),
        "" if is_gap else f"{group.n_defined:,}",
        _with_interval(group.difference, group.lower, group.upper, "+.3f"),
        VERDICTS[group.verdict],
        "" if is_gap else agreement_text(group),
    )


def _classes(heading: str, classes: list[ClassComparison]) -> Table:
    """With McNemar's p-value, where there is one."""
    has_test = any(not math.isnan(c.p) for c in classes)
    title = Text(f"{heading}, by evidence: the end of the 95 % interval nearest 0")
    table = Table("class", "group", title=title, title_justify="left")
    for column in ("A", "B", "B − A", "95 %", *(("McNemar p",) if has_test else ())):
        table.add_column(column, justify="right")
    table.add_column("")
    for c in classes:
        ends = "unknown" if math.isnan(c.lower) else f"{c.lower:+.3f} to {c.upper:+.3f}"
        p = (f"{c.p:.3f}",) if has_test else ()
        is_unclear = could_be_chance(c)
        row = (Text(c.name), c.group, f"{c.a:.3f}", f"{c.b:.3f}", f"{c.difference:+.3f}", ends, *p)
        table.add_row(*row, "could be chance" if is_unclear else "", style="dim" if is_unclear else None)
    return table


def _with_interval(value: float, lower: float, upper: float, form: str) -> str:
    if math.isnan(value):
        return "undefined"
    return f"{value:{form}}" + ("" if math.isnan(lower) else f" [{lower:{form}}, {upper:{form}}]")
