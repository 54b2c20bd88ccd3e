"""Figures of group means: at one validation, over training, and over recall."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

import numpy as np

from tbmetrics.figures.class_view import ClassView
from tbmetrics.figures.style import (
    COLOURS,
    HATCHES,
    LINES,
    MARKERS,
    NORMAL,
    SMALL,
    label,
    legend,
    new_figure,
    plain,
)
from tbmetrics.records import ALL, FEW_POSITIVES, MeanCurve, metric_name

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

TINY = 7
_CHARACTERS_PER_INCH = 16  # of small text
_ROOM_FOR_COUNT = 0.3  # height of a bar that has room for "1,234 of 5,678"
#: Metrics over training, if there are these; otherwise the first ones.
MAIN_METRICS = ("f1", "recall", "ap")
#: Bars in a figure of usual width; more make it wider.
USUAL_BARS = 20


def metrics_by_group(view: ClassView) -> Figure:
    """The mean metrics of each group with their intervals."""
    groups, metrics = [*view.groups(), ALL], view.mean_metrics()
    figure_width = 6.4 * max(1.0, len(groups) * len(metrics) / USUAL_BARS)
    figure, (ax,) = new_figure(f"Performance by group: {view.title}, step {view.step}", width=figure_width)
    width = 0.8 / len(groups)
    for i, group in enumerate(groups):
        x = np.arange(len(metrics)) + (i - (len(groups) - 1) / 2) * width
        values, low, high = (
            np.array([view.group_value(group, m + end) for m in metrics]) for end in ("", "_lower", "_upper")
        )
        title = f"{group} ({view.size(group):,})"
        ax.bar(x, np.nan_to_num(values), width * 0.94, color=COLOURS[group], hatch=HATCHES[group], edgecolor="white",
               linewidth=0.5, label=title)  # fmt: skip
        whiskers = np.nan_to_num(np.clip([values - low, high - values], 0, None))
        ax.errorbar(x, np.nan_to_num(values), whiskers, fmt="none", ecolor="#222222", elinewidth=0.8, capsize=2)
        for centre, value, top in zip(x, values, np.fmax(high, values), strict=True):
            if not np.isnan(value):
                ax.text(centre, top + 0.015, f"{value:.2f}", ha="center", va="bottom", fontsize=TINY)
        for centre, value, top, metric in zip(x, values, np.fmax(high, values), metrics, strict=True):
            foot = 0.02 if np.isnan(value) or value > _ROOM_FOR_COUNT else top + 0.08  # above a bar that is too short
            _write_on_bar(ax, centre, foot, "undefined" if np.isnan(value) else view.counted(group, metric))
    ax.set_xticks(range(len(metrics)), [metric_name(m) for m in metrics], fontsize=NORMAL)
    ax.set_ylim(0, 1.1)
    label(ax, y="mean over the group's classes")
    legend(ax, ncols=len(groups), loc="upper center", bbox_to_anchor=(0.5, -0.08))
    notes = ["in brackets: classes; on a bar: those with a value, if fewer; whiskers: 95 %, resampling this validation"]
    few = _few_positives(view, groups)
    if few:
        notes.append(f"classes with fewer than {FEW_POSITIVES} positives, whose AP is too high on average: {few}")
    characters = int(_CHARACTERS_PER_INCH * figure_width)
    plain(figure.supxlabel("\n".join(textwrap.fill(note, characters) for note in notes), fontsize=SMALL))
    return figure


def _few_positives(view: ClassView, groups: list[str]) -> str:
    """In how many classes of each group: "tail 7 of 11, all 7 of 30"."""
    numbers = {group: view.group_value(group, "ap_n_few_positives") for group in groups}
    return ", ".join(f"{group} {n:,.0f} of {view.size(group):,}" for group, n in numbers.items() if n > 0)


def _write_on_bar(ax: Axes, x: float, y: float, text: str) -> None:
    """Upright text from `y` on, readable over the hatch of a bar."""
    box = {"facecolor": "white", "alpha": 0.85, "edgecolor": "none", "pad": 0.8}
    if text:
        ax.text(x, y, text, ha="center", va="bottom", fontsize=TINY, rotation=90, bbox=box)


def metrics_over_steps(view: ClassView) -> Figure:
    """Mean F1, recall and AP of each group over training, or other metrics, with their intervals."""
    recorded, groups = view.mean_metrics(), (*view.groups(), ALL)
    metrics = [m for m in MAIN_METRICS if m in recorded] or recorded[: len(MAIN_METRICS)]
    width, panels = 3.2 * max(2, len(metrics)), len(metrics)
    figure, axes = new_figure(f"Performance over training: {view.title}", width=width, height=3.7, panels=panels)
    for ax, metric in zip(axes, metrics, strict=True):
        for group in groups:
            steps, values = view.group_history(group, metric)
            low, high = (view.group_history(group, metric + end)[1] for end in ("_lower", "_upper"))
            ax.fill_between(steps, low, high, color=COLOURS[group], alpha=0.15, linewidth=0)
            ax.plot(
                steps, values, color=COLOURS[group], linestyle=LINES[group], marker=MARKERS[group], markersize=4,
                markevery=max(1, len(steps) // 8), linewidth=1.4, label=f"{group} ({view.size(group):,})",
            )  # fmt: skip
        ax.set_ylim(-0.02, 1.02)
        ax.locator_params(axis="x", integer=True)
        counted = {group: view.counted(group, metric) for group in groups}
        fewer = ", ".join(f"{group} {text}" for group, text in counted.items() if text)
        label(ax, x=f"step\n(classes: {fewer})" if fewer else "step", title=metric_name(metric))
    legend(axes[-1], loc="center left", bbox_to_anchor=(1.0, 0.5), title="group (classes)", title_fontsize=SMALL)
    return figure


def pr_curves(view: ClassView) -> Figure | None:
    """Precision against recall of each group: the mean precision of its classes at each recall.

    None if no class had a positive example.
    """
    curves = {group: curve for group in (*view.groups(), ALL) if (curve := view.curve(group)) is not None}
    if not curves:
        return None
    figure, (ax,) = new_figure(f"Precision-recall curves: {view.title}, step {view.step}", width=5.6, height=5.4)
    for group, curve in curves.items():
        _draw_curve(ax, view, group, curve)
    ax.grid(color="#dddddd", linewidth=0.6)
    ax.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.04), aspect="equal")
    label(ax, x="recall", y="precision")
    legend(ax, loc="upper center", bbox_to_anchor=(0.5, -0.12))
    notes = ["mean precision of the group's classes at each recall; the area is their mean AP"]
    if any(curve.n_few_positives for curve in curves.values()):
        notes.append(f"few: classes with fewer than {FEW_POSITIVES} positives, whose AP is too high on average")
    if any(curve.is_point for curve in curves.values()):
        notes.append("a point at recall 1: every class has a single positive, and no curve")
    plain(figure.supxlabel("\n".join(notes), fontsize=SMALL))
    return figure


def _draw_curve(ax: Axes, view: ClassView, group: str, curve: MeanCurve) -> None:
    counted = view.counted(group, "ap") or f"{curve.n_classes:,}"
    few = f", {curve.n_few_positives:,} few" if curve.n_few_positives else ""
    word = "class" if view.size(group) == 1 else "classes"
    title = f"{group}: mean AP {view.group_value(group, 'ap'):.2f} over {counted} {word}{few}"
    recall, precision = ([1.0], curve.precision[-1:]) if curve.is_point else (curve.recall, curve.precision)
    ax.plot(
        recall, precision, color=COLOURS[group], linestyle="" if curve.is_point else LINES[group],
        marker=MARKERS[group], markersize=7 if curve.is_point else 4, markevery=None if curve.is_point else 0.12,
        linewidth=1.4, label=title, clip_on=False,
    )  # fmt: skip
