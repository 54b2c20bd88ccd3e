"""Flow between buckets, confused pairs, reliability and areas of curves against numpy, scikit-learn and plain loops."""

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score, confusion_matrix

from tbmetrics import ClassGroups, ClassPerformanceTracker
from tbmetrics.class_performance.flows import confused_pairs, most_pairs
from tbmetrics.class_performance.state import AttributeState
from tbmetrics.classes.groups import count_buckets
from tbmetrics.records import (
    CALIBRATION_BINS,
    RECALL_LEVELS,
    calibration_tag,
    class_pr_curve_tag,
    class_table_tag,
    confusion_tag,
    confusions_tag,
    curves_tag,
    flow_tag,
    group_table_tag,
    lift_sums_tag,
    mean_curve,
    pr_curve_tag,
)

COUNTS = {"a": 900, "b": 300, "c": 60, "d": 60, "e": 9, "f": -1}
CLASSES = ClassGroups.from_counts({"x": COUNTS})


def _tables(logits, labels, **options):
    tracker = ClassPerformanceTracker(classes=CLASSES, **options)
    for rows in torch.arange(len(logits)).split(37):
        tracker.update(logits[rows], labels[rows])
    list(tracker.collect(0))
    return {tag: series[-1] for tag, series in tracker.history.tables.items()}


def _single(n=400):
    generator = torch.Generator().manual_seed(3)
    labels = torch.randint(0, 6, (n,), generator=generator)
    return torch.randn(n, 6, generator=generator) + torch.nn.functional.one_hot(labels, 6), labels


def _multi(n=300):
    generator = torch.Generator().manual_seed(4)
    labels = (torch.rand(n, 6, generator=generator) < 0.3).long()
    labels[torch.rand(n, 6, generator=generator) < 0.02] = -1
    return torch.randn(n, 6, generator=generator) + labels - 0.5, labels


def _debiased(confidence, right, bins):
    """Mean absolute gap of merged bins, times the root of the share of the squared gap beyond noise, by plain loops."""
    merged, members = [], []
    for k in range(CALIBRATION_BINS):
        members += np.flatnonzero(bins == k).tolist()
        if len(members) >= 20:
            merged, members = [*merged, members], []
    if merged:
        merged[-1] += members
    else:
        merged = [members]
    absolute = squared = beyond_noise = 0.0
    for members in merged:
        gap = abs((right[members] - confidence[members]).mean())
        absolute += len(members) * gap
        squared += len(members) * gap**2
        beyond_noise += len(members) * (gap**2 - right[members].var(ddof=1) / len(members))
    return absolute / len(right) * np.sign(beyond_noise) * np.sqrt(abs(beyond_noise) / squared)


def _pairs(table):
    rows = table.values[~np.isnan(table.values[:, 0])].astype(int)
    return {(true, went): n for true, went, n in rows.tolist()}


def test_single_label_pairs_and_flow_equal_the_confusion_matrix():
    logits, labels = _single()
    tables = _tables(logits, labels)
    matrix = confusion_matrix(labels, logits.argmax(1), labels=range(6))
    expected = {(i, j): n for (i, j), n in np.ndenumerate(matrix) if i != j and n}
    assert _pairs(tables[confusions_tag("x")]) == expected
    counts = tables[confusions_tag("x")].values[: len(expected), 2]
    assert (np.diff(counts) <= 0).all()
    flow = tables[flow_tag("x")]
    member = np.eye(len(flow.rows))[count_buckets(CLASSES["x"], 48).of_class]
    np.testing.assert_array_equal(flow.values[:, :-1], member.T @ matrix @ member)
    assert not flow.values[:, -1].any()


@pytest.mark.parametrize("single", [True, False])
def test_the_flow_adds_up_to_the_confusion_of_groups(single):
    tables = _tables(*(_single() if single else _multi()))
    flow, confusion = tables[flow_tag("x")], tables[confusion_tag("x")]
    groups = [bucket["group"] for bucket in flow.details["buckets"]]
    for r, true in enumerate(confusion.rows):
        for c, predicted in enumerate(confusion.columns):
            rows = [i for i, g in enumerate(groups) if g == true]
            columns = [i for i, g in enumerate([*groups, "none"]) if g == predicted]
            assert confusion.values[r, c] == pytest.approx(flow.values[np.ix_(rows, columns)].sum(), rel=1e-5)


@pytest.mark.slow
def test_multi_label_pairs_go_to_the_strongest_false_prediction():
    logits, labels = _multi()
    expected: dict[tuple[int, int], int] = {}
    for scores, truth in zip(logits.numpy(), labels.numpy(), strict=True):
        wrong = [c for c in range(6) if scores[c] >= 0 and truth[c] == 0]
        went = max(wrong, key=lambda c: scores[c]) if wrong else -1
        for c in range(6):
            if truth[c] == 1 and scores[c] < 0:
                expected[c, went] = expected.get((c, went), 0) + 1
    assert _pairs(_tables(logits, labels)[confusions_tag("x")]) == expected


def test_of_too_many_pairs_every_class_keeps_its_first_three():
    n = 2000
    state = AttributeState("x", n, np.full(n, 0.5), "exact", 2**30)
    labels = torch.arange(n).repeat_interleave(8)
    predicted = (labels + 1 + torch.arange(8).repeat(n)) % n  # eight pairs a class, once each
    common = torch.full((500,), 7), torch.arange(500) % 100 + 900
    state.decision, state.n_samples = "single_label", 8 * n + 500
    state.per_sample = [(torch.cat((labels, common[0])), torch.cat((predicted, common[1])), torch.ones(8 * n + 500))]
    rows = confused_pairs(state)
    assert len(rows) == most_pairs(n) == 8000
    pairs_by_class = np.bincount(rows[:, 0].astype(int), minlength=n)
    assert pairs_by_class.min() == 3
    assert pairs_by_class[7] >= 100  # the frequent ones come first: each was seen five times
    assert (np.diff(rows[:, 2]) <= 0).all()


@pytest.mark.parametrize("single", [True, False])
def test_reliability_by_bucket_gives_the_calibration_error_of_each_group(single):
    logits, labels = _single() if single else _multi()
    tables = _tables(logits, labels)
    table, groups = tables[calibration_tag("x")], tables[group_table_tag("x")]
    sums = table.values.astype(np.float64).reshape(len(table.rows), 3, CALIBRATION_BINS)
    bucket_groups = np.array([bucket["group"] for bucket in table.details["buckets"]])
    if single:
        probability, predicted = logits.double().softmax(1).max(1)
        right, sample_groups = (predicted == labels).numpy(), np.array(CLASSES["x"].groups)[predicted]
        confidence = probability.numpy()
    else:
        known = (labels >= 0).numpy()
        confidence, right = logits.double().sigmoid().numpy()[known], (labels == 1).numpy()[known]
        sample_groups = np.broadcast_to(np.array(CLASSES["x"].groups), known.shape)[known]
    for group in ("head", "medium", "tail", "unknown"):
        inside = sample_groups == group
        assert sums[bucket_groups == group, 0].sum() == inside.sum()
        assert sums[bucket_groups == group, 1].sum() == pytest.approx(confidence[inside].sum(), rel=1e-5)
        assert sums[bucket_groups == group, 2].sum() == right[inside].sum()
        bins = np.clip(np.ceil(confidence[inside] * 15) - 1, 0, 14).astype(int)
        row = groups.rows.index(group)
        expected = _debiased(confidence[inside], right[inside], bins)
        assert groups.column("ece")[row] == pytest.approx(expected, abs=2e-3)


@pytest.mark.parametrize("mode", ["exact", "binned"])
@pytest.mark.parametrize("scale", [1, 20])
@pytest.mark.parametrize("single", [True, False])
def test_the_area_of_every_curve_is_the_average_precision(single, scale, mode):
    """Of confident models too, whose mean precision at thresholds encloses far less."""
    logits, labels = _single() if single else _multi()
    logits, labels = scale * logits, labels.clamp(min=0)
    tracker = ClassPerformanceTracker(classes=CLASSES, scores=mode, pr_classes={"x": ["a", "f"]})
    tracker.update(logits, labels)
    tracker.collect(0)
    history = tracker.history
    table, groups = history.tables[curves_tag("x")][-1], history.tables[group_table_tag("x")][-1]
    assert table.values.shape == (6, len(RECALL_LEVELS))
    truth = np.eye(6)[labels] if single else labels.numpy()
    ranked = logits.double().softmax(1) if single else logits.double()
    ap = average_precision_score(truth, ranked.numpy(), average=None)
    if mode == "binned":  # between bounds that grow with the range of the logits
        ap = history.tables[class_table_tag("x")][-1].column("ap").astype(float)
    np.testing.assert_allclose(table.values.astype(float).mean(axis=1), ap, atol=2.5e-4)
    for group in ("head", "medium", "tail", "all"):
        inside = [i for i, g in enumerate(CLASSES["x"].groups) if group in (g, "all")]
        curve = history.pr_curves[pr_curve_tag("x", group)][-1]
        assert np.trapezoid(curve.precision[::-1], curve.recall[::-1]) == pytest.approx(ap[inside].mean(), abs=1e-6)
        assert groups.column("ap")[groups.rows.index(group)] == pytest.approx(ap[inside].mean(), abs=1e-6)
        assert f"over {len(inside)} class" in curve.description
        recorded = mean_curve(table.columns, table.values[inside], truth.sum(axis=0)[inside])
        np.testing.assert_allclose(recorded.precision, curve.precision[::-1], atol=5e-4)
        assert (curve.false_positives >= 0).all()
        assert (curve.true_negatives >= 0).all()
        np.testing.assert_allclose(curve.true_positives + curve.false_negatives, truth[:, inside].sum())


def test_one_positive_is_a_point_and_few_are_counted():
    logits = torch.randn(60, 6, generator=torch.Generator().manual_seed(0))
    labels = torch.tensor([0] * 30 + [1] * 12 + [2] * 12 + [3] * 4 + [4] + [1])
    tracker = ClassPerformanceTracker(classes=CLASSES, pr_classes={"x": ["e"]})
    tracker.update(logits, labels)
    tracker.collect(0)
    ap = average_precision_score(labels == 4, logits.double().softmax(1)[:, 4])
    for tag in (pr_curve_tag("x", "tail"), class_pr_curve_tag("x", "e")):  # "e" is the only tail class
        curve = tracker.history.pr_curves[tag][-1]
        assert set(curve.recall) == {1.0}
        np.testing.assert_allclose(curve.precision, ap)
        assert "one positive a class" in curve.description
    metrics = tracker.get_class_type_metrics()["x"]
    assert [metrics[g]["ap_n_few_positives"] for g in ("head", "medium", "tail", "all")] == [0, 1, 1, 2]
    assert [metrics[g]["ap_n_classes"] for g in ("head", "medium", "tail", "all")] == [2, 2, 1, 5]
    assert metrics["gap"]["ap_n_few_positives"] is None


def test_binned_curves_are_close_to_the_exact_ones():
    logits, labels = _multi()
    exact, binned = (_tables(logits, labels, scores=mode)[curves_tag("x")].values for mode in ("exact", "binned"))
    assert np.abs(exact.astype(float) - binned.astype(float)).mean() < 0.02


def test_without_single_rows_flow_and_pairs_are_unknown():
    logits, labels = _multi()
    tables = _tables(logits, labels, scores="binned")
    assert np.isnan(tables[flow_tag("x")].values).all()
    assert np.isnan(tables[lift_sums_tag("x")].values).all()
    assert np.isnan(tables[confusions_tag("x")].values).all()
    assert not np.isnan(tables[calibration_tag("x")].values).any()
