"""What the fuzzer starts from: bytes as a healthy run gives them."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from tensorboard.compat.proto.event_pb2 import Event

from tbmetrics.events.event_file import Framing
from tbmetrics.events.writer import EventWriter
from tbmetrics.records import (
    CALIBRATION_COLUMNS,
    CLASS_COLUMNS,
    CURVE_COLUMNS,
    FINDING_COLUMNS,
    GROUP_COLUMNS,
    GROUP_ROWS,
    PAIR_COLUMNS,
    REMEDY_COLUMNS,
    ClassList,
    Scalar,
    Table,
    class_list_payload,
    lift_sum_columns,
    table_content,
)
from tests.events.test_writer import CLASSES, EVERYTHING, TABLE
from tests.fuzz.targets import QUERIES, SEPARATOR, as_chain

_LIST = ClassList("t", "x", ("p", "q", "r"), np.array([9, 5, -1]), ("head", "tail", "unknown"), "lvis", "multi_label")
_KINDS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "classes": (CLASS_COLUMNS, ()),
    "groups": (GROUP_COLUMNS, GROUP_ROWS),
    "confusion": (("head", "tail"), ("head", "tail")),
    "curves": (CURVE_COLUMNS, ()),
    "confusions": (PAIR_COLUMNS, ()),
    "flow": (("b0", "b1", "none"), ("b0", "b1")),
    "lift_sums": (lift_sum_columns(("b0", "b1")), ("b0", "b1")),
    "calibration": (CALIBRATION_COLUMNS, ("b0",)),
    "diagnostics": (("weight_norm", "nearest_head_class"), ()),
    "findings": (FINDING_COLUMNS, ("rule",)),
    "remedies": (REMEDY_COLUMNS, ("none", "logit_adjustment/best")),
}


def event_reader() -> Iterator[bytes]:
    """A file of everything, its records in a chain, and two processes' files in one."""
    with tempfile.TemporaryDirectory() as folder:
        with EventWriter(folder) as writer:
            writer.write(EVERYTHING, step=3, wall_time=1.0)
            writer.mark_restart(2)
            writer.write([Scalar("s", 1.0), Scalar("u", float("nan"))], step=2)
            writer.write([Scalar("s", 2.0), TABLE], step=4)
        (path,) = Path(folder).iterdir()
        content = path.read_bytes()
        payloads = [payload for _, payload in Framing(path).records()]
    yield b"\x00" + content
    yield b"\x01" + as_chain([payload for payload in payloads if len(payload) < 2**16])
    yield b"\x00" + content[:200] + content[230:]


def record_decoder() -> Iterator[bytes]:
    """Each value of a file of everything, metadata, a class list, a table."""
    with tempfile.TemporaryDirectory() as folder:
        with EventWriter(folder) as writer:
            writer.write(EVERYTHING, step=3, wall_time=1.0)
        (path,) = Path(folder).iterdir()
        events = [Event.FromString(payload) for _, payload in Framing(path).records()]
    yield from (b"\x00" + value.SerializeToString() for event in events for value in event.summary.value)
    yield b"\x01" + table_content(TABLE)
    yield b"\x02" + class_list_payload(CLASSES)
    yield b"\x03\x03\x02" + table_content(TABLE)


def route_parameters() -> Iterator[bytes]:
    """A good query of each route."""
    from tests.fuzz.targets import site

    for number, route in enumerate(site().routes):
        query = "index.js" if route.endswith("*") else QUERIES.get(route.rpartition("/")[2], "run=r&attribute=x&step=2")
        yield bytes([number]) + query.replace("=r&", "=a&").encode()


def harmful_log() -> Iterator[bytes]:
    """A class list with each kind of table, and with several."""
    tables = []
    for kind, (columns, rows) in _KINDS.items():
        table = Table("t", "x", kind, columns, np.zeros((1, len(columns)), np.float32), rows, {"buckets": []})
        tables.append(bytes([len(rows) or 3, 1]) + table_content(table))
    base = class_list_payload(_LIST)
    yield from (SEPARATOR.join([base, table]) for table in tables)
    yield SEPARATOR.join([base, *tables[:4]])


def dictionary() -> str:
    """Words that the formats are made of, as libFuzzer reads them."""
    words = ["longtail", "pr_curves", "scalars", "images", "text", "hparams", "schema_version", "columns", "rows"]
    words += ["details", "names", "counts", "groups", "attribute", "class_list", "run=", "&step=", "&class_index="]
    words += ["../", "%2e%2e%2f", "%00", "NaN", "1e999", "-1", "&", "=", "[", "{", "null", "\\ud800"]
    return "".join(f"{json.dumps(word)}\n" for word in words)


SEEDS = {f.__name__: f for f in (event_reader, record_decoder, route_parameters, harmful_log)}
