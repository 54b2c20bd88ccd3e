"""The measurements of one run, in memory or read from event files: the source of every figure."""

from __future__ import annotations

import math
import time
from array import array
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Generic, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from tbmetrics.records.kinds import (
    ClassList,
    Histogram,
    HParams,
    Image,
    PRCurve,
    Record,
    SampleData,
    Scalar,
    Table,
    Text,
)

R = TypeVar("R")


#: Maximum number of points per tag in a bounded history, by kind of record.
MOST_POINTS: dict[type, int] = {Scalar: 5000, Table: 2000, PRCurve: 200, Histogram: 32, Text: 1000, Image: 32}
MOST_POINTS[SampleData] = 32


class TimedRecord(NamedTuple):
    """A record with the step it belongs to (epoch or optimizer step) and the time it was measured (Unix seconds)."""

    step: int
    wall_time: float
    record: Record


class Series(Generic[R]):
    """The values of one tag over steps, ascending; writing a step again replaces its value.

    An item may be a function that loads it, so that a history read from disk holds offsets, not arrays.

    Args:
        most: maximum number of points (at least 2), or None for no limit. A full series drops every second point and
            from then on keeps every second new one, so that points stay evenly spread. The latest is always kept.
    """

    def __init__(self, most: int | None = None) -> None:
        self._steps = array("q")
        self._wall_times = array("d")
        self._items: Any = self._no_items()
        self._most = most
        self._stride = 1  # keep every `stride`-th new point
        self._count = 0  # new points so far

    @staticmethod
    def _no_items() -> Any:
        return []

    def put(self, step: int, wall_time: float, item: R | Callable[[], R]) -> None:
        """Add `item` at `step`, or replace the item there."""
        if self._most is not None and (not self._steps or step > self._steps[-1]):
            self._make_room(self._most)
        index = bisect_left(self._steps, step)
        if index < len(self._steps) and self._steps[index] == step:
            self._wall_times[index], self._items[index] = wall_time, item
        else:
            self._steps.insert(index, step)
            self._wall_times.insert(index, wall_time)
            self._items.insert(index, item)

    def extend(self, steps: Sequence[int], wall_times: Sequence[float], items: Sequence[Any]) -> None:
        """Add many points at once; equivalent to `put` for each, but faster."""
        if self._most is not None:
            for step, wall_time, item in zip(steps, wall_times, items, strict=True):
                self.put(step, wall_time, item)
            return
        self._steps.extend(steps)
        self._wall_times.extend(wall_times)
        self._items.extend(items)
        last_old = max(len(self._steps) - len(steps) - 1, 0)
        if (np.diff(np.array(self._steps[last_old:])) <= 0).any():
            self._sort()

    def _sort(self) -> None:
        """Sort by step; keep the last written of several points at one step."""
        steps = np.array(self._steps)
        order = np.argsort(steps, kind="stable")
        last_written = order[np.append(steps[order][1:] != steps[order][:-1], [True])].tolist()
        self._steps = array("q", [self._steps[i] for i in last_written])
        self._wall_times = array("d", [self._wall_times[i] for i in last_written])
        items, self._items = self._items, self._no_items()
        self._items.extend(items[i] for i in last_written)

    def _make_room(self, most: int) -> None:
        """Drop the last point if it was kept only as the latest, then thin the series if it is full."""
        if self._steps and (self._count - 1) % self._stride:
            del self._steps[-1], self._wall_times[-1], self._items[-1]
        if len(self._steps) >= most:
            for column in (self._steps, self._wall_times, self._items):
                del column[1::2]
            self._stride *= 2
        self._count += 1

    def state(self) -> dict[str, Any]:
        """The series as plain containers, for `from_state`; it must be in memory."""
        points = {"steps": list(self._steps), "wall_times": list(self._wall_times), "items": list(self._items)}
        return {**points, "most": self._most, "stride": self._stride, "count": self._count}

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> Series[R]:
        """Restore a series from its `state()`."""
        series = cls(state["most"])
        series._steps, series._wall_times, series._items = state["steps"], state["wall_times"], state["items"]
        series._stride, series._count = state["stride"], state["count"]
        return series

    def truncate(self, step: int) -> None:
        """Drop `step` and everything after it, which a resumed run supersedes."""
        index = bisect_left(self._steps, step)
        del self._steps[index:], self._wall_times[index:], self._items[index:]
        self._count = (index - 1) * self._stride + 1 if index else 0

    @property
    def steps(self) -> NDArray[np.int64]:
        """Steps, ascending, int64 of shape (points,)."""
        return np.array(self._steps, dtype=np.int64)

    @property
    def wall_times(self) -> NDArray[np.float64]:
        """Unix seconds, float64 of shape (points,)."""
        return np.array(self._wall_times, dtype=np.float64)

    def __len__(self) -> int:
        return len(self._steps)

    def __getitem__(self, index: int) -> R:
        item = self._items[index]
        return item() if callable(item) else item

    def __iter__(self) -> Iterator[R]:
        return (self[i] for i in range(len(self)))

    def stored(self) -> list[Any]:
        """Return the items as stored; in a history read from disk, these are functions that load a record."""
        return list(self._items)

    def at(self, step: int) -> R:
        """Return the item at `step`.

        Raises:
            KeyError: nothing was recorded at that step.
        """
        index = bisect_left(self._steps, step)
        if index == len(self._steps) or self._steps[index] != step:
            raise KeyError(f"nothing was recorded at step {step}")
        return self[index]


class ScalarSeries(Series[float]):
    """The values of one scalar tag over steps, stored compactly."""

    @staticmethod
    def _no_items() -> Any:
        return array("d")

    @property
    def values(self) -> NDArray[np.float64]:
        """Values, float64 of shape (points,); NaN where undefined."""
        return np.array(self._items, dtype=np.float64)


class History:
    """The measurements of one run, by kind and tag.

    Attributes:
        run: the run's name.
        scalars, pr_curves, histograms, images, texts, tables: series by tag.
        samples: labels and decisions of single samples, series by tag.
        class_lists: `ClassList` by attribute (the latest written).
        hparams: the run's hyperparameters, or None.
        problems: what was wrong with the files it was read from, in words; empty for a history in memory.

    Args:
        run: the run's name.
        bounded: keep at most `MOST_POINTS` points per tag, evenly spread and including the latest, so that memory
            does not grow with the length of training. A history read from files holds offsets and needs no bound.
    """

    def __init__(self, run: str = "", *, bounded: bool = False) -> None:
        self.run = run
        self._most = MOST_POINTS if bounded else {}
        self.scalars: dict[str, ScalarSeries] = {}
        self.pr_curves: dict[str, Series[PRCurve]] = {}
        self.histograms: dict[str, Series[Histogram]] = {}
        self.images: dict[str, Series[Image]] = {}
        self.texts: dict[str, Series[Text]] = {}
        self.tables: dict[str, Series[Table]] = {}
        self.samples: dict[str, Series[SampleData]] = {}
        self.class_lists: dict[str, ClassList] = {}
        self.hparams: HParams | None = None
        self.problems: list[str] = []

    def add(self, timed_record: TimedRecord) -> None:
        """Add one record; ignore a layout, which is not a measurement."""
        step, wall_time, record = timed_record
        if isinstance(record, Scalar):
            self._series(self.scalars, record, ScalarSeries).put(step, wall_time, record.value)
        elif isinstance(record, ClassList):
            self.class_lists[record.attribute] = record
        elif isinstance(record, HParams):
            self.hparams = record
        elif (series_by_tag := self._series_by_tag(record)) is not None:
            self._series(series_by_tag, record, Series).put(step, wall_time, record)

    def _series(self, series_by_tag: dict[str, Any], record: Any, kind: type[Any]) -> Any:
        """Return the series that `record` belongs to; create it on first use."""
        series = series_by_tag.get(record.tag)
        if series is None:
            series = series_by_tag[record.tag] = kind(self._most.get(type(record)))
        return series

    def _series_by_tag(self, record: Record) -> dict[str, Series[Any]] | None:
        by_kind: dict[type, dict[str, Series[Any]]] = {
            PRCurve: self.pr_curves,
            Histogram: self.histograms,
            Image: self.images,
            Text: self.texts,
            Table: self.tables,
            SampleData: self.samples,
        }
        return by_kind.get(type(record))

    def is_empty(self) -> bool:
        """Whether nothing was recorded."""
        return not any(
            (self.scalars, self.pr_curves, self.histograms, self.images, self.texts, self.tables, self.class_lists)
        )

    def filed(self, records: Iterable[TimedRecord]) -> Iterator[TimedRecord]:
        """Add each record to the history, then yield it."""
        for timed_record in records:
            self.add(timed_record)
            yield timed_record

    def __iter__(self) -> Iterator[TimedRecord]:
        """Yield every record, series by series; class lists and hyperparameters at step 0."""
        for tag, scalars in self.scalars.items():
            for step, wall_time, value in zip(scalars.steps, scalars.wall_times, scalars.values, strict=True):
                yield TimedRecord(int(step), float(wall_time), Scalar(tag, float(value)))
        kinds: tuple[dict[str, Series[Any]], ...] = (
            self.pr_curves, self.histograms, self.images, self.texts, self.tables, self.samples,
        )  # fmt: skip
        for series_by_tag in kinds:
            for series in series_by_tag.values():
                for step, wall_time, record in zip(series.steps, series.wall_times, series, strict=True):
                    yield TimedRecord(int(step), float(wall_time), record)
        for class_list in self.class_lists.values():
            yield TimedRecord(0, time.time(), class_list)
        if self.hparams is not None:
            yield TimedRecord(0, time.time(), self.hparams)


def to_jsonable(value: Any) -> Any:
    """Convert `value` to plain JSON types, recursively: arrays become lists, non-finite numbers None."""
    if isinstance(value, np.ndarray | np.generic):
        return to_jsonable(value.tolist())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {str(k): to_jsonable(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [to_jsonable(v) for v in value]
    return value
