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
_TILE = 1.35  # inches
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
    text = 0.14 * max(map(len, lines)) + 0.1
    size = (max(_TILE * columns, 3.4), (_TILE + text) * rows + 0.4)
    figure = Figure(figsize=size, layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    plain(figure.suptitle(short(title) if len(images) == 1 else title, fontsize=LARGE))
    for i, ax in enumerate(figure.subplots(rows, columns, squeeze=False).flat):
        if i >= len(images):
            ax.set_axis_off()
            continue
        ax.imshow(images[i], interpolation="nearest")
        ax.set(xticks=[], yticks=[])
        ax.spines[:].set_visible(False)
        plain(ax.set_xlabel("\n".join(lines[i]), fontsize=7, labelpad=2))
    return figure


def _lines(caption: str) -> list[str]:
    """`caption` in lines of a tile's width, broken at its arrows, commas and spaces."""
    lines = [""]
    for word in caption.split():
        fits = len(lines[-1]) + 1 + len(word) <= _LINE
        if lines[-1] and not fits:
            lines.append("")
        lines[-1] = f"{lines[-1]} {short(word)}".strip()
    return lines
