"""What an export consists of: units that are made each for itself, in any process, when what they show has changed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tbmetrics.exporting import csv_files, json_files
from tbmetrics.exporting.contents import (
    CLASS_LISTS,
    CLASS_PERFORMANCE,
    HISTOGRAMS,
    IMAGES,
    PR_CURVES,
    SCALARS,
    TABLES,
    Entry,
    subset,
)
from tbmetrics.exporting.drawing import draw
from tbmetrics.exporting.files import Written, tag_path, write_whole
from tbmetrics.exporting.images import image_paths, images
from tbmetrics.exporting.options import OTHER, Options
from tbmetrics.figures.other import paged
from tbmetrics.records import ATTENTION, DYNAMICS, RESOURCES, TAB_PREFIX
from tbmetrics.records.history import History

#: Elsewhere the figures show the same as the images of the log.
_WITH_IMAGES = (CLASS_PERFORMANCE, ATTENTION, OTHER)
_ENTIRELY_DRAWN = (CLASS_PERFORMANCE, DYNAMICS, RESOURCES)
_OWN_SCALARS = "tbmetrics/"
#: Where the page's figures are kept when PNG files were not asked for.
HIDDEN = ".figures"


@dataclass(frozen=True, slots=True)
class Unit:
    """Files that are made together.

    Attributes:
        name: unique within a run.
        maker: "figures", "images", "csv" or "json".
        area: that it belongs to.
        entries: what it shows.
        details: what else its content depends on, plain JSON values.
        weight: how much work it is, in figures.
    """

    name: str
    maker: str
    area: str
    entries: tuple[Entry, ...]
    details: dict[str, Any] = field(default_factory=dict)
    weight: float = 0.1

    def key(self, fingerprints: dict[Entry, str], versions: dict[str, str]) -> str:
        """Changes when, and only when, the files may change."""
        shown = [(entry.kind, entry.tag, fingerprints[entry]) for entry in self.entries]
        content = json.dumps([self.name, self.maker, shown, self.details, versions], sort_keys=True)
        return hashlib.blake2b(content.encode("utf-8", "surrogatepass"), digest_size=12).hexdigest()


@dataclass(frozen=True, slots=True)
class Task:
    """A unit with all that its making needs, to be sent to another process."""

    unit: Unit
    history: History
    folder: str
    out: str
    owned: frozenset[str] | None


def make(task: Task) -> list[Written]:
    """Makes the files of a unit.

    Raises:
        OSError: a file cannot be written.
    """
    made = []
    for path, chunks in _MAKERS[task.unit.maker](task.history, task.unit):
        folder = f"{HIDDEN}/{task.folder}" if path.endswith(task.unit.details.get("hidden", ())) else task.folder
        made.append(write_whole(Path(task.out), f"{folder}/{path}", chunks, task.owned))
    return made


_Files = Iterator[tuple[str, Iterable[bytes]]]


def _make_figures(history: History, unit: Unit) -> _Files:
    details = unit.details
    for path, content in draw(history, unit.area, details["formats"], details["dpi"], details.get("page", 1)):
        yield path, [content]


def _make_images(history: History, unit: Unit) -> _Files:
    for entry in unit.entries:
        for path, content in images(entry.tag, entry.area, entry.of(history)):
            yield path, [content]


def _make_csv(history: History, unit: Unit) -> _Files:
    rows = csv_files.OF_KIND.get(unit.details["kind"], csv_files.table)
    chosen = [entry for entry in unit.entries if entry.kind == unit.details["kind"]]
    yield unit.details["path"], csv_files.encoded(rows(history, chosen))


def _make_json(history: History, unit: Unit) -> _Files:
    if "areas" in unit.details:
        pieces = json_files.run_json(history, unit.details["areas"])
    else:
        pieces = json_files.area_json(history, unit.area, list(unit.entries), unit.details["files"])
    yield unit.details["path"], (piece.encode("utf-8", "backslashreplace") for piece in pieces)


_MAKERS = {"figures": _make_figures, "images": _make_images, "csv": _make_csv, "json": _make_json}


# ------------------------------------------------------------------------------------------------ what there is


def units(history: History, found: list[Entry], options: Options) -> list[Unit]:
    """The units of a run, for what was asked for."""
    by_area: dict[str, list[Entry]] = {}
    for entry in found:
        by_area.setdefault(entry.area, []).append(entry)
    planned: list[Unit] = []
    for area in options.areas:
        chosen = by_area.get(area, [])
        if not chosen:
            continue
        if options.figure_formats:
            planned += _figure_units(area, chosen, options)
        if "png" in options.figure_formats:
            planned += _image_units(area, chosen, options)
        if "csv" in options.formats:
            planned += _csv_units(area, chosen)
        if "json" in options.formats:
            planned.append(_area_unit(history, area, chosen, options))
    if "json" in options.formats:
        planned.append(_run_unit(history, [area for area in options.areas if area in by_area]))
    return planned


def task_of(unit: Unit, history: History, folder: str, out: Path, owned: frozenset[str] | None) -> Task:
    """The unit with the part of the history that it shows."""
    return Task(unit, subset(history, unit.entries), folder, str(out), owned)


def _figure_units(area: str, chosen: list[Entry], options: Options) -> Iterator[Unit]:
    details = {"formats": list(options.figure_formats), "dpi": options.dpi, **_hidden(options)}
    more = len(options.figure_formats)
    if area == CLASS_PERFORMANCE:
        for classes in (entry for entry in chosen if entry.kind == CLASS_LISTS):
            shown = tuple(entry for entry in chosen if entry.attribute == classes.tag)
            yield Unit(f"figures/{area}/{classes.tag}", "figures", area, shown, details, 6.0 * more)
    elif area in _ENTIRELY_DRAWN:
        shown = tuple(entry for entry in chosen if entry.kind != IMAGES)
        if shown:
            yield Unit(f"figures/{area}", "figures", area, shown, details, 6.0 * more)
    elif area == OTHER:
        for kind in (SCALARS, HISTOGRAMS, PR_CURVES):
            of_kind = {e.tag: e for e in chosen if e.kind == kind and not e.tag.startswith(_OWN_SCALARS)}
            for group, pages in paged(of_kind).items():
                for number, tags in enumerate(pages, start=1):
                    weight = (1.0 + len(tags) / 6) * more
                    name = f"figures/{area}/{kind}/{group}/{number}"
                    shown = tuple(of_kind[tag] for tag in tags)
                    yield Unit(name, "figures", area, shown, {**details, "page": number}, weight)


def _hidden(options: Options) -> dict[str, Any]:
    return {} if "png" in options.formats else {"hidden": ".png"}


def _image_units(area: str, chosen: list[Entry], options: Options) -> Iterator[Unit]:
    for entry in chosen:
        if entry.kind == IMAGES and area in _WITH_IMAGES:
            yield Unit(f"images/{entry.tag}", "images", area, (entry,), _hidden(options))


def _csv_units(area: str, chosen: list[Entry]) -> Iterator[Unit]:
    lists = tuple(entry for entry in chosen if entry.kind == CLASS_LISTS)
    for entry in (entry for entry in chosen if entry.kind == TABLES):
        of_attribute = tuple(e for e in lists if e.attribute == entry.attribute)
        details = {"kind": TABLES, "path": _table_path(entry)}
        yield Unit(f"csv/{entry.tag}", "csv", area, (entry, *of_attribute), details, 0.5)
    for kind in csv_files.OF_KIND:
        of_kind = tuple(entry for entry in chosen if entry.kind == kind)
        if of_kind:
            details = {"kind": kind, "path": f"{area}/{kind}.csv"}
            yield Unit(f"csv/{area}/{kind}", "csv", area, of_kind, details, 0.2 + len(of_kind) / 50)


def _table_path(entry: Entry) -> str:
    """`longtail/{attribute}/{kind}` lies with the attribute's figures; `longtail/{attribute}` is that of classes."""
    if not entry.tag.startswith(TAB_PREFIX):
        return f"{tag_path(entry.tag, encoded=True)}.csv"
    parts = entry.tag.removeprefix(TAB_PREFIX).split("/")
    return f"{CLASS_PERFORMANCE}/{tag_path('/'.join((parts[0], *(parts[1:] or ['classes']))), encoded=True)}.csv"


def _area_unit(history: History, area: str, chosen: list[Entry], options: Options) -> Unit:
    files = {}
    if "png" in options.formats and area in _WITH_IMAGES:
        for entry in (entry for entry in chosen if entry.kind == IMAGES):
            paths = image_paths(entry.tag, area, entry.of(history).steps.tolist())
            files[entry.tag] = paths[:-1] or paths
    details = {"path": f"{area}.json", "files": files}
    return Unit(f"json/{area}", "json", area, tuple(chosen), details, 0.2 + len(chosen) / 50)


def _run_unit(history: History, areas: list[str]) -> Unit:
    hparams = dict(history.hparams.hparams) if history.hparams else None
    details = {"path": "run.json", "areas": areas, "hparams": repr(hparams), "problems": list(history.problems)}
    return Unit("json/run", "json", "", (), details)
