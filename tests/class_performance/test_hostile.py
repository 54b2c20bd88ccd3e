"""Batches that no one means to give: either an InputError, or numbers that scikit-learn gives too."""

import json
import math
import warnings

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, precision_recall_fscore_support

from tbmetrics import ClassGroups, ClassPerformanceTracker, InputError, TBMetricsWarning

CLASSES = 3
GROUPS = ClassGroups.from_counts({"x": [900, 50, 2]})

#: Scores as they come out of broken and of healthy models: ties, infinities, the largest and smallest of float32.
scores = st.one_of(
    st.sampled_from([0.0, -0.0, 1.0, -1.0, math.inf, -math.inf, math.nan, 3.4e38, -3.4e38, 1e-45, 88.0, -104.0]),
    st.floats(width=32, allow_nan=False, allow_infinity=False),
)


def _tracker(**options):
    return ClassPerformanceTracker(classes=GROUPS, **options)


def _metrics_of(logits, labels, **options):
    tracker = _tracker(**options)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", category=TBMetricsWarning)
        tracker.update(logits, labels)
        metrics, groups = tracker.get_metrics(), tracker.get_class_type_metrics()
        json.dumps([metrics, groups], allow_nan=False)
        list(tracker.collect(0))
    return metrics["x"], groups["x"]


def _check(metrics, truth, predicted, ranked):
    """Against scikit-learn, class by class; `ranked` NaN-free, (rows, classes)."""
    columns = precision_recall_fscore_support(truth, predicted, average=None, zero_division=0, labels=range(CLASSES))
    for name, expected in zip(("precision", "recall", "f1", "support"), columns, strict=True):
        np.testing.assert_allclose([metrics[str(c)][name] for c in range(CLASSES)], expected, rtol=1e-9, err_msg=name)
    for c in range(CLASSES):
        entry = metrics[str(c)]
        positive = truth[:, c] if truth.ndim == 2 else truth == c
        assert entry["defined"] == bool(positive.any())
        if positive.any():
            assert entry["ap"] == pytest.approx(average_precision_score(positive, ranked[:, c]), rel=1e-9)


@pytest.mark.slow
@given(st.data())
def test_multi_label_with_any_scores(data):
    rows = data.draw(st.integers(1, 12))
    logits = np.array(data.draw(st.lists(scores, min_size=rows * CLASSES, max_size=rows * CLASSES)), dtype=np.float32)
    logits = logits.reshape(rows, CLASSES)
    bits = st.lists(st.sampled_from([0, 1]), min_size=rows * CLASSES, max_size=rows * CLASSES)
    labels = np.array(data.draw(bits)).reshape(rows, CLASSES)
    kind = data.draw(st.sampled_from([torch.bool, torch.int64, torch.uint8, torch.float32, torch.float64]))
    metrics, groups = _metrics_of(torch.from_numpy(logits), torch.from_numpy(labels).to(kind))
    is_kept = ~np.isnan(logits).any(axis=1)
    assert groups["all"]["n_skipped"] == (~is_kept).sum()
    if is_kept.any():
        finite = np.nan_to_num(logits[is_kept].astype(np.float64), posinf=1e300, neginf=-1e300)
        _check(metrics, labels[is_kept], logits[is_kept] >= 0, finite)


@pytest.mark.slow
@given(st.data())
def test_single_label_with_any_finite_scores(data):
    rows = data.draw(st.integers(1, 12))
    finite = scores.filter(math.isfinite)
    logits = np.array(data.draw(st.lists(finite, min_size=rows * CLASSES, max_size=rows * CLASSES)), dtype=np.float32)
    tensor = torch.from_numpy(logits.reshape(rows, CLASSES))
    labels = torch.tensor(data.draw(st.lists(st.integers(0, CLASSES - 1), min_size=rows, max_size=rows)))
    kind = data.draw(st.sampled_from([torch.int64, torch.int32, torch.uint8, torch.int8]))
    metrics, _ = _metrics_of(tensor, labels.to(kind))
    _check(metrics, labels.numpy(), tensor.argmax(1).numpy(), tensor.double().softmax(1).numpy())


@pytest.mark.parametrize("odd", [[math.inf, 0, 0], [math.inf, math.inf, 0], [-math.inf] * 3, [math.nan, 0, 0]])
def test_a_row_whose_softmax_is_undefined_is_left_out_and_counted(odd):
    """Infinity divided by infinity: no probability, so nothing to rank by and no confidence."""
    rows = torch.tensor([[2.0, 0.0, 1.0], odd, [0.0, 1.0, 0.0], [0.0, -math.inf, 3.0]])
    tracker = _tracker()
    with pytest.warns(TBMetricsWarning, match="left out"):
        tracker.update(rows, torch.tensor([0, 0, 1, 2]))
    groups = tracker.get_class_type_metrics()["x"]
    assert (groups["all"]["n_skipped"], groups["all"]["n_samples"]) == (1, 3)
    assert groups["all"]["accuracy"] == 1.0
    assert [m["ap"] for m in tracker.get_metrics()["x"].values()] == [1.0, 1.0, 1.0]


@pytest.mark.parametrize("labels", [torch.zeros(5, 3), torch.ones(5, 3), torch.eye(3)[[0] * 5], -torch.ones(5, 3)])
@pytest.mark.parametrize("score", [0.0, math.inf, -math.inf, 3e38])
def test_one_class_no_class_unknown_labels_and_scores_all_equal(labels, score):
    metrics, _ = _metrics_of(torch.full((5, 3), score), labels)
    for c, entry in enumerate(metrics.values()):
        positives = int((labels[:, c] > 0).sum())
        assert (entry["support"], entry["defined"]) == (positives, positives > 0)
        assert entry["ap"] == pytest.approx(1.0 if positives else 0.0)  # all that is known is positive, or nothing is


shapes = st.lists(st.integers(0, 4), max_size=4).map(tuple)
dtypes = st.sampled_from(
    [torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.int64, torch.int8, torch.bool, torch.complex64]
)


@st.composite
def tensors(draw):
    shape = draw(st.one_of(shapes, st.sampled_from([(4, 3), (4,), (0, 3), (0,), (4, 1), (1, 3), (3, 4)])))
    value = draw(st.sampled_from([0, 1, 2, -1, -2, 300, 2**31]))
    tensor = torch.full(shape, value % 128 if abs(value) > 127 and draw(st.booleans()) else value, dtype=torch.float64)
    return tensor.to(draw(dtypes))


anything = st.one_of(
    tensors(),
    st.none(),
    st.integers(),
    st.text(max_size=3),
    st.lists(st.integers(0, 3), max_size=3),
    st.just(np.zeros((4, 3))),
    st.dictionaries(st.sampled_from(["x", "y", 0]), st.one_of(tensors(), st.none()), max_size=2),
)


@given(anything, anything, st.one_of(st.none(), anything))
def test_whatever_comes_is_counted_or_refused_by_name(logits, labels, indices):
    tracker = _tracker()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", TBMetricsWarning)
        try:
            tracker.update(logits, labels, indices=indices)
        except InputError:
            assert tracker.get_class_type_metrics() == _tracker().get_class_type_metrics()
            return
    json.dumps([tracker.get_metrics(), tracker.get_class_type_metrics()], allow_nan=False)


@given(st.one_of(anything, st.floats(), st.lists(st.floats(), max_size=4), st.dictionaries(st.text(), st.floats())))
def test_thresholds_are_probabilities_or_refused(thresholds):
    try:
        tracker = _tracker(thresholds=thresholds)
    except InputError:
        return
    assert ((tracker.thresholds["x"] > 0) & (tracker.thresholds["x"] < 1)).all()
