"""What the Long Tail tab reads through TensorBoard's data provider: attributes and their series, cached in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray
from tensorboard.data import provider

from tbmetrics.classes.groups import AttributeClasses
from tbmetrics.errors import InputError
from tbmetrics.records import (
    PLUGIN_NAME,
    ClassList,
    Float32Array,
    SchemaError,
    class_list_from_payload,
    decode_content,
    table_from_content,
)
from tbmetrics_longtail.series_cache import SeriesCache

T = TypeVar("T")

CLASS_LIST, CLASSES, GROUP_TABLE, CONFUSION = "class_list", "classes", "groups", "confusion"
CURVES, CONFUSIONS, FLOW, CALIBRATION = "curves", "confusions", "flow", "calibration"
DIAGNOSTICS, REMEDIES, FINDINGS = "diagnostics", "remedies", "findings"

#: Steps asked of the data provider per tag; as many as the loaders are told to keep.
MAX_STEPS = 10_000
#: A tag is read as a whole, and TensorBoard refuses answers of its data server above 256 MiB.
MAX_READ_BYTES = 192 * 2**20


class RequestError(InputError):
    """A request that cannot be answered; `hint` says what would be."""

    def __init__(self, error: str, hint: str) -> None:
        super().__init__(error)
        self.hint = hint


class Experiment(NamedTuple):
    """Which experiment is asked about, on whose behalf: TensorBoard's `RequestContext` and experiment id."""

    context: Any
    id: str


@dataclass(frozen=True, slots=True)
class Series:
    """One tag over steps: `steps` int64, `wall_times` float64 (points,); `values` float32 (points, rows, columns)."""

    steps: NDArray[np.int64]
    wall_times: NDArray[np.float64]
    values: Float32Array

    def at(self, step: int) -> Float32Array:
        """The table of `step`, float32 of shape (rows, columns).

        Raises:
            RequestError: nothing was recorded at that step; the hint names the nearest ones.
        """
        index = int(np.searchsorted(self.steps, step))
        if index < len(self.steps) and self.steps[index] == step:
            table: Float32Array = self.values[index]
            return table
        nearest = self.steps[np.argsort(np.abs(self.steps.astype(np.float64) - step), kind="stable")[:5]]
        named = ", ".join(map(str, sorted(nearest.tolist())))
        raise RequestError(f"nothing was recorded at step {step}", f"the nearest steps are {named}")


@dataclass(frozen=True, slots=True)
class Tag:
    """One tag of a run as the data provider lists it; `version` changes whenever the tag grows or is rewritten."""

    run: str
    name: str
    content: bytes
    fields: Mapping[str, Any]
    version: tuple[Any, ...]

    @property
    def columns(self) -> tuple[str, ...]:
        """The names of the table's columns."""
        return tuple(self.fields.get("columns", ()))

    @property
    def rows(self) -> tuple[str, ...]:
        """The names of the table's rows; empty for the per-class table."""
        return tuple(self.fields.get("rows", ()))

    @property
    def details(self) -> Mapping[str, Any]:
        """What else was written about the table."""
        found = self.fields.get("details", {})
        return found if isinstance(found, Mapping) else {}

    def column_index(self, column: str, word: str = "column") -> int:
        """Where `column` stands in the table.

        Raises:
            RequestError: there is no such column.
        """
        if column not in self.columns:
            raise RequestError(f"{word} {shown(column)} is unknown", f"use one of {', '.join(self.columns)}")
        return self.columns.index(column)


@dataclass(slots=True)
class RunTags:
    """The tags of one run by attribute and kind, and what could not be understood, in words."""

    attributes: dict[str, dict[str, Tag]] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)


class Attribute:
    """One attribute of one run: its classes, and its tables over steps, read on demand."""

    def __init__(self, source: LongTailData, experiment: Experiment, name: str, tags: Mapping[str, Tag]) -> None:
        self.name = name
        self.tags = tags
        self._source = source
        self._experiment = experiment
        self.list = source.class_list(experiment, self.tag(CLASS_LIST))
        self.classes = _attribute_classes(self.list)

    def tag(self, kind: str) -> Tag:
        """The tag of `kind`.

        Raises:
            RequestError: the run has none (yet).
        """
        if kind not in self.tags:
            raise RequestError(
                f"attribute {shown(self.name)} has no {kind.replace('_', ' ')} yet",
                f"it has {', '.join(sorted(self.tags))}; runs of older versions lack some",
            )
        return self.tags[kind]

    def series(self, kind: str) -> Series:
        """The table of `kind` over steps.

        All tables of an attribute are thinned alike, should its per-class table exceed `MAX_READ_BYTES`: TensorBoard
        chooses the steps by their number alone, so they stay the same from table to table.
        """
        series = self._source.series(self._experiment, self.tag(kind), self._points())
        if kind in (CLASSES, CURVES, DIAGNOSTICS) and series.values.shape[1] != len(self.classes):
            raise SchemaError(
                f"tag {self.tag(kind).name!r} has {series.values.shape[1]} rows for {len(self.classes)} classes: "
                "two different problems were written into one directory; give each run its own"
            )
        return series

    def _points(self) -> int:
        columns = len(self.tags[CLASSES].columns) if CLASSES in self.tags else 1
        return max(1, min(MAX_STEPS, MAX_READ_BYTES // (4 * max(1, columns * len(self.classes)))))

    def derived(self, kind: str, name: tuple[Any, ...], work_out: Callable[[Series], NDArray[Any]]) -> NDArray[Any]:
        """What `work_out` makes of the table of `kind` over steps, kept under `name` until that table grows."""
        tag = self.tag(kind)

        def load() -> tuple[NDArray[Any], int]:
            found = work_out(self.series(kind))
            return found, found.nbytes

        return self._source.derived(self._experiment, tag, name, load)

    def images(self, tag: str) -> list[Any]:
        """The data of the run's image `tag` by ascending step, as TensorBoard's provider gives them; possibly none."""
        return self._source.images(self._experiment, self.tags[CLASS_LIST].run, tag)

    def blob(self, key: str) -> bytes:
        """What TensorBoard's provider keeps under `key`."""
        return self._source.blob(self._experiment, key)

    def main_series(self) -> Series:
        """The series whose steps stand for the attribute: the small table of groups, or else the per-class table."""
        return self.series(GROUP_TABLE if GROUP_TABLE in self.tags else CLASSES)


class LongTailData:
    """Everything the plugin knows about the logs, through TensorBoard's `DataProvider`."""

    def __init__(self, data_provider: Any) -> None:
        self._provider = data_provider
        self._cache = SeriesCache()

    def has_data(self, experiment: Experiment) -> bool:
        """Whether any run has long-tail data; lists names only, reads nothing."""
        plugins = self._provider.list_plugins(experiment.context, experiment_id=experiment.id)
        if plugins is None:
            return bool(self._list(experiment, None))
        return PLUGIN_NAME in plugins

    def run_tags(self, experiment: Experiment, runs: Iterable[str] | None = None) -> dict[str, RunTags]:
        """The tags of every run that has long-tail data (of `runs` only, where given)."""
        return {run: _sorted_out(run, tags) for run, tags in self._list(experiment, runs).items()}

    def attribute(self, experiment: Experiment, run: str, attribute: str) -> Attribute:
        """One attribute of one run.

        Raises:
            RequestError: there is no such run or attribute.
            SchemaError: its class list is damaged or of a newer schema.
        """
        found = self.run_tags(experiment, [run]).get(run)
        if found is None:
            raise RequestError(f"run {shown(run)} is unknown", "the route `runs` lists the runs with long-tail data")
        if attribute not in found.attributes:
            known = ", ".join(map(shown, sorted(found.attributes))) or "; ".join(found.problems)
            raise RequestError(f"run {shown(run)} has no attribute {shown(attribute)}", f"it has {known}")
        return Attribute(self, experiment, attribute, found.attributes[attribute])

    def class_list(self, experiment: Experiment, tag: Tag) -> ClassList:
        """The class list in `tag`."""

        def load() -> tuple[ClassList, int]:
            payload = np.asarray(self._read(experiment, tag, MAX_STEPS)[-1].numpy).reshape(-1)
            if payload.size != 1 or not isinstance(payload[0], bytes):
                raise SchemaError(f"tag {tag.name!r}: a class list is one string, got a tensor of {payload.size}")
            return class_list_from_payload(tag.name, payload[0]), 4 * len(payload[0])

        return self._cache.get((experiment.id, tag.run, tag.name), tag.version, load)

    def series(self, experiment: Experiment, tag: Tag, points: int) -> Series:
        """The table in `tag` over steps, ascending, at most `points` of them; a step written twice keeps the later."""

        def load() -> tuple[Series, int]:
            by_step = {int(datum.step): datum for datum in self._read(experiment, tag, points)}
            ordered = [by_step[step] for step in sorted(by_step)]
            tables = [table_from_content(tag.name, tag.content, np.asarray(d.numpy)).values for d in ordered]
            series = Series(
                np.array([d.step for d in ordered], dtype=np.int64),
                np.array([d.wall_time for d in ordered], dtype=np.float64),
                _stacked(tag.name, tables),
            )
            return series, series.values.nbytes + 16 * len(ordered)

        return self._cache.get((experiment.id, tag.run, tag.name, points), tag.version, load)

    def images(self, experiment: Experiment, run: str, tag: str) -> list[Any]:
        """`BlobSequenceDatum` of an image tag, by ascending step; at least those that TensorBoard's Images tab has."""
        found = self._provider.read_blob_sequences(
            experiment.context,
            experiment_id=experiment.id,
            plugin_name="images",
            downsample=MAX_STEPS,
            run_tag_filter=provider.RunTagFilter(runs=[run], tags=[tag]),
        )
        images: list[Any] = found.get(run, {}).get(tag, [])
        return images

    def blob(self, experiment: Experiment, key: str) -> bytes:
        """The bytes under the key of a blob."""
        return bytes(self._provider.read_blob(experiment.context, blob_key=key))

    def derived(self, experiment: Experiment, tag: Tag, name: tuple[Any, ...], load: Callable[[], tuple[T, int]]) -> T:
        """What `load` returns, kept under `name` until the tag grows."""
        return self._cache.get((experiment.id, tag.run, tag.name, *name), tag.version, load)

    def _list(self, experiment: Experiment, runs: Iterable[str] | None) -> Mapping[str, Mapping[str, Any]]:
        chosen = None if runs is None else provider.RunTagFilter(runs=list(runs))
        found: Mapping[str, Mapping[str, Any]] = self._provider.list_tensors(
            experiment.context, experiment_id=experiment.id, plugin_name=PLUGIN_NAME, run_tag_filter=chosen
        )
        return found

    def _read(self, experiment: Experiment, tag: Tag, points: int) -> list[Any]:
        """The tag's points, at least one."""
        found = self._provider.read_tensors(
            experiment.context,
            experiment_id=experiment.id,
            plugin_name=PLUGIN_NAME,
            downsample=points,
            run_tag_filter=provider.RunTagFilter(runs=[tag.run], tags=[tag.name]),
        )
        points_read: list[Any] = found.get(tag.run, {}).get(tag.name, [])
        if not points_read:
            raise RequestError(f"run {shown(tag.run)} has nothing at tag {shown(tag.name)} yet", "reload in a moment")
        return points_read


def shown(text: str, limit: int = 120) -> str:
    """`text` quoted for a message, cut where it is long."""
    return repr(text if len(text) <= limit else text[:limit] + "…")


def _sorted_out(run: str, tags: Mapping[str, Any]) -> RunTags:
    found = RunTags()
    for name, listed in sorted(tags.items()):
        try:
            fields = decode_content(name, listed.plugin_content)
            attribute, kind = str(fields["attribute"]), str(fields["kind"])
        except SchemaError as error:
            found.problems.append(str(error))
        except KeyError as error:
            found.problems.append(f"tag {name!r}: its metadata lacks {error}")
        else:
            version = (listed.max_step, listed.max_wall_time, listed.plugin_content)
            found.attributes.setdefault(attribute, {})[kind] = Tag(run, name, listed.plugin_content, fields, version)
    return found


def _stacked(tag: str, tables: list[Float32Array]) -> Float32Array:
    shapes = sorted({table.shape for table in tables})
    if len(shapes) > 1:
        raise SchemaError(
            f"tag {tag!r} has tables of different shapes, {shapes[0]} and {shapes[-1]}: "
            "two different problems were written into one directory; give each run its own"
        )
    return np.stack(tables)


def _attribute_classes(classes: ClassList) -> AttributeClasses:
    try:
        return AttributeClasses(classes.attribute, classes.names, classes.counts, classes.groups, classes.rule)
    except ValueError as error:
        raise SchemaError(f"tag {classes.tag!r}: {error}") from error
