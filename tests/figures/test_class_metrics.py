"""Figures hold the numbers of their history, for three classes and for thousands, and show names as they are."""

import numpy as np
import pytest
import torch

from tbmetrics import ClassGroups, ClassPerformanceTracker
from tbmetrics.figures.class_metrics import figures
from tbmetrics.records import family_table_tag, group_table_tag, lifts_tag
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


def test_families_have_a_row_each_in_a_panel_for_each_metric():
    families = {"a": "$x$", "b": "$x$", "c": "long" * 20}
    groups = ClassGroups.from_counts({"x": {"a": 900, "b": 50, "c": 3, "d": 1}}, families=families)
    tracker = ClassPerformanceTracker(classes=groups)
    tracker.update(torch.randn(40, 4, generator=torch.Generator().manual_seed(0)), torch.arange(40) % 3)
    tracker.collect(0)
    figure = _drawn(tracker.history)["metrics_by_family"]
    table = tracker.history.tables[family_table_tag("x")].at(0)
    order = sorted(range(3), key=lambda i: -np.nan_to_num(table.column("recall")[i], nan=-1))
    for ax, metric in zip(figure.axes, ("precision", "recall", "f1", "ap"), strict=True):
        np.testing.assert_allclose(ax.get_lines()[0].get_xdata(), table.column(metric)[order])
    labels = [text.get_text() for text in figure.axes[0].get_yticklabels()]
    assert labels[-1] == "other (1)"  # its class had no examples
    assert "$x$ (2)" in labels
    png(figure)


def _two_thirds_covered():
    """A tail of three classes: one is never predicted, one has no positives, and all have few of them."""
    tracker = ClassPerformanceTracker(classes=ClassGroups.from_counts({"x": [900, 50, 3, 2, 1]}))
    labels = torch.tensor([0] * 8 + [1] * 6 + [2, 2, 3])
    logits = 3 * torch.nn.functional.one_hot(labels, 5).float()
    logits[-1, 0] = 9
    for epoch in range(2):
        tracker.update(logits, labels)
        tracker.collect(epoch)
    return tracker.history


def test_a_single_validation_has_no_figure_over_steps():
    assert set(_drawn(_history({"a": 900, "b": 50, "c": 3}, epochs=1))) == KINDS - {"metrics_over_steps"}


def test_a_mean_says_how_many_classes_it_covers_if_not_all():
    drawn = _drawn(_two_thirds_covered())
    ax = drawn["metrics_by_group"].axes[0]
    texts = [t.get_text() for t in ax.texts]
    assert texts.count("1 of 3") == 1  # precision of the tail
    assert texts.count("2 of 3") == 3  # its recall, F1 and AP
    assert "tail 2 of 3" in drawn["metrics_by_group"].get_supxlabel()
    assert "tail 2 of 3" in drawn["metrics_over_steps"].axes[2].get_xlabel()
    labels = [t.get_text() for t in drawn["pr_curves"].axes[0].get_legend().get_texts()]
    assert any(label.startswith("tail: mean AP") and "over 2 of 3 classes, 2 few" in label for label in labels)


def test_the_area_of_a_drawn_curve_is_the_mean_average_precision():
    history = _history({str(i): n for i, n in enumerate([900, 800, 300, 60, 50, 7, 5, 3])}, n=90)
    table = history.tables[group_table_tag("x")].at(1)
    lines = _drawn(history)["pr_curves"].axes[0].get_lines()
    assert len(lines) == 4
    for line, group in zip(lines, ("head", "medium", "tail", "all"), strict=True):
        area = np.trapezoid(line.get_ydata(), line.get_xdata())
        assert area == pytest.approx(table.column("ap")[table.rows.index(group)], abs=2.5e-4)


def test_a_group_of_single_positives_is_a_point():
    tracker = ClassPerformanceTracker(classes=ClassGroups.from_counts({"x": [900, 50, 3]}))
    tracker.update(
        torch.randn(13, 3, generator=torch.Generator().manual_seed(0)), torch.tensor([0] * 6 + [1] * 6 + [2])
    )
    tracker.collect(0)
    drawn = _drawn(tracker.history)["pr_curves"]
    tail = drawn.axes[0].get_lines()[2]
    assert list(tail.get_xdata()) == [1.0]
    assert "single positive" in drawn.get_supxlabel()


def test_several_labels_have_lifts_and_single_ones_shares():
    generator = np.random.default_rng(0)
    positive = generator.random((800, 6)) < 0.2
    predicted = np.where(positive, generator.random((800, 6)) < 0.6, generator.random((800, 6)) < 0.05)
    predicted[:, 0] |= (positive & ~predicted)[:, 4:].any(axis=1)  # a missed tail label is taken for a head label
    tracker = ClassPerformanceTracker(classes=ClassGroups.from_counts({"x": [900, 800, 60, 50, 7, 5]}))
    tracker.update(torch.from_numpy(np.where(predicted, 2.0, -2.0)), torch.from_numpy(positive.astype(int)))
    tracker.collect(0)
    figure = _drawn(tracker.history)["confusion_by_group"]
    table = tracker.history.tables[lifts_tag("x")].at(0)
    texts = {t.get_position(): t for t in figure.axes[0].texts}
    lift = table.column("lift_head")[table.rows.index("tail")]
    assert texts[0, 2].get_text().startswith(f"{lift:.1f}×")
    assert lift > 3
    assert texts[0, 2].get_color() != "#767676"
    assert texts[1, 0].get_color() == "#767676"  # may be chance
    shares = _drawn(_history({"a": 900, "b": 50, "c": 3}))["confusion_by_group"].axes[0].texts
    assert all("%" in t.get_text() for t in shares)


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


def test_without_training_counts_no_figure_is_an_empty_canvas():
    tracker = ClassPerformanceTracker(classes=ClassGroups.from_groups({"x": {"a": "head", "b": "tail"}}))
    tracker.update(torch.eye(2), torch.tensor([0, 1]))
    tracker.collect(0)
    drawn = _drawn(tracker.history)
    assert not {"class_distribution", "f1_by_training_count"} & drawn.keys()
    assert all(ax.has_data() for figure in drawn.values() for ax in figure.axes)


@pytest.mark.slow
def test_drawing_leaves_matplotlibs_settings_alone():
    import matplotlib as mpl

    before = dict(mpl.rcParams)
    for figure in _drawn(_history({"a": 900, "b": 50, "c": 3})).values():
        png(figure)
    assert dict(mpl.rcParams) == before
