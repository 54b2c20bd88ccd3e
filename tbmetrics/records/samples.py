"""What was decided on each sample of a validation, as compressed bytes and back.

Single-label: the predicted class of each sample. Multi-label: whether each positive was hit, in row-major order, and
where the false positives are. The labels, which differ between validations less often, are records of their own.
"""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tbmetrics.records.encoding import SCHEMA_VERSION, SchemaError, decode_content
from tbmetrics.records.kinds import IntArray, SampleData
from tbmetrics.records.tags import decisions_tag, labels_tag

SINGLE_LABEL, MULTI_LABEL = "single_label", "multi_label"
LABELS, DECISIONS = "labels", "decisions"
#: Most bytes that a payload may unpack to: a log may be malicious.
MOST_BYTES = 2**28
_SEPARATOR = b"\0"  # JSON holds no such byte


@dataclass(frozen=True, slots=True, eq=False)
class DecidedSamples:
    """The positives of each sample, which of them were hit, and what was predicted wrongly.

    Attributes:
        decision: "single_label" or "multi_label".
        n_samples, n_classes: size of the validation.
        rows, classes: sample and class of each positive, in row-major order, int64 (positives,).
        hits: whether it was predicted, bool (positives,).
        false_rows, false_classes: sample and class of each false positive, in row-major order, int64.
        checksum: of the labels and their order.
    """

    decision: str
    n_samples: int
    n_classes: int
    rows: IntArray
    classes: IntArray
    hits: NDArray[np.bool_]
    false_rows: IntArray
    false_classes: IntArray
    checksum: str

    @classmethod
    def of_predictions(cls, labels: IntArray, predicted: IntArray, n_classes: int, checksum: str) -> DecidedSamples:
        """Single-label decisions.

        Args:
            labels, predicted: class of each sample, int64 (samples,).
            n_classes, checksum: see the attributes.
        """
        wrong = np.flatnonzero(labels != predicted).astype(np.int64)
        rows, n_samples = np.arange(len(labels), dtype=np.int64), len(labels)
        hits, alarms = labels == predicted, predicted[wrong]
        return cls(SINGLE_LABEL, n_samples, n_classes, rows, labels, hits, wrong, alarms, checksum)

    @property
    def is_single(self) -> bool:
        """Whether each sample has one label."""
        return self.decision == SINGLE_LABEL

    def predicted(self) -> IntArray:
        """The predicted class of each sample of a single-label validation, int64 (samples,)."""
        predicted = self.classes.copy()
        predicted[self.false_rows] = self.false_classes
        return predicted


def label_checksum(decision: str, n_samples: int, n_classes: int, *arrays: IntArray, sample_set: str = "") -> str:
    """Checksum of the labels and their order, from whole numbers that describe both.

    Args:
        decision, n_samples, n_classes: of the validation.
        arrays: the numbers, int64.
        sample_set: name of an evaluation, whose samples are others even if their labels are the same.
    """
    about = f"{decision} {n_samples} {n_classes}{sample_set and ' '}{sample_set}"
    digest = hashlib.blake2b(about.encode(), digest_size=12)
    for array in arrays:
        digest.update(f" {len(array)} ".encode() + np.ascontiguousarray(array, dtype="<i8").tobytes())
    return digest.hexdigest()


# ---------------------------------------------------------------------------------------------------- encoding


def labels_data(attribute: str, decided: DecidedSamples) -> SampleData:
    """The labels as a record."""
    values = decided.classes if decided.is_single else _gaps(decided, decided.rows, decided.classes)
    return _data(labels_tag(attribute, decided.checksum), attribute, LABELS, decided, _compact(values))


def decisions_data(attribute: str, decided: DecidedSamples) -> SampleData:
    """The decisions as a record."""
    if decided.is_single:
        content = _compact(decided.predicted())
    else:
        gaps = _compact(_gaps(decided, decided.false_rows, decided.false_classes))
        content = np.packbits(decided.hits).tobytes() + gaps
    return _data(decisions_tag(attribute), attribute, DECISIONS, decided, content)


#: Of zlib: a twentieth more bytes than its usual level, in a fifth of the time.
_LEVEL = 4


def _data(tag: str, attribute: str, kind: str, decided: DecidedSamples, content: bytes) -> SampleData:
    n_samples, n_classes, payload = decided.n_samples, decided.n_classes, zlib.compress(content, _LEVEL)
    return SampleData(tag, attribute, kind, decided.decision, decided.checksum, n_samples, n_classes, payload)


def _gaps(decided: DecidedSamples, rows: IntArray, classes: IntArray) -> IntArray:
    """Distances between ascending places in the table of samples and classes."""
    return np.diff(rows * decided.n_classes + classes, prepend=0)


def _compact(values: IntArray) -> bytes:
    """The bytes of one value, then the values in the smallest unsigned type, little-endian."""
    dtype = np.min_scalar_type(int(values.max(initial=0))).newbyteorder("<")
    return bytes([dtype.itemsize]) + values.astype(dtype).tobytes()


def sample_content(data: SampleData) -> bytes:
    """Metadata of the tag."""
    content = {"schema_version": SCHEMA_VERSION, "kind": data.kind, "attribute": data.attribute}
    return json.dumps(content, ensure_ascii=False, sort_keys=True).encode()


def sample_payload(data: SampleData) -> bytes:
    """The only element of the string tensor: JSON, a zero byte, the compressed bytes."""
    about = {
        "schema_version": SCHEMA_VERSION,
        "kind": data.kind,
        "attribute": data.attribute,
        "decision": data.decision,
        "checksum": data.checksum,
        "n_samples": data.n_samples,
        "n_classes": data.n_classes,
    }
    return json.dumps(about, ensure_ascii=False, sort_keys=True).encode() + _SEPARATOR + data.payload


# ---------------------------------------------------------------------------------------------------- decoding


def sample_data_from_payload(tag: str, payload: bytes) -> SampleData:
    """Invert `sample_payload`.

    Raises:
        SchemaError: the payload is not one of tbmetrics, or has a newer schema.
    """
    header, _, content = bytes(payload).partition(_SEPARATOR)
    about = decode_content(tag, header)
    _check_header(tag, about)
    names = ("attribute", "kind", "decision", "checksum", "n_samples", "n_classes")
    return SampleData(tag, **{name: about[name] for name in names}, payload=content)


def _check_header(tag: str, about: Mapping[str, Any]) -> None:
    is_text = all(isinstance(about.get(name), str) for name in ("attribute", "checksum"))
    is_known = about.get("kind") in (LABELS, DECISIONS) and about.get("decision") in (SINGLE_LABEL, MULTI_LABEL)
    sizes = [about.get(name) for name in ("n_samples", "n_classes")]
    if not is_text or not is_known or not all(type(size) is int and 0 < size < 2**31 for size in sizes):
        raise SchemaError(f"tag {tag!r}: not what is known of each sample of a validation")


def decided_samples(labels: SampleData, decisions: SampleData) -> DecidedSamples:
    """The decisions on the samples with these labels.

    Raises:
        SchemaError: they do not belong together, or are damaged.
    """
    facts = [(data.decision, data.checksum, data.n_samples, data.n_classes) for data in (labels, decisions)]
    if facts[0] != facts[1] or (labels.kind, decisions.kind) != (LABELS, DECISIONS):
        raise SchemaError(f"tag {decisions.tag!r}: its decisions are not about the labels in {labels.tag!r}")
    if labels.decision == SINGLE_LABEL:
        return _decided_single(labels, decisions)
    return _decided_multi(labels, decisions)


def _decided_single(labels: SampleData, decisions: SampleData) -> DecidedSamples:
    truth, predicted = (_values(data, _unpacked(data), data.n_classes) for data in (labels, decisions))
    if not len(truth) == len(predicted) == labels.n_samples:
        raise SchemaError(f"tag {decisions.tag!r}: not one decision for each of {labels.n_samples} samples")
    return DecidedSamples.of_predictions(truth, predicted, labels.n_classes, labels.checksum)


def _decided_multi(labels: SampleData, decisions: SampleData) -> DecidedSamples:
    rows, classes = _places(labels, _unpacked(labels))
    content, n_bytes = _unpacked(decisions), (len(rows) + 7) // 8
    if len(content) < n_bytes:
        raise SchemaError(f"tag {decisions.tag!r}: {len(content)} bytes do not tell of {len(rows)} positives")
    bits = np.unpackbits(np.frombuffer(content[:n_bytes], dtype=np.uint8), count=len(rows)).astype(bool)
    false_rows, false_classes = _places(decisions, content[n_bytes:])
    size = labels.n_samples, labels.n_classes
    return DecidedSamples(MULTI_LABEL, *size, rows, classes, bits, false_rows, false_classes, labels.checksum)


def _unpacked(data: SampleData) -> bytes:
    unpacker = zlib.decompressobj()
    try:
        content = unpacker.decompress(data.payload, MOST_BYTES)
    except zlib.error as error:
        raise SchemaError(f"tag {data.tag!r}: its samples cannot be unpacked ({error})") from error
    if not unpacker.eof:
        raise SchemaError(f"tag {data.tag!r}: its samples are cut off, or unpack to more than {MOST_BYTES} bytes")
    return content


def _values(data: SampleData, content: bytes, below: int) -> IntArray:
    """Invert `_compact`, for values under `below`."""
    width = content[0] if content else 0
    if width not in (1, 2, 4, 8) or (len(content) - 1) % width:
        raise SchemaError(f"tag {data.tag!r}: its samples are not whole numbers of 1 to 8 bytes")
    values = np.frombuffer(content[1:], dtype=f"<u{width}")
    if (values >= below).any():
        raise SchemaError(f"tag {data.tag!r}: a class or place in it is out of range")
    return values.astype(np.int64)


def _places(data: SampleData, content: bytes) -> tuple[IntArray, IntArray]:
    """Invert `_gaps`: rows and classes."""
    cells = data.n_samples * data.n_classes
    flat = np.cumsum(_values(data, content, cells))
    # A sum of values under `cells` grows past it before it can overflow.
    if len(flat) and (flat.max() >= cells or (np.diff(flat) <= 0).any()):
        raise SchemaError(f"tag {data.tag!r}: its places do not ascend within {cells} cells")
    rows, classes = np.divmod(flat, data.n_classes)
    return rows, classes
