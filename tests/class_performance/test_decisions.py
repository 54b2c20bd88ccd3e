"""Decisions on single samples as the tracker records them: which, in what order, within which budget."""

import logging
from dataclasses import replace

import numpy as np
import pytest
import torch

from tbmetrics import ClassGroups, ClassPerformanceTracker, InputError, TBMetrics, read_run
from tbmetrics.comparing import compare_runs
from tbmetrics.comparing.runs import compare
from tbmetrics.records import SampleData, decided_samples

GROUPS = ClassGroups.from_counts({"x": [500, 60, 5, 3]})


def _tracker(**options):
    return ClassPerformanceTracker(classes=GROUPS, **options)


def _batch(n=60, seed=0, multi=False):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(n, 4, generator=generator)
    return logits, (torch.rand(n, 4, generator=generator) < 0.3).long() if multi else torch.arange(n) % 4


def _recorded(tracker, epoch=0):
    """Labels (or None, if they are not new) and decisions."""
    data = [r.record for r in tracker.records(epoch) if isinstance(r.record, SampleData)]
    by_kind = {d.kind: d for d in data}
    return by_kind.get("labels"), by_kind.get("decisions")


@pytest.mark.parametrize("multi", [False, True])
def test_what_was_decided_is_recorded(multi):
    tracker = _tracker()
    logits, labels = _batch(multi=multi)
    if multi:
        labels[::7, 1] = -1
    for part in (slice(0, 25), slice(25, 60)):
        tracker.update(logits[part], labels[part])
    decided = decided_samples(*_recorded(tracker))
    predicted = (logits >= 0).numpy() if multi else np.eye(4, dtype=bool)[logits.argmax(1)]
    positive = (labels == 1).numpy() if multi else np.eye(4, dtype=bool)[labels]
    negative = (labels == 0).numpy() if multi else ~positive
    rows, classes = np.nonzero(positive)
    np.testing.assert_array_equal(decided.rows, rows)
    np.testing.assert_array_equal(decided.classes, classes)
    np.testing.assert_array_equal(decided.hits, predicted[rows, classes])
    alarms = np.nonzero(predicted & negative)
    np.testing.assert_array_equal((decided.false_rows, decided.false_classes), alarms)


@pytest.mark.parametrize("multi", [False, True])
def test_labels_are_recorded_once_and_again_when_they_change(multi):
    tracker = _tracker()
    logits, labels = _batch(multi=multi)
    checksums, has_labels = [], []
    for epoch, order in enumerate((slice(None), slice(None), torch.arange(59, -1, -1), slice(None))):
        tracker.update(logits[order], labels[order])
        data, decisions = _recorded(tracker, epoch)
        has_labels.append(data is not None)
        checksums.append(decisions.checksum)
    assert has_labels == [True, False, True, False]
    assert checksums[0] == checksums[1] == checksums[3] != checksums[2]


@pytest.mark.parametrize("multi", [False, True])
def test_with_indices_the_order_of_the_samples_does_not_matter(multi):
    logits, labels = _batch(multi=multi)
    orders = torch.arange(60), torch.randperm(60, generator=torch.Generator().manual_seed(1))
    recorded = []
    for order in orders:
        tracker = _tracker()
        for part in order.split(23):
            tracker.update(logits[part], labels[part], indices=part)
        recorded.append(_recorded(tracker))
    assert recorded[0] == recorded[1]


@pytest.mark.parametrize("multi", [False, True])
def test_of_several_ranks_samples_are_in_the_order_of_ranks(multi):
    """As `reduce_trackers` does it, with and without indices, which make it that of one rank alone."""
    logits, labels = _batch(multi=multi)
    parts = [torch.arange(rank, 60, 3) for rank in range(3)]
    for has_indices in (False, True):
        trackers = [_tracker() for _ in parts]
        for tracker, part in zip(trackers, parts, strict=True):
            tracker.update(logits[part], labels[part], indices=part if has_indices else None)
        announced = [tracker.announce() for tracker in trackers]
        shares = [tracker.share(announced, rank) for rank, tracker in enumerate(trackers)]
        first = trackers[0].combine(trackers[0].combine(shares[0], shares[1]), shares[2])
        trackers[0].adopt(first)
        alone, order = _tracker(), torch.arange(60) if has_indices else torch.cat(parts)
        alone.update(logits[order], labels[order], indices=order if has_indices else None)
        assert _recorded(trackers[0]) == _recorded(alone)


def test_a_validation_under_way_is_recorded_after_its_state_was_restored():
    logits, labels = _batch()
    tracker, other, whole = _tracker(), _tracker(), _tracker()
    whole.update(logits, labels)
    tracker.update(logits[:20], labels[:20])
    other.load_state_dict(tracker.state_dict())
    other.update(logits[20:], labels[20:])
    assert _recorded(other) == _recorded(whole)


def test_what_does_not_fit_is_not_recorded_and_said_once(caplog):
    tracker = _tracker(max_decision_bytes=20)
    for epoch in range(2):
        tracker.update(*_batch(seed=epoch))
        assert _recorded(tracker, epoch) == (None, None)
    (message,) = [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]
    assert "of at most 20; max_decision_bytes= raises it" in message


@pytest.mark.parametrize(
    ("options", "reason"), [({"scores": "binned"}, "held in bins"), ({"max_decision_bytes": 8}, "do not fit 8 bytes")]
)
def test_multi_label_rows_that_are_not_known_or_too_many_are_said(options, reason, caplog):
    tracker = _tracker(**options)
    tracker.update(*_batch(100, multi=True))
    assert _recorded(tracker) == (None, None)
    assert reason in caplog.text


def test_random_orders_are_given_up(caplog):
    tracker = _tracker()
    logits, labels = _batch()
    recorded = []
    for epoch in range(7):
        order = torch.randperm(60, generator=torch.Generator().manual_seed(epoch))
        tracker.update(logits[order], labels[order])
        recorded.append(_recorded(tracker, epoch)[1] is not None)
    assert recorded == [True] * 4 + [False] * 3
    assert "validate without shuffling, or give indices=" in caplog.text


def test_nothing_is_recorded_if_switched_off(caplog):
    tracker = _tracker(max_decision_bytes=0)
    tracker.update(*_batch())
    assert _recorded(tracker) == (None, None)
    assert not caplog.records
    with pytest.raises(InputError, match="max_decision_bytes must be a whole number of at least 0"):
        _tracker(max_decision_bytes=-1)


@pytest.mark.parametrize("multi", [False, True])
def test_runs_that_decided_the_same_samples_are_compared_in_pairs(tmp_path, multi):
    """From the event files: the interval of the difference is that of the decisions, and says so."""
    labels = _batch(multi=multi)[1]
    for run in range(2):
        with TBMetrics(tmp_path / str(run), classes=GROUPS) as tb:
            for epoch in tb.epochs(range(2)):
                logits = _batch(seed=0)[0] + 0.3 * _batch(seed=10 * run + epoch)[0]
                tb.update({"x": logits}, {"x": labels})
    a, b = (read_run(tmp_path / str(run)) for run in range(2))
    assert not a.problems
    result = compare_runs(a, b, metric="f1")
    assert result.is_paired
    group = result.groups["all"]
    assert group.lower < group.difference < group.upper
    apart = replace(result.b, decided=replace(result.b.decided, checksum="other"))
    unpaired = compare(result.a, apart).groups["all"]
    assert group.upper - group.lower < unpaired.upper - unpaired.lower
    assert len(a.samples["longtail/x/decisions"]) == 2
    assert sum("/labels/" in tag for tag in a.samples) == 1
    assert compare_runs(a, b, metric="ap").unpaired_because.startswith("average precision depends on scores")
