"""Ticks, grid and labels of an axis drawn in one go: matplotlib's own, an artist each, take half of a figure's time."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.artist import Artist
from matplotlib.font_manager import FontProperties
from matplotlib.path import Path
from matplotlib.transforms import Bbox, IdentityTransform

from tbmetrics.records import FloatArray

# In points: length of ticks, room to their labels, from there to the axis label; width of ticks, size of their labels.
_TICK, _PAD, _LABEL_PAD, _WIDTH, _SIZE = 3.5, 3.5, 4.0, 0.8, 10.0
_TALLEST = "lp"  # is as high and as deep as a line gets


class _TickText(NamedTuple):
    """Label of a tick, with the start of its baseline and its box in pixels."""

    text: str
    start: FloatArray
    box: Bbox


class Scale(Artist):
    """Draws the axis at the left or bottom; matplotlib's own, which still decides on limits and ticks, is hidden.

    Tick labels are plain text. Of the axis' tick parameters, `labelsize`, `labelrotation` and those of the grid count.

    Args:
        axis: of axes that have a figure.
    """

    def __init__(self, axis: Any) -> None:
        super().__init__()
        self._axis, self._ax, self._is_x = axis, axis.axes, axis.axis_name == "x"
        self._sizes: dict[tuple[float, float, str], tuple[float, float, float]] = {}
        self.set(zorder=0.5, clip_on=False)
        axis.set_visible(False)
        self._ax.add_artist(self)

    def get_window_extent(self, renderer: Any = None) -> Bbox:
        """Box of all texts; the axis label counts across the axis only."""
        boxes = [text.box for text in self._tick_texts(renderer, *self._ticks())]
        for text in self._other_texts(boxes):
            box = text.get_window_extent(renderer)
            if text is self._axis.label:
                x, y = (box.p0 + box.p1) / 2
                box = Bbox([(x, box.y0), (x, box.y1)] if self._is_x else [(box.x0, y), (box.x1, y)])
            boxes.append(box)
        corner = self._ax.bbox.p0
        return Bbox.union(boxes) if boxes else Bbox([corner, corner])

    def draw(self, renderer: Any) -> None:
        """Draw grid, ticks and texts."""
        if not self.get_visible() or not self._ax.axison:
            return
        places, labels = self._ticks()
        self._draw_lines(renderer, places)
        texts = list(self._tick_texts(renderer, places, labels))
        gc, height = renderer.new_gc(), renderer.get_canvas_width_height()[1]
        gc.set_foreground("black")
        font, angle = self._font(), self._angle()
        for text, (x, y), _ in texts:
            renderer.draw_text(gc, x, height - y if renderer.flipy() else y, text, font, angle)
        gc.restore()
        for other in self._other_texts([text.box for text in texts]):
            other.draw(renderer)
        self.stale = False

    # ------------------------------------------------------------------------------------------------ parts

    def _parameters(self) -> dict[str, Any]:
        parameters: dict[str, Any] = self._axis.get_tick_params()
        return parameters

    def _font(self) -> FontProperties:
        return FontProperties(size=self._parameters().get("labelsize", _SIZE))

    def _angle(self) -> float:
        """Of the labels, in degrees."""
        return float(self._parameters().get("rotation", 0))  # as matplotlib reports what it takes as "labelrotation"

    def _pixels(self, points: float) -> float:
        return float(points * self._ax.figure.dpi / 72)

    def _ticks(self) -> tuple[FloatArray, list[str]]:
        """Pixels along the axis, and labels, of the ticks in view."""
        values = np.asarray(self._axis.get_majorticklocs(), dtype=np.float64)
        labels = self._axis.get_major_formatter().format_ticks(values)
        i, inner = (0, self._ax.bbox.intervalx) if self._is_x else (1, self._ax.bbox.intervaly)
        points = np.zeros((len(values), 2))
        points[:, i] = values
        to_pixels = self._ax.get_xaxis_transform() if self._is_x else self._ax.get_yaxis_transform()
        places = to_pixels.transform(points)[:, i]
        shown = (places >= inner[0] - 0.5) & (places <= inner[1] + 0.5)
        return places[shown], [label for label, is_shown in zip(labels, shown, strict=True) if is_shown]

    def _draw_lines(self, renderer: Any, places: FloatArray) -> None:
        """The grid across the axes, and ticks outside them."""
        inner, parameters = self._ax.bbox, self._parameters()
        edge, far = (inner.y0, inner.y1) if self._is_x else (inner.x0, inner.x1)
        gc = renderer.new_gc()
        if parameters["gridOn"]:
            gc.set_foreground(parameters.get("grid_color", "#b0b0b0"))
            gc.set_linewidth(parameters.get("grid_linewidth", _WIDTH))
            gc.set_clip_rectangle(inner)
            self._draw_across(renderer, gc, places, edge, far)
            gc.set_clip_rectangle(None)
        gc.set_foreground("black")
        gc.set_linewidth(_WIDTH)
        self._draw_across(renderer, gc, places, edge - self._pixels(_TICK), edge)
        gc.restore()

    def _draw_across(self, renderer: Any, gc: Any, places: FloatArray, start: float, end: float) -> None:
        """Lines across the axis, from `start` to `end`, at each of `places`."""
        points = np.empty((len(places), 2, 2))
        along, across = (0, 1) if self._is_x else (1, 0)
        points[:, :, along], points[:, :, across] = places[:, None], (start, end)
        codes = np.tile(np.array([Path.MOVETO, Path.LINETO], dtype=Path.code_type), len(places))
        renderer.draw_path(gc, Path(points.reshape(-1, 2), codes), IdentityTransform())

    def _tick_texts(self, renderer: Any, places: FloatArray, labels: list[str]) -> Iterator[_TickText]:
        """Labels below the axis, or left of it; slanted ones end at their tick."""
        font = self._font()
        angle = math.radians(self._angle())
        turn = np.array([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]])
        inner, gap = self._ax.bbox, self._pixels(_TICK + _PAD)
        _, ascent, depth = self._size(renderer, _TALLEST, font)
        for place, text in zip(places, labels, strict=True):
            if not text:
                continue
            width = self._size(renderer, text, font)[0]
            if not self._is_x:
                anchor, offset = (inner.x0 - gap, place), (-width, -ascent / 2)
            else:
                anchor, offset = (place, inner.y0 - gap), (-width if angle else -width / 2, -ascent)
            start = anchor + np.array(offset) @ turn
            corners = start + np.array([(0, -depth), (width, -depth), (0, ascent), (width, ascent)]) @ turn
            yield _TickText(text, start, Bbox([corners.min(axis=0), corners.max(axis=0)]))

    def _size(self, renderer: Any, text: str, font: FontProperties) -> tuple[float, float, float]:
        """Width, height above the baseline and depth below it, in pixels; measured once."""
        key = (self._ax.figure.dpi, font.get_size_in_points(), text)
        if key not in self._sizes:
            width, height, depth = renderer.get_text_width_height_descent(text, font, False)
            self._sizes[key] = (width, height - depth, depth)
        return self._sizes[key]

    def _other_texts(self, boxes: Sequence[Bbox]) -> Iterator[Any]:
        """The axis label and what its numbers have in common, such as 1e-5, placed beside the labels of its ticks."""
        inner = self._ax.bbox
        around = Bbox.union([*boxes, inner])
        label, offset = self._axis.label, self._axis.offsetText
        if label.get_text():
            gap = self._pixels(_LABEL_PAD)
            label.set_position((0.5, around.y0 - gap) if self._is_x else (around.x0 - gap, 0.5))
            yield label
        offset.set_text(self._axis.get_major_formatter().get_offset())
        if offset.get_text():
            gap = self._pixels(3)
            offset.set_position((1, around.y0 - gap) if self._is_x else (0, inner.y1 + gap))
            yield offset
