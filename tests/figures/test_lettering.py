"""Texts that are remembered look as matplotlib would draw them, wherever and however they stand."""

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from tbmetrics.figures.lettering import Canvas
from tbmetrics.figures.style import empty_figure


def _drawn(canvas, *texts, **options):
    """Pixels of a figure with texts, (height, width, 3)."""
    figure = empty_figure(3, 2)
    for x, y, text in texts:
        figure.text(x, y, text, **options)
    canvas(figure).draw()
    return np.asarray(figure.canvas.buffer_rgba())[..., :3].astype(int)


def _box(pixels):
    rows, columns = np.nonzero((pixels < 200).any(axis=2))
    return np.array([rows.min(), rows.max(), columns.min(), columns.max()])


@pytest.mark.parametrize("options", [{}, {"rotation": 90}, {"rotation": 60, "fontsize": 7}, {"color": "#0072b2"},
                                     {"style": "italic"}, {"alpha": 0.5}, {"ha": "right", "va": "top"}])  # fmt: skip
def test_texts_look_as_usual(options):
    for text in ("head (24)", "two\nlines", "x $y^2$", "−10⁻³ élan"):
        usual, remembered = (_drawn(canvas, (0.5, 0.4, text), **options) for canvas in (FigureCanvasAgg, Canvas))
        assert np.abs(_box(usual) - _box(remembered)).max() <= 1
        assert (255 - remembered).sum() == pytest.approx((255 - usual).sum(), rel=0.03)


def test_a_text_is_the_same_the_second_time_and_cut_at_the_edges():
    first, second = (_drawn(Canvas, (0.9, 0.97, "beyond the edge"), (0.1, 0.1, "inside")) for _ in range(2))
    np.testing.assert_array_equal(first, second)
    assert (first[:10, -20:] < 200).any()
