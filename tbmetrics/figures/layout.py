"""A layout for figures: everything around the axes is measured once, which takes a third of matplotlib's own time.

matplotlib's constrained layout measures all ticks and labels four times. Here tick labels, axis labels and titles are
measured once; only what moves with the size of the axes (legends and texts) is measured again.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

from matplotlib.backends.backend_agg import FigureCanvasAgg, RendererAgg
from matplotlib.layout_engine import LayoutEngine
from matplotlib.ticker import FuncFormatter, LogFormatterSciNotation, LogLocator, StrMethodFormatter

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_PAD = 0.06  # inches at the edges of the figure, and around titles and legends
_GAP = 0.12  # inches between panels
_SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
_ROUNDS = 2  # the first changes the size of the axes, the second the places of legends


class _Edges(NamedTuple):
    """Inches at the left, right, bottom and top."""

    left: float = 0.0
    right: float = 0.0
    bottom: float = 0.0
    top: float = 0.0

    def joined(self, other: _Edges) -> _Edges:
        """The larger of both at each edge."""
        return _Edges(*map(max, self, other))


class TightLayout(LayoutEngine):
    """Fits panels of equal size, with all that is around them, into the figure."""

    _adjust_compatible = True
    _colorbar_gridspec = True

    def execute(self, fig: Any) -> None:
        """Place title, legends and axes."""
        renderer = _renderer(fig)
        panels = [ax for ax in fig.axes if ax.get_subplotspec() is not None]
        for ax in panels:
            ax.minorticks_off()  # those of a logarithmic scale would cost more than all others
            for axis in (ax.xaxis, ax.yaxis):
                _label_logarithmic(axis)
            ax.apply_aspect()
        fixed = {ax: _around(ax, _decorations(ax, renderer)) for ax in panels}
        below, above = _place_title_and_legends(fig, renderer)
        for _ in range(_ROUNDS):
            _adjust(fig, {ax: fixed[ax].joined(_around(ax, _movable(ax, renderer))) for ax in panels}, below, above)
            for ax in panels:
                ax.apply_aspect()


def _renderer(fig: Any) -> Any:
    """The one that draws the figure, as it remembers what it measures; for other formats one of its own."""
    if isinstance(fig.canvas, FigureCanvasAgg):
        return fig.canvas.get_renderer()
    return RendererAgg(*map(int, fig.bbox.size), fig.dpi)


def _label_logarithmic(axis: Any) -> None:
    """Label powers of ten; of less than two decades, which would have one label, 1, 2 and 5."""
    if axis.get_scale() != "log":
        return
    low, high = axis.get_view_interval()
    if high < 100 * low:
        axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.set_major_formatter(StrMethodFormatter("{x:g}"))
    elif isinstance(axis.get_major_formatter(), LogFormatterSciNotation):
        axis.set_major_formatter(FuncFormatter(_power_of_ten))


def _power_of_ten(value: float, _: int | None = None) -> str:
    """10⁻³, as plain text: to set it as mathematics takes as long as to draw ten labels."""
    return f"10{f'{round(math.log10(value))}'.translate(_SUPERSCRIPTS)}" if value > 0 else ""


def _decorations(ax: Axes, renderer: Any) -> Iterable[Any]:
    """Boxes of ticks, labels and titles, in pixels."""
    axes = [ax, *ax.child_axes]
    if ax.axison:
        yield from (
            axis.get_tightbbox(renderer, for_layout_only=True) for each in axes for axis in (each.xaxis, each.yaxis)
        )
    yield from (each.title.get_window_extent(renderer) for each in axes if each.title.get_text())


def _movable(ax: Axes, renderer: Any) -> Iterable[Any]:
    """Boxes of legends and texts, in pixels."""
    legend = ax.get_legend()
    artists = [*ax.texts, *([legend] if legend is not None else [])]
    return [artist.get_window_extent(renderer) for artist in artists if artist.get_visible() and artist.get_in_layout()]


def _around(ax: Axes, boxes: Iterable[Any]) -> _Edges:
    """How far boxes reach beyond the place of the axes."""
    dpi, inner = ax.figure.dpi, ax.get_position(original=True).transformed(ax.figure.transFigure)
    edges = _Edges()
    for box in boxes:
        if box is not None:
            sides = inner.x0 - box.x0, box.x1 - inner.x1, inner.y0 - box.y0, box.y1 - inner.y1
            edges = edges.joined(_Edges(*(side / dpi for side in sides)))
    return edges


def _place_title_and_legends(fig: Figure, renderer: Any) -> tuple[float, float]:
    """Put the title at the top, a note at the bottom, legends at either; inches that they need (below, above)."""
    height = fig.get_size_inches()[1]
    below = above = _PAD
    title: Any = getattr(fig, "_suptitle", None)
    if title is not None and title.get_text():
        title.set(y=1 - above / height, verticalalignment="top")
        above += title.get_window_extent(renderer).height / fig.dpi + _PAD
    note: Any = getattr(fig, "_supxlabel", None)
    if note is not None and note.get_text():
        note.set(y=below / height, verticalalignment="bottom")
        below += note.get_window_extent(renderer).height / fig.dpi + _PAD
    for legend in fig.legends:
        box = legend.get_window_extent(renderer)
        needed = box.height / fig.dpi + _PAD
        if (box.y0 + box.y1) / 2 < fig.bbox.height / 2:
            legend.set_bbox_to_anchor((0.5, below / height))
            below += needed
        else:
            legend.set_bbox_to_anchor((0.5, 1 - above / height))
            above += needed
    return below, above


def _adjust(fig: Figure, edges: dict[Any, _Edges], below: float, above: float) -> None:
    """Give all panels one size; panels of one column share its edges, and those of one row."""
    cells = {ax: ax.get_subplotspec().get_topmost_subplotspec() for ax in edges}
    if not cells:
        return
    grid = next(iter(cells.values())).get_gridspec()
    columns, rows = [_Edges()] * grid.ncols, [_Edges()] * grid.nrows
    for ax, cell in cells.items():
        columns[cell.colspan.start] = columns[cell.colspan.start].joined(edges[ax])
        rows[cell.rowspan.start] = rows[cell.rowspan.start].joined(edges[ax])
    width, height = fig.get_size_inches()
    across = max((a.right + b.left + _GAP for a, b in pairwise(columns)), default=0.0)
    down = max((a.bottom + b.top + _GAP for a, b in pairwise(rows)), default=0.0)
    left, right = columns[0].left + _PAD, width - columns[-1].right - _PAD
    bottom, top = rows[-1].bottom + below, height - rows[0].top - above
    panel_width = (right - left - across * (grid.ncols - 1)) / grid.ncols
    panel_height = (top - bottom - down * (grid.nrows - 1)) / grid.nrows
    if panel_width > 0 and panel_height > 0:
        fig.subplots_adjust(
            left=left / width,
            right=right / width,
            bottom=bottom / height,
            top=top / height,
            wspace=across / panel_width,
            hspace=down / panel_height,
        )
