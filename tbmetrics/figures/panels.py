"""Images in rows and columns: heat maps and contact sheets, laid out by hand so that drawing them costs little."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tbmetrics.figures.style import LARGE, NORMAL, SMALL, empty_figure, plain, short

if TYPE_CHECKING:
    from matplotlib.cm import ScalarMappable
    from matplotlib.figure import Figure

_TITLE, _GAP, _RIGHT, _BAR, _BAR_GAP, _TICK = 0.34, 0.08, 0.85, 0.17, 0.14, 0.05
_LEAST_WIDTH = 4.4

MOST_COLUMNS = 8  # of a contact sheet
_TILE, _TILE_GAP, _SHEET_TITLE, _LINE_HEIGHT = 1.35, 0.1, 0.4, 0.125  # inches
_LINE = 18  # characters under a tile
_KEY = 0.16  # inches for the line that explains the colours
_LEAST_SIDE, _OPACITY = 96, 0.6  # of the patches over an image


class PanelGrid:
    """Panels of one size, square unless `height` is given, and a colour bar on the right.

    All of it lies in one axes whose unit is the inch: drawing axes, ticks and a layout for each panel would take most
    of the time.

    Args:
        title: of the figure.
        count: panels; the last row may have fewer than `columns`.
        columns: panels in a row.
        size: width of a panel.
        left, below: room for the labels at the edges.
        above: room above every row, for the titles of panels.
        first_above: additional room above the first row.
        height: of a panel, if it is not its width.

    Attributes:
        figure: drawn by Agg, with no trace in pyplot.
    """

    def __init__(
        self, title: str, count: int, columns: int, size: float, *, left: float, below: float = 0.1, above: float = 0.0,
        first_above: float = 0.0, height: float | None = None,
    ) -> None:  # fmt: skip
        rows = -(-count // columns)
        self._count, self._columns, self._size, self._left = count, columns, size, left
        self._height = size if height is None else height
        self._rise = above + self._height + _GAP
        self._top = below + rows * self._rise - above - _GAP  # of the panels in the first row
        self._foot = below
        across = left + columns * (size + _GAP)
        width = max(across + _BAR_GAP + _BAR + _RIGHT, _LEAST_WIDTH)
        total = self._top + above + first_above + _TITLE
        self.figure = empty_figure(width, total)
        self._ax = self.figure.add_axes((0, 0, 1, 1), xlim=(0, width), ylim=(0, total), autoscale_on=False)
        self._ax.set_axis_off()
        self._bar_left = across + _BAR_GAP
        self._text(width / 2, total - 0.1, title, size=LARGE, va="top")

    def image(
        self, panel: int, values: NDArray[Any], title: str = "", title_size: float = NORMAL,
        proportions: tuple[int, ...] | None = None, **options: Any,
    ) -> Any:  # fmt: skip
        """Draw values by colour, or (height, width, 3) colours, in a panel; return matplotlib's image.

        They fill the panel, or as much of it as their `proportions`, height and width, allow.
        """
        left, bottom = self._corner(panel)
        width, height = self._size, self._height
        if title:
            self._text(left + width / 2, bottom + height + 0.05, title, size=title_size, va="bottom")
        if proportions is not None:
            scale = min(height / proportions[0], width / proportions[1])
            height, width = scale * proportions[0], scale * proportions[1]
            left, bottom = left + (self._size - width) / 2, bottom + (self._height - height) / 2
        frame = (left, left + width, bottom, bottom + height)
        drawn = self._ax.imshow(values, extent=frame, aspect="auto", interpolation="nearest", **options)
        self._frame(left, bottom, width, height)
        return drawn

    def name_rows(self, names: Sequence[str]) -> None:
        """Name the rows on the left."""
        for row, name in enumerate(names):
            middle = self._corner(row * self._columns)[1] + self._height / 2
            self._text(self._left - 0.16, middle, name, rotation=90)

    def label_left(self, length: int, names: Sequence[str], axis_label: str) -> None:
        """Label the rows of the leftmost heat maps with `names`, or with numbers if there are none."""
        for panel in range(0, self._count, self._columns):
            left, bottom = self._corner(panel)
            for place, text in _labels(length, names):
                y = bottom + self._height * (1 - place)
                self._lines([left - _TICK, left], [y, y])
                self._text(left - _TICK - 0.03, y, text, size=SMALL - 1, ha="right")
            self._text(0.14, bottom + self._height / 2, axis_label, rotation=90)

    def label_below(self, length: int, names: Sequence[str], axis_label: str) -> None:
        """Label the columns of the lowest heat maps with `names`, or with numbers if there are none."""
        for panel in range(max(0, self._count - self._columns), self._count):
            left, bottom = self._corner(panel)
            is_last_row = panel // self._columns == (self._count - 1) // self._columns
            for place, text in _labels(length, names):
                x = left + self._size * place
                self._lines([x, x], [bottom - _TICK, bottom])
                self._text(x, bottom - _TICK - 0.03, text, size=SMALL - 1, va="top", rotation=90 if names else 0)
            if is_last_row:
                self._text(left + self._size / 2, bottom - self._foot + 0.06, axis_label, va="bottom")

    def bar(self, colours: ScalarMappable, text: str, low: float, high: float) -> None:
        """Draw the scale of `colours` from `low` to `high`."""
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
        return self._left + column * (self._size + _GAP), self._top - self._height - row * self._rise

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
    """(position in 0..1, text) of the labels along an edge of `length` cells."""
    from matplotlib.ticker import MaxNLocator

    if names:
        return [((i + 0.5) / length, name) for i, name in enumerate(names) if i < length]
    ticks = MaxNLocator(6, integer=True).tick_values(0, max(length - 1, 1))
    return [((tick + 0.5) / length, f"{tick:.0f}") for tick in ticks if 0 <= tick < length]


# ---------------------------------------------------------------------------------------------- contact sheets


def contact_sheet(
    images: Sequence[NDArray[np.uint8]],
    captions: Sequence[str],
    title: str,
    attention: NDArray[np.floating] | None = None,
) -> Figure:
    """All `images` in one figure, each with its caption.

    Args:
        images: uint8 (height, width, 3), at least one; small ones are shown pixel by pixel.
        captions: one per image.
        title: of the sheet.
        attention: weights of the patches of each image, (images, rows, columns); the image is then repeated below in
            grey, with patches above the even share in orange and patches below it in purple.
    """
    columns = min(MOST_COLUMNS, len(images))
    rows = -(-len(images) // columns)
    lines = [_lines(caption) for caption in captions]
    tallest = max(_fitted(image)[1] for image in images)
    tiles = tallest if attention is None else 2 * tallest + _TILE_GAP / 2
    pitch = tiles + _LINE_HEIGHT * max(map(len, lines)) + _TILE_GAP  # of rows; all in inches
    key = 0.0 if attention is None else _KEY
    width = max((_TILE + _TILE_GAP) * columns + _TILE_GAP, _LEAST_WIDTH)
    height = pitch * rows + _SHEET_TITLE + key
    figure = empty_figure(width, height)
    plain(figure.text(0.5, 1 - 0.5 * _SHEET_TITLE / height, title, fontsize=LARGE, ha="center", va="center"))
    ax = figure.add_axes((0, 0, 1, 1))  # one for all images: an axes for each would take ten times as long to draw
    ax.set_axis_off()
    for i, image in enumerate(images):
        left, top = _TILE_GAP + (_TILE + _TILE_GAP) * (i % columns), height - _SHEET_TITLE - pitch * (i // columns)
        wide, high = _fitted(image)
        middle = left + _TILE / 2
        shown: list[NDArray[Any]] = [image] if attention is None else [image, laid_over(image, attention[i])]
        for row, picture in enumerate(shown):
            upper = top - row * (high + _TILE_GAP / 2)
            extent = (middle - wide / 2, middle + wide / 2, upper - high, upper)
            ax.imshow(picture, extent=extent, interpolation="nearest", aspect="auto")
        plain(ax.text(middle, upper - high - 0.04, "\n".join(lines[i]), fontsize=7, ha="center", va="top"))
    if attention is not None:
        text = "below each: attention on its patches; orange: more than the even share, purple: less"
        ax.text(width / 2, _TILE_GAP / 2, text, fontsize=7, ha="center", va="bottom")
    ax.set(xlim=(0, width), ylim=(0, height))
    return figure


def laid_over(image: NDArray[np.uint8], weights: NDArray[np.floating]) -> NDArray[np.float64]:
    """The image in grey under the coloured weights of its patches: (height, width, 3) in 0..1, at least 96 a side."""
    from matplotlib import colormaps

    scale = max(1, -(-_LEAST_SIDE // min(image.shape[:2])))
    grey = np.repeat(np.repeat(image.mean(axis=2) / 255, scale, axis=0), scale, axis=1)
    excess = weights * weights.size / max(float(weights.sum()), 1e-12) - 1  # over the even share
    reach = float(np.abs(excess).max()) or 1.0
    colours = colormaps["PuOr_r"](0.5 + 0.5 * excess / reach)[..., :3]
    rows, columns = (
        np.minimum(np.arange(side) * patches // side, patches - 1)
        for side, patches in zip(grey.shape, weights.shape, strict=True)
    )
    return _OPACITY * colours[rows][:, columns] + (1 - _OPACITY) * grey[..., None]


def _fitted(image: NDArray[np.uint8]) -> tuple[float, float]:
    """Width and height in inches of an image that fills a tile and keeps its proportions."""
    height, width = image.shape[:2]
    return _TILE * min(1.0, width / height), _TILE * min(1.0, height / width)


def _lines(caption: str) -> list[str]:
    """`caption` in lines of a tile's width, broken at its arrows, commas and spaces."""
    lines = [""]
    for word in caption.split(" "):
        fits = len(lines[-1]) + 1 + len(word) <= _LINE
        if lines[-1] and not fits:
            lines.append("")
        lines[-1] = f"{lines[-1]} {short(word)}".strip()
    return lines
