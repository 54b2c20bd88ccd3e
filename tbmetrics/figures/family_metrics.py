"""The figure of means by family: a row a family, a panel a metric."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tbmetrics.figures.class_view import ClassView
from tbmetrics.figures.style import COLOURS, NORMAL, SMALL, distinct, label, new_figure, plain
from tbmetrics.records import ALL, FloatArray, Table, mean_metrics, metric_name

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_ROW_HEIGHT, _SPACE = 0.24, 1.5  # inches


def metrics_by_family(view: ClassView, families: Table) -> Figure:
    """Mean of each metric over each family with its interval, the lowest recall (or first metric) at the bottom."""
    metrics = mean_metrics(families.columns)
    main = "recall" if "recall" in metrics else metrics[0]
    order = np.argsort(-np.nan_to_num(families.column(main), nan=-1.0), kind="stable")
    height = _SPACE + _ROW_HEIGHT * max(len(order), 4)
    title = f"Performance by family: {view.title}, step {view.step}"
    figure, axes = new_figure(title, width=9.6, height=height, panels=len(metrics))
    sizes = families.column("n_classes")[order]
    names = distinct([families.rows[i] for i in order])
    labels = [f"{name} ({size:,.0f})" for name, size in zip(names, sizes, strict=True)]
    rows = np.arange(len(order))[::-1]
    for ax, metric in zip(axes, metrics, strict=True):
        values, low, high = (_values(families, metric + end)[order] for end in ("", "_lower", "_upper"))
        reach = np.nan_to_num(np.clip([values - low, high - values], 0, None))
        ax.errorbar(values, rows, xerr=reach, fmt="D", markersize=4, color=COLOURS[ALL], elinewidth=0.9, capsize=2)
        ax.axvline(view.group_value(ALL, metric), color=COLOURS[ALL], linestyle=":", linewidth=1)
        ax.set(xlim=(-0.03, 1.03), ylim=(-0.7, len(order) - 0.3))
        ax.grid(axis="x", color="#dddddd", linewidth=0.6)
        ax.set_yticks(rows, labels if ax is axes[0] else [""] * len(rows), fontsize=SMALL)
        for text in ax.get_yticklabels():
            plain(text)
        label(ax, title=metric_name(metric))
    note = "in brackets: classes; bars: 95 %, resampling this validation; dotted: the mean of all classes"
    plain(figure.supxlabel(note, fontsize=NORMAL))
    return figure


def _values(families: Table, column: str) -> FloatArray:
    return families.column(column).astype(np.float64)
