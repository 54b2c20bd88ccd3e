"""Decisions on single samples as bytes and back; what is damaged is refused."""

import json
import zlib
from dataclasses import replace

import numpy as np
import pytest

from tbmetrics.records import (
    MULTI_LABEL,
    DecidedSamples,
    SchemaError,
    decided_samples,
    decisions_data,
    label_checksum,
    labels_data,
    sample_data_from_payload,
    sample_payload,
)

FIELDS = ("rows", "classes", "hits", "false_rows", "false_classes")


def _single(n_classes=300, n=500, seed=0):
    rng = np.random.default_rng(seed)
    labels, predicted = rng.integers(0, n_classes, (2, n))
    return DecidedSamples.of_predictions(labels, np.where(rng.random(n) < 0.5, labels, predicted), n_classes, "c")


def _multi(n_classes=40, n=100, seed=0, share=0.05):
    rng = np.random.default_rng(seed)
    positive, predicted = rng.random((2, n, n_classes)) < share
    rows, classes = np.nonzero(positive)
    cells = rows, classes, predicted[rows, classes], *np.nonzero(predicted & ~positive)
    return DecidedSamples(MULTI_LABEL, n, n_classes, *cells, "c")


@pytest.mark.parametrize(
    "decided",
    [
        _single(3),
        _single(300),
        _single(70_000, 40),
        _single(5, 1),
        _multi(),
        _multi(1, 9),
        _multi(7, 5, share=0.0),
        _multi(3, 4, share=1.0),
    ],
)
def test_what_is_written_is_read_back(decided):
    written = [labels_data("a", decided), decisions_data("a", decided)]
    labels, decisions = (sample_data_from_payload(data.tag, sample_payload(data)) for data in written)
    assert (labels, decisions) == tuple(written)
    assert (labels.tag, decisions.tag) == ("longtail/a/labels/c", "longtail/a/decisions")
    read = decided_samples(labels, decisions)
    for field in FIELDS:
        np.testing.assert_array_equal(getattr(read, field), getattr(decided, field))
    assert (read.decision, read.n_samples, read.n_classes) == (decided.decision, decided.n_samples, decided.n_classes)


def test_it_is_small():
    """Two bytes a sample at most for thousands of classes; a bit a positive and a byte or two a false positive."""
    assert len(decisions_data("a", _single(8142, 24_426)).payload) < 2.1 * 24_426
    decided = _multi(80, 2000, share=0.03)
    assert len(decisions_data("a", decided).payload) < len(decided.rows) / 8 + 1.3 * len(decided.false_rows)


def test_the_checksum_tells_labels_and_their_order_apart():
    labels = np.array([0, 1, 2, 1])
    checksums = {
        label_checksum("single_label", 4, 3, labels, np.zeros(0, dtype=int)),
        label_checksum("single_label", 4, 3, labels[::-1].copy(), np.zeros(0, dtype=int)),
        label_checksum("single_label", 4, 4, labels, np.zeros(0, dtype=int)),
        label_checksum("multi_label", 4, 3, labels, np.zeros(0, dtype=int)),
        label_checksum("single_label", 4, 3, labels, np.arange(4)),
        label_checksum("single_label", 4, 3, labels[:3], labels[3:]),
    }
    assert len(checksums) == 6


def _spoilt(data, content):
    return replace(data, payload=zlib.compress(content))


@pytest.mark.parametrize(
    "content",
    [b"", b"\x03abc", b"\x02abc", bytes([1, 0, 1, 9]), bytes([1, 0, 1]), b"\x08" + b"\xff" * 24],
    ids=["nothing", "width", "torn", "class", "too few", "huge"],
)
def test_damaged_decisions_are_refused(content):
    decided = _single(3, 3)
    labels, decisions = labels_data("a", decided), decisions_data("a", decided)
    for pair in ((labels, _spoilt(decisions, content)), (_spoilt(labels, content), decisions)):
        with pytest.raises(SchemaError, match="longtail/a"):
            decided_samples(*pair)


def test_places_must_ascend_within_the_table():
    decided = _multi(4, 4, share=0.5)
    labels, decisions = labels_data("a", decided), decisions_data("a", decided)
    for gaps in ([0, 0], [15, 1], [2**63 - 1, 2**63 - 1]):
        content = b"\x08" + np.array(gaps, dtype="<u8").tobytes()
        with pytest.raises(SchemaError):
            decided_samples(_spoilt(labels, content), decisions)
    with pytest.raises(SchemaError, match="do not tell"):
        decided_samples(labels, _spoilt(decisions, b""))


def test_bytes_that_are_not_packed_or_never_end_are_refused():
    decided = _single(3, 3)
    labels, decisions = labels_data("a", decided), decisions_data("a", decided)
    for payload in (b"no zlib", decisions.payload[:-4]):
        with pytest.raises(SchemaError):
            decided_samples(labels, replace(decisions, payload=payload))
    with pytest.raises(SchemaError, match="not about the labels"):
        decided_samples(labels, replace(decisions, checksum="other"))
    with pytest.raises(SchemaError, match="not about the labels"):
        decided_samples(decisions, labels)


@pytest.mark.parametrize(
    "change",
    [
        {"kind": "table"},
        {"decision": "both"},
        {"n_samples": -1},
        {"n_classes": 2.5},
        {"checksum": None},
        {"schema_version": 99},
    ],
)
def test_a_header_of_another_kind_is_refused(change):
    header, _, content = sample_payload(decisions_data("a", _single())).partition(b"\0")
    with pytest.raises(SchemaError):
        sample_data_from_payload("t", json.dumps(json.loads(header) | change).encode() + b"\0" + content)
