"""Names beside the points of a scatter plot, each where there is room."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from tbmetrics.figures.style import plain, short
from tbmetrics.records import FloatArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_Box = tuple[float, float, float, float]


def name_points(ax: Axes, names: Sequence[str], x: FloatArray, y: FloatArray) -> None:
    """Names the points, each where there is room beside it; a name without room is left out.

    Args:
        ax: with its scales and limits set.
        names: one a point.
        x, y: where the points are, (points,).
    """
    taken: list[_Box] = []
    for name, *at in zip(map(short, names), x.tolist(), y.tolist(), strict=True):
        across, up = ax.transData.transform(at)
        width, height = 5.2 * len(name), 12.0
        for dx, dy in ((6.0, 5.0), (-6.0 - width, 5.0), (6.0, -15.0), (-6.0 - width, -15.0)):
            box = (across + dx, up + dy, across + dx + width, up + dy + height)
            if ax.bbox.x0 <= box[0] and box[2] <= ax.bbox.x1 and not any(_overlap(box, other) for other in taken):
                taken.append(box)
                offset = (dx * 0.72, dy * 0.72)  # points, at matplotlib's 100 dots an inch
                plain(ax.annotate(name, (at[0], at[1]), xytext=offset, textcoords="offset points", fontsize=7))
                break


def _overlap(a: _Box, b: _Box) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]
