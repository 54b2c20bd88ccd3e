"""Heat maps and images in rows and columns: drawn during training, so by hand, for a few hundredths of a second."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tbmetrics.figures.style import LARGE, NORMAL, SMALL, empty_figure, plain

if TYPE_CHECKING:
    from matplotlib.cm import ScalarMappable

_TITLE, _GAP, _RIGHT, _BAR, _BAR_GAP, _TICK = 0.34, 0.08, 0.85, 0.17, 0.14, 0.05
_LEAST_WIDTH = 4.4


class PanelGrid:
    """Square panels of one size, and a bar of colours on the right.

    All of it lies in one axes whose unit is the inch: axes, ticks and a layout for each panel would take most of the
    time.

    Args:
        title: of the figure.
        count: panels; the last row may have fewer than `columns`.
        columns: panels in a row.
        size: of a panel.
        left, below: room for what the edges are labelled with.
        above: room above every row, for the titles of panels.
        first_above: more of it above the first row.

    Attributes:
        figure: drawn by Agg, with no trace in pyplot.
    """

    def __init__(
        self, title: str, count: int, columns: int, size: float, *, left: float, below: float = 0.1, above: float = 0.0,
        first_above: float = 0.0,
    ) -> None:  # fmt: skip
        rows = -(-count // columns)
        self._count, self._columns, self._size, self._left = count, columns, size, left
        self._rise = above + size + _GAP
        self._top = below + rows * self._rise - above - _GAP  # of the panels in the first row
        self._foot = below
        across = left + columns * (size + _GAP)
        width = max(across + _BAR_GAP + _BAR + _RIGHT, _LEAST_WIDTH)
        height = self._top + above + first_above + _TITLE
        self.figure = empty_figure(width, height)
        self._ax = self.figure.add_axes((0, 0, 1, 1), xlim=(0, width), ylim=(0, height), autoscale_on=False)
        self._ax.set_axis_off()
        self._bar_left = across + _BAR_GAP
        self._text(width / 2, height - 0.1, title, size=LARGE, va="top")

    def image(self, panel: int, values: NDArray[Any], title: str = "", title_size: float = NORMAL, **how: Any) -> Any:
        """Fills a panel with values by colour, or with (height, width, 3) colours."""
        left, bottom = self._corner(panel)
        frame = (left, left + self._size, bottom, bottom + self._size)
        found = self._ax.imshow(values, extent=frame, aspect="auto", interpolation="nearest", **how)
        self._frame(left, bottom, self._size, self._size)
        if title:
            self._text(left + self._size / 2, bottom + self._size + 0.05, title, size=title_size, va="bottom")
        return found

    def name_rows(self, names: Sequence[str]) -> None:
        """Says on the left what each row is."""
        for row, name in enumerate(names):
            middle = self._corner(row * self._columns)[1] + self._size / 2
            self._text(self._left - 0.16, middle, name, rotation=90)

    def label_left(self, length: int, names: Sequence[str], what: str) -> None:
        """The rows of the heat maps, at the panels on the left: their names, or numbers where there are none."""
        for panel in range(0, self._count, self._columns):
            left, bottom = self._corner(panel)
            for place, text in _labels(length, names):
                y = bottom + self._size * (1 - place)
                self._lines([left - _TICK, left], [y, y])
                self._text(left - _TICK - 0.03, y, text, size=SMALL - 1, ha="right")
            self._text(0.14, bottom + self._size / 2, what, rotation=90)

    def label_below(self, length: int, names: Sequence[str], what: str) -> None:
        """The columns of the heat maps, below the panels with none below them."""
        for panel in range(max(0, self._count - self._columns), self._count):
            left, bottom = self._corner(panel)
            lowest = panel // self._columns == (self._count - 1) // self._columns
            for place, text in _labels(length, names):
                x = left + self._size * place
                self._lines([x, x], [bottom - _TICK, bottom])
                self._text(x, bottom - _TICK - 0.03, text, size=SMALL - 1, va="top", rotation=90 if names else 0)
            if lowest:
                self._text(left + self._size / 2, bottom - self._foot + 0.06, what, va="bottom")

    def bar(self, colours: ScalarMappable, text: str, low: float, high: float) -> None:
        """The scale of `colours` from `low` to `high`."""
        from matplotlib.ticker import MaxNLocator

        height = 0.8 * (self._top - self._foot)
        bottom = (self._top + self._foot - height) / 2
        frame = (self._bar_left, self._bar_left + _BAR, bottom, bottom + height)
        self._ax.imshow(colours.to_rgba(np.linspace(high, low, 256)[:, None]), extent=frame, aspect="auto")
        self._frame(self._bar_left, bottom, _BAR, height)
        ticks = [t for t in MaxNLocator(6).tick_values(low, high) if low <= t <= high]
        right = self._bar_left + _BAR
        for tick in ticks:
            y = bottom + height * (tick - low) / ((high - low) or 1.0)
            self._lines([right, right + _TICK], [y, y])
            self._text(right + _TICK + 0.03, y, f"{tick:.4g}", size=SMALL - 1, ha="left")
        self._text(right + 0.56, bottom + height / 2, text, size=SMALL, rotation=90)

    # ------------------------------------------------------------------------------------------------ parts

    def _corner(self, panel: int) -> tuple[float, float]:
        """Left and bottom of a panel."""
        row, column = divmod(panel, self._columns)
        return self._left + column * (self._size + _GAP), self._top - self._size - row * self._rise

    def _text(
        self, x: float, y: float, text: str, size: float = NORMAL, ha: Any = "center", va: Any = "center",
        rotation: int = 0,
    ) -> None:  # fmt: skip
        plain(self._ax.text(x, y, text, fontsize=size, ha=ha, va=va, rotation=rotation))

    def _frame(self, left: float, bottom: float, width: float, height: float) -> None:
        right, top = left + width, bottom + height
        self._lines([left, right, right, left, left], [bottom, bottom, top, top, bottom])

    def _lines(self, x: list[float], y: list[float]) -> None:
        from matplotlib.lines import Line2D

        self._ax.add_artist(Line2D(x, y, color="black", linewidth=0.8))


def _labels(length: int, names: Sequence[str]) -> list[tuple[float, str]]:
    """Places in 0..1 along an edge of so many cells, and what stands there."""
    from matplotlib.ticker import MaxNLocator

    if names:
        return [((i + 0.5) / length, name) for i, name in enumerate(names) if i < length]
    ticks = MaxNLocator(6, integer=True).tick_values(0, max(length - 1, 1))
    return [((tick + 0.5) / length, f"{tick:.0f}") for tick in ticks if 0 <= tick < length]
