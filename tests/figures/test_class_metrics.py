"""Figures hold the numbers of their history, for three classes and for thousands, and show names as they are."""

import numpy as np
import pytest
import torch

from tbmetrics import ClassGroups, ClassPerformanceTracker
from tbmetrics.figures.class_metrics import figures
from tbmetrics.records import group_table_tag
from tests.figures.drawing import by_name, png

KINDS = {
    "class_distribution",
    "metrics_by_group",
    "metrics_over_steps",
    "pr_curves",
    "f1_by_training_count",
    "confusion_by_group",
}


def _history(counts, epochs=2, n=60, attribute="x"):
    tracker = ClassPerformanceTracker(classes=ClassGroups.from_counts({attribute: counts}))
    generator = torch.Generator().manual_seed(0)
    for epoch in range(epochs):
        labels = torch.arange(n) % len(counts)
        tracker.update(torch.randn(n, len(counts), generator=generator) + epoch, labels)
        tracker.collect(epoch)
    return tracker.history


def _drawn(history, **options):
    return by_name(figures(history, **options))


def test_bars_are_the_group_means_and_training_counts():
    history = _history({"a": 900, "b": 50, "c": 3})
    drawn = _drawn(history)
    assert set(drawn) == KINDS
    table = history.tables[group_table_tag("x")].at(1)
    heights = [bar.get_height() for bar in drawn["metrics_by_group"].axes[0].patches]
    expected = [
        table.column(m)[table.rows.index(g)]
        for g in ("head", "medium", "tail", "all")
        for m in ("precision", "recall", "f1", "ap")
    ]
    np.testing.assert_allclose(heights, np.nan_to_num(expected), rtol=1e-6)
    assert [bar.get_height() for bar in drawn["class_distribution"].axes[0].patches] == [900, 50, 3]
    lines = drawn["metrics_over_steps"].axes[0].get_lines()
    np.testing.assert_allclose(lines[0].get_ydata()[-1], table.column("f1")[0])


def test_an_earlier_step_can_be_shown_and_an_unknown_one_is_refused():
    history = _history({"a": 900, "b": 50, "c": 3})
    assert "step 0" in _drawn(history, step=0)["metrics_by_group"].get_suptitle()
    with pytest.raises(KeyError, match="nothing was recorded at step 7"):
        _drawn(history, step=7)
    assert _drawn(history, attributes=["other"]) == {}


def test_groups_differ_by_more_than_colour():
    bars = _drawn(_history({"a": 900, "b": 50, "c": 3}))["class_distribution"].axes[0].patches
    assert len({bar.get_hatch() for bar in bars}) == 3
    lines = _drawn(_history({"a": 900, "b": 50, "c": 3}))["metrics_over_steps"].axes[0].get_lines()
    assert len({(line.get_marker(), line.get_linestyle()) for line in lines}) == 4


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Glyph")
@pytest.mark.parametrize(
    "name", ["$x_1^2$ $", "<img src=x onerror=alert(1)>", "line\nbreak\ttab", "ש" * 500, "🦔", "\\frac{"]
)
def test_hostile_names_are_only_ever_text(name):
    for figure in _drawn(_history({name: 900, "b": 50, "c": 3}, attribute=name)).values():
        assert png(figure).std() > 0


@pytest.mark.slow
def test_three_thousand_classes_are_drawn_and_none_is_named():
    drawn = _drawn(_history([int(3000 / (i + 1)) + 1 for i in range(3000)], epochs=1, n=600))
    for figure in drawn.values():
        assert png(figure).std() > 0
    assert not [t for t in drawn["class_distribution"].axes[0].get_xticklabels() if t.get_text() in {"17", "1234"}]


def test_an_undefined_group_is_called_undefined():
    tracker = ClassPerformanceTracker(classes=ClassGroups.from_counts({"x": [900, 50, 3]}))
    tracker.update(torch.eye(3)[:2], torch.tensor([0, 1]))
    tracker.collect(0)
    texts = [t.get_text() for t in _drawn(tracker.history)["metrics_by_group"].axes[0].texts]
    assert texts.count("undefined") >= 3


def test_unknown_counts_and_missing_data_say_so():
    tracker = ClassPerformanceTracker(classes=ClassGroups.from_groups({"x": {"a": "head", "b": "tail"}}))
    tracker.update(torch.eye(2), torch.tensor([0, 1]))
    tracker.collect(0)
    drawn = _drawn(tracker.history)
    assert "training counts are unknown" in drawn["class_distribution"].axes[0].texts[0].get_text()
    assert "both a training count and a defined F1" in drawn["f1_by_training_count"].axes[0].texts[0].get_text()


@pytest.mark.slow
def test_drawing_leaves_matplotlibs_settings_alone():
    import matplotlib as mpl

    before = dict(mpl.rcParams)
    for figure in _drawn(_history({"a": 900, "b": 50, "c": 3})).values():
        png(figure)
    assert dict(mpl.rcParams) == before
