"""Contact sheets: a few samples of a group side by side, each with what it is and what it was taken for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from tbmetrics.figures.style import LARGE, plain, short

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST_COLUMNS = 8
_TILE, _GAP, _TITLE, _LINE_HEIGHT = 1.35, 0.1, 0.4, 0.125  # inches
_LINE = 18  # characters under a tile


def contact_sheet(images: Sequence[NDArray[np.uint8]], captions: Sequence[str], title: str) -> Figure:
    """One figure of all `images`.

    Args:
        images: uint8 (height, width, 3), at least one; small ones are shown pixel by pixel.
        captions: one for each.
        title: of the sheet.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    columns = min(MOST_COLUMNS, len(images))
    rows = -(-len(images) // columns)
    lines = [_lines(caption) for caption in captions]
    pitch = _TILE + _LINE_HEIGHT * max(map(len, lines)) + _GAP  # of rows; all in inches
    width, height = max((_TILE + _GAP) * columns + _GAP, 4.4), pitch * rows + _TITLE
    figure = Figure(figsize=(width, height), facecolor="white")
    FigureCanvasAgg(figure)
    plain(figure.text(0.5, 1 - 0.5 * _TITLE / height, title, fontsize=LARGE, ha="center", va="center"))
    ax = figure.add_axes((0, 0, 1, 1))  # one for all: a sheet is drawn in a tenth of the time of one axes each
    ax.set_axis_off()
    for i, image in enumerate(images):
        left, top = _GAP + (_TILE + _GAP) * (i % columns), height - _TITLE - pitch * (i // columns)
        wide, high = _fitted(image)
        middle = left + _TILE / 2
        extent = (middle - wide / 2, middle + wide / 2, top - high, top)
        ax.imshow(image, extent=extent, interpolation="nearest", aspect="auto")
        plain(ax.text(middle, top - _TILE - 0.04, "\n".join(lines[i]), fontsize=7, ha="center", va="top"))
    ax.set(xlim=(0, width), ylim=(0, height))
    return figure


def _fitted(image: NDArray[np.uint8]) -> tuple[float, float]:
    """Width and height in inches at which an image fills a tile and keeps its proportions."""
    height, width = image.shape[:2]
    return _TILE * min(1.0, width / height), _TILE * min(1.0, height / width)


def _lines(caption: str) -> list[str]:
    """`caption` in lines of a tile's width, broken at its arrows, commas and spaces."""
    lines = [""]
    for word in caption.split():
        fits = len(lines[-1]) + 1 + len(word) <= _LINE
        if lines[-1] and not fits:
            lines.append("")
        lines[-1] = f"{lines[-1]} {short(word)}".strip()
    return lines
