"""What is fuzzed: functions of bytes that return, or raise because the product is at fault.

Each says what the bytes stand for. They are run by `python -m tests.fuzz` (coverage-guided, atheris), and with the
corpus that it left, by the ordinary tests.
"""

from __future__ import annotations

import functools
import json
import re
import shutil
import tempfile
import urllib.parse
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from tensorboard.compat.proto.summary_pb2 import Summary, SummaryMetadata
from tensorboard.data import provider

from tbmetrics.errors import InputError
from tbmetrics.events import decoding
from tbmetrics.events.event_file import frame
from tbmetrics.events.reader import read_run
from tbmetrics.records import SchemaError, class_list_from_payload, decode_content, table_from_content
from tbmetrics.records.history import History
from tbmetrics_longtail.answers import Answers
from tbmetrics_longtail.data import LongTailData
from tbmetrics_longtail.routes import Routes
from tests.histories import plain_history
from tests.plugin.in_process import answered, application, client_of, two_runs

#: What a damaged log may raise where one of its items is asked for; anything else is a fault.
REFUSED = (InputError, SchemaError)


def quietly(target: Callable[[bytes], None]) -> Callable[[bytes], None]:
    """`target` without numpy's and Pillow's warnings about the numbers and pictures that come out."""

    @functools.wraps(target)
    def run(data: bytes) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            target(data)

    return run


# ----------------------------------------------------------------------------------------------- the event reader


def records_of(data: bytes) -> Iterator[bytes]:
    """The payloads in fuzzed bytes: each after its length in two bytes, little-endian."""
    while len(data) >= 2:
        length = int.from_bytes(data[:2], "little")
        yield data[2 : 2 + length]
        data = data[2 + length :]


def as_chain(payloads: list[bytes]) -> bytes:
    """The inverse of `records_of`."""
    return b"".join(len(p).to_bytes(2, "little") + p for p in payloads)


@functools.cache
def _folder() -> Path:
    memory = Path("/dev/shm")
    return Path(tempfile.mkdtemp(prefix="tbmetrics-fuzz-", dir=memory if memory.is_dir() else None))


@quietly
def event_reader(data: bytes) -> None:
    """The first byte: even = an event file as it is, odd = records that are framed with their checksums."""
    if not data:
        return
    folder = _folder()
    content = data[1:] if data[0] % 2 == 0 else b"".join(map(frame, records_of(data[1:])))
    (folder / "events.out.tfevents.1").write_bytes(content)
    read_everything(read_run(folder))


def read_everything(history: History) -> None:
    """Decodes every item of a history; only `REFUSED` may come of it, and what came well is JSON."""
    for kept in (history.images, history.histograms, history.texts, history.pr_curves, history.tables):
        for series in kept.values():
            for item in series.stored():
                try:
                    item()
                except REFUSED:
                    continue
    for series in history.scalars.values():
        assert len(series.values) == len(series.steps) == len(series.wall_times)
    try:
        json.dumps(plain_history(history), allow_nan=False)
    except REFUSED:
        return


# ---------------------------------------------------------------------------------------------- the record decoder


@quietly
def record_decoder(data: bytes) -> None:
    """The first byte modulo 4 says what the rest is: a value, metadata, a class list, or metadata with a tensor."""
    if not data:
        return
    kind, rest = data[0] % 4, data[1:]
    try:
        if kind == 0:
            _decode_value(rest)
        elif kind == 1:
            decode_content("t", rest)
        elif kind == 2:
            classes = class_list_from_payload("t", rest)
            assert len(classes.names) == len(classes.counts) == len(classes.groups)
        else:
            size, content = rest[:2], rest[2:]
            shape = (size[0] % 8, size[1] % 40) if len(size) == 2 else (3,)
            table = table_from_content("t", content, np.zeros(shape))
            assert table.values.shape[1] == len(table.columns)
    except SchemaError:
        return


def _decode_value(encoded: bytes) -> None:
    try:
        value = Summary.Value.FromString(encoded)
    except Exception:  # protobuf's: no value at all
        return
    metadata = value.metadata if value.HasField("metadata") else SummaryMetadata()
    kind = decoding.kind_of(value, metadata)
    if kind == decoding.HPARAMS:
        decoding.hparams(metadata)
    elif kind is not None:
        decoding.decode(value, metadata)


# -------------------------------------------------------------------------------------------- parameters of routes


class Site(NamedTuple):
    """A tab on a log of two runs, and what only the second of them has."""

    client: Any
    routes: tuple[str, ...]
    secret: str


@functools.cache
def site() -> Site:
    """Two runs, "a" and "b"; the classes of "b" have a name that "a" lacks."""
    folder = Path(tempfile.mkdtemp(prefix="tbmetrics-fuzz-"))
    try:
        secret = two_runs(folder)
        app, routes = application(folder)
    finally:
        shutil.rmtree(folder)
    return Site(client_of(app), routes, secret)


@quietly
def route_parameters(data: bytes) -> None:
    """The first byte chooses the route, the rest is the query (or, of the static files, the path)."""
    if not data:
        return
    found = site()
    route = found.routes[data[0] % len(found.routes)]
    text = re.sub(r"[\s\0#]", "_", data[1:].decode("latin-1"))
    static = route.endswith("*")
    url = route[:-1] + text.replace("?", "") if static else f"{route}?{text}"
    answer = answered(found.client, "GET", url)
    named = urllib.parse.unquote_plus(text, errors="replace")
    if "runs" not in route and not re.search(r"run(?:_[ab])?=b(?:$|&)", named):
        assert found.secret.encode() not in answer.body, f"{url}: shows what the run asked for does not have"


# -------------------------------------------------------------------------------------------- a log meant to harm


class _Listed(NamedTuple):
    plugin_content: bytes
    max_step: int = 2
    max_wall_time: float = 1.0


class _Point(NamedTuple):
    step: int
    wall_time: float
    numpy: Any


class FuzzedLog(provider.DataProvider):
    """One run whose tags hold what the fuzzer says."""

    def __init__(self) -> None:
        self.tags: dict[str, tuple[bytes, Any]] = {}

    def data_location(self, ctx: Any, *, experiment_id: str) -> str:
        return ""

    def list_plugins(self, ctx: Any, *, experiment_id: str) -> list[str]:
        return ["longtail"]

    def list_runs(self, ctx: Any, *, experiment_id: str) -> list[Any]:
        return []

    def list_scalars(self, *arguments: Any, **options: Any) -> Mapping[str, Any]:
        return {}

    read_scalars = read_blob_sequences = list_blob_sequences = list_scalars

    def read_last_scalars(self, *arguments: Any, **options: Any) -> Mapping[str, Any]:
        return {}

    def read_blob(self, ctx: Any, *, blob_key: str) -> bytes:
        return b""

    def list_tensors(self, *arguments: Any, **options: Any) -> Mapping[str, Any]:
        return {"r": {tag: _Listed(content) for tag, (content, _) in self.tags.items()}}

    def read_tensors(self, ctx: Any, *, run_tag_filter: Any, **options: Any) -> Mapping[str, Any]:
        found = {tag: self.tags[tag] for tag in run_tag_filter.tags if tag in self.tags}
        return {"r": {tag: [_Point(step, 1.0, values) for step in (0, 2)] for tag, (_, values) in found.items()}}


SEPARATOR = b"\x00|\x00"
_WELL = json.dumps({"schema_version": 1, "kind": "class_list", "attribute": "x"}).encode()


@quietly
def harmful_log(data: bytes) -> None:
    """A class list, and tables: rows and a seed in two bytes, then the metadata; parts with `SEPARATOR` between."""
    classes, *tables = data.split(SEPARATOR)[:12]
    log = FuzzedLog()
    log.tags = {"longtail/x/classes": (_WELL, np.array([classes], dtype=object))}
    for number, part in enumerate(tables):
        if len(part) > 2:
            log.tags[f"longtail/x/{number}"] = (part[2:], _values(part))
    for route, app in Routes(Answers(LongTailData(log), "")).apps().items():
        if not route.endswith("*"):
            answered(client_of(app), "GET", f"{route}?{QUERIES.get(route[1:], _BASE)}")


def _values(part: bytes) -> np.ndarray:
    """A table with as many columns as its metadata has, or one more."""
    try:
        columns = len(json.loads(part[2:])["columns"])
    except (ValueError, TypeError, KeyError, RecursionError):
        columns = 3
    shape = (part[0] % 64, min(columns, 100) + (part[1] % 16 == 15))
    odd = np.array([0, 1, np.nan, np.inf, -np.inf, 3e38, -1, 0.5, 7, 1e-40], dtype=np.float32)
    return np.random.default_rng(part[1]).choice(odd, shape)


_BASE = "run=r&attribute=x&step=2"
#: Queries by route that reach as deep as a query can.
QUERIES = {
    "groups": "run=r&attribute=x&metric=f1",
    "values": f"{_BASE}&column=f1",
    "history": "run=r&attribute=x&class_index=0&column=f1",
    "histories": "run=r&attribute=x&class_index=0&class_index=1&column=f1",
    "bucket_sums": "run=r&attribute=x&metric=recall_geometric_mean",
    "class_curve": f"{_BASE}&class_index=0",
    "class_diagnosis": f"{_BASE}&class_index=0",
    "gallery": f"{_BASE}&class_index=0",
    "gallery_image": f"{_BASE}&kind=hardest_correct&group=tail",
    "compare": "run_a=r&step_a=0&run_b=r&step_b=2&attribute=x&metric=f1&head_min=5&tail_max=2",
}

TARGETS: Mapping[str, Callable[[bytes], None]] = {
    t.__name__: t for t in (event_reader, record_decoder, route_parameters, harmful_log)
}
