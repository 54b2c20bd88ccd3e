"""Figures of class performance: how rare each class is, how well it does, since when, and what it is taken for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tbmetrics.figures.style import (
    COLOURS,
    HATCHES,
    LINES,
    MARKERS,
    NORMAL,
    SMALL,
    distinct,
    label,
    legend,
    name_points,
    new_figure,
    nothing,
    plain,
    short,
)
from tbmetrics.records import (
    ALL,
    GROUPS,
    MEAN_METRICS,
    UNKNOWN,
    ClassList,
    FloatArray,
    IntArray,
    class_table_tag,
    confusion_tag,
    group_table_tag,
    pr_curve_tag,
)
from tbmetrics.records.history import History

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

NAMES_SHOWN = 40  # classes are named on an axis if there are no more than this
NAMES = {"precision": "Precision", "recall": "Recall", "f1": "F1", "ap": "AP"}
_ALL_GROUPS = (*GROUPS, UNKNOWN)


@dataclass(frozen=True)
class _View:
    """One attribute of a history at one step."""

    history: History
    classes: ClassList
    step: int | None

    @property
    def attribute(self) -> str:
        return self.classes.attribute

    @property
    def title(self) -> str:
        return short(self.attribute)

    def groups(self) -> list[str]:
        """The groups that have classes, head first."""
        return [g for g in _ALL_GROUPS if g in self.classes.groups]

    def size(self, group: str) -> int:
        return len(self.classes.groups) if group == ALL else self.classes.groups.count(group)

    def group_value(self, group: str, metric: str) -> float:
        table = self.history.tables[group_table_tag(self.attribute)].at(self.step or 0)
        return float(table.column(metric)[table.rows.index(group)])

    def group_history(self, group: str, metric: str) -> tuple[IntArray, FloatArray]:
        series = self.history.tables[group_table_tag(self.attribute)]
        values = [table.column(metric)[table.rows.index(group)] for table in series]
        return series.steps, np.array(values, dtype=np.float64)


def figures(
    history: History, *, attributes: Sequence[str] | None = None, step: int | None = None
) -> Iterator[tuple[str, Figure]]:
    """(name, figure) of every figure that `history` has the data for.

    Args:
        history: from memory or from disk.
        attributes: only these; None = all.
        step: the validation shown by figures of a single one; None = the last.

    Raises:
        KeyError: there was no validation at `step`.
    """
    for attribute in sorted(history.class_lists):
        if attributes is None or attribute in attributes:
            yield from _attribute_figures(history, attribute, step)


def _attribute_figures(history: History, attribute: str, step: int | None) -> Iterator[tuple[str, Figure]]:
    tables = history.tables.get(group_table_tag(attribute))
    last = int(tables.steps[-1]) if tables is not None else None
    view = _View(history, history.class_lists[attribute], last if step is None else step)
    yield f"{attribute}/class_distribution", class_distribution(view)
    if tables is None:
        return
    yield f"{attribute}/metrics_by_group", metrics_by_group(view)
    yield f"{attribute}/metrics_over_steps", metrics_over_steps(view)
    yield f"{attribute}/pr_curves", pr_curves(view)
    yield f"{attribute}/f1_by_training_count", f1_by_training_count(view)
    yield f"{attribute}/confusion_by_group", confusion_by_group(view)


def class_distribution(view: _View) -> Figure:
    """Training examples of each class, most frequent first, coloured and hatched by group."""
    figure, (ax,) = new_figure(f"Class distribution: {view.title}")
    counts = view.classes.counts
    if (counts < 0).all():
        nothing(
            ax, "The training counts are unknown.\nGive ClassGroups.from_counts the number of examples of each class."
        )
        return figure
    order = np.argsort(-counts, kind="stable")
    groups = np.array(view.classes.groups)[order]
    ranked = np.maximum(counts[order], 0)
    positions = np.arange(len(order))
    for group in view.groups():
        inside = groups == group
        title = f"{group} ({inside.sum():,} {'class' if inside.sum() == 1 else 'classes'})"
        if len(order) <= NAMES_SHOWN:
            ax.bar(
                positions[inside], ranked[inside], 0.8, color=COLOURS[group], hatch=HATCHES[group], edgecolor="white",
                linewidth=0.5, label=title,
            )  # fmt: skip
        else:
            heights = np.where(inside, ranked, np.nan)
            ax.fill_between(
                positions, 0, heights, step="mid", color=COLOURS[group], hatch=HATCHES[group], edgecolor="white",
                linewidth=0.2, label=title,
            )  # fmt: skip
    positive = ranked[ranked > 0]
    if positive.size and positive.max() / positive.min() > 20:
        ax.set_yscale("log")
        ax.set_ylim(bottom=0.7 * positive.min())
    _name_classes(ax, [view.classes.names[i] for i in order])
    label(ax, y="training examples", x="" if len(order) <= NAMES_SHOWN else "classes, most frequent first")
    legend(ax, loc="upper right")
    return figure


def _name_classes(ax: Axes, names: Sequence[str]) -> None:
    if len(names) > NAMES_SHOWN:
        return
    ax.set_xticks(range(len(names)))
    shown = distinct(names)
    slanted = max(map(len, shown)) * len(shown) > 60
    texts = ax.set_xticklabels(
        shown,
        rotation=45 if slanted else 0,
        ha="right" if slanted else "center",
        rotation_mode="anchor",
        fontsize=SMALL,
    )
    for text in texts:
        plain(text)


def metrics_by_group(view: _View) -> Figure:
    """Mean precision, recall, F1 and AP of each group with their intervals."""
    figure, (ax,) = new_figure(f"Performance by group: {view.title}, step {view.step}")
    groups = [*view.groups(), ALL]
    width = 0.8 / len(groups)
    for i, group in enumerate(groups):
        x = np.arange(len(MEAN_METRICS)) + (i - (len(groups) - 1) / 2) * width
        values, low, high = (
            np.array([view.group_value(group, m + end) for m in MEAN_METRICS]) for end in ("", "_lower", "_upper")
        )
        title = f"{group} ({view.size(group):,})"
        ax.bar(x, np.nan_to_num(values), width * 0.94, color=COLOURS[group], hatch=HATCHES[group], edgecolor="white",
               linewidth=0.5, label=title)  # fmt: skip
        whiskers = np.nan_to_num(np.clip([values - low, high - values], 0, None))
        ax.errorbar(x, np.nan_to_num(values), whiskers, fmt="none", ecolor="#222222", elinewidth=0.8, capsize=2)
        for centre, value, top in zip(x, values, np.fmax(high, values), strict=True):
            if np.isnan(value):
                ax.text(centre, 0.015, "undefined", ha="center", va="bottom", fontsize=7, rotation=90)
            else:
                ax.text(centre, top + 0.015, f"{value:.2f}", ha="center", va="bottom", fontsize=7)
    ax.set_xticks(range(len(MEAN_METRICS)), [NAMES[m] for m in MEAN_METRICS], fontsize=NORMAL)
    ax.set_ylim(0, 1.1)
    label(ax, y="mean over the group's classes")
    legend(ax, ncols=len(groups), loc="upper center", bbox_to_anchor=(0.5, -0.08))
    plain(figure.supxlabel("in brackets: classes; whiskers: 95 %, resampling of this validation set", fontsize=SMALL))
    return figure


def metrics_over_steps(view: _View) -> Figure:
    """Mean F1, recall and AP of each group over training, with their intervals."""
    metrics = ("f1", "recall", "ap")
    figure, axes = new_figure(f"Performance over training: {view.title}", width=9.6, height=3.6, panels=3)
    for ax, metric in zip(axes, metrics, strict=True):
        for group in (*view.groups(), ALL):
            steps, values = view.group_history(group, metric)
            low, high = (view.group_history(group, metric + end)[1] for end in ("_lower", "_upper"))
            ax.fill_between(steps, low, high, color=COLOURS[group], alpha=0.15, linewidth=0)
            ax.plot(
                steps, values, color=COLOURS[group], linestyle=LINES[group], marker=MARKERS[group], markersize=4,
                markevery=max(1, len(steps) // 8), linewidth=1.4, label=group,
            )  # fmt: skip
        ax.set_ylim(-0.02, 1.02)
        if len(steps) == 1:
            ax.set_xticks(steps)
        else:
            ax.locator_params(axis="x", integer=True)
        label(ax, x="step", title=NAMES[metric])
    legend(axes[-1], loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure


def pr_curves(view: _View) -> Figure:
    """Precision against recall of each group: means over its classes at each threshold."""
    figure, (ax,) = new_figure(f"Precision-recall curves: {view.title}, step {view.step}", width=5.4, height=4.6)
    has_curves = False
    for group in (*view.groups(), ALL):
        series = view.history.pr_curves.get(pr_curve_tag(view.attribute, group))
        if series is None or view.step not in series.steps:
            continue
        has_curves = True
        curve = series.at(int(view.step or 0))
        is_defined = curve.true_positives + curve.false_positives > 0
        title = f"{group} (mean AP {view.group_value(group, 'ap'):.2f})"
        ax.plot(
            curve.recall[is_defined], curve.precision[is_defined], color=COLOURS[group], linestyle=LINES[group],
            marker=MARKERS[group], markersize=4, markevery=0.12, linewidth=1.4, label=title,
        )  # fmt: skip
    if not has_curves:
        nothing(ax, "No class had a positive example in this validation.")
        return figure
    ax.grid(color="#dddddd", linewidth=0.6)
    ax.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.04), aspect="equal")
    label(ax, x="recall", y="precision")
    legend(ax, loc="lower left")
    return figure


def f1_by_training_count(view: _View) -> Figure:
    """F1 of each class against its training examples, with the trend of the means."""
    figure, (ax,) = new_figure(f"F1 against training examples: {view.title}, step {view.step}")
    f1 = view.history.tables[class_table_tag(view.attribute)].at(int(view.step or 0)).column("f1").astype(np.float64)
    counts = view.classes.counts
    usable = (counts > 0) & ~np.isnan(f1)
    if not usable.any():
        nothing(ax, "No class has both a training count and a defined F1.")
        return figure
    groups = np.array(view.classes.groups)
    size = 26 if len(f1) <= 200 else 8
    for group in view.groups():
        inside = usable & (groups == group)
        title = f"{group} ({inside.sum():,})"
        alpha = 0.85 if size > 8 else 0.4
        ax.scatter(
            counts[inside],
            f1[inside],
            s=size,
            color=COLOURS[group],
            marker=MARKERS[group],
            alpha=alpha,
            linewidths=0,
            label=title,
        )
    ax.set_xscale("log")
    ax.margins(x=0.08)
    ax.set_ylim(-0.06, 1.08)
    if usable.sum() > NAMES_SHOWN:
        _trend(ax, counts[usable].astype(np.float64), f1[usable])
    else:
        names = [view.classes.names[i] for i in np.flatnonzero(usable)]
        name_points(ax, names, counts[usable].astype(np.float64), f1[usable])
    missing = int((~usable).sum())
    label(ax, x="training examples", y="F1" if not missing else f"F1 ({missing:,} classes undefined, not shown)")
    legend(ax, ncols=4, loc="upper center", bbox_to_anchor=(0.5, -0.16))
    return figure


def _trend(ax: Axes, counts: FloatArray, f1: FloatArray) -> None:
    edges = np.unique(np.quantile(np.log(counts), np.linspace(0, 1, 11)))
    bin_of_class = np.clip(np.searchsorted(edges, np.log(counts), side="right") - 1, 0, max(len(edges) - 2, 0))
    bins = np.unique(bin_of_class)
    middle = [np.exp(np.log(counts[bin_of_class == b]).mean()) for b in bins]
    ax.plot(middle, [f1[bin_of_class == b].mean() for b in bins], color="black", linewidth=1.6, label="mean of a tenth")


def confusion_by_group(view: _View) -> Figure:
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
