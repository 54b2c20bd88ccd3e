"""A canvas that remembers how texts look: most texts of a figure stand in others too, and setting one is costly."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any, NamedTuple

import matplotlib as mpl
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg, RendererAgg
from matplotlib.font_manager import FontProperties
from numpy.typing import NDArray

_MOST_TEXTS = 2048
_MARGIN = 3  # pixels
#: Settings of matplotlib that decide how a text looks.
_SETTINGS = ("font.family", "font.sans-serif", "text.hinting", "text.hinting_factor")


class Lettering(NamedTuple):
    """A text as coverage of pixels, uint8 (rows, columns) from below, and the place where its baseline begins."""

    coverage: NDArray[np.uint8]
    column: int
    row: int


class Renderer(RendererAgg):  # type: ignore[misc]
    """Draws texts at whole pixels."""

    def get_text_width_height_descent(self, s: str, prop: FontProperties, ismath: Any) -> tuple[float, float, float]:
        """Size of a text in pixels."""
        if ismath:
            size: tuple[float, float, float] = super().get_text_width_height_descent(s, prop, ismath)
            return size
        return _size(s, prop.copy(), self.dpi, _settings())

    def draw_text(
        self, gc: Any, x: float, y: float, s: str, prop: FontProperties, angle: float, ismath: Any = False,
        mtext: Any = None,
    ) -> None:  # fmt: skip
        """Draw a text whose baseline begins at (x, y), y from above."""
        *colour, alpha = gc.get_rgb()
        if ismath or alpha != 1 or gc.get_alpha() != 1 or not gc.get_antialiased():
            super().draw_text(gc, x, y, s, prop, angle, ismath, mtext)
            return
        lettering = _lettering(s, prop.copy(), float(angle), self.dpi, _settings())
        rows, columns = lettering.coverage.shape
        image = np.empty((rows, columns, 4), dtype=np.uint8)
        image[..., :3] = np.round(255 * np.array(colour))
        image[..., 3] = lettering.coverage
        self.draw_image(gc, round(x) - lettering.column, int(self.height) - round(y) - lettering.row, image)


class Canvas(FigureCanvasAgg):  # type: ignore[misc]
    """Draws a figure with a `Renderer`."""

    _renderer: Renderer | None = None

    def get_renderer(self) -> Renderer:
        """The renderer, a new one if the figure has another size."""
        size = (*self.figure.bbox.size, self.figure.dpi)
        known = self._renderer
        if known is None or (known.width, known.height, known.dpi) != size:
            self._renderer = known = Renderer(*size)
        return known


def _settings() -> tuple[Any, ...]:
    return tuple(tuple(value) if isinstance(value := mpl.rcParams[name], list) else value for name in _SETTINGS)


@lru_cache(_MOST_TEXTS)
def _size(text: str, font: FontProperties, dpi: float, _: tuple[Any, ...]) -> tuple[float, float, float]:
    size: tuple[float, float, float] = RendererAgg(1, 1, dpi).get_text_width_height_descent(text, font, False)
    return size


@lru_cache(_MOST_TEXTS)
def _lettering(text: str, font: FontProperties, angle: float, dpi: float, settings: tuple[Any, ...]) -> Lettering:
    width, height, depth = _size(text, font, dpi, settings)
    sin, cos = math.sin(math.radians(angle)), math.cos(math.radians(angle))
    # Corners from the start of the baseline, as matplotlib's pixels, from above.
    corners = np.array([(0.0, depth), (width, depth), (0.0, depth - height), (width, depth - height)])
    turned = corners @ np.array([[cos, -sin], [sin, cos]])
    (left, top), (right, bottom) = np.floor(turned.min(axis=0)) - _MARGIN, np.ceil(turned.max(axis=0)) + _MARGIN
    canvas = RendererAgg(right - left, bottom - top, dpi)
    canvas.draw_text(canvas.new_gc(), -left, -top, text, font, angle)
    coverage = np.asarray(canvas.buffer_rgba())[::-1, :, 3].copy()
    return Lettering(coverage, int(-left), int(bottom))
