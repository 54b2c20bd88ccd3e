"""Axes drawn in one go: their ticks, names and limits are those that matplotlib would draw."""

import numpy as np
import pytest

from tbmetrics.figures.scales import Scale
from tbmetrics.figures.style import label, new_figure, set_ticks
from tests.figures.drawing import png


def _extents(figure):
    """Box of each scale, in pixels, after drawing."""
    figure.canvas.draw()
    renderer = figure.canvas.get_renderer()
    return [scale.get_window_extent(renderer) for scale in figure.findobj(Scale)]


def _figure(**options):
    figure, (ax,) = new_figure("title")
    ax.plot([0, 1, 2], [1e-7, 3e-7, 2e-7])
    set_ticks(ax.xaxis, [0, 1, 2], ["$zero", "one", "two"], **options)
    label(ax, x="x", y="y")
    return figure


def test_boxes_are_those_of_matplotlib():
    figure = _figure()
    across, up = _extents(figure)
    renderer, ax = figure.canvas.get_renderer(), figure.axes[0]
    for scale, axis in ((across, ax.xaxis), (up, ax.yaxis)):
        axis.set_visible(True)
        usual = axis.get_tightbbox(renderer, for_layout_only=True)
        np.testing.assert_allclose(scale.extents, usual.extents, atol=3)


def test_everything_lies_within_the_figure_and_slanted_names_need_more_room():
    straight, slanted = _figure(), _figure(rotation=60)
    for figure in (straight, slanted):
        for box in _extents(figure):
            assert min(box.x0, box.y0, figure.bbox.width - box.x1) >= 0
    assert slanted.axes[0].get_position().y0 > straight.axes[0].get_position().y0


@pytest.mark.parametrize("fmt", ["svg", "pdf"])
def test_other_formats_have_the_names_too(tmp_path, fmt):
    figure = _figure()
    figure.savefig(tmp_path / f"a.{fmt}")
    figure.axes[0].set_axis_off()
    figure.savefig(tmp_path / f"b.{fmt}")
    assert (tmp_path / f"a.{fmt}").stat().st_size > 1.2 * (tmp_path / f"b.{fmt}").stat().st_size


def test_names_are_drawn_as_they_are_and_grids_only_where_wanted():
    figure = _figure()
    assert [text.get_text() for text in figure.axes[0].get_xticklabels()] == ["$zero", "one", "two"]
    drawn = png(figure)
    figure.axes[0].grid(visible=False)
    assert (png(figure) < 250).sum() < (drawn < 250).sum()
