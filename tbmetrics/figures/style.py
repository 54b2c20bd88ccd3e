"""The look that all figures share: palette, hatches and markers by group, sizes, and names as plain text."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from operator import itemgetter
from typing import TYPE_CHECKING, Any

import numpy as np

from tbmetrics.figures.output import png
from tbmetrics.records import ALL, GAP, HEAD, MEDIUM, TAIL, UNKNOWN, FloatArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import LayoutEngine

#: Head red, medium blue, tail green, in shades that stay apart for colour-blind readers (after Okabe and Ito, 2008).
COLOURS = {
    HEAD: "#c8452b",
    MEDIUM: "#0072b2",
    TAIL: "#009e73",
    UNKNOWN: "#8c8c8c",
    ALL: "#3a3a3a",
    GAP: "#7b4ea3",
}
HATCHES = {HEAD: "", MEDIUM: "///", TAIL: "xxx", UNKNOWN: "...", ALL: "--", GAP: "\\\\"}
MARKERS = {HEAD: "o", MEDIUM: "s", TAIL: "^", UNKNOWN: "P", ALL: "D", GAP: "v"}
LINES = {HEAD: "-", MEDIUM: "--", TAIL: "-.", UNKNOWN: ":", ALL: "-", GAP: "-"}

SMALL, NORMAL, LARGE = 8, 9, 11
_LONGEST_NAME = 28

_Box = tuple[float, float, float, float]


def new_figure(
    title: str, *, width: float = 6.4, height: float = 4.0, panels: int = 1
) -> tuple[Figure, Sequence[Axes]]:
    """A figure with `panels` axes side by side, drawn by Agg, with no trace in pyplot."""
    figure, axes = figure_of_panels(title, panels, panels, width, height)
    for ax in axes:
        ax.tick_params(labelsize=SMALL)
        ax.spines[["top", "right"]].set_visible(False)
        ax.grid(axis="y", color="#dddddd", linewidth=0.6)
        ax.set_axisbelow(True)
    return figure, axes


def figure_of_panels(
    title: str, panels: int, columns: int, width: float, height: float
) -> tuple[Figure, Sequence[Axes]]:
    """A figure with `panels` axes in rows of `columns`, without further style, drawn by Agg."""
    from tbmetrics.figures.layout import TightLayout

    figure = empty_figure(width, height, TightLayout())
    plain(figure.suptitle(title, fontsize=LARGE))
    axes = figure.subplots(-(-panels // columns), columns, squeeze=False).ravel()
    for unused in axes[panels:]:
        unused.set_axis_off()
    return figure, list(axes[:panels])


def empty_figure(width: float, height: float, layout: LayoutEngine | None = None) -> Figure:
    """A figure without axes, in inches, drawn by Agg, with no trace in pyplot."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure: Any = Figure(figsize=(width, height), layout=layout, facecolor="white")
    figure._repr_png_ = partial(png, figure)  # Jupyter alone shows only figures that pyplot knows
    FigureCanvasAgg(figure)
    return figure


def plain(text: Any) -> Any:
    """Show the characters of a matplotlib text as they are: `$` in a name does not begin mathematics."""
    text.set_parse_math(False)
    return text


def label(ax: Axes, *, x: str = "", y: str = "", title: str = "") -> None:
    """Axis labels and a panel title."""
    plain(ax.set_xlabel(x, fontsize=NORMAL))
    plain(ax.set_ylabel(y, fontsize=NORMAL))
    if title:
        plain(ax.set_title(title, fontsize=NORMAL))


def legend(ax: Axes, **options: Any) -> None:
    """A legend whose entries are plain text."""
    for text in ax.legend(fontsize=SMALL, frameon=False, **options).get_texts():
        plain(text)


def name_lines(ax: Axes, lines: Sequence[tuple[str, Any]]) -> None:
    """Write the name of each line beside its end, in its colour, with room between the names.

    Args:
        ax: with its scales and limits set.
        lines: (name, line) of those to name; one without a finite value is left out.
    """
    ends = []
    for name, line in lines:
        points = np.column_stack([line.get_xdata(), line.get_ydata()]).astype(float)
        points = points[np.isfinite(points).all(axis=1)]
        if len(points):
            height = float((ax.transScale + ax.transLimits).transform(points[-1:])[0, 1])
            ends.append((height, name, tuple(points[-1].tolist()), line.get_color()))
    ends.sort(key=itemgetter(0))
    figure: Any = ax.figure
    heights = _apart([end[0] for end in ends], 1.15 * SMALL / 72 / (0.8 * figure.get_figheight()))
    for height, (_, name, point, colour) in zip(heights, ends, strict=True):
        leader = {"arrowstyle": "-", "color": colour, "lw": 0.6, "shrinkA": 0, "shrinkB": 0, "relpos": (0, 0.5)}
        text = ax.annotate(
            name, point, (1.03, height), textcoords="axes fraction", annotation_clip=False, arrowprops=leader,
            color=colour, fontsize=SMALL - 1, va="center",
        )  # fmt: skip
        plain(text)


def _apart(heights: Sequence[float], gap: float) -> list[float]:
    """Ascending heights moved at least `gap` apart, as little as that needs, up from 0."""
    blocks: list[list[float]] = []  # [sum of the heights less what is below, number]: neighbours that touch
    for i, height in enumerate(heights):
        blocks.append([height - i * gap, 1])
        while len(blocks) > 1 and blocks[-2][0] / blocks[-2][1] >= blocks[-1][0] / blocks[-1][1]:
            total, number = blocks.pop()
            blocks[-1] = [blocks[-1][0] + total, blocks[-1][1] + number]
    starts = [total / number for total, number in blocks for _ in range(int(number))]
    highest = 1 - gap * (len(starts) - 1)
    return [max(0.0, min(start, highest)) + i * gap for i, start in enumerate(starts)]


def short(name: str, most: int = _LONGEST_NAME) -> str:
    """`name` on one line, printable, cut to `most` characters."""
    line = "".join(c if c.isprintable() else " " for c in name)
    return line if len(line) <= most else line[: most - 1] + "…"


def distinct(names: Sequence[str], most: int = _LONGEST_NAME, cut: Callable[[str, int], str] = short) -> list[str]:
    """Cut each of `names` to `most` characters so that names that differ stay different.

    Those that `cut` makes alike are shown by the part in which they differ.

    Args:
        names: in the order in which they are shown.
        most: characters.
        cut: cuts a single name.
    """
    shown = {name: cut(name, most) for name in names}
    for depth in sorted({alike[0].count(".") for alike in _alike(shown)} - {0}):
        siblings = [name for name in shown if name.count(".") == depth and shown[name] != name]
        shown |= zip(siblings, _by_parts(siblings, most), strict=True)  # all of them, so that they look alike
    for alike in _alike(shown):
        shown |= zip(alike, _by_difference(alike, most), strict=True)
    numbers = itertools.count(1)
    for alike in _alike(shown):  # they differ in too many places
        for name, number in zip(alike, numbers, strict=False):
            shown[name] = f"{short(name, most - len(f' ({number})'))} ({number})"
    return [shown[name] for name in names]


def _alike(shown: Mapping[str, str]) -> list[list[str]]:
    """The names that are shown as the same text, by text."""
    by_text: dict[str, list[str]] = {}
    for name, text in shown.items():
        by_text.setdefault(text, []).append(name)
    return [names for names in by_text.values() if len(names) > 1]


def _common(names: Sequence[str]) -> int:
    """Number of characters that all names begin with."""
    first, last = min(names), max(names)
    return next(
        (i for i, pair in enumerate(zip(first, last, strict=False)) if pair[0] != pair[1]), min(len(first), len(last))
    )


def _by_parts(names: Sequence[str], most: int) -> Iterator[str]:
    """The parts between dots, as many in each name, in which names differ; the longest of them cut."""
    all_parts = [name.split(".") for name in names]
    differing = [i for i, column in enumerate(zip(*all_parts, strict=True)) if len(set(column)) > 1]
    for parts in all_parts:
        yield _fitting([parts[i] for i in differing], most)


def _fitting(parts: list[str], most: int) -> str:
    """Parts joined by dots, with the longest of them cut until they fit."""
    while len(text := "…" + ".".join(parts)) > most and max(map(len, parts)) > 2:
        longest = max(range(len(parts)), key=lambda i: len(parts[i]))
        parts[longest] = f"{parts[longest][:-2]}…"
    return short(text, most)


def _by_difference(names: Sequence[str], most: int) -> Iterator[str]:
    """The part of each name between what all share at their beginnings and ends, and as much of the end as fits."""
    start = _common(names)
    end = _common([name[start:][::-1] for name in names])
    for name in names:
        difference, rest = short(name[start : len(name) - end], most - 1), name[len(name) - end :]
        room = most - len(difference) - 1
        tail = rest if len(rest) <= room else f"…{rest[len(rest) - room + 1 :]}" if room > 4 else ""
        yield short(f"{'…' if start else ''}{difference}{tail}", most)


def nothing(ax: Axes, message: str) -> None:
    """Say in the middle of empty axes why they are empty."""
    ax.set_axis_off()
    plain(ax.text(0.5, 0.5, message, ha="center", va="center", fontsize=NORMAL, transform=ax.transAxes, wrap=True))


def name_points(ax: Axes, names: Sequence[str], x: FloatArray, y: FloatArray) -> None:
    """Write names beside the points of a scatter plot; a name without room is left out.

    Args:
        ax: with its scales and limits set.
        names: one per point.
        x, y: coordinates of the points, (points,).
    """
    taken: list[_Box] = []
    for name, *point in zip(map(short, names), x.tolist(), y.tolist(), strict=True):
        across, up = ax.transData.transform(point)
        width, height = 5.2 * len(name), 12.0
        for dx, dy in ((6.0, 5.0), (-6.0 - width, 5.0), (6.0, -15.0), (-6.0 - width, -15.0)):
            box = (across + dx, up + dy, across + dx + width, up + dy + height)
            if ax.bbox.x0 <= box[0] and box[2] <= ax.bbox.x1 and not any(_overlap(box, other) for other in taken):
                taken.append(box)
                offset = (dx * 0.72, dy * 0.72)  # in points, of which 72 make matplotlib's 100 pixels
                plain(ax.annotate(name, (point[0], point[1]), xytext=offset, textcoords="offset points", fontsize=7))
                break


def _overlap(a: _Box, b: _Box) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]
