"""Histories as plain values, to compare them."""

from dataclasses import asdict
from typing import Any

from tbmetrics.records import Image, SampleData, Scalar
from tbmetrics.records.history import History, to_jsonable


def plain_history(history: History) -> dict[str, list[Any]]:
    """`{tag: [[step, value of the record], ...]}` as JSON has it; of an image the step alone."""
    by_tag: dict[str, list[Any]] = {}
    for step, _, record in history:
        tag = getattr(record, "tag", type(record).__name__)
        values = record.value if isinstance(record, Scalar) else None if isinstance(record, Image) else asdict(record)
        if isinstance(record, SampleData):
            values = asdict(record) | {"payload": record.payload.hex()}
        by_tag.setdefault(tag, []).append([step, to_jsonable(values)])
    return by_tag
