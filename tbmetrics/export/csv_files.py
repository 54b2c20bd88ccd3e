"""CSV of a run, written piece by piece: a file for each table, and for the scalars, curves, … of each area."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any

import numpy as np

from tbmetrics.export.contents import Entry
from tbmetrics.export.numbers import numbers, times
from tbmetrics.export.tables import ROW_NAMES, row_names
from tbmetrics.history import History, Series
from tbmetrics.records import Histogram, PRCurve, Table, Text

Row = list[Any]
_ROWS_AT_ONCE = 5000


def encoded(rows: Iterable[Row]) -> Iterator[bytes]:
    """Rows as CSV: UTF-8, quoted where needed, undefined cells empty."""
    waiting = iter(rows)
    while some := list(islice(waiting, _ROWS_AT_ONCE)):
        buffer = io.StringIO(newline="")
        csv.writer(buffer, lineterminator="\n").writerows(some)
        yield buffer.getvalue().encode("utf-8", "backslashreplace")


def table(history: History, chosen: list[Entry]) -> Iterator[Row]:
    """One row per step and row of the table; classes with their training counts and groups."""
    tables: Series[Table] = chosen[0].of(history)
    first, rows = tables[0], row_names(history, tables)
    classes = history.class_lists.get(first.attribute) if first.kind == "classes" else None
    beside = [[name] for name in rows]
    named = [ROW_NAMES.get(first.kind, "row")]
    if classes is not None:
        named += ["training_count", "group"]
        beside = [
            [name, count if count >= 0 else "", group]
            for name, count, group in zip(rows, classes.counts.tolist(), classes.groups, strict=True)
        ]
    yield ["attribute", "step", "wall_time", *named, *first.columns]
    for step, time, at_step in zip(tables.steps.tolist(), times(tables.wall_times), tables, strict=True):
        for cells, values in zip(beside, at_step.values, strict=False):
            yield [first.attribute, step, time, *cells, *numbers(values, "")]


def scalars(history: History, chosen: list[Entry]) -> Iterator[Row]:
    """One row per tag and step."""
    yield ["tag", "step", "wall_time", "value"]
    for entry in chosen:
        series = entry.of(history)
        points = zip(series.steps.tolist(), times(series.wall_times), numbers(series.values, ""), strict=True)
        yield from ([entry.tag, *point] for point in points)


def histograms(history: History, chosen: list[Entry]) -> Iterator[Row]:
    """One row per tag, step and bucket: so many values lie above `lower`, up to `upper`."""
    yield ["tag", "step", "wall_time", "lower", "upper", "count"]
    for entry, step, time, item in _points(history, chosen):
        yield from ([entry.tag, step, time, *cells] for cells in _buckets(item))


def _buckets(item: Histogram) -> Iterable[tuple[str, str, str]]:
    limits = item.limits
    lower = np.concatenate(([min(item.minimum, limits[0])], limits[:-1])) if len(limits) else limits
    return zip(numbers(lower, ""), numbers(limits, ""), numbers(item.counts, ""), strict=True)


def pr_curves(history: History, chosen: list[Entry]) -> Iterator[Row]:
    """One row per tag, step and threshold."""
    counts = ("true_positives", "false_positives", "true_negatives", "false_negatives")
    names = ("thresholds", "precision", "recall", *counts)
    yield ["tag", "step", "wall_time", "threshold", *names[1:]]
    for entry, step, time, item in _points(history, chosen):
        curve: PRCurve = item
        columns = [numbers(getattr(curve, name), "") for name in names]
        yield from ([entry.tag, step, time, *cells] for cells in zip(*columns, strict=True))


def texts(history: History, chosen: list[Entry]) -> Iterator[Row]:
    """One row per tag and step."""
    yield ["tag", "step", "wall_time", "text"]
    for entry, step, time, item in _points(history, chosen):
        found: Text = item
        yield [entry.tag, step, time, found.markdown]


def _points(history: History, chosen: list[Entry]) -> Iterator[tuple[Entry, int, str, Any]]:
    for entry in chosen:
        series = entry.of(history)
        for step, time, item in zip(series.steps.tolist(), times(series.wall_times), series, strict=True):
            yield entry, step, time, item


#: Kind of series → the rows of the file that an area has for them all.
OF_KIND: dict[str, Callable[[History, list[Entry]], Iterator[Row]]] = {
    "scalars": scalars,
    "histograms": histograms,
    "pr_curves": pr_curves,
    "texts": texts,
}
