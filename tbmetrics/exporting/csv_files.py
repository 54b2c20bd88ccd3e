"""CSV of a run, written piece by piece: a file for each table, and one for the scalars, curves, … of each area."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tbmetrics.comparing.escaping import csv_cell
from tbmetrics.exporting.contents import Entry
from tbmetrics.records import Histogram, PRCurve, Table, Text
from tbmetrics.records.history import History, Series

Lines = Iterator[str]
_LINES_AT_ONCE = 5000
#: Heading of the column that names the rows of a kind of table.
_ROW_HEADINGS = {
    "classes": "class",
    "groups": "group",
    "families": "family",
    "confusion": "true",
    "parameters": "parameter",
    "activations": "module",
    "attention_heads": "head",
}


def encode_lines(lines: Iterable[str]) -> Iterator[bytes]:
    """Lines as UTF-8, many at a time."""
    remaining = iter(lines)
    while batch := list(islice(remaining, _LINES_AT_ONCE)):
        yield "".join(batch).encode("utf-8", "backslashreplace")


def numbers(values: NDArray[Any], undefined: str) -> list[str]:
    """Each number as text, `undefined` for NaN and infinity, with as few digits as tell it from its neighbours."""
    if values.dtype.kind in "iub":
        return [str(v) for v in values.tolist()]
    wide = np.asarray(values, dtype=np.float64)
    is_finite = np.isfinite(wide)
    if is_finite.all():
        return _finite_numbers(wide)
    texts = _finite_numbers(np.where(is_finite, wide, 0.0))
    return [text if ok else undefined for text, ok in zip(texts, is_finite.tolist(), strict=True)]


def _finite_numbers(values: NDArray[np.float64]) -> list[str]:
    """Whole numbers without a point; float32 in up to nine digits, which read back as the same float32."""
    if (np.abs(values) < 2**53).all() and (values == np.floor(values)).all():
        return [f"{v:.0f}" for v in values.tolist()]
    with np.errstate(over="ignore"):
        narrow = values.astype(np.float32)
    texts: list[str] = narrow.astype("U").tolist() if (narrow == values).all() else [*map(repr, values.tolist())]
    return texts


def times(values: NDArray[np.float64]) -> list[str]:
    """Unix seconds to the microsecond."""
    return [f"{v:.6f}" for v in values.tolist()]


def row_names(history: History, tables: Series[Table]) -> list[str]:
    """Names of a table's rows: its own, else the attribute's classes if there are as many, else numbers."""
    rows: tuple[str, ...] = max((table.rows for table in tables), key=len)
    count = max(len(table.values) for table in tables)
    if not rows:
        classes = history.class_lists.get(tables[0].attribute)
        if classes is not None and len(classes.names) == count:
            rows = classes.names
    return [*rows[:count], *(str(i) for i in range(len(rows), count))]


def table_lines(history: History, entries: list[Entry]) -> Lines:
    """A line per step and row of the table; classes with their training counts and groups; pairs without empty rows."""
    tables: Series[Table] = entries[0].content(history)
    first, names = tables[0], row_names(history, tables)
    classes = history.class_lists.get(first.attribute) if first.kind == "classes" else None
    row_cells = [csv_cell(name) for name in names]
    headings = [_ROW_HEADINGS.get(first.kind, "row")]
    if classes is not None:
        headings += ["training_count", "group"]
        counted = zip(row_cells, classes.counts.tolist(), classes.groups, strict=True)
        row_cells = [f"{name},{count if count >= 0 else ''},{csv_cell(group)}" for name, count, group in counted]
    yield ",".join(map(csv_cell, ["attribute", "step", "wall_time", *headings, *first.columns])) + "\n"
    attribute = csv_cell(first.attribute)
    for step, time, table in zip(tables.steps.tolist(), times(tables.wall_times), tables, strict=True):
        shown = table.values
        if first.kind == "confusions":  # filled up with NaN, as every step has as many rows
            shown = shown[~np.isnan(shown).all(axis=1)]
        columns = (numbers(column, "") for column in shown.T)
        for row, values in zip(row_cells, zip(*columns, strict=True), strict=False):
            yield f"{attribute},{step},{time},{row},{','.join(values)}\n"


def scalar_lines(history: History, entries: list[Entry]) -> Lines:
    """A line per tag and step."""
    yield "tag,step,wall_time,value\n"
    for entry in entries:
        series, tag = entry.content(history), csv_cell(entry.tag)
        points = zip(series.steps.tolist(), times(series.wall_times), numbers(series.values, ""), strict=True)
        yield from (f"{tag},{step},{time},{value}\n" for step, time, value in points)


def histogram_lines(history: History, entries: list[Entry]) -> Lines:
    """A line per tag, step and bucket: `count` values lie above `lower`, up to `upper`."""
    yield "tag,step,wall_time,lower,upper,count\n"
    histogram: Histogram
    for start, histogram in _points(history, entries):
        if len(histogram.limits):
            upper = numbers(histogram.limits, "")
            lower = [*numbers(np.array([min(histogram.minimum, histogram.limits[0])]), ""), *upper[:-1]]
            buckets = zip(lower, upper, numbers(histogram.counts, ""), strict=True)
            yield from (f"{start}{low},{high},{count}\n" for low, high, count in buckets)


def curve_lines(history: History, entries: list[Entry]) -> Lines:
    """A line per tag, step and threshold."""
    counts = ("true_positives", "false_positives", "true_negatives", "false_negatives")
    names = ("thresholds", "precision", "recall", *counts)
    yield f"tag,step,wall_time,threshold,{','.join(names[1:])}\n"
    curve: PRCurve
    for start, curve in _points(history, entries):
        columns = [numbers(getattr(curve, name), "") for name in names]
        yield from (f"{start}{','.join(values)}\n" for values in zip(*columns, strict=True))


def text_lines(history: History, entries: list[Entry]) -> Lines:
    """A line per tag and step."""
    yield "tag,step,wall_time,text\n"
    text: Text
    for start, text in _points(history, entries):
        yield f"{start}{csv_cell(text.markdown)}\n"


def _points(history: History, entries: list[Entry]) -> Iterator[tuple[str, Any]]:
    """(first cells of its line, item) of every point."""
    for entry in entries:
        series, tag = entry.content(history), csv_cell(entry.tag)
        for step, time, item in zip(series.steps.tolist(), times(series.wall_times), series, strict=True):
            yield f"{tag},{step},{time},", item


#: Kind of series → the lines of the one file that an area has for all of them.
LINES_BY_KIND: dict[str, Callable[[History, list[Entry]], Lines]] = {
    "scalars": scalar_lines,
    "histograms": histogram_lines,
    "pr_curves": curve_lines,
    "texts": text_lines,
}
