"""Figures of logs that tbmetrics does not know: they show the numbers, page by page, whatever the numbers are."""

import numpy as np
import pytest

from tbmetrics.figures import other
from tbmetrics.records import Histogram, PRCurve, Scalar
from tbmetrics.records.history import History, TimedRecord


def _history(*records, steps=range(5)):
    history = History("r")
    for step in steps:
        for record in records:
            history.add(TimedRecord(step, 0.0, record(step)))
    return history


def _figures(history, **options):
    return dict(other.figures(history, **options))


def test_scalars_of_a_group_share_a_figure_and_many_go_on_in_another():
    tags = [f"norm/layer{i}" for i in range(14)]
    history = _history(*(lambda s, t=tag: Scalar(t, s * 2.0) for tag in [*tags, "lr"]))
    drawn = _figures(history)
    assert list(drawn) == ["scalars/lr", "scalars/norm", "scalars/norm/2"]
    titles = [ax.get_title() for figure in (drawn["scalars/norm"], drawn["scalars/norm/2"]) for ax in figure.axes]
    assert [title for title in titles if title] == [f"layer{i}" for i in range(14)]
    (line,) = drawn["scalars/lr"].axes[0].lines
    assert line.get_xydata().tolist() == [[s, 2.0 * s] for s in range(5)]
    assert list(_figures(history, page=3)) == ["scalars/lr/3", "scalars/norm/3", "scalars/norm/4"]


def test_long_lines_are_thinned_with_their_extremes():
    values = np.random.default_rng(0).normal(size=5000)
    history = _history(lambda s: Scalar("x", float(values[s])), steps=range(5000))
    (ax,) = _figures(history)["scalars/x"].axes
    assert len(ax.lines[0].get_xdata()) == other.POINTS_SHOWN
    band = ax.collections[0].get_paths()[0].vertices[:, 1]
    assert (band.min(), band.max()) == pytest.approx((values.min(), values.max()))


def test_what_is_not_finite_is_said():
    history = _history(lambda s: Scalar("x", float("nan") if s == 2 else s), lambda s: Scalar("y", float("inf")))
    x, y = (_figures(history)[f"scalars/{tag}"].axes[0] for tag in "xy")
    assert x.get_xlabel() == "step (×: 1 not finite)"
    assert x.lines[1].get_xdata().tolist() == [2]
    assert [text.get_text() for text in y.texts] == ["no finite value"]


def _histogram(values, tag="h", buckets=200):
    counts, edges = np.histogram(values, buckets)
    return Histogram(tag, edges[1:], counts.astype(float), values.min(), values.max(), values.sum(), (values**2).sum())


def test_quantiles_of_a_histogram_over_steps_are_those_of_the_values():
    values = np.random.default_rng(0).normal(size=20_000)
    history = _history(lambda s: _histogram(values * (s + 1)))
    (ax,) = _figures(history)["histograms/h"].axes
    median = ax.lines[0].get_ydata()
    band = ax.collections[0].get_paths()[0].vertices
    for step in range(5):
        bounds = band[band[:, 0] == step][:, 1]
        expected = np.quantile(values * (step + 1), [0.05, 0.5, 0.95])
        assert (bounds.min(), median[step], bounds.max()) == pytest.approx(expected, abs=0.05 * (step + 1))


def test_a_gap_between_values_stays_a_gap():
    values = np.concatenate([np.full(90, -1.0), np.full(10, 5.0)])
    quantiles = other._quantiles(_histogram(values))
    assert quantiles[:4] == pytest.approx([-1] * 4, abs=0.05)
    assert quantiles[4] == pytest.approx(5, abs=0.05)


@pytest.mark.parametrize(
    ("limits", "counts", "message"),
    [([], [], "no values"), ([1.0], [0.0], "no values"), ([0.0, 0.0], [0.0, 100.0], "all values are 0")],
)
def test_a_histogram_without_a_shape_says_so(limits, counts, message):
    record = Histogram("h", np.array(limits), np.array(counts), 0.0, 0.0, 0.0, 0.0)
    (ax,) = _figures(_history(lambda s: record, steps=[0]))["histograms/h"].axes
    assert [text.get_text() for text in ax.texts] == [message]


def test_a_single_histogram_keeps_its_count():
    values = np.random.default_rng(0).exponential(size=1000)
    (ax,) = _figures(_history(lambda s: _histogram(values), steps=[0]))["histograms/h"].axes
    assert ax.patches[0].get_data().values.sum() == pytest.approx(1000)


def test_pr_curves_show_the_start_the_middle_and_the_end():
    def curve(step):
        counts = np.array([4.0, 2.0, 0.0])
        recall = np.array([1.0, 0.5, 0.0]) / (step + 1)
        return PRCurve("pr/a", np.linspace(0, 1, 3), counts, counts, counts, counts, np.full(3, 0.5), recall)

    (ax,) = _figures(_history(curve))["pr_curves/pr"].axes
    assert [text.get_text() for text in ax.get_legend().get_texts()] == [
        "start: step 0", "middle: step 2", "end: step 4"
    ]  # fmt: skip
    assert ax.lines[2].get_xdata() == pytest.approx([0.2, 0.1])  # where nothing is called there is no precision
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("recall", "precision")


def test_names_are_text_and_long_ones_keep_both_ends():
    tag = "$group$/" + "a" * 100 + "_the_end"
    (ax,) = _figures(_history(lambda s: Scalar(tag, 1.0)))["scalars/$group$"].axes
    assert not ax.title.get_parse_math()
    assert ax.get_title().startswith("aaa")
    assert ax.get_title().endswith("_the_end")
    assert len(ax.get_title()) <= 60
