"""Tables and class lists to versioned JSON and back; whatever does not fit the schema is refused."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tbmetrics.records.kinds import ClassList, Table

SCHEMA_VERSION = 1


class SchemaError(ValueError):
    """A record was written by a newer or foreign schema; the message names it and the version known here."""


def table_content(table: Table) -> bytes:
    """The metadata content of a table's tag: JSON with schema version, kind, attribute, columns, rows, details."""
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
    """The inverse of `table_content`, with the tensor's `values` of shape (rows, columns).

    Raises:
        SchemaError: the content is no table of ours, or of a newer schema.
    """
    fields = decode_content(tag, content)
    columns = tuple(_required(tag, fields, "columns"))
    if values.ndim != 2 or values.shape[1] != len(columns):
        raise SchemaError(f"tag {tag!r}: tensor of shape {values.shape} does not fit {len(columns)} columns")
    if values.dtype.kind not in "biuf":
        raise SchemaError(f"tag {tag!r}: a table holds numbers, got {values.dtype}")
    with np.errstate(over="ignore"):
        narrow = np.asarray(values, dtype=np.float32)
    return Table(
        tag=tag,
        attribute=_required(tag, fields, "attribute"),
        kind=_required(tag, fields, "kind"),
        columns=columns,
        values=narrow,
        rows=tuple(_required(tag, fields, "rows")),
        details=_required(tag, fields, "details"),
    )


def class_list_content(classes: ClassList) -> bytes:
    """The metadata content of a class list's tag (the names themselves travel in the tensor)."""
    content = {"schema_version": SCHEMA_VERSION, "kind": "class_list", "attribute": classes.attribute}
    return _json_bytes(content)


def class_list_payload(classes: ClassList) -> bytes:
    """The class list as JSON bytes: the only element of its string tensor."""
    payload = {
        "schema_version": SCHEMA_VERSION,
        "attribute": classes.attribute,
        "names": list(classes.names),
        "counts": [int(count) for count in classes.counts],
        "groups": list(classes.groups),
        "rule": classes.rule,
        "decision": classes.decision,
    }
    return _json_bytes(payload)


def class_list_from_payload(tag: str, payload: bytes) -> ClassList:
    """The inverse of `class_list_payload`.

    Raises:
        SchemaError: the payload is no class list of ours, or of a newer schema.
    """
    fields = decode_content(tag, payload)
    names, counts, groups = (_required(tag, fields, name) for name in ("names", "counts", "groups"))
    if not len(names) == len(counts) == len(groups):
        raise SchemaError(f"tag {tag!r}: {len(names)} names, {len(counts)} counts and {len(groups)} groups")
    return ClassList(
        tag=tag,
        attribute=_required(tag, fields, "attribute"),
        names=tuple(names),
        counts=np.array(counts, dtype=np.int64),
        groups=tuple(groups),
        rule=_required(tag, fields, "rule"),
        decision=_required(tag, fields, "decision"),
    )


def decode_content(tag: str, content: bytes) -> dict[str, Any]:
    """The JSON object in a metadata content, its schema version and the types of what it holds checked.

    Raises:
        SchemaError: no JSON object, no version, a version newer than `SCHEMA_VERSION`, or a field of another type.
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
    for name, (expected, holds) in _FIELDS.items():
        if name in fields and not holds(fields[name]):
            raise SchemaError(f"tag {tag!r}: its {name} must be {expected}")
    return fields


def _required(tag: str, fields: Mapping[str, Any], name: str) -> Any:
    if name not in fields:
        raise SchemaError(f"tag {tag!r} lacks its {name}")
    return fields[name]


def _finite(number: str) -> float:
    value = float(number)
    if not math.isfinite(value):
        raise ValueError(f"{number} is not finite")
    return value


_DECODER = json.JSONDecoder(parse_float=_finite, parse_constant=_finite)


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and _is_unicode(value)


def _is_texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(v, str) for v in value) and _is_unicode("".join(value))


def _is_unicode(text: str) -> bool:
    """Whether it has no half of a surrogate pair, which JSON lets through and no file or terminal takes."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _is_counts(value: Any) -> bool:
    return isinstance(value, list) and all(type(v) is int and -(2**63) <= v < 2**63 for v in value)


_TEXT, _TEXTS = ("a text", _is_text), ("a list of texts", _is_texts)
#: What the fields of our JSON hold, in words and as a test: a log may be damaged, or written to do harm.
_FIELDS: Mapping[str, tuple[str, Callable[[Any], bool]]] = {
    **dict.fromkeys(("attribute", "kind", "rule", "decision"), _TEXT),
    **dict.fromkeys(("columns", "rows", "names", "groups"), _TEXTS),
    "counts": ("a list of whole numbers", _is_counts),
    "details": ("an object", lambda value: isinstance(value, dict)),
}


def _json_bytes(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, allow_nan=False, sort_keys=True).encode()
