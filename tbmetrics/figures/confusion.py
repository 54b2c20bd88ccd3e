"""Where the examples of each group go."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tbmetrics.figures.class_view import ClassView
from tbmetrics.figures.style import NORMAL, label, new_figure, nothing
from tbmetrics.records import confusion_tag

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def confusion_by_group(view: ClassView) -> Figure:
    """Predicted group of the examples of each true group: shares of each row, with counts."""
    figure, (ax,) = new_figure(f"Predicted group by true group: {view.title}, step {view.step}", width=5.4, height=4.0)
    table = view.history.tables[confusion_tag(view.attribute)].at(int(view.step or 0))
    rows = [i for i, name in enumerate(table.rows) if name in view.groups()]
    columns = [i for i, name in enumerate(table.columns) if name in view.groups() or np.nansum(table.values[:, i]) > 0]
    values = table.values[np.ix_(rows, columns)].astype(np.float64)
    if np.isnan(values).any() or not values.size:
        nothing(ax, "Not known: this validation kept its scores in bins, not row by row.")
        return figure
    totals = values.sum(axis=1, keepdims=True)
    share = np.divide(values, totals, out=np.zeros_like(values), where=totals > 0)
    ax.imshow(share, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    for (row, column), value in np.ndenumerate(values):
        colour = "white" if share[row, column] > 0.55 else "black"
        ax.text(
            column,
            row,
            f"{share[row, column]:.0%}\n{value:,.0f}",
            ha="center",
            va="center",
            color=colour,
            fontsize=NORMAL,
        )
    ax.grid(visible=False)
    ax.set_xticks(range(len(columns)), [_column_name(table.columns[i]) for i in columns], fontsize=NORMAL)
    ax.set_yticks(range(len(rows)), [table.rows[i] for i in rows], fontsize=NORMAL)
    if view.classes.decision == "single_label":
        note = "a wrong class of the same group counts on the diagonal"
    else:
        note = "a missed label is shared among the labels falsely predicted instead"
    label(ax, x=f"predicted\n({note})", y="true")
    return figure


def _column_name(name: str) -> str:
    return "nothing else" if name == "none" else name
