"""CSV of a run, written piece by piece: a file for each table, and for the scalars, curves, … of each area."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any

import numpy as np

from tbmetrics.exporting.contents import Entry
from tbmetrics.exporting.numbers import numbers, times
from tbmetrics.exporting.tables import ROW_NAMES, row_names
from tbmetrics.records import Histogram, PRCurve, Table, Text
from tbmetrics.records.history import History, Series

Lines = Iterator[str]
_LINES_AT_ONCE = 5000
_QUOTED = re.compile(r'[",\r\n]|^\s|\s$')
#: What a text begins with that a spreadsheet would run as a formula (OWASP, "CSV injection"), the wide forms included.
_FORMULA = re.compile("[=+\\-@\t\r\n\uff1d\uff0b\uff0d\uff20]")


def encoded(lines: Iterable[str]) -> Iterator[bytes]:
    """Lines as UTF-8, many at a time."""
    waiting = iter(lines)
    while some := list(islice(waiting, _LINES_AT_ONCE)):
        yield "".join(some).encode("utf-8", "backslashreplace")


def cell(text: object) -> str:
    """A cell that holds text: quoted where it must be, with a ' before it where a spreadsheet would run it."""
    shown = str(text)
    if _FORMULA.match(shown):
        shown = f"'{shown}"
    return '"' + shown.replace('"', '""') + '"' if _QUOTED.search(shown) else shown


def _line(cells: Iterable[object]) -> str:
    return ",".join(map(cell, cells)) + "\n"


def table(history: History, chosen: list[Entry]) -> Lines:
    """One row per step and row of the table; classes with their training counts and groups."""
    tables: Series[Table] = chosen[0].of(history)
    first, rows = tables[0], row_names(history, tables)
    classes = history.class_lists.get(first.attribute) if first.kind == "classes" else None
    beside = [cell(name) for name in rows]
    named = [ROW_NAMES.get(first.kind, "row")]
    if classes is not None:
        named += ["training_count", "group"]
        known = zip(beside, classes.counts.tolist(), classes.groups, strict=True)
        beside = [f"{name},{count if count >= 0 else ''},{cell(group)}" for name, count, group in known]
    yield _line(["attribute", "step", "wall_time", *named, *first.columns])
    attribute = cell(first.attribute)
    for step, time, at_step in zip(tables.steps.tolist(), times(tables.wall_times), tables, strict=True):
        columns = (numbers(column, "") for column in at_step.values.T)
        for name, cells in zip(beside, zip(*columns, strict=True), strict=False):
            yield f"{attribute},{step},{time},{name},{','.join(cells)}\n"


def scalars(history: History, chosen: list[Entry]) -> Lines:
    """One row per tag and step."""
    yield "tag,step,wall_time,value\n"
    for entry in chosen:
        series, tag = entry.of(history), cell(entry.tag)
        points = zip(series.steps.tolist(), times(series.wall_times), numbers(series.values, ""), strict=True)
        yield from (f"{tag},{step},{time},{value}\n" for step, time, value in points)


def histograms(history: History, chosen: list[Entry]) -> Lines:
    """One row per tag, step and bucket: so many values lie above `lower`, up to `upper`."""
    yield "tag,step,wall_time,lower,upper,count\n"
    for begin, found in _points(history, chosen):
        item: Histogram = found
        if len(item.limits):
            upper = numbers(item.limits, "")
            lower = [*numbers(np.array([min(item.minimum, item.limits[0])]), ""), *upper[:-1]]
            buckets = zip(lower, upper, numbers(item.counts, ""), strict=True)
            yield from (f"{begin}{low},{high},{count}\n" for low, high, count in buckets)


def pr_curves(history: History, chosen: list[Entry]) -> Lines:
    """One row per tag, step and threshold."""
    counts = ("true_positives", "false_positives", "true_negatives", "false_negatives")
    names = ("thresholds", "precision", "recall", *counts)
    yield _line(["tag", "step", "wall_time", "threshold", *names[1:]])
    for begin, found in _points(history, chosen):
        curve: PRCurve = found
        columns = [numbers(getattr(curve, name), "") for name in names]
        yield from (f"{begin}{','.join(cells)}\n" for cells in zip(*columns, strict=True))


def texts(history: History, chosen: list[Entry]) -> Lines:
    """One row per tag and step."""
    yield "tag,step,wall_time,text\n"
    for begin, found in _points(history, chosen):
        text: Text = found
        yield f"{begin}{cell(text.markdown)}\n"


def _points(history: History, chosen: list[Entry]) -> Iterator[tuple[str, Any]]:
    """(the first cells of its line, item) of every point."""
    for entry in chosen:
        series, tag = entry.of(history), cell(entry.tag)
        for step, time, item in zip(series.steps.tolist(), times(series.wall_times), series, strict=True):
            yield f"{tag},{step},{time},", item


#: Kind of series → the lines of the file that an area has for them all.
OF_KIND: dict[str, Callable[[History, list[Entry]], Lines]] = {
    "scalars": scalars,
    "histograms": histograms,
    "pr_curves": pr_curves,
    "texts": texts,
}
