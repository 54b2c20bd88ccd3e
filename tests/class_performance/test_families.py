"""Means by family: against NumPy, and against the groups that have the same classes."""

import numpy as np
import pytest
import torch
from sklearn.metrics import precision_recall_fscore_support

from tbmetrics import ClassGroups, ClassPerformanceTracker, InputError, TBMetrics, read_run, table
from tbmetrics.comparing.runs import compare
from tbmetrics.comparing.validations import by_family, validation
from tbmetrics.records import MEAN_METRICS, family_table_tag, group_table_tag

COUNTS = [900, 800, 50, 40, 9, 3, 2]
LIKE_GROUPS = {0: "h", 1: "h", 2: "m", 3: "m", 4: "t", 5: "t", 6: "t"}
FAMILIES = {0: "even", 1: "odd", 2: "even", 3: "odd", 4: "even"}


def _rows(is_single, seed=0, strength=1.5, n=300):
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % len(COUNTS)
    truth = np.eye(len(COUNTS), dtype=np.int64)[labels]
    logits = rng.normal(size=truth.shape) + strength * truth
    if is_single:
        return torch.tensor(logits), torch.tensor(labels)
    return torch.tensor(logits - 0.7), torch.tensor(truth | (np.random.default_rng(9).random(truth.shape) < 0.1))


def _tables(families, is_single):
    tracker = ClassPerformanceTracker(classes=ClassGroups.from_counts({"x": COUNTS}, families={"x": families}))
    tracker.update(*_rows(is_single))
    tracker.collect(0)
    tags = family_table_tag("x"), group_table_tag("x")
    return [tracker.history.tables[tag].at(0) for tag in tags]


@pytest.mark.parametrize("is_single", [True, False])
def test_families_with_the_classes_of_groups_have_their_means_and_intervals(is_single):
    """Ends of AP, and multi-label ones, nearly: rows correlate by chance, which is discounted bucket by bucket."""
    families, groups = _tables(LIKE_GROUPS, is_single)
    assert families.rows == ("h", "m", "t")
    for family, group in zip(families.rows, ("head", "medium", "tail"), strict=True):
        for column in families.columns:
            values = [t.column(column)[t.rows.index(row)] for t, row in ((families, family), (groups, group))]
            is_near = column.endswith(("_lower", "_upper")) and (not is_single or column.startswith("ap"))
            tolerance = 0.01 if is_near else 1e-6
            assert values[0] == pytest.approx(values[1], abs=tolerance), (family, column)
            assert not np.isnan(values[0])


def test_means_are_scikit_learns_over_the_classes_of_the_family():
    families, _ = _tables(FAMILIES, True)
    logits, labels = _rows(True)
    by_metric = dict(
        zip(
            ("precision", "recall", "f1"),
            precision_recall_fscore_support(labels.numpy(), logits.numpy().argmax(axis=1), zero_division=0)[:3],
            strict=True,
        )
    )
    members = {"even": [0, 2, 4], "odd": [1, 3], "other": [5, 6]}
    assert families.rows == tuple(members)
    for row, classes in enumerate(members.values()):
        assert families.column("n_classes")[row] == len(classes)
        for metric, values in by_metric.items():
            mean, low, high, n = (families.column(metric + end)[row] for end in ("", "_lower", "_upper", "_n_classes"))
            assert mean == pytest.approx(values[classes].mean(), abs=1e-6)
            assert low < mean < high
            assert n == len(classes)


def test_without_families_nothing_is_added():
    tracker = ClassPerformanceTracker(classes=ClassGroups.from_counts({"x": COUNTS}))
    tracker.update(*_rows(True))
    tracker.collect(0)
    assert family_table_tag("x") not in tracker.history.tables
    assert tracker.history.class_lists["x"].families == ()


@pytest.fixture(scope="module")
def logdir(tmp_path_factory):
    root = tmp_path_factory.mktemp("runs")
    for run, strength in (("a", 1.0), ("b", 2.5)):
        groups = ClassGroups.from_counts({"x": COUNTS}, families=FAMILIES)
        with TBMetrics(root / run, classes=groups) as tb:
            tb.update(*_rows(True, seed=3, strength=strength))
    with TBMetrics(root / "without", classes=ClassGroups.from_counts({"x": COUNTS})) as tb:
        tb.update(*_rows(True))
    return root


def test_a_log_gives_the_families_back_and_two_runs_are_compared_by_them(logdir):
    histories = [read_run(logdir / run, run=run) for run in ("a", "b", "without")]
    assert histories[0].class_lists["x"].families == ("even", "odd", "even", "odd", "even", "other", "other")
    sides = [by_family(h, validation(h, "x", "recall", 0)) for h in histories[:2]]
    result = compare(*sides)
    assert list(result.groups) == ["even", "odd", "other", "all"]
    for family, classes in {"even": [0, 2, 4], "odd": [1, 3], "other": [5, 6]}.items():
        group, differences = result.groups[family], sides[1].values[classes] - sides[0].values[classes]
        assert group.difference == pytest.approx(differences.mean())
        assert group.lower < group.difference < group.upper
        assert (group.lower_a, group.upper_a) == pytest.approx(sides[0].mean(family)[1:])
    assert result.is_paired
    with pytest.raises(InputError, match="run 'without' has no families of 'x'"):
        by_family(histories[2], validation(histories[2], "x", "recall", 0))


def test_a_table_by_family_has_a_column_for_each(logdir):
    result = table(logdir, by="family")
    assert result.columns == ("even", "odd", "other", "all")
    assert result.sizes == {"even": 3, "odd": 2, "other": 2, "all": 7}
    assert [row.name for row in result.rows] == ["a", "b"]
    assert result.notes[-1] == "Without families, and left out: 'without'."
    assert result.rows[1].cells["even"].mark == "best"
    recorded = read_run(logdir / "b").tables[family_table_tag("x")].at(0)
    assert result.rows[1].cells["even"].mean == pytest.approx(recorded.column("recall")[0])
    assert set(MEAN_METRICS) <= set(recorded.columns)
