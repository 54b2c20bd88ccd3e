"""Units: the files of a run that are made together, in any process, when the entries they show have changed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import cache
from importlib.metadata import PackageNotFoundError, version
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
from tbmetrics.exporting.files import WrittenFile, tag_parts, tag_path, write_whole
from tbmetrics.exporting.options import OTHER, Options
from tbmetrics.exporting.pictures import draw_figures, image_paths, logged_images
from tbmetrics.exporting.remedy_files import remedy_entries, remedy_files
from tbmetrics.figures.other import paged
from tbmetrics.figures.output import clashing
from tbmetrics.records import ATTENTION, DYNAMICS, RESOURCES, TAB_PREFIX
from tbmetrics.records.history import History

#: In other areas the figures show the same as the images of the log.
_AREAS_WITH_IMAGES = (CLASS_PERFORMANCE, ATTENTION, OTHER)
_KIT_SCALARS = "tbmetrics/"
#: Kinds whose CSV is many times larger than the log: only on request.
_LARGE_KINDS = (HISTOGRAMS, PR_CURVES)
#: End of the tables of covariances, from which the tab computes intervals of groups drawn anew: only on request, too.
_COVARIANCES = "/uncertainty"
#: Folder of the page's figures if PNG files were not asked for.
HIDDEN = ".figures"
#: The packages that decide how figures look; other files depend on tbmetrics alone.
_DRAWING_PACKAGES = ("matplotlib", "numpy", "pillow")
_SOURCES = ("exporting", "figures", "events/decoding.py", "records", "comparing")


@dataclass(frozen=True, slots=True)
class Unit:
    """Files that are made together.

    Attributes:
        name: unique within a run.
        maker: "figures", "images", "csv", "json" or "remedies".
        area: the area it belongs to.
        entries: what it shows.
        details: what else its content depends on, as plain JSON values.
        weight: its work, in figures.
    """

    name: str
    maker: str
    area: str
    entries: tuple[Entry, ...]
    details: dict[str, Any] = field(default_factory=dict)
    weight: float = 0.1

    def key(self, fingerprints: dict[Entry, str]) -> str:
        """Hash that changes if, and only if, the files may change."""
        entries = [(entry.kind, entry.tag, fingerprints[entry]) for entry in self.entries]
        return digest([self.name, self.maker, entries, self.details, versions_for(self.maker)])


def digest(content: Any) -> str:
    """Hash of plain JSON values."""
    text = json.dumps(content, sort_keys=True)
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=12).hexdigest()


@cache
def versions() -> dict[str, str]:
    """Versions of the packages that write the files, and a hash of the source of the exporter and the figures."""
    by_package = {"code": _source_hash()}
    for package in ("tbmetrics", *_DRAWING_PACKAGES):
        try:
            by_package[package] = version(package)
        except PackageNotFoundError:
            by_package[package] = ""
    return by_package


def versions_for(maker: str) -> dict[str, str]:
    """The versions that the content of a maker's files depends on."""
    is_drawn = maker in ("figures", "images")
    return {name: value for name, value in versions().items() if is_drawn or name not in _DRAWING_PACKAGES}


def _source_hash() -> str:
    root = Path(__file__).parents[1]
    source_digest = hashlib.blake2b(digest_size=12)
    for name in _SOURCES:
        path = root / name
        for source in sorted(path.rglob("*.py")) if path.is_dir() else [path]:
            source_digest.update(source.read_bytes() if source.exists() else b"")
    return source_digest.hexdigest()


# ------------------------------------------------------------------------------------------------------- making


@dataclass(frozen=True, slots=True)
class Task:
    """A unit with everything needed to make it in another process.

    Attributes:
        unit: to be made.
        history: the part of the run's history that it shows.
        folder: the run's, below `out`.
        out: directory of the export.
        replaceable: the files that may be replaced; None = any.
    """

    unit: Unit
    history: History
    folder: str
    out: str
    replaceable: frozenset[str] | None


@dataclass(frozen=True, slots=True)
class Result:
    """The outcome of a task.

    Attributes:
        files: its files.
        problem: why it could not be made, or ""; the path of a file that could not be written.
        errno: of a file that could not be written, or 0.
    """

    files: tuple[WrittenFile, ...] = ()
    problem: str = ""
    errno: int = 0


def make_task(unit: Unit, history: History, folder: str, out: Path, replaceable: frozenset[str] | None) -> Task:
    """The task of making `unit`, with the part of the history that it shows."""
    return Task(unit, subset(history, unit.entries), folder, str(out), replaceable)


def attempt(task: Task) -> Result:
    """Make a unit; an exception becomes part of the result, so that it does not stop the other units."""
    try:
        return Result(files=tuple(_make(task)))
    except Exception as error:
        if isinstance(error, OSError) and error.errno:  # Pillow's own errors have none
            return Result(problem=str(error.filename or task.out), errno=error.errno)
        return Result(problem=f"{task.unit.name}: the export failed: {type(error).__name__}: {error}")


def _make(task: Task) -> Iterator[WrittenFile]:
    for path, chunks in _MAKERS[task.unit.maker](task.history, task.unit):
        is_hidden = path.endswith(task.unit.details.get("hidden", ()))
        folder = f"{HIDDEN}/{task.folder}" if is_hidden else task.folder
        yield write_whole(Path(task.out), f"{folder}/{path}", chunks, task.replaceable)


_Files = Iterator[tuple[str, Iterable[bytes]]]


def _make_figures(history: History, unit: Unit) -> _Files:
    details = unit.details
    page, clashes = details.get("page", 1), details.get("clashes", ())
    for path, content in draw_figures(history, unit.area, details["formats"], details["dpi"], page, clashes):
        yield path, [content]


def _make_images(history: History, unit: Unit) -> _Files:
    for entry in unit.entries:
        for path, content in logged_images(
            entry.tag, entry.area, entry.content(history), unit.details.get("clashes", ())
        ):
            yield path, [content]


def _make_csv(history: History, unit: Unit) -> _Files:
    lines = csv_files.LINES_BY_KIND.get(unit.details["kind"], csv_files.table_lines)
    entries = [entry for entry in unit.entries if entry.kind == unit.details["kind"]]
    yield unit.details["path"], csv_files.encode_lines(lines(history, entries))


def _make_json(history: History, unit: Unit) -> _Files:
    if "areas" in unit.details:
        pieces = json_files.run_json(history, unit.details["areas"])
    else:
        pieces = json_files.area_json(history, unit.area, list(unit.entries), unit.details["files"])
    yield unit.details["path"], (piece.encode("utf-8", "backslashreplace") for piece in pieces)


def _make_remedies(history: History, unit: Unit) -> _Files:
    for name, text in remedy_files(history, unit.entries):
        yield f"{unit.details['folder']}/{name}", [text.encode()]


_MAKERS = {
    "figures": _make_figures,
    "images": _make_images,
    "csv": _make_csv,
    "json": _make_json,
    "remedies": _make_remedies,
}


# ----------------------------------------------------------------------------------------------------- planning


def plan_units(history: History, entries: list[Entry], options: Options) -> list[Unit]:
    """The units of a run's entries."""
    by_area: dict[str, list[Entry]] = {area: [] for area in options.areas}
    for entry in entries:
        by_area[entry.area].append(entry)
    present = {area: area_entries for area, area_entries in by_area.items() if area_entries}
    clashes = clashing(name for entry in entries for name in _names_in(entry))
    units: list[Unit] = []
    for area, area_entries in present.items():
        if options.figure_formats:
            units += _with_clashes(_figure_units(area, area_entries, options), clashes)
        if "png" in options.figure_formats:
            units += _with_clashes(_image_units(area, area_entries, options), clashes)
        if options.has_csv:
            units += _csv_units(area, area_entries, options, clashes)
        if "json" in options.formats:
            units.append(_area_unit(history, area, area_entries, options, clashes))
            units += _remedy_units(area, area_entries, clashes)
    if "json" in options.formats:
        units.append(_run_unit(history, list(present)))
    return units


def _names_in(entry: Entry) -> list[str]:
    """The names that may become parts of paths."""
    parts = [] if entry.kind == CLASS_LISTS else tag_parts(entry.tag, encoded=entry.area != OTHER)
    return [*parts, *([entry.attribute] if entry.attribute else [])]


def _with_clashes(units: Iterator[Unit], clashes: frozenset[str]) -> Iterator[Unit]:
    """The units, each told which of its names clash with others of the run."""
    for unit in units:
        own = sorted({name for entry in unit.entries for name in _names_in(entry) if name in clashes})
        yield replace(unit, details={**unit.details, "clashes": own}) if own else unit


def _figure_units(area: str, entries: list[Entry], options: Options) -> Iterator[Unit]:
    details = {"formats": list(options.figure_formats), "dpi": options.dpi, **_hidden(options)}
    weight = 6.0 * len(options.figure_formats)
    if area == CLASS_PERFORMANCE:
        if options.formats == ("html",):
            return  # the page has the tab instead
        for classes in (entry for entry in entries if entry.kind == CLASS_LISTS):
            shown = tuple(entry for entry in entries if entry.attribute == classes.tag)
            yield Unit(f"figures/{area}/{classes.tag}", "figures", area, shown, details, weight)
    elif area in (DYNAMICS, RESOURCES):
        shown = tuple(entry for entry in entries if entry.kind != IMAGES)
        if shown:
            yield Unit(f"figures/{area}", "figures", area, shown, details, weight)
    elif area == OTHER:
        for kind in (SCALARS, HISTOGRAMS, PR_CURVES):
            yield from _paged_units(kind, entries, details)


def _paged_units(kind: str, entries: list[Entry], details: dict[str, Any]) -> Iterator[Unit]:
    by_tag = {e.tag: e for e in entries if e.kind == kind and not e.tag.startswith(_KIT_SCALARS)}
    for group, pages in paged(by_tag).items():
        for page, tags in enumerate(pages, start=1):
            weight = (1.0 + len(tags) / 6) * len(details["formats"])
            name = f"figures/{OTHER}/{kind}/{group}/{page}"
            shown = tuple(by_tag[tag] for tag in tags)
            yield Unit(name, "figures", OTHER, shown, {**details, "page": page}, weight)


def _hidden(options: Options) -> dict[str, Any]:
    return {} if "png" in options.formats else {"hidden": ".png"}


def _image_units(area: str, entries: list[Entry], options: Options) -> Iterator[Unit]:
    for entry in entries:
        if entry.kind == IMAGES and area in _AREAS_WITH_IMAGES:
            yield Unit(f"images/{entry.tag}", "images", area, (entry,), _hidden(options))


def _csv_units(area: str, entries: list[Entry], options: Options, clashes: frozenset[str]) -> Iterator[Unit]:
    class_lists = tuple(entry for entry in entries if entry.kind == CLASS_LISTS)
    tables = (entry for entry in entries if entry.kind == TABLES)
    for table in (table for table in tables if options.has_full_csv or not _is_covariances(table)):
        classes = tuple(entry for entry in class_lists if entry.attribute == table.attribute)
        details = {"kind": TABLES, "path": _table_path(table, clashes)}
        yield Unit(f"csv/{table.tag}", "csv", area, (table, *classes), details, 0.5)
    for kind in csv_files.LINES_BY_KIND:
        shown = tuple(entry for entry in entries if entry.kind == kind)
        if shown and (options.has_full_csv or kind not in _LARGE_KINDS):
            details = {"kind": kind, "path": f"{area}/{kind}.csv"}
            yield Unit(f"csv/{area}/{kind}", "csv", area, shown, details, 0.2 + len(shown) / 50)


def _is_covariances(entry: Entry) -> bool:
    return entry.kind == TABLES and entry.tag.startswith(TAB_PREFIX) and entry.tag.endswith(_COVARIANCES)


def _table_path(entry: Entry, clashes: frozenset[str]) -> str:
    """`longtail/{attribute}/{kind}` goes into the folder of the attribute's figures; without a kind it is "classes"."""
    if not entry.tag.startswith(TAB_PREFIX):
        return f"{tag_path(entry.tag, encoded=True, clashes=clashes)}.csv"
    attribute, *kind = entry.tag.removeprefix(TAB_PREFIX).split("/")
    path = tag_path("/".join((attribute, *(kind or ["classes"]))), encoded=True, clashes=clashes)
    return f"{CLASS_PERFORMANCE}/{path}.csv"


def _area_unit(history: History, area: str, entries: list[Entry], options: Options, clashes: frozenset[str]) -> Unit:
    image_files = {}
    if "png" in options.formats and area in _AREAS_WITH_IMAGES:
        for entry in (entry for entry in entries if entry.kind == IMAGES):
            paths = image_paths(entry.tag, area, entry.content(history).steps.tolist(), clashes)
            image_files[entry.tag] = paths[:-1] or paths
    details = {"path": f"{area}.json", "files": image_files}
    shown = tuple(e for e in entries if options.has_full_csv or (e.kind != HISTOGRAMS and not _is_covariances(e)))
    return Unit(f"json/{area}", "json", area, shown, details, 0.2 + len(shown) / 50)


def _remedy_units(area: str, entries: list[Entry], clashes: frozenset[str]) -> Iterator[Unit]:
    for classes in (entry for entry in entries if entry.kind == CLASS_LISTS):
        if shown := remedy_entries(entries, classes):
            folder, _, _ = _table_path(shown[-1], clashes).rpartition("/")
            yield Unit(f"remedies/{classes.tag}", "remedies", area, shown, {"folder": folder})


def _run_unit(history: History, areas: list[str]) -> Unit:
    hparams = dict(history.hparams.hparams) if history.hparams else None
    details = {"path": "run.json", "areas": areas, "hparams": repr(hparams), "problems": list(history.problems)}
    return Unit("json/run", "json", "", (), details)
