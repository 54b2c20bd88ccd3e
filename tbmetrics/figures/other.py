"""Figures of any log: its scalars, histograms and PR curves in small panels, by group of tags."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from tbmetrics.figures.style import SMALL, figure_of_panels, nothing, plain
from tbmetrics.records import FloatArray, Histogram, PRCurve
from tbmetrics.records.history import History, ScalarSeries, Series

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PANELS = 12  # per figure; a group with more tags has several figures
COLUMNS = 3
POINTS_SHOWN = 300  # per line; if there are more, neighbours share one and a band shows their extremes
STEPS_SHOWN = 120  # per histogram over steps
BINS_SHOWN = 60
_BLUE, _RED, _GREY = "#0072b2", "#c8452b", "#8c8c8c"
_QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
_MOMENTS = (("start", _GREY, ":"), ("middle", _BLUE, "--"), ("end", _RED, "-"))


def figures(history: History, *, page: int = 1) -> Iterator[tuple[str, Figure]]:
    """(name, figure) of the scalars, histograms and PR curves in `history`, with a panel for each tag.

    Tags with the same part before their first "/" form a group and share a figure, or several of up to `PANELS` panels.
    A name is "kind/group", followed by "/2" and so on for further figures of a group.

    Args:
        history: of any log.
        page: number of a group's first figure.
    """
    for kind, draw in _PANELS:
        for group, pages in paged(getattr(history, kind)).items():
            for number, tags in enumerate(pages, start=page):
                by_tag = {tag: getattr(history, kind)[tag] for tag in tags}
                yield f"{kind}/{group}{f'/{number}' if number > 1 else ''}", _panels(group, by_tag, draw)


def paged(tags: Iterable[str]) -> dict[str, list[list[str]]]:
    """Tags by group in natural order (layer2 before layer10), divided among figures of `PANELS` panels."""
    by_group: dict[str, list[str]] = {}
    for tag in sorted(tags, key=_natural):
        by_group.setdefault(tag.partition("/")[0], []).append(tag)
    return {
        group: [group_tags[i : i + PANELS] for i in range(0, len(group_tags), PANELS)]
        for group, group_tags in by_group.items()
    }


def _natural(tag: str) -> list[tuple[int, str]]:
    return [(int(part) if part.isdecimal() else -1, part) for part in re.split(r"(\d+)", tag)]


def _panels(group: str, by_tag: dict[str, Any], draw: Callable[[Axes, Any], None]) -> Figure:
    columns = min(COLUMNS, len(by_tag))
    rows = -(-len(by_tag) // columns)
    width, height = (5.2, 3.2 * rows + 0.5) if columns == 1 else (3.3 * columns, 2.4 * rows + 0.5)
    figure, axes = figure_of_panels(_cut(group, int(12 * width)), len(by_tag), columns, width, height)
    for ax, (tag, series) in zip(axes, by_tag.items(), strict=True):
        ax.tick_params(labelsize=SMALL - 1)
        ax.spines[["top", "right"]].set_visible(False)
        ax.grid(color="#e2e2e2", linewidth=0.5)
        ax.set_axisbelow(True)
        draw(ax, series)
        name = tag.partition("/")[2] or tag
        plain(ax.set_xlabel(ax.get_xlabel() or "step", fontsize=SMALL))
        plain(ax.set_title(_cut(name, 38 if columns > 1 else 60), fontsize=SMALL))
    return figure


def _cut(name: str, most: int) -> str:
    """A long name without its middle: tags differ at both ends."""
    line = "".join(c if c.isprintable() else " " for c in name)
    return line if len(line) <= most else f"{line[: most // 2 - 1]}…{line[-(most - most // 2) :]}"


# ---------------------------------------------------------------------------------------------------- scalars


def _scalars(ax: Axes, series: ScalarSeries) -> None:
    steps, values = series.steps.astype(np.float64), series.values
    is_finite = np.isfinite(values)
    if not is_finite.any():
        nothing(ax, "no finite value")
        return
    if len(steps) > POINTS_SHOWN:
        _thinned_line(ax, steps, values)
    else:
        marker = "o" if len(steps) <= 30 else ""
        ax.plot(steps, np.where(is_finite, values, np.nan), color=_BLUE, linewidth=1.3, marker=marker, markersize=3)
    gaps = steps[~is_finite]
    if len(gaps):
        ax.plot(gaps, np.zeros(len(gaps)), "x", color=_RED, markersize=4, transform=ax.get_xaxis_transform())
        ax.set_xlabel(f"step (×: {len(gaps):,} not finite)")
    _step_ticks(ax, steps)


def _thinned_line(ax: Axes, steps: FloatArray, values: FloatArray) -> None:
    edges = np.linspace(0, len(steps), POINTS_SHOWN + 1).astype(int)
    parts = [values[a:b][np.isfinite(values[a:b])] for a, b in pairwise(edges)]
    low, middle, high = (
        np.array([f(part) if len(part) else np.nan for part in parts]) for f in (np.min, np.median, np.max)
    )
    x = np.array([steps[a:b].mean() for a, b in pairwise(edges)])
    ax.fill_between(x, low, high, color=_BLUE, alpha=0.2, linewidth=0)
    ax.plot(x, middle, color=_BLUE, linewidth=1.1)


def _step_ticks(ax: Axes, steps: FloatArray) -> None:
    from matplotlib.ticker import MaxNLocator

    if len(steps) <= 4:
        ax.set_xticks(np.unique(steps))
    else:
        ax.xaxis.set_major_locator(MaxNLocator(5, integer=True))


# -------------------------------------------------------------------------------------------------- histograms


def _histograms(ax: Axes, series: Series[Histogram]) -> None:
    """Quantiles over steps, or the histogram itself if there is a single step."""
    if len(series) == 1:
        _single_histogram(ax, series[0])
        return
    shown = np.unique(np.linspace(0, len(series) - 1, STEPS_SHOWN).round().astype(int))
    spread = np.array([_quantiles(series[int(i)]) for i in shown])
    steps = series.steps[shown].astype(np.float64)
    if not np.isfinite(spread).any():
        nothing(ax, "no values")
        return
    ax.fill_between(steps, spread[:, 0], spread[:, 4], color=_BLUE, alpha=0.16, linewidth=0, label="90 %")
    ax.fill_between(steps, spread[:, 1], spread[:, 3], color=_BLUE, alpha=0.34, linewidth=0, label="50 %")
    ax.plot(steps, spread[:, 2], color=_BLUE, linewidth=1.4, label="median")
    legend = ax.legend(fontsize=SMALL - 2, frameon=False, ncols=3, loc="upper center", handlelength=1.2)
    legend.set_zorder(1)
    low, high = ax.get_ylim()
    ax.set_ylim(low, high + 0.18 * (high - low))
    _step_ticks(ax, steps)


def _single_histogram(ax: Axes, histogram: Histogram) -> None:
    """The counts on even bins: logged buckets may be a thousand times narrower near zero than elsewhere."""
    edges, cumulative = _cumulative(histogram)
    if not cumulative[-1] > 0:
        nothing(ax, "no values")
        return
    filled_buckets = np.flatnonzero(np.diff(cumulative))
    low, high = edges[filled_buckets[0]], edges[filled_buckets[-1] + 1]
    if low == high:
        nothing(ax, f"all values are {low:.4g}")
        return
    bins = np.linspace(low, high, BINS_SHOWN + 1)
    ax.stairs(np.diff(np.interp(bins, edges, cumulative)), bins, fill=True, color=_BLUE, alpha=0.7)
    ax.set_xlabel("value")
    plain(ax.set_ylabel("count", fontsize=SMALL))


def _cumulative(histogram: Histogram) -> tuple[FloatArray, FloatArray]:
    """(ascending edges, number of values up to each), both of shape (buckets + 1,)."""
    edges = np.concatenate(([histogram.minimum], np.minimum(histogram.limits, histogram.maximum)))
    return np.maximum.accumulate(np.nan_to_num(edges)), np.concatenate(([0.0], np.cumsum(histogram.counts)))


def _quantiles(histogram: Histogram) -> FloatArray:
    """The `_QUANTILES` of the values, which are taken as evenly spread within each bucket."""
    edges, cumulative = _cumulative(histogram)
    total = cumulative[-1]
    if not np.isfinite(total) or total <= 0:
        return np.full(len(_QUANTILES), np.nan)
    return np.interp(np.array(_QUANTILES) * total, cumulative, edges)


# --------------------------------------------------------------------------------------------------- PR curves


def _pr_curves(ax: Axes, series: Series[PRCurve]) -> None:
    """The curve at the start, in the middle and at the end."""
    look_by_index = dict(zip((0, len(series) // 2, len(series) - 1), _MOMENTS, strict=True))
    for index, (name, colour, style) in look_by_index.items():
        curve = series[index]
        is_defined = curve.true_positives + curve.false_positives > 0
        step = int(series.steps[index])
        text = f"{name}: step {step}" if len(series) > 1 else f"step {step}"
        ax.plot(curve.recall[is_defined], curve.precision[is_defined], style, color=colour, linewidth=1.3, label=text)
    ax.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.04))
    ax.set_xlabel("recall")
    plain(ax.set_ylabel("precision", fontsize=SMALL))
    ax.legend(fontsize=SMALL - 1, frameon=False, loc="lower left")


_PANELS: Sequence[tuple[str, Callable[[Axes, Any], None]]] = (
    ("scalars", _scalars),
    ("histograms", _histograms),
    ("pr_curves", _pr_curves),
)
