"""Where the examples of each group go: shares of a single label; lifts if an example has several."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tbmetrics.figures.class_view import ClassView
from tbmetrics.figures.style import NORMAL, SMALL, label, new_figure, plain
from tbmetrics.records import SINGLE_LABEL, Table, confusion_tag, lifts_tag

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: With less expected, a single coincidence would be a large lift.
_LEAST_EXPECTED = 1
_FULL = 8  # a lift of this size has the full colour


def confusion_by_group(view: ClassView) -> Figure | None:
    """Predicted group of the examples of each true group: shares of each row, with counts; or lifts.

    None if the validation kept its scores in bins, not row by row.
    """
    lifts = view.table(lifts_tag(view.attribute))
    return _shares(view) if lifts is None else _lifts(view, lifts)


def _shares(view: ClassView) -> Figure | None:
    table = view.history.tables[confusion_tag(view.attribute)].at(int(view.step or 0))
    rows = [i for i, name in enumerate(table.rows) if name in view.groups()]
    columns = [i for i, name in enumerate(table.columns) if name in view.groups() or np.nansum(table.values[:, i]) > 0]
    values = table.values[np.ix_(rows, columns)].astype(np.float64)
    if np.isnan(values).any() or not values.size:
        return None
    figure, (ax,) = new_figure(f"Predicted group by true group: {view.title}, step {view.step}", width=5.4, height=4.0)
    totals = values.sum(axis=1, keepdims=True)
    share = np.divide(values, totals, out=np.zeros_like(values), where=totals > 0)
    ax.imshow(share, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    for (row, column), value in np.ndenumerate(values):
        _write(
            ax,
            column,
            row,
            f"{share[row, column]:.0%}\n{value:,.0f}",
            "white" if share[row, column] > 0.55 else "black",
        )
    _name_axes(ax, [table.rows[i] for i in rows], [_column_name(table.columns[i]) for i in columns])
    if view.classes.decision == SINGLE_LABEL:
        note = "a wrong class of the same group counts on the diagonal"
    else:
        note = "a missed label is shared among those falsely predicted in its row, much of it by chance"
    label(ax, x=f"predicted\n({note})", y="true")
    return figure


def _lifts(view: ClassView, table: Table) -> Figure | None:
    if np.isnan(table.column("missed")).all():
        return None
    title = f"False positives where a label is missed: {view.title}, step {view.step}"
    figure, (ax,) = new_figure(title, width=5.8, height=4.4)
    groups = view.groups()
    rows = [table.rows.index(group) for group in groups]
    value, lower, upper, observed, expected = (
        np.stack([table.column(f"{what}_{group}")[rows] for group in groups], axis=1).astype(np.float64)
        for what in ("lift", "lift_lower", "lift_upper", "observed", "expected")
    )
    is_told = ~np.isnan(lower) & (expected >= _LEAST_EXPECTED)
    is_more, is_less = is_told & (lower > 1), is_told & (upper < 1)
    strength = np.log(np.where(is_more, value, 1.0)) / np.log(_FULL)
    ax.imshow(strength, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    for (row, column), lift in np.ndenumerate(value):
        counts = f"{observed[row, column]:,.0f}, by chance {expected[row, column]:,.1f}"
        interval = f"{lower[row, column]:.1f} to {upper[row, column]:.1f}\n{counts}"
        text = f"{lift:.1f}×\n{interval}" if is_told[row, column] else f"too few to tell\n{counts}"
        clear = is_more[row, column] or is_less[row, column]
        _write(ax, column, row, text, "#767676" if not clear else "white" if strength[row, column] > 0.55 else "black")
    missed = [f"{table.column('missed')[i]:,.0f} of {table.column('positives')[i]:,.0f}" for i in rows]
    _name_axes(ax, [f"{group}\n{text}" for group, text in zip(groups, missed, strict=True)], groups)
    label(ax, x="labels wrongly predicted in the same examples", y="labels missed")
    notes = "2× = twice as often as in examples without the missed label; 1× = independent\n"
    plain(figure.supxlabel(f"{notes}second line: 95 % interval; grey: may be chance", fontsize=SMALL))
    return figure


def _write(ax: Axes, x: float, y: float, text: str, colour: str) -> None:
    ax.text(x, y, text, ha="center", va="center", color=colour, fontsize=NORMAL)


def _name_axes(ax: Axes, rows: list[str], columns: list[str]) -> None:
    ax.grid(visible=False)
    ax.set_xticks(range(len(columns)), columns, fontsize=NORMAL)
    ax.set_yticks(range(len(rows)), rows, fontsize=NORMAL)


def _column_name(name: str) -> str:
    return "nothing else" if name == "none" else name
