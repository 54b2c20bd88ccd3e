"""Encode tables and class lists as versioned JSON and back; reject what does not fit the schema."""

from __future__ import annotations

import json
import math
import struct
import zlib
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tbmetrics.records.kinds import ClassList, Table
from tbmetrics.records.tags import visible

SCHEMA_VERSION = 1
#: Bytes from which on the values of a table are written compressed, as the only element of a string tensor.
PACKED_FROM = 2**14
_MOST_BYTES = 2**30
_PACKED = struct.Struct("<cII")  # float16 ("e") or float32 ("f"), rows, columns


class SchemaError(ValueError):
    """A record does not fit the schema or has a newer version; the message names its tag and the reason."""


def table_content(table: Table) -> bytes:
    """Metadata of a table's tag: JSON with schema version, kind, attribute, columns, rows and details."""
    content = {
        "schema_version": SCHEMA_VERSION,
        "kind": table.kind,
        "attribute": table.attribute,
        "columns": list(table.columns),
        "rows": list(table.rows),
        "details": dict(table.details),
    }
    return _json_bytes(content)


def table_from_content(tag: str, content: bytes, values: NDArray[Any]) -> Table:
    """Invert `table_content`, given the tensor's `values`: (rows, columns), or one element, `packed_values`.

    Raises:
        SchemaError: the content is not a table of tbmetrics, or has a newer schema.
    """
    fields = decode_content(tag, content)
    columns = tuple(_required(tag, fields, "columns"))
    if values.size == 1 and isinstance(values.reshape(-1)[0], bytes):
        values = _unpacked_values(tag, values.reshape(-1)[0])
    if values.ndim != 2 or values.shape[1] != len(columns):
        raise SchemaError(f"tag {tag!r}: tensor of shape {values.shape} does not fit {len(columns)} columns")
    if values.dtype.kind not in "biuf":
        raise SchemaError(f"tag {tag!r}: a table holds numbers, got {values.dtype}")
    with np.errstate(over="ignore"):
        float32_values = np.asarray(values, dtype=np.float32)
    return Table(
        tag=tag,
        attribute=_required(tag, fields, "attribute"),
        kind=_required(tag, fields, "kind"),
        columns=columns,
        values=float32_values,
        rows=tuple(_required(tag, fields, "rows")),
        details=_required(tag, fields, "details"),
    )


def packed_values(values: NDArray[np.floating]) -> bytes:
    """The values of a table, float16 or float32 (rows, columns), compressed column by column without loss."""
    kind = "e" if values.dtype == np.float16 else "f"
    columns = np.ascontiguousarray(values.T, dtype=f"<{kind}")
    return _PACKED.pack(kind.encode(), *values.shape) + zlib.compress(columns.tobytes())


def _unpacked_values(tag: str, payload: bytes) -> NDArray[np.floating]:
    """Invert `packed_values`.

    Raises:
        SchemaError: the bytes are damaged, or claim to be too much.
    """
    try:
        kind, rows, columns = _PACKED.unpack_from(payload)
        dtype: np.dtype[np.floating] = np.dtype({b"e": "<e", b"f": "<f"}[kind])
        size = min(rows * columns * dtype.itemsize, _MOST_BYTES)
        content = zlib.decompressobj().decompress(payload[_PACKED.size :], size + 1)
        values = np.frombuffer(content, dtype=dtype).reshape(columns, rows).T
    except (struct.error, KeyError, ValueError, zlib.error) as error:
        raise SchemaError(f"tag {tag!r}: the values of its table are damaged ({error})") from error
    return values.astype(dtype.newbyteorder("="))


def class_list_content(classes: ClassList) -> bytes:
    """Metadata of a class list's tag; the names are in the tensor."""
    content = {"schema_version": SCHEMA_VERSION, "kind": "class_list", "attribute": classes.attribute}
    return _json_bytes(content)


def class_list_payload(classes: ClassList) -> bytes:
    """Class list as JSON bytes, the only element of its string tensor."""
    payload = {
        "schema_version": SCHEMA_VERSION,
        "attribute": classes.attribute,
        "names": list(classes.names),
        "counts": [int(count) for count in classes.counts],
        "groups": list(classes.groups),
        "rule": classes.rule,
        "decision": classes.decision,
        **({"families": list(classes.families)} if classes.families else {}),
        **({} if classes.evaluation is None else {"evaluation": classes.evaluation}),
    }
    return _json_bytes(payload)


def class_list_from_payload(tag: str, payload: bytes) -> ClassList:
    """Invert `class_list_payload`.

    Raises:
        SchemaError: the payload is not a class list of tbmetrics, or has a newer schema.
    """
    fields = decode_content(tag, payload)
    names, counts, groups = (_required(tag, fields, name) for name in ("names", "counts", "groups"))
    if not len(names) == len(counts) == len(groups):
        raise SchemaError(f"tag {tag!r}: {len(names)} names, {len(counts)} counts and {len(groups)} groups")
    families = fields.get("families", [])
    if families and len(families) != len(names):
        raise SchemaError(f"tag {tag!r}: {len(names)} names and {len(families)} families")
    return ClassList(
        tag=tag,
        attribute=_required(tag, fields, "attribute"),
        names=tuple(names),
        counts=np.array(counts, dtype=np.int64),
        groups=tuple(groups),
        rule=_required(tag, fields, "rule"),
        decision=_required(tag, fields, "decision"),
        families=tuple(families),
        evaluation=fields.get("evaluation"),
    )


def decode_content(tag: str, content: bytes) -> dict[str, Any]:
    """Decode a JSON object; check its schema version and the types of its fields.

    Raises:
        SchemaError: not a JSON object, no version, a version above `SCHEMA_VERSION`, or a field of the wrong type.
    """
    try:
        fields: dict[str, Any] = _DECODER.decode(bytes(content).decode())
    except (ValueError, RecursionError) as error:
        raise SchemaError(f"tag {tag!r}: its metadata is not tbmetrics' JSON") from error
    version = fields.get("schema_version") if isinstance(fields, dict) else None
    if not isinstance(version, int):
        raise SchemaError(f"tag {tag!r}: its metadata names no schema version")
    if version > SCHEMA_VERSION:
        raise SchemaError(
            f"tag {tag!r} was written with schema {version}; this tbmetrics reads up to {SCHEMA_VERSION}; "
            "upgrade tbmetrics to read it"
        )
    for name, (expected, is_valid) in _FIELDS.items():
        if name in fields and not is_valid(fields[name]):
            raise SchemaError(f"tag {tag!r}: its {name} must be {expected}")
    return fields


def _required(tag: str, fields: Mapping[str, Any], name: str) -> Any:
    if name not in fields:
        raise SchemaError(f"tag {tag!r} lacks its {name}")
    return fields[name]


def _parse_finite(number: str) -> float:
    value = float(number)
    if not math.isfinite(value):
        raise ValueError(f"{number} is not finite")
    return value


_DECODER = json.JSONDecoder(parse_float=_parse_finite, parse_constant=_parse_finite)


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and _is_unicode(value)


def _is_texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(v, str) for v in value) and _is_unicode("".join(value))


def _is_unicode(text: str) -> bool:
    """Whether `text` can be encoded: JSON allows lone surrogates, which no file or terminal accepts."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _is_counts(value: Any) -> bool:
    return isinstance(value, list) and all(type(v) is int and -(2**63) <= v < 2**63 for v in value)


_TEXT, _TEXTS = ("a text", _is_text), ("a list of texts", _is_texts)
#: Description and check of each JSON field, since a log may be damaged or malicious.
_FIELDS: Mapping[str, tuple[str, Callable[[Any], bool]]] = {
    **dict.fromkeys(("attribute", "kind", "rule", "decision", "evaluation"), _TEXT),
    **dict.fromkeys(("columns", "rows", "names", "groups", "families"), _TEXTS),
    "counts": ("a list of whole numbers", _is_counts),
    "details": ("an object", lambda value: isinstance(value, dict)),
}


def _json_bytes(value: Any) -> bytes:
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, sort_keys=True)
    return visible(text, "\\\\u").encode()
