"""ClassPerformanceTracker against scikit-learn, numpy and torchmetrics."""

import json
import warnings

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, balanced_accuracy_score, f1_score, precision_score, recall_score
from torchmetrics.functional.classification import multiclass_calibration_error

from tbmetrics import ClassGroups, ClassPerformanceTracker, InputError, TBMetricsWarning
from tbmetrics.records import (
    CLASS_COLUMNS,
    GROUP_COLUMNS,
    GROUP_ROWS,
    ClassList,
    PRCurve,
    Scalar,
    Table,
    calibration_tag,
    class_pr_curve_tag,
    class_table_tag,
    confusion_tag,
    group_table_tag,
    scalar_tag,
)
from tbmetrics.statistics.intervals import f1_interval

COUNTS = {"a": 900, "b": 300, "c": 60, "d": 30, "e": 9, "f": 2}
GROUPS = ClassGroups.from_counts({"x": COUNTS})
MEMBERS = {"head": [0, 1], "medium": [2, 3], "tail": [4, 5]}


def _single(seed=0, n=200, dtype=torch.float32):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, 6, (n,), generator=generator)
    logits = torch.randn(n, 6, generator=generator) + 1.2 * torch.nn.functional.one_hot(labels, 6)
    return logits.to(dtype), labels


def _multi(seed=0, n=200, ties=True, dtype=torch.float32):
    generator = torch.Generator().manual_seed(seed)
    labels = (torch.rand(n, 6, generator=generator) < torch.tensor([0.6, 0.5, 0.3, 0.2, 0.05, 0.02])).long()
    logits = torch.randn(n, 6, generator=generator) + labels
    return (logits.round(decimals=1) if ties else logits).to(dtype), labels


def _tracker(**options):
    return ClassPerformanceTracker(classes=GROUPS, **options)


def _column(metrics, name):
    return np.array([metrics["x"][label][name] for label in COUNTS], dtype=np.float64)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_single_label_equals_scikit_learn(dtype):
    logits, labels = _single(dtype=dtype)
    tracker = _tracker()
    for rows in torch.arange(200).split(30):
        tracker.update(logits[rows], labels[rows])
    metrics = tracker.get_metrics()
    predicted, truth = logits.argmax(1).numpy(), labels.numpy()
    for name, metric in (("precision", precision_score), ("recall", recall_score), ("f1", f1_score)):
        np.testing.assert_allclose(_column(metrics, name), metric(truth, predicted, average=None), rtol=1e-12)
    wide = logits if dtype == torch.float64 else logits.float()
    ranked = logits.double().softmax(1).numpy()
    expected = [average_precision_score(truth == c, ranked[:, c]) for c in range(6)]
    np.testing.assert_allclose(_column(metrics, "ap"), expected, rtol=1e-12)
    everything = tracker.get_class_type_metrics()["x"]["all"]
    assert everything["accuracy"] == pytest.approx((predicted == truth).mean())
    assert everything["balanced_accuracy"] == pytest.approx(balanced_accuracy_score(truth, predicted))
    tracker.collect(0)
    sums = tracker.history.tables[calibration_tag("x")][-1].values.astype(np.float64).reshape(-1, 3, 15).sum(0)
    ece = multiclass_calibration_error(wide.softmax(1), labels, num_classes=6, n_bins=15).item()
    assert np.abs(sums[2] - sums[1]).sum() / 200 == pytest.approx(ece, abs=1e-5)
    assert -0.1 < everything["ece"] <= ece + 1e-5  # its bias is taken off


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
@pytest.mark.parametrize("kind", [torch.int64, torch.bool, torch.float32])
def test_multi_label_equals_scikit_learn_with_ties(dtype, kind):
    logits, labels = _multi(dtype=dtype)
    tracker = _tracker()
    for rows in torch.arange(200).split(64):
        tracker.update(logits[rows], labels[rows].to(kind))
    metrics = tracker.get_metrics()
    predicted, truth = (logits >= 0).numpy(), labels.numpy()
    for name, metric in (("precision", precision_score), ("recall", recall_score), ("f1", f1_score)):
        np.testing.assert_allclose(
            _column(metrics, name), metric(truth, predicted, average=None, zero_division=0), rtol=1e-12
        )
    expected = average_precision_score(truth, logits.double().numpy(), average=None)
    np.testing.assert_allclose(_column(metrics, "ap"), expected, rtol=1e-12)


@pytest.mark.slow
def test_the_best_threshold_gives_the_best_f1_of_all_thresholds():
    logits, labels = _multi()
    metrics = _tracker()
    metrics.update(logits, labels)
    by_class = metrics.get_metrics()["x"]
    for c, name in enumerate(COUNTS):
        every = [f1_score(labels[:, c], logits[:, c] >= t, zero_division=0) for t in logits[:, c].unique()]
        assert by_class[name]["best_f1"] == pytest.approx(max(every))
        cut = torch.tensor(by_class[name]["best_threshold"]).double().logit().item()
        assert f1_score(labels[:, c], logits[:, c].double() >= cut - 1e-5) == pytest.approx(max(every))


def test_thresholds_per_class_decide():
    logits, labels = _multi()
    thresholds = [0.1, 0.3, 0.5, 0.7, 0.9, 0.2]
    tracker = _tracker(thresholds={"x": thresholds})
    tracker.update(logits, labels)
    predicted = logits.double().sigmoid().numpy() >= np.array(thresholds)
    expected = recall_score(labels, predicted, average=None)
    np.testing.assert_allclose(_column(tracker.get_metrics(), "recall"), expected)
    assert _column(tracker.get_metrics(), "threshold").tolist() == thresholds


def test_the_interval_of_f1_follows_from_the_counts():
    tracker = _tracker()
    tracker.update(*_single())
    for entry in tracker.get_metrics()["x"].values():
        expected = f1_interval(
            entry["true_positives"], entry["true_positives"] + entry["false_positives"], entry["support"]
        )
        assert (entry["f1_lower"], entry["f1_upper"]) == pytest.approx(tuple(map(float, expected)))
        assert entry["f1_lower"] <= entry["f1"] <= entry["f1_upper"]


def test_group_means_gap_worst_and_means_of_recall():
    logits, labels = _single()
    tracker = _tracker()
    tracker.update(logits, labels)
    per_class, groups = tracker.get_metrics(), tracker.get_class_type_metrics()["x"]
    for metric in ("precision", "recall", "f1", "ap"):
        values = _column(per_class, metric)
        for group, members in MEMBERS.items():
            assert groups[group][metric] == pytest.approx(values[members].mean())
            assert groups[group][f"{metric}_n_classes"] == 2
            assert groups[group][f"{metric}_lower"] <= groups[group][metric] <= groups[group][f"{metric}_upper"]
        assert groups["gap"][metric] == pytest.approx(values[:2].mean() - values[4:].mean())
        assert groups["gap"][f"{metric}_lower"] < groups["gap"][metric] < groups["gap"][f"{metric}_upper"]
    recall = _column(per_class, "recall")
    assert groups["tail"]["recall_geometric_mean"] == pytest.approx(np.sqrt(recall[4] * recall[5]))
    assert groups["tail"]["recall_harmonic_mean"] == pytest.approx(2 / (1 / recall[4] + 1 / recall[5]))
    f1 = _column(per_class, "f1")
    assert groups["all"]["worst_f1"] == f1.min()
    assert groups["all"]["worst_class"] == list(COUNTS)[int(_column(per_class, "f1_upper").argmin())]


def test_an_undefined_class_is_left_out_of_means_and_flagged():
    logits, labels = _single()
    is_kept = labels != 5
    tracker = _tracker()
    tracker.update(logits[is_kept], labels[is_kept])
    missing = tracker.get_metrics()["x"]["f"]
    assert (missing["recall"], missing["ap"], missing["support"], missing["defined"]) == (0.0, 0.0, 0, False)
    assert missing["recall_lower"] is missing["f1_lower"] is None
    tail = tracker.get_class_type_metrics()["x"]["tail"]
    assert tail["recall_n_classes"] == 1
    assert tail["recall"] == tracker.get_metrics()["x"]["e"]["recall"]
    json.dumps(tracker.get_metrics(), allow_nan=False)


def test_single_label_confusion_between_groups():
    logits, labels = _single()
    tracker = _tracker()
    tracker.update(logits, labels)
    (table,) = (s.record for s in tracker.collect(0) if s.record.tag == confusion_tag("x"))
    group = np.array([0, 0, 1, 1, 2, 2])
    expected = np.zeros((4, 5))
    np.add.at(expected, (group[labels.numpy()], group[logits.argmax(1).numpy()]), 1)
    np.testing.assert_array_equal(table.values, expected)


def test_multi_label_confusion_shares_a_missed_label_among_false_predictions():
    groups = ClassGroups.from_counts({"x": {"h": 900, "m": 50, "t": 1}})
    tracker = ClassPerformanceTracker(classes=groups)
    logits = torch.tensor([[1.0, 1.0, -1.0], [1.0, -1.0, -1.0], [-1.0, -1.0, -1.0]])
    labels = torch.tensor([[0, 0, 1], [1, 0, 0], [0, 0, 1]])
    tracker.update(logits, labels)
    (table,) = (s.record for s in tracker.collect(0) if s.record.tag == confusion_tag("x"))
    assert table.values[table.rows.index("tail")].tolist() == [0.5, 0.5, 0.0, 0.0, 1.0]
    assert table.values[table.rows.index("head")].tolist() == [1.0, 0.0, 0.0, 0.0, 0.0]


def test_curves_of_chosen_classes_have_the_counts_at_each_threshold():
    logits, labels = _multi(ties=False)
    tracker = _tracker(pr_classes={"x": ["f"]})
    tracker.update(logits, labels)
    curves = {s.record.tag: s.record for s in tracker.collect(0) if isinstance(s.record, PRCurve)}
    of_class = curves[class_pr_curve_tag("x", "f")]
    for k in (21, 105, 190):
        predicted = logits[:, 5].sigmoid().numpy() >= np.float32(of_class.thresholds[k])
        truth = labels[:, 5].numpy() > 0
        assert of_class.true_positives[k] == (predicted & truth).sum()
        assert of_class.false_positives[k] == (predicted & ~truth).sum()
        assert of_class.true_negatives[k] == (~predicted & ~truth).sum()
        assert of_class.false_negatives[k] == (~predicted & truth).sum()


def test_records_have_the_schemas_tags_and_columns_and_then_the_state_is_new():
    tracker = _tracker()
    tracker.update(*_single())
    records = {s.record.tag: s.record for s in tracker.collect(7)}
    table, groups = records[class_table_tag("x")], records[group_table_tag("x")]
    assert isinstance(table, Table)
    assert (table.columns, table.values.shape, table.values.dtype) == (CLASS_COLUMNS, (6, 19), np.float32)
    assert (groups.columns, groups.rows) == (GROUP_COLUMNS, GROUP_ROWS)
    assert isinstance(records["longtail/x/classes"], ClassList)
    scalar = records[scalar_tag("x", "recall", "tail")]
    assert isinstance(scalar, Scalar)
    assert np.float32(scalar.value) == groups.column("recall")[2]
    scalars = {tag.removeprefix("class_performance/x/") for tag, r in records.items() if isinstance(r, Scalar)}
    means = {
        f"{metric}/{group}" for metric in ("recall", "f1", "ap") for group in ("head", "medium", "tail", "all", "gap")
    }
    margins = {f"f1_{end}/{group}" for end in ("lower", "upper") for group in ("tail", "gap")}
    assert scalars == {*means, *margins, "accuracy/all"}  # the rest is in the tables
    assert not any(r.value != r.value for r in records.values() if isinstance(r, Scalar))
    assert list(tracker.collect(8)) == []
    before = tracker.get_metrics()
    tracker.update(*_single(1, n=12))
    assert sum(c["support"] for c in tracker.get_metrics()["x"].values()) == 12
    assert sum(c["support"] for c in before["x"].values()) == 200
    assert not any(isinstance(s.record, ClassList) for s in tracker.collect(8))
    assert tracker.history.tables[class_table_tag("x")].steps.tolist() == [7, 8]


def test_unknown_labels_are_left_out_class_by_class():
    logits, labels = _multi()
    labels[::3, 2] = -1
    tracker = _tracker()
    tracker.update(logits, labels)
    known = (labels[:, 2] >= 0).numpy()
    truth, scores = labels[known, 2].numpy(), logits[known, 2].numpy()
    entry = tracker.get_metrics()["x"]["c"]
    assert entry["support"] == truth.sum()
    assert entry["ap"] == pytest.approx(average_precision_score(truth, scores), rel=1e-12)
    assert entry["precision"] == pytest.approx(precision_score(truth, scores >= 0))
    single, targets = _single()
    targets[:50] = -1
    tracker = _tracker()
    tracker.update(single, targets)
    assert tracker.get_class_type_metrics()["x"]["all"]["n_samples"] == 150


def test_nan_rows_are_left_out_counted_and_warned_about_once():
    logits, labels = _single()
    logits[3, 2] = float("nan")
    tracker = _tracker()
    with pytest.warns(TBMetricsWarning, match="NaN logits are left out") as caught:
        _ = [tracker.update(logits, labels) for _ in range(2)]
    assert len(caught) == 1
    assert caught[0].filename == __file__  # not a decorator of torch between our frames
    everything = tracker.get_class_type_metrics()["x"]["all"]
    assert (everything["n_skipped"], everything["n_samples"]) == (2, 398)


def test_infinite_logits_are_scores_like_others():
    logits, labels = _multi()
    logits[0] = torch.inf
    logits[1] = -torch.inf
    tracker = _tracker()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        tracker.update(logits, labels)
        ap = tracker.get_metrics()["x"]["a"]["ap"]
    finite = logits.nan_to_num(posinf=1e4, neginf=-1e4)
    assert ap == pytest.approx(average_precision_score(labels[:, 0], finite[:, 0]), rel=1e-12)


def test_an_empty_batch_counts_nothing():
    tracker = _tracker()
    tracker.update(torch.zeros(0, 6), torch.zeros(0, dtype=torch.long))
    assert list(tracker.collect(0)) == []


@pytest.mark.parametrize("top_k", [(), (2,)])
def test_an_empty_batch_of_predicted_classes_counts_nothing(top_k):
    lists = torch.tensor([[0, 1], [2, 0]])
    predicted, labels = (lists if top_k else lists[:, 0]), torch.tensor([0, 1])
    classes, trackers = ClassGroups.from_counts({"a": {"x": 100, "y": 10, "z": 2}}), []
    for numbers in ([2], [0, 2, 0]):
        tracker = ClassPerformanceTracker(classes=classes, inputs="classes", top_k=top_k)
        for n in numbers:
            tracker.update(predicted[:n], labels[:n])
        trackers.append(tracker)
    assert trackers[0].get_metrics() == trackers[1].get_metrics()
    assert trackers[0].get_metrics()["a"]["x"]["recall"] == 1


@pytest.mark.slow
@settings(max_examples=40)
@given(st.integers(0, 10_000), st.integers(1, 60), st.integers(1, 60))
def test_how_the_rows_are_split_into_batches_changes_nothing(seed, first, second):
    logits, labels = _multi(seed, n=120)
    whole, split = _tracker(), _tracker()
    whole.update(logits, labels)
    for rows in (slice(0, first), slice(first, first + second), slice(first + second, None)):
        split.update(logits[rows], labels[rows])
    assert whole.get_metrics() == split.get_metrics()
    assert whole.get_class_type_metrics() == split.get_class_type_metrics()


@settings(max_examples=25)
@given(st.integers(0, 10_000), st.booleans())
def test_the_binned_modes_bounds_hold_the_exact_ap(seed, single):
    logits, labels = _single(seed, n=300) if single else _multi(seed, n=300, ties=seed % 2 == 0)
    exact, binned = _tracker(), _tracker(scores="binned")
    for rows in torch.arange(300).split(100):
        exact.update(logits[rows], labels[rows])
        binned.update(logits[rows], labels[rows])
    expected, bounds = exact.get_metrics()["x"], binned.get_metrics()["x"]
    for name in COUNTS:
        if expected[name]["support"]:
            assert bounds[name]["ap_lower"] - 1e-12 <= expected[name]["ap"] <= bounds[name]["ap_upper"] + 1e-12
            assert bounds[name]["recall"] == expected[name]["recall"]
    assert binned.get_class_type_metrics()["x"]["all"]["scores_exact"] == 0


def test_auto_becomes_binned_beyond_its_budget_says_so_once_and_is_close(caplog):
    logits, labels = _multi(n=2000, ties=False)
    tracker, exact = _tracker(max_score_bytes=10_000), _tracker()
    for rows in torch.arange(2000).split(100):
        tracker.update(logits[rows], labels[rows])
    exact.update(logits, labels)
    assert sum("max_score_bytes=10000" in record.message for record in caplog.records) == 1
    assert tracker.get_class_type_metrics()["x"]["all"]["scores_exact"] == 0
    np.testing.assert_allclose(_column(tracker.get_metrics(), "ap"), _column(exact.get_metrics(), "ap"), atol=0.01)


def test_update_leaves_inputs_graph_and_random_state_alone():
    logits, labels = _single()
    logits.requires_grad_()
    before, state = logits.detach().clone(), torch.get_rng_state()
    tracker = _tracker()
    tracker.update(logits, labels)
    tracker.get_metrics()
    assert torch.equal(logits, before)
    assert logits.grad_fn is None
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize(
    ("logits", "labels", "message"),
    [
        (torch.zeros(4, 5), torch.zeros(4, dtype=torch.long), r"\(N, 6\), got \(4, 5\); the model's outputs"),
        (torch.zeros(4), torch.zeros(4, dtype=torch.long), r"logits must have shape \(N, 6\)"),
        (torch.zeros(4, 6), torch.zeros(3, dtype=torch.long), r"labels must be class indices \(4,\)"),
        (torch.zeros(4, 6), torch.zeros(4, 5, dtype=torch.long), r"multi-hot \(4, 6\), got shape \(4, 5\)"),
        (torch.zeros(4, 6), torch.tensor([0, 1, 6, 2]), r"must lie in 0\.\.5 \(-1 = unknown\), got 0\.\.6"),
        (torch.zeros(4, 6), torch.tensor([0, 1, -2, 2]), r"got -2\.\.2"),
        (torch.zeros(4, 6), torch.zeros(4), r"class indices must be integers, got torch\.float32"),
        (torch.zeros(4, 6), torch.full((4, 6), 2), r"must be 0, 1 or -1 \(unknown\), got 2"),
        (torch.zeros(4, 6, dtype=torch.long), torch.zeros(4, dtype=torch.long), "logits must be a float tensor"),
        ([[0.0] * 6], torch.zeros(1, dtype=torch.long), "logits must be a tensor or an array, got list"),
        ({"y": torch.zeros(4, 6)}, {"y": torch.zeros(4)}, r"not tracked: \['y'\]; tracked are 'x'"),
        ({"x": torch.zeros(4, 6)}, {}, "give both for each"),
    ],
)
def test_bad_batches_are_refused_at_once_and_change_nothing(logits, labels, message):
    tracker = _tracker()
    with pytest.raises(InputError, match=message):
        tracker.update(logits, labels)
    assert list(tracker.collect(0)) == []


def test_an_attribute_keeps_its_kind():
    tracker = _tracker()
    tracker.update(*_single())
    with pytest.raises(InputError, match="was single_label until now, these labels are multi_label"):
        tracker.update(*_multi())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "no classes: give classes="),
        ({"classes": GROUPS, "scores": "fast"}, "scores must be one of"),
        ({"classes": GROUPS, "attributes": ["y"]}, r"attributes without classes: \['y'\]"),
        ({"classes": GROUPS, "thresholds": 1.5}, r"probabilities in \(0, 1\), got 1.5"),
        ({"classes": GROUPS, "thresholds": {"x": [0.5, 0.5]}}, r"one or 6, got shape \(2,\)"),
        ({"classes": GROUPS, "pr_classes": {"x": ["z"]}}, r"unknown classes \['z'\]"),
    ],
)
def test_bad_options_are_refused_at_construction(options, message):
    with pytest.raises(InputError, match=message):
        ClassPerformanceTracker(**options)


def test_the_older_constructor_arguments_name_and_group_the_classes():
    tracker = ClassPerformanceTracker(
        ["x"],
        {"x": {"cat": 0, "dog": 1, "emu": 2}},
        {"x": {0: "cat", 1: "dog", 2: "emu"}},
        {"x": {"head": {"cat": 900}, "medium": {"dog": 60}, "tail": {"emu": 3}, "33_percentile": 10.0}},
    )
    tracker.update({"x": torch.eye(3)}, {"x": torch.arange(3)})
    assert [m["type"] for m in tracker.get_metrics()["x"].values()] == ["head", "medium", "tail"]
    only_names = ClassPerformanceTracker(idx_to_label_dict={"x": {0: "cat", 1: "dog"}})
    assert only_names.classes["x"].names == ("cat", "dog")


@pytest.mark.slow
def test_visualize_writes_every_figure_and_save_metrics_valid_json(tmp_path):
    tracker = _tracker(save_dir=tmp_path / "figures")
    tracker.update(*_single())
    drawn = tracker.visualize()
    assert {path.name for path in (tmp_path / "figures" / "x").iterdir()} == {f"{n.split('/')[1]}.png" for n in drawn}
    tracker.save_metrics(tmp_path / "metrics.json")
    assert json.loads((tmp_path / "metrics.json").read_text())["type_metrics"]["x"]["tail"]["count"] == 2


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_cuda_gives_the_same_numbers():
    logits, labels = _single()
    host, device = _tracker(), _tracker()
    host.update(logits, labels)
    device.update(logits.cuda(), labels.cuda())
    np.testing.assert_allclose(_column(host.get_metrics(), "ap"), _column(device.get_metrics(), "ap"), rtol=1e-4)


@pytest.mark.parametrize("scores", ["exact", "binned"])
def test_under_autocast_every_sample_counts(scores):
    """In bfloat16 counts would stop at 256."""
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(4000, 3, generator=generator)
    labels = (torch.rand(4000, 3, generator=generator) < 0.3).long()
    groups = ClassGroups.from_counts({"x": dict.fromkeys("abc", 100)})
    tracker = ClassPerformanceTracker(classes=groups, scores=scores)
    with torch.autocast("cpu", torch.bfloat16):
        tracker.update(logits, labels)
        tracker.collect(0)
    predicted, positive = (logits >= 0).numpy(), labels.numpy() > 0
    for column, values in enumerate(tracker.get_metrics()["x"].values()):
        assert values["true_positives"] == (predicted & positive)[:, column].sum()
        assert values["false_positives"] == (predicted & ~positive)[:, column].sum()
        assert values["support"] == positive[:, column].sum()
