"""The Custom Scalars layout and the run's texts."""

import re

from tbmetrics.classes.groups import ClassGroups
from tbmetrics.records import MarginChart, MultilineChart, scalar_tag
from tbmetrics.session.run_page import layout, results_text, run_text

GROUPS = ClassGroups.from_counts({"digit (new)": {"0": 900, "1": 50, "2": 3}})


def test_each_attribute_has_margin_charts_with_the_interval_of_every_group():
    charts = layout(GROUPS).categories["class performance: digit (new)"]
    f1 = charts["f1 with 95 % interval"]
    assert isinstance(f1, MarginChart)
    assert (
        scalar_tag("digit (new)", "f1", "tail"),
        scalar_tag("digit (new)", "f1_lower", "tail"),
        scalar_tag("digit (new)", "f1_upper", "tail"),
    ) in f1.series
    assert [value.rsplit("/", 1)[1] for value, _, _ in f1.series] == ["head", "medium", "tail", "all"]


def test_gap_tags_are_regular_expressions_that_match_only_themselves():
    charts = layout(GROUPS).categories["class performance: digit (new)"]
    gap = charts["gap (head − tail)"]
    assert isinstance(gap, MultilineChart)
    wanted = scalar_tag("digit (new)", "f1", "gap")
    assert [bool(re.search(tag, wanted)) for tag in gap.tags].count(True) == 1
    assert not any(re.search(tag, wanted + "x") for tag in gap.tags)


def test_a_run_without_classes_still_shows_resources():
    assert list(layout(None).categories) == ["resource usage"]


def test_the_run_text_says_classes_hparams_and_versions():
    text = run_text(GROUPS, {"lr": 0.1}, 1_234_567).markdown
    assert "| digit (new) | 3 | 1 | 1 | 1 | 0 | decoupling |" in text
    assert "| lr | 0.1 |" in text
    assert "1,234,567" in text
    assert "| torch |" in text


def test_names_cannot_break_the_table_or_become_html():
    hostile = ClassGroups.from_counts({"<img src=x>|\n# a": {"0": 1}})
    text = run_text(hostile, {"a|b": "<script>"}, None).markdown
    assert "<" not in text.replace("&lt;", "")
    assert "\n# a" not in text


def test_results_show_undefined_as_such_and_name_what_failed():
    metrics = {"digit": {"tail": {"count": 3, "precision": 0.5, "recall": None, "f1": float("nan"), "ap": 0.25}}}
    text = results_text(metrics, {"gradients": "RuntimeError: x"}).markdown
    assert "| tail | 3 | 0.500 | undefined | undefined | 0.250 |" in text
    assert "- gradients: RuntimeError: x" in text


def test_results_say_how_many_classes_a_mean_covers_if_not_all():
    tail = {"count": 6, "precision": 0.5, "precision_n_classes": 4.0, "recall": 0.25, "recall_n_classes": 6.0}
    tail |= {"f1": 0.3, "f1_n_classes": 6.0, "ap": 0.4, "ap_n_classes": 5.0, "ap_n_few_positives": 3.0}
    text = results_text({"digit": {"tail": tail}}, {}).markdown
    assert "| tail | 6 | 0.500 (4 of 6) | 0.250 | 0.300 | 0.400 (5 of 6, 3 with under 5 positives) |" in text


def test_training_dynamics_have_charts_where_they_are_measured():
    assert "training dynamics" not in layout(None).categories
    chart = layout(None, training_dynamics=True).categories["training dynamics"]["update ratio"]
    assert re.fullmatch(chart.tags[0], "training_dynamics/update_ratio")
