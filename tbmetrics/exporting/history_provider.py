"""Histories as TensorBoard's `DataProvider` would list and read them, for the tab's answers without a server."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tensorboard.plugins.hparams import metadata as hparams_metadata
from tensorboard.plugins.hparams import summary_v2 as hparams_summary

from tbmetrics.records import (
    PLUGIN_NAME,
    ClassList,
    Table,
    class_list_content,
    class_list_payload,
    class_list_tag,
    class_table_tag,
    plugin_of,
    sample_content,
    sample_payload,
    table_content,
)
from tbmetrics.records.history import History

#: Table values in the page; beyond it steps are left out, evenly spread, never the last.
MOST_NUMBERS = 6_000_000


class HistoryProvider:
    """The part of TensorBoard's `DataProvider` that the tab's server uses, over histories: class lists and tables.

    Args:
        histories: by run.
        most: numbers in all tables together, see `MOST_NUMBERS`.
    """

    def __init__(self, histories: Mapping[str, History], most: int = MOST_NUMBERS) -> None:
        self._histories = histories
        self.left_out = 0
        self._steps: dict[tuple[str, str], list[int]] = {}
        for run, history in histories.items():
            for attribute in history.class_lists:
                self._choose_steps(run, history, attribute, most // max(1, len(histories)))

    def _choose_steps(self, run: str, history: History, attribute: str, most: int) -> None:
        tables = history.tables.get(class_table_tag(attribute))
        steps = [] if tables is None else tables.steps.tolist()
        if tables is None or not steps:
            return
        per_step = sum(t[-1].values.size for t in history.tables.values() if t[-1].attribute == attribute)
        count = max(1, min(len(steps), most // max(1, per_step)))
        last = len(steps) - 1
        indices = np.unique(np.linspace(0, last, count).round().astype(int)) if count > 1 else [last]
        self._steps[run, attribute] = [steps[i] for i in indices]
        self.left_out += len(steps) - len(indices)

    def tables(self, kinds: Iterable[str]) -> Iterator[tuple[str, str, str, Table, Iterator[NDArray[np.float32]]]]:
        """(run, attribute, kind, last table, the values of each chosen step) of every table of these kinds."""
        for (run, attribute), steps in self._steps.items():
            for series in self._histories[run].tables.values():
                last = series[-1]
                is_embedded = last.attribute == attribute and last.kind in kinds and plugin_of(last.tag) == PLUGIN_NAME
                if is_embedded and set(steps) <= set(series.steps.tolist()):
                    yield run, attribute, last.kind, last, (series.at(step).values for step in steps)

    def list_plugins(self, *_: Any, **__: Any) -> list[str]:
        """The tab's plugin alone."""
        return [PLUGIN_NAME]

    def list_tensors(
        self, *_: Any, plugin_name: str, run_tag_filter: Any = None, **__: Any
    ) -> dict[str, dict[str, Any]]:
        """Every tag of the tab, or of hyperparameters, by run, with its metadata."""
        listing = self._settings if plugin_name == hparams_metadata.PLUGIN_NAME else self._listing
        wanted = None if run_tag_filter is None else run_tag_filter.runs
        return {run: tags for run, tags in listing.items() if wanted is None or run in wanted}

    @cached_property
    def _settings(self) -> dict[str, dict[str, Any]]:
        """The start of each run's session, as TensorBoard's plugin of hyperparameters lists it."""
        listing: dict[str, dict[str, Any]] = {}
        for run, history in self._histories.items():
            if history.hparams is not None:
                start = hparams_summary.hparams_pb(dict(history.hparams.hparams), start_time_secs=0).value[0]
                listing[run] = {start.tag: _series(start.metadata.plugin_data.content, 0, 0.0)}
        return listing

    @cached_property
    def _listing(self) -> dict[str, dict[str, Any]]:
        """Every answer asks for it, and the histories do not change."""
        listing: dict[str, dict[str, Any]] = {}
        for run, history in self._histories.items():
            lists = {class_list_tag(a): _series(class_list_content(c), 0, 0.0) for a, c in history.class_lists.items()}
            tables = {
                tag: _series(table_content(points[-1]), int(points.steps[-1]), float(points.wall_times[-1]))
                for tag, points in history.tables.items()
                if plugin_of(tag) == PLUGIN_NAME and len(points)
            }
            samples = {
                tag: _series(sample_content(points[-1]), int(points.steps[-1]), float(points.wall_times[-1]))
                for tag, points in history.samples.items()
                if len(points)
            }
            listing[run] = lists | tables | samples
        return listing

    def read_tensors(self, *_: Any, run_tag_filter: Any, **__: Any) -> dict[str, dict[str, list[Any]]]:
        """The points of one tag of one run at the chosen steps."""
        (run,), (tag,) = run_tag_filter.runs, run_tag_filter.tags
        return {run: {tag: list(self._points(self._histories[run], run, tag))}}

    def _points(self, history: History, run: str, tag: str) -> Iterator[Any]:
        from tensorboard.data import provider

        lists: dict[str, ClassList] = {class_list_tag(a): c for a, c in history.class_lists.items()}
        if tag in lists:
            content = np.array([class_list_payload(lists[tag])], dtype=object)
            yield provider.TensorDatum(step=0, wall_time=0.0, numpy=content)
            return
        if tag in history.samples:
            of_samples = history.samples[tag]
            for step, data in zip(of_samples.steps.tolist(), of_samples, strict=True):
                content = np.array([sample_payload(data)], dtype=object)
                yield provider.TensorDatum(step=step, wall_time=0.0, numpy=content)
            return
        points = history.tables[tag]
        chosen = set(self._steps.get((run, points[-1].attribute), ()))
        for i, (step, wall_time) in enumerate(zip(points.steps.tolist(), points.wall_times.tolist(), strict=True)):
            if step in chosen:
                yield provider.TensorDatum(step=step, wall_time=wall_time, numpy=points[i].values)


def _series(content: bytes, step: int, wall_time: float) -> Any:
    from tensorboard.data import provider

    return provider.TensorTimeSeries(
        max_step=step, max_wall_time=wall_time, plugin_content=content, description="", display_name=""
    )
