"""Contact sheets: a few samples of a group side by side, each with what it is and what it was taken for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tbmetrics.figures.style import LARGE, plain, short

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST_COLUMNS = 8
_TILE, _GAP, _TITLE, _LINE_HEIGHT = 1.35, 0.1, 0.4, 0.125  # inches
_LINE = 18  # characters under a tile
_KEY = 0.16  # inches for the line that explains the colours
_LEAST_SIDE, _OPACITY = 96, 0.6  # of what is laid over an image


def contact_sheet(
    images: Sequence[NDArray[np.uint8]],
    captions: Sequence[str],
    title: str,
    attention: NDArray[np.floating] | None = None,
) -> Figure:
    """One figure of all `images`.

    Args:
        images: uint8 (height, width, 3), at least one; small ones are shown pixel by pixel.
        captions: one for each.
        title: of the sheet.
        attention: weights of the patches of each image, (images, rows, columns); each is then shown once more below, in
            grey, with the patches that get more than the even share in orange and those that get less in purple.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    columns = min(MOST_COLUMNS, len(images))
    rows = -(-len(images) // columns)
    lines = [_lines(caption) for caption in captions]
    tiles = _TILE if attention is None else 2 * _TILE + _GAP / 2
    pitch = tiles + _LINE_HEIGHT * max(map(len, lines)) + _GAP  # of rows; all in inches
    key = 0.0 if attention is None else _KEY
    width, height = max((_TILE + _GAP) * columns + _GAP, 4.4), pitch * rows + _TITLE + key
    figure = Figure(figsize=(width, height), facecolor="white")
    FigureCanvasAgg(figure)
    plain(figure.text(0.5, 1 - 0.5 * _TITLE / height, title, fontsize=LARGE, ha="center", va="center"))
    ax = figure.add_axes((0, 0, 1, 1))  # one for all: a sheet is drawn in a tenth of the time of one axes each
    ax.set_axis_off()
    for i, image in enumerate(images):
        left, top = _GAP + (_TILE + _GAP) * (i % columns), height - _TITLE - pitch * (i // columns)
        wide, high = _fitted(image)
        middle = left + _TILE / 2
        shown: list[NDArray[Any]] = [image] if attention is None else [image, laid_over(image, attention[i])]
        for place, picture in enumerate(shown):
            upper = top - place * (high + _GAP / 2)
            extent = (middle - wide / 2, middle + wide / 2, upper - high, upper)
            ax.imshow(picture, extent=extent, interpolation="nearest", aspect="auto")
        plain(ax.text(middle, top - tiles - 0.04, "\n".join(lines[i]), fontsize=7, ha="center", va="top"))
    if attention is not None:
        text = "below each: attention on its patches; orange: more than the even share, purple: less"
        ax.text(width / 2, _GAP / 2, text, fontsize=7, ha="center", va="bottom")
    ax.set(xlim=(0, width), ylim=(0, height))
    return figure


def laid_over(image: NDArray[np.uint8], weights: NDArray[np.floating]) -> NDArray[np.float64]:
    """The image in grey with the weights of its patches laid over, (height, width, 3) in 0..1, at least 96 a side."""
    from matplotlib import colormaps

    times = max(1, -(-_LEAST_SIDE // min(image.shape[:2])))
    grey = np.repeat(np.repeat(image.mean(axis=2) / 255, times, axis=0), times, axis=1)
    even = weights * weights.size / max(float(weights.sum()), 1e-12) - 1
    reach = float(np.abs(even).max()) or 1.0
    colours = colormaps["PuOr_r"](0.5 + 0.5 * even / reach)[..., :3]
    rows, columns = (
        np.minimum(np.arange(side) * patches // side, patches - 1)
        for side, patches in zip(grey.shape, weights.shape, strict=True)
    )
    return _OPACITY * colours[rows][:, columns] + (1 - _OPACITY) * grey[..., None]


def _fitted(image: NDArray[np.uint8]) -> tuple[float, float]:
    """Width and height in inches at which an image fills a tile and keeps its proportions."""
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
