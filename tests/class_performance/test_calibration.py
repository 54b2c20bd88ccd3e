"""Calibration error: 0 for calibrated models at every size and on every group, and what was planted otherwise."""

import numpy as np
import pytest
import torch

from tbmetrics import ClassGroups, ClassPerformanceTracker
from tbmetrics.class_performance.calibration import calibration_error
from tbmetrics.records import BY_CLASS, BY_PREDICTED_CLASS, calibration_tag

BINS = 15
#: Confidences as models have them: all over, mostly confident, nearly always sure, unsure.
CONFIDENCES = [(1, 1), (5, 1.2), (20, 0.5), (2, 5)]


def _sums(confidence, right):
    bins = np.clip(np.ceil(confidence * BINS).astype(int) - 1, 0, BINS - 1)
    return np.stack([np.bincount(bins, weights, BINS) for weights in (np.ones(len(bins)), confidence, right)])


def _plain(sums):
    return np.abs(sums[2] - sums[1]).sum() / sums[0].sum()


def _estimates(shape, size, accuracy, repeats):
    rng = np.random.default_rng(0)
    confidences = rng.beta(*shape, (repeats, size))
    return [calibration_error(_sums(c, rng.random(size) < accuracy(c))) for c in confidences]


def _softened(confidence):
    """What a model at half the right temperature is right about."""
    odds = np.sqrt(confidence / np.maximum(1 - confidence, 1e-12))
    return odds / (1 + odds)


@pytest.mark.parametrize("shape", CONFIDENCES)
@pytest.mark.parametrize(("size", "repeats"), [(50, 800), (500, 300), (5000, 60)])
def test_a_calibrated_model_reads_0_at_every_size(shape, size, repeats):
    assert abs(np.mean(_estimates(shape, size, lambda c: c, repeats))) < 0.02


@pytest.mark.parametrize("shape", CONFIDENCES)
@pytest.mark.parametrize(("size", "repeats", "bias"), [(50, 400, 0.055), (500, 200, 0.02), (5000, 40, 0.006)])
@pytest.mark.parametrize("accuracy", [lambda c: np.maximum(c - 0.1, 0), _softened], ids=["shift", "temperature"])
def test_what_was_planted_is_read_without_much_bias(shape, size, repeats, bias, accuracy):
    confidence = np.random.default_rng(1).beta(*shape, 200_000)
    truth = _plain(_sums(confidence, accuracy(confidence)))
    assert truth > 0.08
    assert np.mean(_estimates(shape, size, accuracy, repeats)) == pytest.approx(truth, abs=bias)


def test_of_few_examples_it_is_undefined():
    assert np.isnan(calibration_error(np.zeros((2, 3, BINS))))
    assert np.isnan(calibration_error(_sums(np.full(19, 0.9), np.zeros(19))))
    assert calibration_error(_sums(np.full(20, 0.9), np.zeros(20))) == pytest.approx(0.9)
    assert calibration_error(_sums(np.full(20, 0.5), np.arange(20) % 2)) == 0


def test_an_exact_posterior_is_calibrated_on_head_and_tail():
    rng = np.random.default_rng(0)
    counts = np.r_[np.full(10, 4000), np.full(10, 100)]
    labels = np.repeat(np.arange(20), counts)
    evidence = rng.normal(size=(len(labels), 20))
    evidence[np.arange(len(labels)), labels] += 2
    logits = torch.tensor(2 * evidence + np.log(counts / counts.sum()), dtype=torch.float32)
    groups = ClassGroups.from_counts({"a": counts.tolist()}, head_above=1000, tail_below=500)
    tracker = ClassPerformanceTracker(classes=groups)
    tracker.update(logits, torch.from_numpy(labels))
    metrics = tracker.get_class_type_metrics()["a"]
    assert all(abs(metrics[group]["ece"]) < 0.03 for group in ("head", "tail", "all"))
    overconfident = ClassPerformanceTracker(classes=groups, logit_scale=2.0)
    overconfident.update(logits, torch.from_numpy(labels))
    assert overconfident.get_class_type_metrics()["a"]["tail"]["ece"] > 0.1


@pytest.mark.parametrize(
    ("labels", "by"), [(torch.arange(6) % 3, BY_PREDICTED_CLASS), (torch.eye(3).repeat(2, 1), BY_CLASS)]
)
def test_the_record_says_whose_group_examples_count_for(labels, by):
    tracker = ClassPerformanceTracker(classes=ClassGroups.from_counts({"a": [900, 60, 4]}))
    tracker.update(5 * torch.randn(6, 3, generator=torch.Generator().manual_seed(0)), labels)
    tracker.collect(0)
    assert tracker.history.tables[calibration_tag("a")][-1].details["by"] == by
