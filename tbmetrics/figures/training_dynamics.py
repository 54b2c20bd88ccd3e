"""Figures of training dynamics: gradient norms, update ratios, weights and activations."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from tbmetrics.figures.dynamics_data import Grid, Times, activations, layer_norms, layer_update_ratios, times_of
from tbmetrics.figures.style import (
    NORMAL,
    SMALL,
    distinct,
    figure_of_panels,
    label,
    legend,
    name_lines,
    new_figure,
    plain,
    short,
)
from tbmetrics.records import FloatArray, Histogram, untag_part
from tbmetrics.records.history import History

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LINES_SHOWN = 20  # layers with a line of their own
CHANGES_SHOWN = 10
NAMES_SHOWN = 40  # layers named on an axis
COLUMNS_SHOWN = 300  # of the heat map; further samples share one
POINTS_SHOWN = 150  # of a line; further samples share one
WEIGHTS_SHOWN = 6
VANISHING, EXPLODING = 1e-3, 1e3
_MOMENTS = (("start", "#9a9a9a", ":"), ("middle", "#0072b2", "--"), ("end", "#c8452b", "-"))


def figures(history: History) -> Iterator[tuple[str, Figure]]:
    """(name, figure) of every figure that `history` has the data for."""
    gradients, weights = layer_norms(history, "gradient_norm"), layer_norms(history, "weight_norm")
    ratios = layer_update_ratios(history)
    if gradients is not None and _has_positive(gradients):
        yield "gradient_flow", gradient_flow(gradients)
        yield "gradient_by_depth", gradient_by_depth(gradients)
        yield "gradient_heatmap", gradient_heatmap(gradients)
    if ratios is not None and _has_positive(ratios):
        yield "update_ratio", update_ratio(ratios)
    if weights is not None and len(weights.times.x) > 1:
        yield "weight_norm_change", weight_norm_change(weights)
    if any(tag.startswith("weights/") for tag in history.histograms):
        yield "weight_distribution", weight_distribution(history)
    if activations(history) is not None:
        yield "activations", activation_shares(history)


def gradient_flow(grid: Grid) -> Figure:
    """Gradient norm over time: a line for each of the layers with the largest, and one for all layers."""
    figure, (ax,) = new_figure("Gradient flow: norm of each layer's gradient", width=8.2, height=4.6)
    grid, marker = _readable(grid)
    names = _layer_names(grid)
    lines = []
    for layer, colour in _picked(_medians(grid.values), LINES_SHOWN):
        (line,) = ax.plot(grid.times.x, _positive(grid.values[:, layer]), color=colour, lw=1.2, **marker)
        lines.append((names[layer], line))
    (total,) = ax.plot(grid.times.x, _positive(_total(grid.values)), "-", color="black", lw=2.2, **marker)
    ax.margins(x=0.02)
    _log(ax)
    name_lines(ax, [*lines, ("all layers", total)])
    _threshold(ax, VANISHING, "below: may be vanishing")
    _threshold(ax, EXPLODING, "above: may be exploding")
    more = f"; {LINES_SHOWN} of {len(grid.names)} layers" if len(grid.names) > LINES_SHOWN else ""
    label(ax, x=grid.times.label, y="gradient norm", title=f"violet = first layers, green = last{more}")
    return figure


def gradient_by_depth(grid: Grid) -> Figure:
    """Gradient norm against depth, at the start, in the middle and at the end of training."""
    figure, (ax,) = new_figure("Gradient norm by depth", width=8.2, height=4.6)
    depth = np.arange(len(grid.names))
    marker = "o" if len(depth) <= NAMES_SHOWN else ""
    for (moment, colour, style), part in zip(_MOMENTS, _thirds(grid.values), strict=True):
        ax.plot(depth, _positive(_medians(part)), style, marker=marker, ms=4, color=colour, lw=1.6, label=moment)
    _log(ax)
    _name_ticks(ax.xaxis, grid, rotation=60)
    label(ax, x="layer, first to last", y="median gradient norm", title="median over each third of training")
    legend(ax, ncols=3, loc="lower center", bbox_to_anchor=(0.5, 1.06))
    return figure


def gradient_heatmap(grid: Grid) -> Figure:
    """Layers × time, coloured by the gradient's norm on a logarithmic scale."""
    from matplotlib.colors import LogNorm

    height = float(np.clip(1.6 + 0.14 * len(grid.names), 3.6, 9.0))
    figure, (ax,) = new_figure("Gradient norm, layer by layer", width=8.2, height=height)
    grid = _condensed(grid, COLUMNS_SHOWN)
    shown = np.ma.masked_invalid(np.where(grid.values > 0, grid.values, np.nan))
    low, high = (float(shown.min()), float(shown.max())) if shown.count() else (1e-3, 1.0)
    edges = _edges(grid.times.x)
    ax.set_facecolor("#f2dede")
    mesh = ax.pcolormesh(
        edges,
        np.arange(len(grid.names) + 1) - 0.5,
        shown.T,
        norm=LogNorm(low, max(high, low * 1.01)),
        cmap="viridis",
        rasterized=True,
    )
    ax.invert_yaxis()
    ax.grid(visible=False)
    _name_ticks(ax.yaxis, grid)
    bar = figure.colorbar(mesh, ax=ax, pad=0.01)
    bar.set_label("gradient norm", fontsize=NORMAL)
    bar.ax.tick_params(labelsize=SMALL)
    label(ax, x=grid.times.label, y="layer, first to last", title="pale red: zero, not finite, or no gradient")
    return figure


def update_ratio(grid: Grid) -> Figure:
    """Change by a step relative to the weights: the median over layers, their spread, and the extremes."""
    figure, (ax,) = new_figure("Update ratio: change by one step ÷ weights", width=8.2)
    grid, marker = _readable(grid)
    x, values = grid.times.x, grid.values
    low, middle, high = (_quantile(values, q) for q in (0.1, 0.5, 0.9))
    ax.fill_between(x, _positive(low), _positive(high), color="#0072b2", alpha=0.18, lw=0, label="80 % of the layers")
    ax.plot(x, _positive(middle), "-", color="#0072b2", lw=2, label="median layer", **marker)
    medians, names = _medians(values), _layer_names(grid)
    if np.isfinite(medians).sum() > 2:
        for layer, colour, style, extreme in (
            (np.nanargmax(medians), "#c8452b", "--", "largest"),
            (np.nanargmin(medians), "#009e73", "-.", "smallest"),
        ):
            look = {"color": colour, "lw": 1.4, "label": f"{extreme}: {names[layer]}", **marker}
            ax.plot(x, _positive(values[:, layer]), style, **look)
    _log(ax)
    _threshold(ax, 1e-3, "about 1e-3 is usual")
    label(ax, x=grid.times.label, y="‖change‖ ÷ ‖weights‖")
    legend(ax, loc="center left", bbox_to_anchor=(1.01, 0.5))
    return figure


def weight_norm_change(grid: Grid) -> Figure:
    """Change of the weight norm since its first value, in per cent, for the layers that changed most."""
    figure, (ax,) = new_figure("Change of weight norms since the first sample", width=8.2)
    with np.errstate(divide="ignore", invalid="ignore"):
        change = np.where(grid.values[0] > 0, 100 * (grid.values / grid.values[0] - 1), np.nan)
    grid, marker = _readable(Grid(grid.times, grid.names, change))
    change, names = grid.values, _layer_names(grid)
    lines = []
    for layer, colour in _picked(np.abs(change[-1]), CHANGES_SHOWN):
        (line,) = ax.plot(grid.times.x, change[:, layer], color=colour, lw=1.4, **marker)
        lines.append((names[layer], line))
    ax.axhline(0, color="#3a3a3a", lw=0.8)
    ax.margins(x=0.02)
    name_lines(ax, lines)
    measured = int(np.isfinite(change[-1]).sum())
    more = f"the {CHANGES_SHOWN} that moved most, of {measured} layers; " if measured > CHANGES_SHOWN else ""
    label(ax, x=grid.times.label, y="change of norm (%)", title=f"{more}violet = first layers, green = last")
    return figure


def weight_distribution(history: History) -> Figure:
    """Histograms of the largest weights at the start, in the middle and at the end of training."""
    tags = _largest(history)
    columns = min(3, len(tags))
    times = times_of(history, history.histograms[tags[0]].steps.astype(np.float64))
    span = f"start: {times.label} {times.x[0]:.3g}, end: {times.label} {times.x[-1]:.3g}"
    title, height = f"Distribution of weights ({span})", 2.3 * -(-len(tags) // columns) + 0.9
    figure, axes = figure_of_panels(title, len(tags), columns, 3.0 * columns + 0.6, height)
    for ax, tag in zip(axes, tags, strict=True):
        _distribution(ax, history, tag)
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="lower center", ncols=3, fontsize=SMALL, frameon=False)
    return figure


def activation_shares(history: History) -> Figure:
    """Shares of zero outputs, dead units and saturated values in each watched module."""
    table = activations(history)
    if table is None:
        raise ValueError("the history holds no activations")
    dead = np.nan_to_num(table.column("dead_share"), nan=-1)
    shown = np.sort(np.argsort(-dead, kind="stable")[:NAMES_SHOWN])
    figure, (ax,) = new_figure("Activations in the last sample", width=8.2, height=1.8 + 0.3 * len(shown))
    y = np.arange(len(shown))
    bars = (
        ("zero_share", "zero values", "#8c8c8c", ""),
        ("dead_share", "dead units", "#c8452b", "///"),
        ("saturated_share", "saturated values", "#0072b2", "..."),
    )
    for i, (column, name, colour, hatch) in enumerate(bars):
        shares = 100 * table.column(column)[shown]
        if np.isfinite(shares).any():
            ax.barh(y + 0.27 * (i - 1), np.nan_to_num(shares), 0.25, color=colour, hatch=hatch, ec="white", label=name)
    ax.set_yticks(y, distinct([table.rows[i] for i in shown], 28, _short), fontsize=SMALL)
    ax.set_ylim(len(shown) - 0.4, -0.6)
    ax.set_xlim(0, 100)
    ax.grid(axis="x", color="#dddddd", linewidth=0.6)
    ax.grid(axis="y", visible=False)
    more = f"the {NAMES_SHOWN} with most dead units, of {len(dead)}" if len(dead) > NAMES_SHOWN else ""
    label(ax, x="share of the module's outputs (%)", y="", title=more)
    figure.legend(loc="upper center", ncols=3, fontsize=SMALL, frameon=False)
    return figure


# ---------------------------------------------------------------------------------------------------- parts


def _distribution(ax: Axes, history: History, tag: str) -> None:
    from matplotlib.ticker import MaxNLocator

    series = history.histograms[tag]
    for (moment, colour, style), i in zip(_MOMENTS, (0, len(series) // 2, len(series) - 1), strict=True):
        if moment == "middle" and len(series) < 3:
            continue
        x, density = _density(series[i])
        ax.step(x, density, style, where="mid", color=colour, lw=1.4, label=moment)
        if moment == "end":
            ax.fill_between(x, density, step="mid", color=colour, alpha=0.12, lw=0)
    ax.tick_params(labelsize=SMALL)
    ax.spines[["top", "right"]].set_visible(False)
    ax.set_yticks([])
    ax.xaxis.set_major_locator(MaxNLocator(4))
    label(ax, x="weight", title=_short(untag_part(tag.partition("/")[2])))


def _density(histogram: Histogram, bins: int = 60) -> tuple[FloatArray, FloatArray]:
    """(middles, density) of the histogram on even bins, each bucket's count spread evenly over its width."""
    limits = histogram.limits
    cumulative = np.cumsum(histogram.counts)
    edges = np.linspace(limits[0], limits[-1], bins + 1) if len(limits) > 1 else np.array([-0.5, 0.5]) + limits[0]
    share = np.diff(np.interp(edges, limits, cumulative)) / max(cumulative[-1], 1)
    return (edges[:-1] + edges[1:]) / 2, share / np.diff(edges)


def _largest(history: History) -> list[str]:
    """Tags of the largest weights, in the order of the history."""
    weights = {tag: float(s[0].counts.sum()) for tag, s in history.histograms.items() if tag.startswith("weights/")}
    biggest = sorted(weights, key=lambda tag: -weights[tag])[:WEIGHTS_SHOWN]
    return [tag for tag in weights if tag in biggest]


def _picked(rank: FloatArray, most: int) -> Iterator[tuple[int, Any]]:
    """Columns with the highest finite `rank`, in their order, each with a colour by depth."""
    from matplotlib import colormaps

    ranked = np.flatnonzero(np.isfinite(rank))
    picked = np.sort(ranked[np.argsort(-rank[ranked], kind="stable")[:most]])
    for i, column in enumerate(picked):
        yield int(column), colormaps["viridis"](0.8 * i / max(len(picked) - 1, 1))


def _short(name: str, most: int = 28) -> str:
    """A dotted name without its middle: layers differ at both ends."""
    return name if len(name) <= most else f"{short(name[:12]).rstrip('…')}…{short(name[-15:])}"


def _layer_names(grid: Grid) -> list[str]:
    return distinct(grid.names, 28, _short)


def _name_ticks(axis: Any, grid: Grid, rotation: float = 0) -> None:
    """Name the layers on an axis; if there are too many, every second, third, … of them."""
    layers = range(0, len(grid.names), -(-len(grid.names) // NAMES_SHOWN))
    names = _layer_names(grid)
    axis.set_ticks(layers, [names[i] for i in layers], fontsize=SMALL - 1)
    if rotation:
        for text in axis.get_ticklabels():
            text.set_rotation(rotation)
            text.set_ha("right")
            text.set_rotation_mode("anchor")


def _log(ax: Axes) -> None:
    ax.set_yscale("log")
    low, high = ax.get_ylim()
    if high / low < 100:  # at least two decades, so that noise does not look like an event
        middle = np.sqrt(low * high)
        ax.set_ylim(middle / 10, middle * 10)


def _threshold(ax: Axes, value: float, text: str) -> None:
    """A dotted line with its meaning, if it lies in view."""
    low, high = ax.get_ylim()
    if low < value < high:
        ax.axhline(value, color="#3a3a3a", lw=0.9, ls=(0, (1, 3)))
        plain(
            ax.text(0.995, value, text, fontsize=SMALL - 1, ha="right", va="bottom", transform=ax.get_yaxis_transform())
        )


def _has_positive(grid: Grid) -> bool:
    """Whether a logarithmic axis has anything to show."""
    return bool(np.isfinite(_positive(grid.values)).any())


def _positive(values: FloatArray) -> FloatArray:
    return np.where(np.isfinite(values) & (values > 0), values, np.nan)


def _total(values: FloatArray) -> FloatArray:
    is_finite = np.isfinite(values)
    return np.where(is_finite.any(axis=1), np.sqrt((np.where(is_finite, values, 0) ** 2).sum(axis=1)), np.nan)


def _medians(values: FloatArray) -> FloatArray:
    return _quantile(values.T, 0.5)


def _quantile(values: FloatArray, q: float) -> FloatArray:
    """Quantile of the finite values along the last axis; NaN if there are none."""
    quantiles = np.full(len(values), np.nan)
    has_values = np.isfinite(values).any(axis=1)
    if has_values.any():
        finite = np.where(np.isfinite(values[has_values]), values[has_values], np.nan)
        quantiles[has_values] = np.nanquantile(finite, q, axis=1)
    return quantiles


def _thirds(values: FloatArray) -> list[FloatArray]:
    """The first, middle and last third of the samples, each with at least one."""
    n = len(values)
    third = max(n // 3, 1)
    middle = min(third, n - 1)
    return [values[:third], values[middle : max(n - third, middle + 1)], values[-third:]]


def _condensed(grid: Grid, most: int) -> Grid:
    """At most `most` points in time, each the median of its samples."""
    if len(grid.values) <= most:
        return grid
    parts = np.array_split(np.arange(len(grid.values)), most)
    x = np.array([grid.times.x[part].mean() for part in parts])
    return Grid(Times(x, grid.times.label), grid.names, np.array([_medians(grid.values[part]) for part in parts]))


def _readable(grid: Grid) -> tuple[Grid, dict[str, Any]]:
    """Few enough points for a line, and a marker if they are so few that a line alone would hide them."""
    return _condensed(grid, POINTS_SHOWN), {"marker": "o", "ms": 3} if len(grid.values) <= 10 else {}


def _edges(x: FloatArray) -> FloatArray:
    if len(x) == 1:
        return np.array([x[0] - 0.5, x[0] + 0.5])
    middles = (x[:-1] + x[1:]) / 2
    return np.concatenate(([2 * x[0] - middles[0]], middles, [2 * x[-1] - middles[-1]]))
