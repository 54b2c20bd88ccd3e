"""Event files back to histories: every step, nothing sampled, damage reported and skipped.

Scalars are decoded into columns; everything else is indexed by (file, offset) and decoded on demand. The files of one
run are merged in the order in which they were begun. If a later file starts with `SessionLog.START`, the run was
resumed: each tag that the later file writes again loses what the earlier files hold from that tag's first rewritten
step on, and per-step tags lose everything from the resumed step on. Within one file the later write of a step wins.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tbmetrics.errors import InputError
from tbmetrics.events import decoding
from tbmetrics.events.event_file import EVENT_FILE_MARK, Framing
from tbmetrics.events.file_index import FileIndex, Points
from tbmetrics.events.places import directory_to_read
from tbmetrics.records import DECISIONS, LABELS, PLUGIN_NAME, ClassList, SchemaError, decode_content
from tbmetrics.records.history import History, ScalarSeries, Series


def read_logdir(logdir: str | os.PathLike[str]) -> dict[str, History]:
    """Every run below `logdir`, sorted by name: the path relative to `logdir`, "." for the directory itself.

    Raises:
        InputError: `logdir` is missing or no directory, or a URL that cannot be read.
    """
    return {run: read_run(folder, run=run) for run, folder in find_runs(logdir).items()}


def find_runs(logdir: str | os.PathLike[str]) -> dict[str, Path]:
    """The directory of every run below `logdir`, by its name in `read_logdir`, sorted; reads no file.

    Raises:
        InputError: `logdir` is missing or no directory, or a URL that cannot be read.
    """
    root = directory_to_read(logdir, recursive=True)
    return dict(sorted((folder.relative_to(root).as_posix(), folder) for folder in _folders(root, set())))


def event_files(directory: str | os.PathLike[str]) -> list[Path]:
    """The event files in a run's directory, by name."""
    return [path for path in sorted(Path(directory).iterdir()) if EVENT_FILE_MARK in path.name and path.is_file()]


def _folders(folder: Path, above: set[Path]) -> Iterator[Path]:
    """The folders with event files, from `folder` down; links are followed, but never in a circle."""
    real = folder.resolve()
    if real in above:
        return
    try:
        entries = sorted(folder.iterdir())
    except OSError:
        return  # no permission to list it
    if any(EVENT_FILE_MARK in path.name and path.is_file() for path in entries):
        yield folder
    for path in entries:
        if path.is_dir():
            yield from _folders(path, above | {real})


def read_run(directory: str | os.PathLike[str], *, run: str = ".") -> History:
    """The run whose event files lie in `directory`, merged; empty if there are none.

    Raises:
        InputError: `directory` is missing or no directory, or a URL that cannot be read.
    """
    history = History(run)
    indexes = [_read_file(path) for path in event_files(directory_to_read(directory, recursive=False))]
    for index in sorted(indexes, key=lambda index: (index.began, index.path.name)):
        _add_to(history, index)
    return history


def _add_to(history: History, index: FileIndex) -> None:
    """Merge a file into the history of the earlier files."""
    history.problems += index.problems
    if index.hparams is not None:
        history.hparams = index.hparams
    if index.restart is not None:
        _supersede(history, index, index.restart)
    for tag, points in index.points.items():
        try:
            _add_points(history, tag, points)
        except (SchemaError, InputError) as error:  # damaged, or cut back since it was indexed
            history.problems.append(f"{index.path.name}: {error}")


def _supersede(history: History, index: FileIndex, restart: int) -> None:
    for by_tag in (*_series_of(history).values(), history.samples):
        for tag, series in by_tag.items():
            rewritten = index.points.get(tag)
            first = min(rewritten.steps, default=None) if rewritten is not None else None
            series.truncate(restart if first is None else min(first, restart))


def _add_points(history: History, tag: str, points: Points) -> None:
    if points.kind == PLUGIN_NAME:
        content = decode_content(tag, points.metadata.plugin_data.content)
        if content.get("kind") == "class_list":
            classes: ClassList = points.items[-1]()
            history.class_lists[classes.attribute] = classes
            return
        if content.get("kind") in (LABELS, DECISIONS):
            history.samples.setdefault(tag, Series()).extend(points.steps, points.wall_times, points.items)
            return
    name = decoding.text_tag(tag) if points.kind == decoding.TEXTS else tag
    by_tag = _series_of(history)[points.kind]
    series = by_tag.setdefault(name, ScalarSeries() if points.kind == decoding.SCALARS else Series())
    series.extend(points.steps, points.wall_times, points.items)


def _series_of(history: History) -> dict[str, dict[str, Any]]:
    return {
        decoding.SCALARS: history.scalars,
        decoding.IMAGES: history.images,
        decoding.HISTOGRAMS: history.histograms,
        decoding.TEXTS: history.texts,
        decoding.PR_CURVES: history.pr_curves,
        PLUGIN_NAME: history.tables,
    }


def _read_file(path: Path) -> FileIndex:
    index = FileIndex(path)
    framing = Framing(path)
    try:
        for offset, payload in framing.records():
            index.read_event(offset, payload)
    except OSError as error:
        index.problems.append(f"{path.name}: cannot be read ({error.strerror})")
    index.finish()
    index.problems += framing.problems
    return index
