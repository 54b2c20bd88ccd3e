"""The Custom Scalars layout and the run's texts."""

import re

import numpy as np

from tbmetrics.classes.groups import ClassGroups
from tbmetrics.records import (
    GROUP_COLUMNS,
    GROUP_ROWS,
    MarginChart,
    MultilineChart,
    Scalar,
    Table,
    TimedRecord,
    group_table_tag,
    scalar_tag,
)
from tbmetrics.records.history import History
from tbmetrics.session.run_page import final_metrics, layout, results_text, run_text

GROUPS = ClassGroups.from_counts({"digit (new)": {"0": 900, "1": 50, "2": 3}})


def test_tail_and_gap_have_margin_charts_of_the_main_metric():
    charts = layout(GROUPS).categories["class performance: digit (new)"]
    tail, gap = charts.values()
    assert isinstance(tail, MarginChart)
    assert tail.series == (
        (
            scalar_tag("digit (new)", "f1", "tail"),
            scalar_tag("digit (new)", "f1_lower", "tail"),
            scalar_tag("digit (new)", "f1_upper", "tail"),
        ),
    )
    assert [value for value, _, _ in gap.series] == [scalar_tag("digit (new)", "f1", "gap")]
    without_tail = ClassGroups.from_counts({"digit": {"0": 900, "1": 50}})
    assert not layout(without_tail).categories["class performance: digit"]


def test_tags_of_groups_are_regular_expressions_that_match_only_themselves():
    charts = layout(GROUPS).categories["class performance by group: digit (new)"]
    assert list(charts) == ["Recall", "F1", "AP"]
    f1 = charts["F1"]
    assert isinstance(f1, MultilineChart)
    wanted = scalar_tag("digit (new)", "f1", "tail")
    assert [bool(re.search(tag, wanted)) for tag in f1.tags].count(True) == 1
    assert not any(re.search(tag, wanted + "x") for tag in f1.tags)


def test_final_metrics_begin_with_the_tail_of_the_main_metric():
    history, values = History(), np.arange(len(GROUP_COLUMNS), dtype=np.float32)
    rows = np.stack([values] * len(GROUP_ROWS))
    groups = Table(group_table_tag("x"), "x", "groups", GROUP_COLUMNS, rows, GROUP_ROWS)
    tags = [
        scalar_tag("x", metric, row) for metric in ("ap", "f1", "precision") for row in ("all", "gap", "head", "tail")
    ]
    for record in (groups, *(Scalar(tag, i) for i, tag in enumerate(tags))):
        history.add(TimedRecord(0, 0.0, record))
    metrics = final_metrics(history)
    assert list(metrics) == [scalar_tag("x", metric, row) for metric in ("f1", "ap") for row in ("tail", "all", "gap")]
    assert metrics[scalar_tag("x", "f1", "tail")] == tags.index(scalar_tag("x", "f1", "tail"))


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
