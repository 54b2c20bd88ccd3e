"""Event files back to histories: every step, nothing sampled, damage reported and stepped over.

Scalars are decoded into columns; everything else is indexed by (file, offset) and decoded when asked for. The files of
one run are merged in the order in which they were begun. Where a later file starts with `SessionLog.START`, the run was
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
from tbmetrics.events.event_file import EVENT_FILE_MARK
from tbmetrics.events.event_parts import FilePart, Points
from tbmetrics.events.framing import Framing
from tbmetrics.events.places import directory_to_read
from tbmetrics.records import PLUGIN_NAME, ClassList, SchemaError, decode_content
from tbmetrics.records.history import History, ScalarSeries, Series


def read_logdir(logdir: str | os.PathLike[str]) -> dict[str, History]:
    """Every run below `logdir` by name (its path relative to `logdir`, "." for the directory itself), sorted.

    Raises:
        InputError: `logdir` is missing or no directory, or a URL that cannot be read.
    """
    return {run: read_run(folder, run=run) for run, folder in find_runs(logdir).items()}


def find_runs(logdir: str | os.PathLike[str]) -> dict[str, Path]:
    """The directory of every run below `logdir`, by name as in `read_logdir`, sorted; nothing is read.

    Raises:
        InputError: `logdir` is missing or no directory, or a URL that cannot be read.
    """
    root = directory_to_read(logdir, recursive=True)
    return dict(sorted((folder.relative_to(root).as_posix(), folder) for folder in _folders(root, set())))


def event_files(directory: str | os.PathLike[str]) -> list[Path]:
    """The event files in a run's directory, by name."""
    return [path for path in sorted(Path(directory).iterdir()) if EVENT_FILE_MARK in path.name and path.is_file()]


def _folders(folder: Path, above: set[Path]) -> Iterator[Path]:
    """`folder` and what lies below it, where there are event files; links are followed, but never in a circle."""
    real = folder.resolve()
    if real in above:
        return
    try:
        entries = sorted(folder.iterdir())
    except OSError:
        return  # no right to look into it
    if any(EVENT_FILE_MARK in path.name and path.is_file() for path in entries):
        yield folder
    for path in entries:
        if path.is_dir():
            yield from _folders(path, above | {real})


def read_run(directory: str | os.PathLike[str], *, run: str = ".") -> History:
    """The run whose event files lie in `directory`, merged; empty where there are none.

    Raises:
        InputError: `directory` is missing or no directory, or a URL that cannot be read.
    """
    history = History(run)
    opened = [_read_file(path) for path in event_files(directory_to_read(directory, recursive=False))]
    for part in sorted(opened, key=lambda part: (part.began, part.path.name)):
        _add_to(history, part)
    return history


def _add_to(history: History, part: FilePart) -> None:
    """Merges one file into what earlier files gave."""
    history.problems += part.problems
    if part.hparams is not None:
        history.hparams = part.hparams
    if part.restart is not None:
        _supersede(history, part, part.restart)
    for tag, points in part.points.items():
        try:
            _add_points(history, tag, points)
        except (SchemaError, InputError) as error:  # damaged, or cut back since it was indexed
            history.problems.append(f"{part.path.name}: {error}")


def _supersede(history: History, part: FilePart, restart: int) -> None:
    for by_tag in _series_of(history).values():
        for tag, series in by_tag.items():
            rewritten = part.points.get(tag)
            first = min(rewritten.steps, default=None) if rewritten is not None else None
            series.truncate(restart if first is None else min(first, restart))


def _add_points(history: History, tag: str, points: Points) -> None:
    if points.kind == PLUGIN_NAME:
        content = decode_content(tag, points.metadata.plugin_data.content)
        if content.get("kind") == "class_list":
            classes: ClassList = points.items[-1]()
            history.class_lists[classes.attribute] = classes
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


def _read_file(path: Path) -> FilePart:
    part = FilePart(path)
    framing = Framing(path)
    try:
        for offset, payload in framing.records():
            part.read_event(offset, payload)
    except OSError as error:
        part.problems.append(f"{path.name}: cannot be read ({error.strerror})")
    part.finish()
    part.problems += framing.problems
    return part
