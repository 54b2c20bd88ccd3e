"""Figures of resource usage: time by component, throughput, memory, and a typical step."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tbmetrics.figures.output import pixels
from tbmetrics.figures.resource_data import (
    OTHER,
    TAG,
    Components,
    Span,
    batch_points,
    last_value,
    memory_series,
    read_components,
    read_typical_step,
)
from tbmetrics.figures.style import NORMAL, SMALL, distinct, label, legend, new_figure, plain, short
from tbmetrics.records import FloatArray, IntArray
from tbmetrics.records.history import History, ScalarSeries

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

EPOCHS_NAMED = 12  # if there are more epochs, only some of them have ticks
BARS_SHOWN = 60  # more epochs than this are drawn as areas
#: Width of the longest bar, and place of the pie, in shares of the axes.
_BARS_WIDTH, _PIE = 0.52, (0.76, 0.08, 0.24, 0.84)

#: Okabe and Ito (2008), in an order that keeps neighbours apart; black and the lightest are left out.
_COLOURS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#7b4ea3", "#a08f1f")
_HATCHES = ("", "///", "...", "xxx", "\\\\\\", "ooo", "++", "--")
_REST_COLOUR = "#b5b5b5"
_MEMORY_LINES = {
    "allocated_bytes": ("allocated at the end", _COLOURS[0], "-", "o"),
    "peak_bytes": ("peak", _COLOURS[5], "--", "^"),
    "reserved_bytes": ("reserved", _COLOURS[2], "-.", "s"),
    "host_rss_bytes": ("host, resident", _COLOURS[3], "-", "D"),
    "host_peak_rss_bytes": ("host, most so far", _REST_COLOUR, ":", "v"),
}
_BYTE_UNITS = ((2**40, "TiB"), (2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB"))


def figures(history: History, *, step: int | None = None) -> Iterator[tuple[str, Figure]]:
    """(name, figure) of every figure that `history` has the data for.

    Args:
        history: from memory or from disk.
        step: the epoch shown by figures of a single one; None = the last.

    Raises:
        KeyError: nothing was recorded at that epoch.
    """
    components = read_components(history)
    if components is not None:
        yield "component_times", component_times(components)
        yield "component_shares", component_shares(components, step)
    if f"{TAG}/throughput_samples_per_second" in history.scalars:
        yield "throughput", throughput(history)
    if memory_series(history):
        yield "memory", memory(history)
    sizes, peaks = batch_points(history)
    if len(sizes):
        yield "memory_by_batch_size", memory_by_batch_size(history, sizes, peaks)
    seconds, spans = read_typical_step(history, step)
    if spans:
        yield "typical_step", typical_step(spans, seconds, components)


def component_images(history: History, step: int) -> Iterator[tuple[str, NDArray[np.uint8]]]:
    """(name, pixels) of the bars of component times over epochs, if there are several, and of their shares in one.

    For the Images tab: RGB, uint8.
    """
    components = read_components(history)
    if components is None:
        return
    if len(components.epochs) > 1:
        yield "component_times", pixels(component_times(components), dpi=80)
    yield "component_shares", pixels(component_shares(components, step), dpi=80)


def component_times(components: Components) -> Figure:
    """Seconds of each epoch, stacked by component; they add up to the wall clock."""
    figure, (ax,) = new_figure("Time by component", width=7.2)
    below = np.zeros(len(components.epochs))
    for i, name in enumerate(components.names):
        seconds = components.seconds[i]
        options = {**_style(components, components.names[i]), "linewidth": 0.5, "label": short(name)}
        if len(components.epochs) <= BARS_SHOWN:
            ax.bar(components.epochs, seconds, 0.8, bottom=below, **options)
        else:
            ax.fill_between(components.epochs, below, below + seconds, **options)
        below = below + seconds
    label(ax, x="Epoch", y="Seconds")
    _epoch_axis(ax, components.epochs, below.max(initial=0.0))
    _legend_beside(ax, reverse=True)
    return figure


def component_shares(components: Components, step: int | None) -> Figure:
    """Share of each component in one epoch as bars, with a small pie of the same beside them."""
    index = components.index_of(step)
    seconds = components.seconds[:, index]
    shares = seconds / seconds.sum() if seconds.sum() > 0 else np.zeros(len(seconds))
    height = 1.6 + 0.3 * len(shares)
    figure, (bars,) = new_figure(f"Share of time, epoch {components.epochs[index]}", width=7.2, height=height)
    if shares.any():
        _draw_pie(bars.inset_axes(_PIE), components, shares)
    positions = np.arange(len(shares))
    for i in positions:
        bars.barh(i, shares[i], 0.7, linewidth=0.5, **_style(components, components.names[i]))
        text = f"{shares[i]:.1%}  {_seconds(seconds[i])}"
        plain(bars.annotate(text, (shares[i], i), (4, 0), textcoords="offset points", va="center", fontsize=SMALL))
    _name_rows(bars, components.names)
    most = max(shares.max(initial=0.0), 0.01)
    bars.set_xlim(0, most / _BARS_WIDTH)
    bars.set_xticks([tick for tick in bars.get_xticks() if tick <= most * 1.05])
    bars.xaxis.set_major_formatter(_percent())
    label(bars, x="Share of the epoch")
    return figure


def _draw_pie(ax: Axes, components: Components, shares: FloatArray) -> None:
    """In the colours and hatches of the bars, which name the components."""
    shown = [i for i in range(len(shares)) if shares[i] > 0]
    wedges, _ = ax.pie(shares[shown], startangle=90, counterclock=False, radius=1.2)
    for i, wedge in zip(shown, wedges, strict=True):
        wedge.set(linewidth=0.8, **_style(components, components.names[i]))


def throughput(history: History) -> Figure:
    """Samples per second over epochs."""
    figure, (ax,) = new_figure("Throughput")
    series = history.scalars[f"{TAG}/throughput_samples_per_second"]
    ax.plot(series.steps, series.values, color=_COLOURS[0], marker=_marker(series, "o"), markersize=4)
    label(ax, x="Epoch", y="Samples per second")
    _epoch_axis(ax, series.steps, float(np.nanmax(series.values)))
    ax.yaxis.set_major_formatter(_thousands())
    return figure


def memory(history: History) -> Figure:
    """Memory over epochs: the device's allocator, if there is one, and the process on the host."""
    figure, (ax,) = new_figure("Memory", width=7.2)
    series_by_name = memory_series(history)
    most = max(float(np.nanmax(series.values)) for series in series_by_name.values())
    unit, unit_name = _byte_unit(most)
    for name, series in series_by_name.items():
        title, colour, line, marker = _MEMORY_LINES[name]
        ax.plot(
            series.steps, series.values / unit, line, color=colour, marker=_marker(series, marker), markersize=4,
            label=title,
        )  # fmt: skip
    label(ax, x="Epoch", y=f"Memory ({unit_name})")
    _epoch_axis(ax, np.concatenate([series.steps for series in series_by_name.values()]), most / unit)
    _legend_beside(ax)
    return figure


def memory_by_batch_size(history: History, sizes: FloatArray, peaks: FloatArray) -> Figure:
    """Measured memory against batch size, with the fitted line and the capacity if they are known."""
    figure, (ax,) = new_figure("Memory by batch size", width=7.2)
    fit = {name: last_value(history, f"{TAG}/batch_memory/{name}") for name in _FIT}
    unit, name = _byte_unit(float(peaks.max()))
    ax.scatter(sizes, peaks / unit, color=_COLOURS[0], s=28, zorder=3, label="measured")
    if not np.isnan(fit["bytes_per_sample"]):
        reach = np.array([0.0, sizes.max() * 1.1])
        values = (fit["fixed_bytes"] + fit["bytes_per_sample"] * reach) / unit
        per_sample, unit_of_sample = _in_bytes(fit["bytes_per_sample"])
        title = f"line: {fit['fixed_bytes'] / unit:,.3g} {name} + {per_sample:,.3g} {unit_of_sample} a sample"
        ax.plot(reach, values, "--", color=_COLOURS[5], label=title)
    capacity = fit["capacity_bytes"]
    if capacity <= 1.15 * peaks.max():
        ax.axhline(capacity / unit, color=_REST_COLOUR, linestyle=":", label="what fits")
    label(ax, x="Batch size", y=f"Memory ({name})", title=_largest_batch(fit))
    ax.set_ylim(0, peaks.max() / unit * 1.2)
    ax.set_xlim(0, sizes.max() * 1.1)
    legend(ax, loc="lower right")
    return figure


_FIT = (
    "fixed_bytes", "bytes_per_sample", "largest_batch", "largest_batch_lower", "largest_batch_upper", "capacity_bytes",
)  # fmt: skip


def _largest_batch(fit: dict[str, float]) -> str:
    if np.isnan(fit["largest_batch"]):
        return ""
    text = f"largest batch predicted: {fit['largest_batch']:,.0f}"
    if np.isnan(fit["largest_batch_lower"]) or np.isnan(fit["largest_batch_upper"]):
        return text
    return f"{text} ({fit['largest_batch_lower']:,.0f} to {fit['largest_batch_upper']:,.0f})"


def typical_step(spans: Sequence[Span], seconds: float, components: Components | None) -> Figure:
    """Timeline of a step of median length: a bar for each time that a component ran.

    Args:
        spans: components that ran, at least one.
        seconds: length of the step.
        components: gives the colours of the other figures.
    """
    names = list(dict.fromkeys(name for name, _, _ in spans))
    figure, (ax,) = new_figure(f"A typical step: {_seconds(seconds)}", width=7.2, height=1.6 + 0.34 * len(names))
    scale, unit = _time_unit(seconds)
    for name, began, ended in spans:
        style = {"linewidth": 0.5, **_style(components, name)}
        ax.barh(names.index(name), (ended - began) * scale, 0.6, began * scale, **style)
    for row, name in enumerate(names):
        runs = [span for span in spans if span.name == name]
        taken, last = sum(run.ended - run.began for run in runs), max(run.ended for run in runs)
        text = f"{taken * scale:,.3g} {unit}"
        plain(ax.annotate(text, (last * scale, row), (4, 0), textcoords="offset points", va="center", fontsize=SMALL))
    _name_rows(ax, names)
    ax.set_xlim(0, seconds * scale * 1.14)
    ax.axvline(seconds * scale, color=_REST_COLOUR, linestyle=":")
    ax.grid(axis="x", color="#dddddd", linewidth=0.6)
    label(ax, x=f"Time since the step began ({unit})")
    return figure


# ---------------------------------------------------------------------------------------------------- details


def _byte_unit(most: float) -> tuple[float, str]:
    return next(((float(size), name) for size, name in _BYTE_UNITS if most >= size), (1.0, "bytes"))


def _in_bytes(value: float) -> tuple[float, str]:
    unit, name = _byte_unit(abs(value))
    return value / unit, name


def _time_unit(seconds: float) -> tuple[float, str]:
    """(units in a second, name) of the unit to show `seconds` in."""
    if seconds >= 1:
        return 1.0, "s"
    return (1e3, "ms") if seconds >= 1e-3 else (1e6, "µs")


def _seconds(value: float) -> str:
    return f"{value:,.1f} s" if value >= 1 else f"{value * 1e3:,.3g} ms"


def _marker(series: Sequence[Any] | ScalarSeries, marker: str) -> str:
    return marker if len(series) <= BARS_SHOWN else ""


def _style(components: Components | None, name: str) -> dict[str, Any]:
    """Colour and hatch of a component, the same in every figure; grey for `other` and those added to it."""
    names = components.names if components is not None else ()
    if name == OTHER or name not in names:
        return {"facecolor": _REST_COLOUR, "hatch": "", "edgecolor": "white"}
    index = names.index(name) % len(_COLOURS)
    return {"facecolor": _COLOURS[index], "hatch": _HATCHES[index], "edgecolor": "white"}


def _legend_beside(ax: Axes, *, reverse: bool = False) -> None:
    legend(ax, loc="center left", bbox_to_anchor=(1.0, 0.5), reverse=reverse)


def _name_rows(ax: Axes, names: Sequence[str]) -> None:
    """Name the rows of horizontal bars, the first on top."""
    ax.set_yticks(range(len(names)), distinct(names), fontsize=NORMAL)
    for tick in ax.get_yticklabels():
        plain(tick)
    ax.set_ylim(len(names) - 0.5, -0.5)
    ax.grid(visible=False, axis="y")


def _epoch_axis(ax: Axes, epochs: IntArray, most: float) -> None:
    """Ticks at whole epochs, a margin that is wider if they are few, and values from zero up."""
    from matplotlib.ticker import MaxNLocator

    if len(epochs) <= EPOCHS_NAMED:
        ax.set_xticks(np.unique(epochs))
    else:
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    margin = 1.2 if np.ptp(epochs) < 3 else 0.6
    ax.set_xlim(epochs.min() - margin, epochs.max() + margin)
    ax.set_ylim(0, most * 1.1 or 1)


def _percent() -> Any:
    from matplotlib.ticker import PercentFormatter

    return PercentFormatter(xmax=1)


def _thousands() -> Any:
    from matplotlib.ticker import StrMethodFormatter

    return StrMethodFormatter("{x:,.4g}")
