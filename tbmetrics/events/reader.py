"""Event files back to histories: every step, nothing sampled, damage reported and stepped over.

Scalars are decoded into columns; everything else is indexed by (file, offset) and decoded when asked for. The files of
one run are merged in the order in which they were begun. Where a later file starts with `SessionLog.START`, the run was
resumed: each tag that the later file writes again loses what the earlier files hold from that tag's first rewritten
step on, and per-step tags lose everything from the resumed step on. Within one file the later write of a step wins.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from tensorboard.compat.proto.event_pb2 import Event, SessionLog

from tbmetrics.errors import InputError
from tbmetrics.events import decoding
from tbmetrics.events.framing import Framing, payload_at
from tbmetrics.history import History, ScalarSeries, Series
from tbmetrics.records import PLUGIN_NAME, ClassList, HParams, SchemaError, decode_content

EVENT_FILE_MARK = "tfevents"


def read_logdir(logdir: str | os.PathLike[str]) -> dict[str, History]:
    """Every run below `logdir` by name (its path relative to `logdir`, "." for the directory itself), sorted.

    Raises:
        InputError: `logdir` is missing or no directory.
    """
    root = _directory(logdir)
    found: dict[str, History] = {}
    for folder, subfolders, names in os.walk(root, followlinks=True):
        subfolders.sort()
        if any(EVENT_FILE_MARK in name for name in names):
            run = Path(folder).relative_to(root).as_posix()
            found[run] = read_run(folder, run=run)
    return dict(sorted(found.items()))


def read_run(directory: str | os.PathLike[str], *, run: str = ".") -> History:
    """The run whose event files lie in `directory`, merged; empty where there are none.

    Raises:
        InputError: `directory` is missing or no directory.
    """
    history = History(run)
    opened = [_read_file(path) for path in sorted(_directory(directory).iterdir()) if EVENT_FILE_MARK in path.name]
    for part in sorted(opened, key=lambda part: (part.began, part.path.name)):
        part.add_to(history)
    return history


def _directory(path: str | os.PathLike[str]) -> Path:
    root = Path(path)
    if not root.exists():
        raise InputError(f"log directory {str(root)!r} does not exist; give the directory that training wrote to")
    if not root.is_dir():
        raise InputError(f"{str(root)!r} is a file; give the directory that holds the event files")
    return root


@dataclass(slots=True)
class _Points:
    """The points of one tag in one file, in the order written."""

    kind: str
    metadata: Any
    steps: list[int] = field(default_factory=list)
    wall_times: list[float] = field(default_factory=list)
    items: list[Any] = field(default_factory=list)  # floats, or functions that load a record


@dataclass(slots=True)
class _FilePart:
    """What one event file holds."""

    path: Path
    began: float = float("inf")
    restart: int | None = None
    points: dict[str, _Points] = field(default_factory=dict)
    hparams: HParams | None = None
    problems: list[str] = field(default_factory=list)

    def add_to(self, history: History) -> None:
        """Merges this file into what earlier files gave."""
        history.problems += self.problems
        if self.hparams is not None:
            history.hparams = self.hparams
        if self.restart is not None:
            self._supersede(history, self.restart)
        for tag, points in self.points.items():
            try:
                self._add_points(history, tag, points)
            except SchemaError as error:
                history.problems.append(f"{self.path.name}: {error}")

    def _supersede(self, history: History, restart: int) -> None:
        for by_tag in _series_of(history).values():
            for tag, series in by_tag.items():
                rewritten = self.points.get(tag)
                first = min(rewritten.steps, default=None) if rewritten is not None else None
                series.truncate(restart if first is None else min(first, restart))

    def _add_points(self, history: History, tag: str, points: _Points) -> None:
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


def _read_file(path: Path) -> _FilePart:
    part = _FilePart(path)
    framing = Framing(path)
    try:
        for offset, payload in framing.records():
            _read_event(part, offset, payload)
    except OSError as error:
        part.problems.append(f"{path.name}: cannot be read ({error.strerror})")
    part.problems += framing.problems
    return part


def _read_event(part: _FilePart, offset: int, payload: bytes) -> None:
    try:
        event = Event.FromString(payload)
    except Exception as error:  # protobuf's DecodeError has no public base but Exception
        part.problems.append(f"{part.path.name}: the record at {offset} is no event ({error})")
        return
    part.began = min(part.began, event.wall_time)
    if event.HasField("session_log") and event.session_log.status == SessionLog.START:
        part.restart = event.step
    step, wall_time = event.step, event.wall_time
    seen: dict[str, int] = {}
    for value in event.summary.value:
        tag = value.tag
        points = part.points.get(tag) or _begin_tag(part, value)
        if points is None:
            continue
        points.steps.append(step)
        points.wall_times.append(wall_time)
        if points.kind == decoding.SCALARS:
            points.items.append(decoding.scalar(value))
        else:
            occurrence = seen[tag] = seen.get(tag, -1) + 1
            points.items.append(partial(_load, part.path, offset, len(payload), tag, occurrence, points.metadata))


def _begin_tag(part: _FilePart, value: Any) -> _Points | None:
    """The points of a tag met for the first time; None for what is not read, or read whole at once."""
    metadata = value.metadata if value.HasField("metadata") else None
    kind = decoding.kind_of(value, metadata)
    if kind is None:
        return None
    if kind == decoding.HPARAMS:
        part.hparams = decoding.hparams(metadata) or part.hparams
        return None
    points = part.points[value.tag] = _Points(kind, metadata)
    return points


def _load(path: Path, offset: int, length: int, tag: str, occurrence: int, metadata: Any) -> Any:
    return decoding.decode(decoding.value_at(payload_at(path, offset, length), tag, occurrence), metadata)
