"""Two compared runs, and the table of all, as tables in the terminal."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from functools import partial

from rich.console import Console
from rich.table import Table
from rich.text import Text

from tbmetrics.comparing.evidence import chance_text, could_be_chance, gains, losses
from tbmetrics.comparing.runs import ClassComparison, GroupComparison, RunComparison
from tbmetrics.comparing.table_text import BEST, SIGNS, facts_of, headings, notes_of, number_text, spread_text
from tbmetrics.comparing.tables import RunTable, TableCell
from tbmetrics.comparing.wording import VERDICTS, agreement_text, basis_text, classes_text, sentence
from tbmetrics.records import GAP

#: Columns of a terminal in which everything fits.
_UNLIMITED = 10_000
#: Of the best, since a file or a pipe shows nothing in bold.
STAR = "★"
_NARROW = "n: classes. A wider terminal shows the intervals of A and B, and how many classes went up and down."
_CAPTION = """[ ]: 95 % intervals of these validation samples; another seed may differ by more
classes up, down: a second question, whether other classes would agree; p: sign-flip test over the classes"""


def print_comparison(results: Sequence[RunComparison], run_a: str, run_b: str, top: int) -> None:
    """Print a comparison of two runs.

    Args:
        results: of each attribute.
        run_a, run_b: how the runs are called.
        top: number of gains, and of losses, to list of each.
    """
    console = Console()
    for side, run in (("A", run_a), ("B", run_b)):
        console.print(Text(f"{side} = {run}", overflow="fold"))
    for result in results:
        console.print()
        _print_attribute(result, console, top)
    console.print(Text(f"\n{_CAPTION}"))


def _print_attribute(result: RunComparison, console: Console, top: int) -> None:
    _print_fitting(console, partial(_groups, result))
    for heading, classes in (("gains of B", gains(result.classes)), ("losses of B", losses(result.classes))):
        if classes[:top]:
            _print_fitting(console, partial(_classes, heading, classes[:top]))
    if top and result.classes:
        console.print(Text(f"{chance_text(len(result.classes)).capitalize()}."))
    for run, names in (("A", result.only_in_a), ("B", result.only_in_b)):
        if names:
            console.print(Text(f"only in {run}: {len(names):,} classes, e.g. {', '.join(names[:5])}"))


def print_table(table: RunTable, console: Console) -> None:
    """Print a table of runs; in a narrow terminal without the spread of each mean."""
    _print_fitting(console, partial(_runs, table))


def _print_fitting(console: Console, table: Callable[..., Table]) -> None:
    """Print the table as wide as it is, or narrow where it would not fit."""
    wide = table(is_wide=True)
    needed = console.measure(wide, options=console.options.update_width(_UNLIMITED)).maximum
    console.print(wide if needed <= console.width else table(is_wide=False))


def _runs(table: RunTable, *, is_wide: bool) -> Table:
    shown = Table(show_edge=False, pad_edge=False, caption_justify="left")
    notes = [*notes_of(table), *([] if is_wide else ["A wider terminal shows intervals and ±."])]
    shown.caption = Text("\n".join(notes))
    for index, name in enumerate(headings(table)):
        heading = name if is_wide else name.replace(" (", "\n(")
        shown.add_column(heading, justify="right" if index else "left", overflow="fold", no_wrap=index > 0)
    evaluation = table.rows[0].evaluation
    for row, facts in zip(table.rows, facts_of(table), strict=True):
        if row.evaluation != evaluation:
            evaluation = row.evaluation
            shown.add_section()
        cells = (_marked_text(cell, is_wide=is_wide) for cell in row.cells.values())
        shown.add_row(Text(row.name), *map(Text, facts), *cells)
    return shown


def _marked_text(cell: TableCell, *, is_wide: bool) -> Text:
    mean = Text(number_text(cell), style="bold" if cell.mark == BEST else "")
    sign = STAR if cell.mark == BEST else SIGNS.get(cell.mark, "")
    return Text(" ").join([mean, *(Text(part) for part in (spread_text(cell) if is_wide else "", sign) if part)])


def _groups(result: RunComparison, *, is_wide: bool) -> Table:
    """Groups side by side; in a narrow terminal without the intervals of A and B, and without single classes."""
    steps = f"step {result.a.step}" if result.a.step == result.b.step else f"steps {result.a.step}, {result.b.step}"
    title = Text(f"{result.attribute}: {result.a.metric}, {steps}")
    table = Table("group", title=title, title_justify="left", caption_justify="left", show_edge=False, pad_edge=False)
    notes = (sentence(result), basis_text(result), classes_text(result), "" if is_wide else _NARROW)
    table.caption = Text("\n".join(note for note in notes if note))
    for heading in ("A", "B", "classes" if is_wide else "n", "B − A"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("verdict", no_wrap=True)
    if is_wide:
        table.add_column("classes up, down", no_wrap=True)
    for name, group in result.groups.items():
        if not (math.isnan(group.mean_a) and math.isnan(group.mean_b)):
            table.add_row(*map(Text, (name, *_cells(name, group, is_wide=is_wide))))
    return table


def _cells(name: str, group: GroupComparison, *, is_wide: bool) -> Iterator[str]:
    is_gap = name == GAP
    a, b = (group.mean_a, group.lower_a, group.upper_a), (group.mean_b, group.lower_b, group.upper_b)
    for mean, lower, upper in (a, b):
        yield _with_interval(mean, *((lower, upper) if is_wide else (math.nan, math.nan)), ".3f")
    yield "" if is_gap else f"{group.n_defined:,}"
    yield _with_interval(group.difference, group.lower, group.upper, "+.3f")
    yield VERDICTS[group.verdict]
    if is_wide:
        yield "" if is_gap else agreement_text(group)


def _classes(heading: str, classes: list[ClassComparison], *, is_wide: bool) -> Table:
    """With McNemar's p-value, where there is one; in a narrow terminal without the groups."""
    has_test = any(not math.isnan(c.p) for c in classes)
    title = Text(f"{heading}, by evidence: the end of the 95 % interval nearest 0")
    table = Table(
        "class", *(["group"] if is_wide else []), title=title, title_justify="left", show_edge=False, pad_edge=False
    )
    for column in ("A", "B", "B − A", "95 %", *(("McNemar p",) if has_test else ())):
        table.add_column(column, justify="right")
    table.add_column("")
    for c in classes:
        ends = "unknown" if math.isnan(c.lower) else f"{c.lower:+.3f} to {c.upper:+.3f}"
        p = (f"{c.p:.3f}",) if has_test else ()
        is_unclear = could_be_chance(c)
        row = (
            Text(c.name),
            *([c.group] if is_wide else []),
            f"{c.a:.3f}",
            f"{c.b:.3f}",
            f"{c.difference:+.3f}",
            ends,
            *p,
        )
        table.add_row(*row, "could be chance" if is_unclear else "", style="dim" if is_unclear else None)
    return table


def _with_interval(value: float, lower: float, upper: float, form: str) -> str:
    if math.isnan(value):
        return "undefined"
    return f"{value:{form}}" + ("" if math.isnan(lower) else f" [{lower:{form}}, {upper:{form}}]")
