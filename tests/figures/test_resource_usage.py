"""The figures of resource usage: what is drawn is what the history holds, however many epochs and components."""

import numpy as np
import pytest

from tbmetrics.figures.resource_data import (
    COMPONENTS_SHOWN,
    Span,
    batch_points,
    read_components,
    read_typical_step,
    timeline_text,
)
from tbmetrics.figures.resource_usage import BARS_SHOWN, component_images, figures
from tbmetrics.records import Scalar, Text, tag_part
from tbmetrics.records.history import History, TimedRecord
from tests.figures.drawing import png

TAG = "resource_usage"
ALL = {"component_times", "component_shares", "throughput", "memory", "memory_by_batch_size", "typical_step"}
HOSTILE = "$x$/<b>|\n`y`"


def _history(epochs=3, components=("data_loading", "forward_pass", "backward_pass")):
    history = History("run")

    def put(step, name, value):
        history.add(TimedRecord(step, 0.0, Scalar(f"{TAG}/{name}", value)))

    for epoch in range(epochs):
        for i, name in enumerate((*components, "other")):
            put(epoch, f"component_seconds/{tag_part(name)}", 1.0 + i + 0.1 * epoch)
        put(epoch, "throughput_samples_per_second", 100.0 + epoch)
        put(epoch, "memory/host_rss_bytes", 2**30 + epoch * 2**20)
        put(epoch, "memory/peak_bytes", 3 * 2**30)
        put(epoch, "memory/fragmentation_share", 0.1)
        spans = [Span(name, 0.001 * i, 0.001 * (i + 1)) for i, name in enumerate(components)]
        history.add(TimedRecord(epoch, 0.0, Text(f"{TAG}/typical_step", timeline_text(0.001 * len(components), spans))))
    for size in (8, 16, 32):
        put(size, "memory_by_batch_size/peak_bytes", 2**30 + size * 10 * 2**20)
    for name, value in {
        "fixed_bytes": 2**30,
        "bytes_per_sample": 10 * 2**20,
        "largest_batch": 700,
        "largest_batch_lower": 650,
        "largest_batch_upper": 750,
        "capacity_bytes": 8 * 2**30,
    }.items():
        put(0, f"batch_memory/{name}", value)
    return history


def _texts(figure):
    return [text.get_text() for text in figure.findobj(lambda artist: hasattr(artist, "get_text"))]


@pytest.mark.slow
def test_every_figure_is_drawn_from_a_full_history():
    drawn = dict(figures(_history()))
    assert set(drawn) == ALL
    for figure in drawn.values():
        assert png(figure).shape[1] > 200


def test_an_empty_history_has_no_figures():
    assert list(figures(History())) == []
    assert list(component_images(History(), 0)) == []


def test_only_the_rest_is_no_figure_of_components():
    assert set(dict(figures(_history(components=())))) == ALL - {"component_times", "component_shares", "typical_step"}


def test_stacked_bars_add_up_to_the_epoch():
    history = _history(epochs=3)
    (ax,) = dict(figures(history))["component_times"].axes
    tops = {}
    for bar in ax.patches:
        epoch = round(bar.get_x() + bar.get_width() / 2)
        tops[epoch] = max(tops.get(epoch, 0), bar.get_y() + bar.get_height())
    wall = {epoch: sum(1.0 + i + 0.1 * epoch for i in range(4)) for epoch in range(3)}
    assert tops == pytest.approx(wall)


def test_shares_add_up_to_one_and_are_written_beside_the_bars():
    figure = dict(figures(_history(), step=1))["component_shares"]
    (bars,) = figure.axes
    (pie,) = bars.child_axes
    assert sum(bar.get_width() for bar in bars.patches) == pytest.approx(1)
    assert sum(w.theta2 - w.theta1 for w in pie.patches) == pytest.approx(360)
    assert "Share of time, epoch 1" in _texts(figure)
    assert any(text.startswith("29.8%") for text in _texts(figure))  # backward: 3.1 of 10.4 s


@pytest.mark.slow
def test_many_components_and_epochs_stay_readable():
    names = [f"component {i}" for i in range(30)]
    history = _history(epochs=BARS_SHOWN + 40, components=names)
    components = read_components(history)
    assert len(components.names) == COMPONENTS_SHOWN + 1
    assert components.names[-1] == "other"
    assert components.seconds[:, 0].sum() == pytest.approx(sum(1.0 + i for i in range(31)))
    drawn = dict(figures(history))
    assert not drawn["component_times"].axes[0].patches  # areas, not bars
    assert len(drawn["component_times"].axes[0].collections) == COMPONENTS_SHOWN + 1


def test_a_component_that_came_later_counts_nothing_before():
    history = _history(epochs=2)
    history.add(TimedRecord(1, 0.0, Scalar(f"{TAG}/component_seconds/late", 5.0)))
    components = read_components(history)
    assert components.seconds[components.names.index("late")].tolist() == [0.0, 5.0]


@pytest.mark.slow
def test_names_are_text_in_every_figure():
    history = _history(components=(HOSTILE, "b"))
    drawn = dict(figures(history))
    for name in ("component_times", "component_shares", "typical_step"):
        png(drawn[name])
        assert any("$x$/<b>|" in text for text in _texts(drawn[name])), name


def test_the_line_over_the_batch_size_says_what_fits():
    figure = dict(figures(_history()))["memory_by_batch_size"]
    texts = _texts(figure)
    assert "largest batch predicted: 700 (650 to 750)" in texts
    assert any(text.startswith("line: ") and text.endswith("10 MiB a sample") for text in texts)
    (points,) = [c for c in figure.axes[0].collections if len(c.get_offsets()) == 3]
    np.testing.assert_allclose(points.get_offsets()[:, 0], [8, 16, 32])


def test_what_fits_is_drawn_where_it_is_near():
    history = _history()
    assert "what fits" not in _texts(dict(figures(history))["memory_by_batch_size"])
    history.add(TimedRecord(1, 0.0, Scalar(f"{TAG}/batch_memory/capacity_bytes", 1.4 * 2**30)))
    assert "what fits" in _texts(dict(figures(history))["memory_by_batch_size"])


def test_two_sizes_have_no_interval_and_one_no_line():
    history = History()
    for size in (8, 16):
        history.add(TimedRecord(size, 0.0, Scalar(f"{TAG}/memory_by_batch_size/peak_bytes", size * 2.0**20)))
        texts = _texts(dict(figures(history))["memory_by_batch_size"])
        assert not [text for text in texts if text.startswith(("line", "largest"))]
    for name, value in {"fixed_bytes": 0.0, "bytes_per_sample": 2.0**20, "largest_batch": 99.0}.items():
        history.add(TimedRecord(0, 0.0, Scalar(f"{TAG}/batch_memory/{name}", value)))
    assert "largest batch predicted: 99" in _texts(dict(figures(history))["memory_by_batch_size"])


def test_points_of_real_runs_are_epochs_of_different_batch_sizes():
    history = History()
    for epoch, (size, peak) in enumerate([(8, 100.0), (16, 180.0), (16, 181.0)]):
        history.add(TimedRecord(epoch, 0.0, Scalar(f"{TAG}/largest_batch_size", size)))
        history.add(TimedRecord(epoch, 0.0, Scalar(f"{TAG}/memory/peak_bytes", peak)))
        sizes, peaks = batch_points(history)
        assert len(sizes) == (0 if epoch == 0 else epoch + 1)
    assert sizes.tolist() == [8, 16, 16]
    assert peaks.tolist() == [100, 180, 181]


def test_the_typical_step_comes_back_from_its_text():
    spans = [Span(HOSTILE.replace("\n", " "), 0.0, 0.001234567), Span("a|b", 0.002, 0.005)]
    history = History()
    history.add(TimedRecord(4, 0.0, Text(f"{TAG}/typical_step", timeline_text(0.0060001, spans))))
    seconds, read_spans = read_typical_step(history, None)
    assert seconds == pytest.approx(0.0060001)
    assert [span.name for span in read_spans] == [span.name for span in spans]
    np.testing.assert_allclose([s[1:] for s in read_spans], [s[1:] for s in spans], atol=1e-9)
    assert read_typical_step(history, 4)[1] == read_spans
    assert read_typical_step(history, 3)[1] == []
    history.add(TimedRecord(5, 0.0, Text(f"{TAG}/typical_step", "something else")))
    assert read_typical_step(history, None)[1] == []


def test_an_epoch_that_is_not_there_is_said():
    with pytest.raises(KeyError, match="nothing was recorded at epoch 9; there are 0 to 2"):
        list(figures(_history(), step=9))


@pytest.mark.slow
def test_images_are_pixels():
    drawn = dict(component_images(_history(), 2))
    assert set(drawn) == {"component_times", "component_shares"}
    for pixels in drawn.values():
        assert pixels.dtype == np.uint8
        assert pixels.ndim == 3
        assert pixels.shape[2] == 3
        assert len(np.unique(pixels.reshape(-1, 3), axis=0)) > 4
