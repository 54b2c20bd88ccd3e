"""Tables over steps in bounded memory: names of their rows, and their columns in as many passes as the bytes need."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from tbmetrics.records import Float32Array, Table
from tbmetrics.records.history import History, Series

#: Bytes of a table's steps that are held at once.
HELD_BYTES = 64 * 2**20

#: What the rows of a kind of table are called.
ROW_NAMES = {
    "classes": "class",
    "groups": "group",
    "confusion": "true",
    "parameters": "parameter",
    "activations": "module",
}


def row_names(history: History, tables: Series[Table]) -> list[str]:
    """Names of the rows: the table's own, else the attribute's classes where their number fits, else numbers."""
    rows: tuple[str, ...] = max((table.rows for table in tables), key=len)
    count = max(len(table.values) for table in tables)
    if not rows:
        classes = history.class_lists.get(tables[0].attribute)
        if classes is not None and len(classes.names) == count:
            rows = classes.names
    return [*rows[:count], *(str(i) for i in range(len(rows), count))]


def columns(tables: Series[Table], rows: int) -> Iterator[tuple[str, Float32Array]]:
    """(column, values of shape (steps, rows)) of every column, NaN where a step lacks it.

    Each pass decodes every step again and keeps as many columns as fit `HELD_BYTES`, at least one.
    """
    names = tables[0].columns
    at_once = max(1, HELD_BYTES // max(4 * len(tables) * rows, 1))
    for first in range(0, len(names), at_once):
        some = names[first : first + at_once]
        held = np.full((len(some), len(tables), rows), np.nan, dtype=np.float32)
        for step, table in enumerate(tables):
            part = table.values[:rows, first : first + at_once]
            held[: part.shape[1], step, : len(part)] = part.T
        yield from zip(some, held, strict=True)
