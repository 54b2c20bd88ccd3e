"""Figures of class performance: how rare each class is, how well it does, since when, and what it is taken for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from tbmetrics.figures.class_view import ClassView
from tbmetrics.figures.confusion import confusion_by_group
from tbmetrics.figures.family_metrics import metrics_by_family
from tbmetrics.figures.group_metrics import metrics_by_group, metrics_over_steps, pr_curves
from tbmetrics.figures.style import (
    COLOURS,
    HATCHES,
    MARKERS,
    SMALL,
    distinct,
    label,
    legend,
    name_points,
    new_figure,
    plain,
)
from tbmetrics.records import (
    GROUPS,
    UNKNOWN,
    FloatArray,
    class_table_tag,
    confusion_tag,
    curves_tag,
    family_table_tag,
    group_table_tag,
    main_metric,
    metric_name,
)
from tbmetrics.records.history import History

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

NAMES_SHOWN = 40  # classes are named on an axis if there are no more than this
_ALL_GROUPS = (*GROUPS, UNKNOWN)


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
    view = ClassView(history, history.class_lists[attribute], last if step is None else step)
    if (view.classes.counts >= 0).any():
        yield f"{attribute}/class_distribution", class_distribution(view)
    if tables is None:
        return
    yield f"{attribute}/metrics_by_group", metrics_by_group(view)
    if (families := view.table(family_table_tag(attribute))) is not None:
        yield f"{attribute}/metrics_by_family", metrics_by_family(view, families)
    if len(tables) > 1:
        yield f"{attribute}/metrics_over_steps", metrics_over_steps(view)
    if view.table(curves_tag(attribute)) is not None and (curves := pr_curves(view)) is not None:
        yield f"{attribute}/pr_curves", curves
    metric = main_metric(view.mean_metrics())
    if (by_count := metric_by_training_count(view, metric)) is not None:
        yield f"{attribute}/{metric}_by_training_count", by_count
    if view.table(confusion_tag(attribute)) is not None and (confusion := confusion_by_group(view)) is not None:
        yield f"{attribute}/confusion_by_group", confusion


def class_distribution(view: ClassView) -> Figure:
    """Training examples of each class, most frequent first, coloured and hatched by group."""
    figure, (ax,) = new_figure(f"Class distribution: {view.title}")
    counts = view.classes.counts
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


def metric_by_training_count(view: ClassView, metric: str) -> Figure | None:
    """F1 or another metric of each class against its training examples, with the trend of the means.

    None if no class has both.
    """
    title = metric_name(metric)
    table = view.history.tables[class_table_tag(view.attribute)].at(int(view.step or 0))
    values = table.column(metric).astype(np.float64)
    counts = view.classes.counts
    usable = (counts > 0) & ~np.isnan(values)
    if not usable.any():
        return None
    figure, (ax,) = new_figure(f"{title} against training examples: {view.title}, step {view.step}")
    groups = np.array(view.classes.groups)
    size = 26 if len(values) <= 200 else 8
    for group in view.groups():
        inside = usable & (groups == group)
        alpha = 0.85 if size > 8 else 0.4
        ax.scatter(
            counts[inside],
            values[inside],
            s=size,
            color=COLOURS[group],
            marker=MARKERS[group],
            alpha=alpha,
            linewidths=0,
            label=f"{group} ({inside.sum():,})",
        )
    ax.set_xscale("log")
    ax.margins(x=0.08)
    ax.set_ylim(-0.06, 1.08)
    if usable.sum() > NAMES_SHOWN:
        _trend(ax, counts[usable].astype(np.float64), values[usable])
    else:
        names = [view.classes.names[i] for i in np.flatnonzero(usable)]
        name_points(ax, names, counts[usable].astype(np.float64), values[usable])
    missing = int((~usable).sum())
    label(ax, x="training examples", y=title if not missing else f"{title} ({missing:,} classes undefined, not shown)")
    scale = {"markerscale": 1 if size > 8 else 2}
    legend(ax, ncols=4, loc="upper center", bbox_to_anchor=(0.5, -0.16), **scale)
    return figure


def _trend(ax: Axes, counts: FloatArray, values: FloatArray) -> None:
    edges = np.unique(np.quantile(np.log(counts), np.linspace(0, 1, 11)))
    bin_of_class = np.clip(np.searchsorted(edges, np.log(counts), side="right") - 1, 0, max(len(edges) - 2, 0))
    bins = np.unique(bin_of_class)
    middle = [np.exp(np.log(counts[bin_of_class == b]).mean()) for b in bins]
    means = [values[bin_of_class == b].mean() for b in bins]
    ax.plot(middle, means, color="black", linewidth=1.6, label="mean of a tenth")
