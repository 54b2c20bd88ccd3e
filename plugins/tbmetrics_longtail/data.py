"""Attributes of runs and their tables, read through TensorBoard's data provider and cached in memory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping
from functools import lru_cache
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from tensorboard.data import provider

from tbmetrics.classes.attributes import AttributeClasses
from tbmetrics.records import (
    LABELS,
    PLUGIN_NAME,
    ClassList,
    Float32Array,
    SampleData,
    SchemaError,
    class_list_from_payload,
    decode_content,
    sample_data_from_payload,
    table_from_content,
)
from tbmetrics_longtail.hparams import PLUGIN_NAME as HPARAMS_PLUGIN
from tbmetrics_longtail.hparams import HParams, hparams_by_run
from tbmetrics_longtail.listing import Experiment, Listing
from tbmetrics_longtail.series_cache import SeriesCache, stored_bytes
from tbmetrics_longtail.tables import (
    CLASS_LIST,
    CLASSES,
    CURVES,
    DIAGNOSTICS,
    GROUP_TABLE,
    RequestError,
    RunTags,
    Series,
    Tag,
    nothing_at,
    shown,
    stacked,
)

T = TypeVar("T")

#: Steps requested from the data provider per tag: as many as its loaders are told to keep.
MAX_STEPS = 10_000
#: A tag is read as a whole, and TensorBoard refuses answers of its data server above 256 MiB.
MAX_READ_BYTES = 192 * 2**20
#: Bytes that are expected of the data of single samples at one step: as many as a tracker records unless told.
SAMPLE_BYTES = 2**18


class Attribute:
    """One attribute of one run: its classes, and its tables over steps, read on demand."""

    def __init__(self, source: LongTailData, experiment: Experiment, name: str, tags: Mapping[str, Tag]) -> None:
        self.name = name
        self.tags = tags
        self._source = source
        self._experiment = experiment
        self.class_list, self.classes, self.group_sizes = source.classes(experiment, self.tag(CLASS_LIST))

    def tag(self, kind: str) -> Tag:
        """The tag of `kind`.

        Raises:
            RequestError: the run has none yet.
        """
        if kind not in self.tags:
            raise RequestError(
                f"attribute {shown(self.name)} has no {kind.replace('_', ' ')} yet",
                f"it has {', '.join(sorted(self.tags))}; runs of older versions lack some",
            )
        return self.tags[kind]

    def class_index(self, class_: str | int) -> int:
        """Index of a class, by name or index.

        Raises:
            RequestError: there is no such class.
        """
        names = self.class_list.names
        if isinstance(class_, str):
            if class_ not in names:
                raise RequestError(f"class {shown(class_)} is unknown", "the route `classes` lists the names")
            return names.index(class_)
        if not 0 <= class_ < len(names):
            raise RequestError(f"class_index {class_} is out of range", f"use 0 to {len(names) - 1}")
        return class_

    def series(self, kind: str) -> Series:
        """The table of `kind` over steps.

        If the per-class table exceeds `MAX_READ_BYTES`, all tables of the attribute are thinned to the same steps:
        TensorBoard chooses them by their number alone.
        """
        series = self._source.series(self._experiment, self.tag(kind), self._points())
        self._check_rows(kind, series.values.shape[1])
        return series

    def table(self, kind: str, step: int) -> Float32Array:
        """The table of `kind` at `step`, float32 (rows, columns), without decoding those of other steps.

        Raises:
            RequestError: nothing was recorded at that step; the hint names the nearest ones.
        """
        table = self._source.table(self._experiment, self.tag(kind), self._points(), step)
        self._check_rows(kind, len(table))
        return table

    def _check_rows(self, kind: str, rows: int) -> None:
        if kind in (CLASSES, CURVES, DIAGNOSTICS) and rows != len(self.classes):
            raise SchemaError(
                f"tag {self.tag(kind).name!r} has {rows} rows for {len(self.classes)} classes: "
                "two different problems were written into one directory; give each run its own"
            )

    def column(self, name: str, step: int, word: str = "column") -> NDArray[np.float64]:
        """One column of the per-class table at `step`, float64 (classes,)."""
        index = self.tag(CLASSES).column_index(name, word)
        return self.table(CLASSES, step)[:, index].astype(np.float64)

    def _points(self) -> int:
        columns = len(self.tags[CLASSES].columns) if CLASSES in self.tags else 1
        return max(1, min(MAX_STEPS, MAX_READ_BYTES // (4 * max(1, columns * len(self.classes)))))

    def samples(self, kind: str) -> dict[int, SampleData]:
        """Data of single samples by step; empty if the run has none of this kind."""
        return self._source.samples(self._experiment, self.tags[kind]) if kind in self.tags else {}

    def derived(self, kind: str, name: tuple[Any, ...], derive: Callable[[Series], NDArray[Any]]) -> NDArray[Any]:
        """The result of `derive` for the table of `kind` over steps, cached under `name` until that table grows."""
        tag = self.tag(kind)

        def load() -> tuple[NDArray[Any], int]:
            result = derive(self.series(kind))
            return result, result.nbytes

        return self._source.derived(self._experiment, tag, name, load)

    def images(self, tag: str) -> list[Any]:
        """`BlobSequenceDatum`s of the run's image `tag` by ascending step; possibly none."""
        return self._source.images(self._experiment, self.tags[CLASS_LIST].run, tag)

    def blob(self, key: str) -> bytes:
        """The bytes that TensorBoard's provider stores under `key`."""
        return self._source.blob(self._experiment, key)

    def main_series(self) -> Series:
        """The series whose steps are the attribute's: the small table of groups, or else the per-class table."""
        return self.series(GROUP_TABLE if GROUP_TABLE in self.tags else CLASSES)


class LongTailData:
    """The logs as TensorBoard's `DataProvider` gives them."""

    def __init__(self, data_provider: Any) -> None:
        self._provider = data_provider
        self._listing = Listing(data_provider)
        self._cache = SeriesCache()

    def has_data(self, experiment: Experiment) -> bool:
        """Whether any run has long-tail data; lists names without reading any."""
        plugins = self._provider.list_plugins(experiment.context, experiment_id=experiment.id)
        if plugins is None:
            return bool(self._listing.all(experiment))
        return PLUGIN_NAME in plugins

    def run_tags(self, experiment: Experiment, runs: Collection[str] | None = None) -> dict[str, RunTags]:
        """The tags of every run that has long-tail data, or of those of `runs` that have."""
        listed = self._listing.all(experiment) if runs is None else self._listing.of(experiment, runs)
        return {run: _tags_by_attribute(run, tags) for run, tags in listed.items()}

    def attribute(
        self, experiment: Experiment, run: str, attribute: str, listed: Mapping[str, RunTags] | None = None
    ) -> Attribute:
        """One attribute of one run; its tags are asked for unless they are among those `listed`.

        Raises:
            RequestError: there is no such run or attribute.
            SchemaError: its class list is damaged or of a newer schema.
        """
        tags = self.tags_of_run(experiment, run, listed)
        if attribute not in tags.attributes:
            known = ", ".join(map(shown, sorted(tags.attributes))) or "; ".join(tags.problems)
            raise RequestError(f"run {shown(run)} has no attribute {shown(attribute)}", f"it has {known}")
        return Attribute(self, experiment, attribute, tags.attributes[attribute])

    def tags_of_run(self, experiment: Experiment, run: str, listed: Mapping[str, RunTags] | None = None) -> RunTags:
        """The tags of one run; they are asked for unless they are among those `listed`.

        Raises:
            RequestError: there is no such run.
        """
        tags = (listed or self.run_tags(experiment, [run])).get(run)
        if tags is None:
            raise RequestError(f"run {shown(run)} is unknown", "the route `runs` lists the runs with long-tail data")
        return tags

    def classes(self, experiment: Experiment, tag: Tag) -> tuple[ClassList, AttributeClasses, Mapping[str, int]]:
        """The class list in `tag`, the classes in it, and how many are in each group."""

        def load() -> tuple[tuple[ClassList, AttributeClasses, Mapping[str, int]], int]:
            payload = np.asarray(self._read(experiment, tag, MAX_STEPS)[-1].numpy).reshape(-1)
            if payload.size != 1 or not isinstance(payload[0], bytes):
                raise SchemaError(f"tag {tag.name!r}: a class list is one string, got a tensor of {payload.size}")
            listed = class_list_from_payload(tag.name, payload[0])
            return (listed, _attribute_classes(listed), Counter(listed.groups)), 4 * len(payload[0])

        return self._cache.get((experiment.id, tag.run, tag.name), tag.version, load)

    def series(self, experiment: Experiment, tag: Tag, points: int) -> Series:
        """The table in `tag` at up to `points` steps, ascending; of a step written twice the later."""

        def load() -> tuple[Series, int]:
            ordered = list(self._stored(experiment, tag, points).values())
            tables = [table_from_content(tag.name, tag.content, np.asarray(d.numpy)).values for d in ordered]
            series = Series(
                np.array([d.step for d in ordered], dtype=np.int64),
                np.array([d.wall_time for d in ordered], dtype=np.float64),
                stacked(tag.name, tables),
            )
            return series, series.values.nbytes + 16 * len(ordered)

        return self._cache.get((experiment.id, tag.run, tag.name, points), tag.version, load)

    def table(self, experiment: Experiment, tag: Tag, points: int, step: int) -> Float32Array:
        """The table in `tag` at `step`, one of those of `series`; a `RequestError` if it has none."""

        def stored() -> tuple[dict[int, Any], int]:
            by_step = self._stored(experiment, tag, points)
            return by_step, sum(stored_bytes(datum.numpy) for datum in by_step.values())

        def load() -> tuple[Float32Array, int]:
            by_step = self._cache.get((experiment.id, tag.run, tag.name, points, "stored"), tag.version, stored)
            if step not in by_step:
                raise nothing_at(step, np.array(list(by_step), dtype=np.int64))
            values = table_from_content(tag.name, tag.content, np.asarray(by_step[step].numpy)).values
            return values, values.nbytes

        return self._cache.get((experiment.id, tag.run, tag.name, points, step), tag.version, load)

    def _stored(self, experiment: Experiment, tag: Tag, points: int) -> dict[int, Any]:
        """The points of a tag as stored, by ascending step; of a step written twice the later."""
        by_step = {int(datum.step): datum for datum in self._read(experiment, tag, points)}
        return dict(sorted(by_step.items()))

    def samples(self, experiment: Experiment, tag: Tag) -> dict[int, SampleData]:
        """Data of single samples by step."""

        def load() -> tuple[dict[int, SampleData], int]:
            by_step = {}
            for datum in self._read(experiment, tag, MAX_READ_BYTES // SAMPLE_BYTES):
                payload = np.asarray(datum.numpy).reshape(-1)
                if payload.size == 1 and isinstance(payload[0], bytes):
                    by_step[int(datum.step)] = sample_data_from_payload(tag.name, payload[0])
            return by_step, sum(len(data.payload) for data in by_step.values())

        return self._cache.get((experiment.id, tag.run, tag.name), tag.version, load)

    def images(self, experiment: Experiment, run: str, tag: str) -> list[Any]:
        """`BlobSequenceDatum`s of an image tag, by ascending step; at least those that TensorBoard's Images tab has."""
        images_by_run = self._provider.read_blob_sequences(
            experiment.context,
            experiment_id=experiment.id,
            plugin_name="images",
            downsample=MAX_STEPS,
            run_tag_filter=provider.RunTagFilter(runs=[run], tags=[tag]),
        )
        images: list[Any] = images_by_run.get(run, {}).get(tag, [])
        return images

    def blob(self, experiment: Experiment, key: str) -> bytes:
        """The bytes under the key of a blob."""
        return bytes(self._provider.read_blob(experiment.context, blob_key=key))

    def hparams(self, experiment: Experiment) -> dict[str, HParams]:
        """The hyperparameters of every run that has some."""
        listed = self._provider.list_tensors(
            experiment.context, experiment_id=experiment.id, plugin_name=HPARAMS_PLUGIN
        )
        return hparams_by_run(listed)

    def derived(self, experiment: Experiment, tag: Tag, name: tuple[Any, ...], load: Callable[[], tuple[T, int]]) -> T:
        """The value of `load`, cached under `name` until the tag grows."""
        return self._cache.get((experiment.id, tag.run, tag.name, *name), tag.version, load)

    def _read(self, experiment: Experiment, tag: Tag, points: int) -> list[Any]:
        """The tag's points, at least one."""
        try:
            points_by_run = self._provider.read_tensors(
                experiment.context,
                experiment_id=experiment.id,
                plugin_name=PLUGIN_NAME,
                downsample=points,
                run_tag_filter=provider.RunTagFilter(runs=[tag.run], tags=[tag.name]),
            )
        except KeyError:  # TensorBoard lists a tag a moment before its first point is there
            points_by_run = {}
        points_read: list[Any] = points_by_run.get(tag.run, {}).get(tag.name, [])
        if not points_read:
            raise RequestError(f"run {shown(tag.run)} has nothing at tag {shown(tag.name)} yet", "reload in a moment")
        return points_read


@lru_cache(maxsize=16384)
def _decoded(name: str, content: bytes) -> Mapping[str, Any]:
    """Metadata of a tag, which every request asks for and which seldom changes."""
    return decode_content(name, content)


def _tags_by_attribute(run: str, tags: Mapping[str, Any]) -> RunTags:
    run_tags = RunTags()
    for name, listed in sorted(tags.items()):
        try:
            fields = _decoded(name, listed.plugin_content)
            attribute, kind = str(fields["attribute"]), str(fields["kind"])
        except SchemaError as error:
            run_tags.problems.append(str(error))
        except KeyError as error:
            run_tags.problems.append(f"tag {name!r}: its metadata lacks {error}")
        else:
            version = (listed.max_step, listed.max_wall_time, listed.plugin_content)
            kind += f"/{name.rpartition('/')[2]}" if kind == LABELS else ""
            run_tags.attributes.setdefault(attribute, {})[kind] = Tag(run, name, listed.plugin_content, fields, version)
    return run_tags


def _attribute_classes(classes: ClassList) -> AttributeClasses:
    try:
        described = (classes.attribute, classes.names, classes.counts, classes.groups, classes.rule)
        return AttributeClasses(*described, families=classes.families)
    except ValueError as error:
        raise SchemaError(f"tag {classes.tag!r}: {error}") from error
