"""Intervals of group means: properties, finite differences, the jackknife, and how often they contain the truth."""

import warnings

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.coverage import GROUPS, OURS, REGROUPED, simulate
from tbmetrics import ClassGroups, ClassPerformanceTracker
from tbmetrics.records import MEAN_METRICS
from tbmetrics.statistics.intervals import Z95
from tbmetrics.statistics.scores import influences, scores_of

CLASSES = 6
CLASS_GROUPS = ClassGroups.from_counts({"x": [900, 800, 50, 40, 9, 3]})
MEMBERS = {"head": [0, 1], "medium": [2, 3], "tail": [4, 5], "all": [0, 1, 2, 3, 4, 5]}


def _rows(seed, n, single, margin=2.0):
    """Every class has a positive."""
    generator = np.random.default_rng(seed)
    labels = np.concatenate([np.arange(CLASSES), generator.integers(0, CLASSES, n - CLASSES)])
    logits = generator.normal(size=(n, CLASSES)) - (0 if single else margin / 2)
    truth = np.eye(CLASSES, dtype=np.int64)[labels]
    if not single:
        truth |= generator.random((n, CLASSES)) < 0.1
    return logits + margin * truth, labels if single else truth


def _tracker(logits, labels, **options):
    tracker = ClassPerformanceTracker(classes=CLASS_GROUPS, **options)
    tracker.update(torch.from_numpy(logits), torch.from_numpy(labels))
    return tracker


def _decisions(logits, labels):
    if labels.ndim == 1:
        return np.eye(CLASSES)[logits.argmax(1)], np.eye(CLASSES)[labels]
    return (logits >= 0).astype(float), labels.astype(float)


def _group_means(predicted, positive, weights):
    """Macro precision, recall and F1 of weighted rows by metric and group."""
    counts = (weights @ (positive * predicted), weights @ predicted, weights @ positive)
    values = dict(zip(("precision", "recall", "f1"), scores_of(*counts), strict=True))
    return {(m, g): np.nanmean(v[members]) for m, v in values.items() for g, members in MEMBERS.items()}


@given(st.integers(0, 10_000), st.integers(CLASSES, 60), st.booleans(), st.sampled_from([-2.0, 0.0, 2.0, 30.0]))
def test_an_interval_contains_its_mean_has_a_width_and_stays_in_range(seed, n, single, margin):
    rows = _rows(seed, n, single, margin)
    by_group = _tracker(*rows).get_class_type_metrics()["x"]
    for group in (*MEMBERS, "gap"):
        for metric in MEAN_METRICS:
            table = by_group[group]
            low, high = table[f"{metric}_lower"], table[f"{metric}_upper"]
            if low is None:
                assert high is None
                assert metric == "precision"  # nothing predicted
                assert table[metric] == 0.0
            else:
                assert (-1 if group == "gap" else 0) <= low <= table[metric] <= high <= 1
                assert high - low > 1e-3
    assert by_group == _tracker(*rows).get_class_type_metrics()["x"]


def test_without_single_rows_means_of_a_multi_label_attribute_have_no_interval():
    table = _tracker(*_rows(0, 60, False), scores="binned").get_class_type_metrics()["x"]["all"]
    assert all(table[f"{metric}_lower"] is None and table[metric] > 0 for metric in MEAN_METRICS)


def test_over_many_classes_of_one_positive_a_multi_label_mean_cannot_be_told():
    generator = np.random.default_rng(0)
    classes = ClassGroups.from_groups({"x": {str(c): "head" if c < 40 else "tail" for c in range(60)}})
    labels = np.concatenate([np.eye(60, dtype=np.int64), np.zeros((60, 60), dtype=np.int64)])
    tracker = ClassPerformanceTracker(classes=classes)
    tracker.update(torch.from_numpy(generator.normal(size=labels.shape) + 2 * labels - 1), torch.from_numpy(labels))
    table = tracker.get_class_type_metrics()["x"]
    for metric in ("recall", "f1", "ap"):
        assert table["tail"][f"{metric}_lower"] < table["tail"][metric]
        assert [table[g][f"{metric}_lower"] for g in ("head", "all", "gap")] == [None] * 3
    assert all(table[g]["precision_lower"] is not None for g in ("head", "tail", "all", "gap"))


@pytest.mark.parametrize("single", [True, False])
def test_influences_are_the_derivatives_of_the_means(single):
    predicted, positive = _decisions(*_rows(3, 40, single, 1.0))
    hits, misses, alarms = positive * predicted, positive * (1 - predicted), predicted * (1 - positive)
    tp, fn, fp = (m.sum(0) for m in (hits, misses, alarms))
    values = dict(zip(("precision", "recall", "f1"), scores_of(tp, tp + fp, tp + fn), strict=True))
    by_metric = influences({"true_positives": tp, "false_positives": fp, "support": tp + fn, **values})
    for i in range(len(positive)):
        step = np.eye(len(positive))[i] * 1e-6
        more, less = (_group_means(predicted, positive, 1 + s) for s in (step, -step))
        for metric, parts in by_metric.items():
            of_row = hits[i] * parts.hit + misses[i] * parts.miss + alarms[i] * parts.false_alarm
            for group, members in MEMBERS.items():
                slope = (more[metric, group] - less[metric, group]) / 2e-6
                assert of_row[members].sum() / len(members) == pytest.approx(slope, abs=1e-6)


@pytest.mark.parametrize("single", [True, False])
def test_with_many_samples_the_width_is_that_of_the_jackknife(single):
    """Of rows, single-label within the true classes."""
    logits, labels = _rows(5, 900, single, 1.5)
    predicted, positive = _decisions(logits, labels)
    table = _tracker(logits, labels).get_class_type_metrics()["x"]
    left_out = [_group_means(predicted, positive, np.arange(len(labels)) != i) for i in range(len(labels))]
    strata = [np.flatnonzero(labels == c) for c in range(CLASSES)] if single else [np.arange(len(labels))]
    for metric, group in left_out[0]:
        means = np.array([m[metric, group] for m in left_out])
        variance = sum((len(s) - 1) * means[s].var() for s in strata)
        width = table[group][f"{metric}_upper"] - table[group][f"{metric}_lower"]
        assert width == pytest.approx(2 * Z95 * np.sqrt(variance), rel=0.06)


def test_the_interval_of_the_gap_knows_that_head_and_tail_share_rows():
    """Copies of a class in head and tail: their difference is certain but for the smoothing."""
    logits, labels = _rows(7, 600, False, 1.0)
    logits, labels = np.repeat(logits[:, :1], 6, axis=1), np.repeat(labels[:, :1], 6, axis=1)
    table = _tracker(logits, labels).get_class_type_metrics()["x"]
    width = {group: table[group]["recall_upper"] - table[group]["recall_lower"] for group in ("head", "gap")}
    assert table["gap"]["recall"] == 0.0
    assert 0 < width["gap"] < 0.3 * width["head"]


@pytest.mark.slow
@pytest.mark.parametrize("problem", ["single-label", "single-label scores", "multi-label"])
@pytest.mark.parametrize(("positives", "long_tailed"), [(2, False), (3, True)])
def test_the_intervals_contain_the_truth_as_often_as_they_say(problem, positives, long_tailed):
    repetitions = 120
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        tallies, _ = simulate(problem, 10, positives, long_tailed, repetitions, peers=False, seed=2)
    error = np.sqrt(0.95 * 0.05 / repetitions)
    shares = {}
    for (method, group, metric), tally in tallies.items():
        assert method in (OURS, REGROUPED)
        assert group in GROUPS
        assert np.nanmean(tally.contains) == 1
        shares[method, group, metric] = np.nanmean(tally.covers)
    assert min(shares.values()) > 0.93 - 3 * error
    assert 0.95 - 2 * error < np.mean(list(shares.values())) <= 0.99  # the same samples decide all of them


@pytest.mark.slow
def test_the_bias_of_few_samples_does_not_add_up_over_many_classes():
    """The mean of 400 classes with one sample each has a narrow interval around a biased estimate."""
    tallies, _ = simulate("single-label", 400, 1, False, 40, peers=False, seed=4)
    for metric in ("precision", "recall", "f1"):
        assert np.mean(tallies[OURS, "all", metric].covers) > 0.95 - 3 * np.sqrt(0.95 * 0.05 / 40)
