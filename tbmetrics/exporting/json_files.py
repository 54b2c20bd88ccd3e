"""JSON of a run, one file an area, written piece by piece; `schema.json` describes it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tbmetrics.exporting.contents import (
    CLASS_LISTS,
    HISTOGRAMS,
    IMAGES,
    PR_CURVES,
    SCALARS,
    TABLES,
    TEXTS,
    Entry,
)
from tbmetrics.exporting.csv_files import numbers, row_names, times
from tbmetrics.records import (
    ClassList,
    Float32Array,
    Histogram,
    Image,
    PRCurve,
    Table,
    Text,
    class_table_tag,
    confusion_tag,
    group_table_tag,
    pr_curve_tag,
    untag_part,
)
from tbmetrics.records.history import History, ScalarSeries, Series, to_jsonable

JSON_VERSION = 1
#: Bytes of the steps of a table that are decoded at a time.
DECODED_BYTES = 64 * 2**20
Pieces = Iterator[str]
_CURVE_FIELDS = (
    "thresholds", "precision", "recall", "true_positives", "false_positives", "true_negatives", "false_negatives",
)  # fmt: skip


def json_schema() -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of `all_metrics.json` and of the files it is made of."""
    schema: dict[str, Any] = json.loads(Path(__file__).with_name("schema.json").read_text(encoding="utf-8"))
    return schema


def run_json(history: History, areas: Iterable[str]) -> Pieces:
    """What describes a run as a whole."""
    hparams = to_jsonable(dict(history.hparams.hparams)) if history.hparams else None
    parts = {"schema_version": JSON_VERSION, "run": history.run, "areas": list(areas)}
    yield _json({**parts, "hparams": hparams, "problems": list(history.problems)})
    yield "\n"


def area_json(history: History, area: str, entries: list[Entry], image_files: dict[str, list[str]]) -> Pieces:
    """Everything of one area.

    Args:
        history: the run's.
        area: its name.
        entries: those of the area.
        image_files: by tag, a file for each step; empty if images are not exported.
    """
    by_kind = {kind: [e for e in entries if e.kind == kind] for kind in {e.kind for e in entries}}
    yield f'{{"schema_version":{JSON_VERSION},"run":{_json(history.run)},"area":{_json(area)}'
    attributes = {e.tag for e in by_kind.get(CLASS_LISTS, ())}
    if attributes:
        class_lists: list[ClassList] = [e.content(history) for e in by_kind[CLASS_LISTS]]
        yield ',"attributes":'
        yield from _object((classes.attribute, _attribute(history, classes)) for classes in class_lists)
    written = {tag for attribute in attributes for tag in _table_tags(attribute)}
    for kind, write in _WRITERS.items():
        in_attribute = attributes if kind == PR_CURVES else ()
        rest = [e for e in by_kind.get(kind, ()) if e.tag not in written and e.attribute not in in_attribute]
        if rest:
            yield f',"{kind}":'
            yield from _object((e.tag, write(history, e.content(history))) for e in rest)
    if IMAGES in by_kind:
        yield ',"images":'
        images = by_kind[IMAGES]
        yield from _object((e.tag, _images(e.content(history), image_files.get(e.tag, []))) for e in images)
    yield "}\n"


def all_metrics(files_by_run: dict[str, dict[str, Path]]) -> Iterator[bytes]:
    """The JSON files of all runs as one: run → part → its file."""
    yield f'{{"schema_version":{JSON_VERSION},"runs":{{'.encode()
    for i, (run, files) in enumerate(files_by_run.items()):
        yield f"{',' if i else ''}\n{_json(run)}:{{".encode()
        for k, (part, path) in enumerate(files.items()):
            yield f"{',' if k else ''}\n{_json(part)}:".encode()
            with path.open("rb") as file:
                while chunk := file.read(2**20):
                    yield chunk
        yield b"}"
    yield b"\n}}\n"


# ------------------------------------------------------------------------------------------------ building blocks


def _json(value: Any) -> str:
    """Plain JSON values as JSON text; keys keep their order."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def _object(items: Iterable[tuple[str, Iterable[str]]]) -> Pieces:
    yield "{"
    for i, (key, value) in enumerate(items):
        yield f"{',' if i else ''}{_json(key)}:"
        yield from value
    yield "}"


def _list(items: Iterable[Iterable[str]]) -> Pieces:
    yield "["
    for i, value in enumerate(items):
        if i:
            yield ","
        yield from value
    yield "]"


def _numbers(values: NDArray[Any]) -> str:
    """An array of one or two dimensions as JSON lists, with null for NaN and infinity."""
    rows = numbers(values, "null") if values.ndim == 1 else map(_numbers, values)
    return f"[{','.join(rows)}]"


def _axis(series: Series[Any]) -> str:
    return f'"steps":{_numbers(series.steps)},"wall_times":[{",".join(times(series.wall_times))}]'


def _with_step(step: Any, fields: str) -> list[str]:
    return [f'{{"step":{int(step)},{fields}}}']


def _columns(tables: Series[Table], rows: int) -> Iterator[tuple[str, Float32Array]]:
    """(column, values of shape (steps, rows)) of every column, NaN at steps that lack it.

    Each pass decodes every step again and keeps as many columns as fit `DECODED_BYTES`, at least one.
    """
    names = tables[0].columns
    columns_per_pass = max(1, DECODED_BYTES // max(4 * len(tables) * rows, 1))
    for first in range(0, len(names), columns_per_pass):
        pass_names = names[first : first + columns_per_pass]
        values = np.full((len(pass_names), len(tables), rows), np.nan, dtype=np.float32)
        for step, table in enumerate(tables):
            part = table.values[:rows, first : first + columns_per_pass]
            values[: part.shape[1], step, : len(part)] = part.T
        yield from zip(pass_names, values, strict=True)


# ------------------------------------------------------------------------------------------------ attributes


def _table_tags(attribute: str) -> tuple[str, ...]:
    return class_table_tag(attribute), group_table_tag(attribute), confusion_tag(attribute)


def _attribute(history: History, classes: ClassList) -> Pieces:
    about = {
        "classes": list(classes.names),
        "counts": [int(c) if c >= 0 else None for c in classes.counts],
        "groups": list(classes.groups),
        "rule": classes.rule,
        "decision": classes.decision,
        **({"families": list(classes.families)} if classes.families else {}),
        **({"evaluation": classes.evaluation} if classes.evaluation else {}),
    }
    yield _json(about)[:-1]
    tables, groups, confusion = (history.tables.get(tag, Series()) for tag in _table_tags(classes.attribute))
    yield f",{_axis(tables)}"
    yield ',"class_metrics":'
    yield from _object(_class_metrics(tables, len(classes.names)))
    yield ',"group_metrics":'
    yield from _object(_group_metrics(groups))
    yield ',"confusion":'
    yield from _list(_with_step(step, _matrix(t)) for step, t in zip(confusion.steps, confusion, strict=True))
    yield ',"pr_curves":'
    curves = _attribute_curves(history, classes.attribute)
    yield from _object((name, _curves(history, series)) for name, series in curves)
    yield "}"


def _class_metrics(tables: Series[Table], classes: int) -> Iterator[tuple[str, Pieces]]:
    """Column → a list per step, of one value per class."""
    for column, values in _columns(tables, classes) if len(tables) else ():
        yield column, _list([_numbers(step_values)] for step_values in values)


def _group_metrics(tables: Series[Table]) -> Iterator[tuple[str, Pieces]]:
    """Group → column → one value per step."""
    if not len(tables):
        return
    rows = tables[0].rows
    columns = {column: values.copy() for column, values in _columns(tables, len(rows))}
    for row, group in enumerate(rows):
        yield group, _object((column, [_numbers(values[:, row])]) for column, values in columns.items())


def _matrix(table: Table) -> str:
    rows, names = _json(list(table.rows)), _json(list(table.columns))
    return f'"rows":{rows},"columns":{names},"values":{_numbers(table.values)}'


def _attribute_curves(history: History, attribute: str) -> list[tuple[str, Series[PRCurve]]]:
    """PR curves of `attribute` by group, or by "class/name" for chosen classes."""
    prefix = pr_curve_tag(attribute, "")
    curves = []
    for tag in sorted(t for t in history.pr_curves if t.startswith(prefix)):
        name = tag.removeprefix(prefix)
        curves.append((f"class/{untag_part(name[6:])}" if name.startswith("class/") else name, history.pr_curves[tag]))
    return curves


# ------------------------------------------------------------------------------------------- the series of a tag


def _table(history: History, tables: Series[Table]) -> Pieces:
    first, rows = tables[0], row_names(history, tables)
    about = {"attribute": first.attribute, "kind": first.kind, "rows": rows, "columns": list(first.columns)}
    yield f"{_json({**about, 'details': to_jsonable(dict(first.details))})[:-1]},{_axis(tables)}"
    yield ',"values":'
    columns = _columns(tables, len(rows))
    yield from _object((column, _list([_numbers(step)] for step in values)) for column, values in columns)
    yield "}"


def _scalars(_: History, series: ScalarSeries) -> Pieces:
    yield f'{{{_axis(series)},"values":{_numbers(series.values)}}}'


def _texts(_: History, series: Series[Text]) -> Pieces:
    yield f'{{{_axis(series)},"values":'
    yield from _list([_json(text.markdown)] for text in series)
    yield "}"


def _images(series: Series[Image], files: list[str]) -> Pieces:
    yield f'{{{_axis(series)},"files":{_json(files)}}}'


def _histograms(_: History, series: Series[Histogram]) -> Pieces:
    yield f'{{{_axis(series)},"items":'
    yield from _list([_histogram(histogram)] for histogram in series)
    yield "}"


def _histogram(histogram: Histogram) -> str:
    extremes = {"min": histogram.minimum, "max": histogram.maximum}
    about = {**extremes, "sum": histogram.total, "sum_squares": histogram.sum_of_squares}
    arrays = f'"limits":{_numbers(histogram.limits)},"counts":{_numbers(histogram.counts)}'
    return f"{_json(to_jsonable(about))[:-1]},{arrays}}}"


def _curves(_: History, series: Series[PRCurve]) -> Pieces:
    yield from _list(_with_step(step, _curve(curve)) for step, curve in zip(series.steps, series, strict=True))


def _curve(curve: PRCurve) -> str:
    return ",".join(f'"{name}":{_numbers(getattr(curve, name))}' for name in _CURVE_FIELDS)


_WRITERS: dict[str, Callable[[History, Any], Pieces]] = {
    TABLES: _table,
    SCALARS: _scalars,
    HISTOGRAMS: _histograms,
    PR_CURVES: _curves,
    TEXTS: _texts,
}
