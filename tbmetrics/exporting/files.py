"""The files of an export: safe paths, written whole or not at all, and the manifest that remembers them."""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter
from collections.abc import Container, Iterable
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from tbmetrics.errors import InputError
from tbmetrics.events.places import process_runs
from tbmetrics.events.reader import event_files
from tbmetrics.figures.output import clashing, slug
from tbmetrics.records import untag_part

MANIFEST, REPORT, ALL_METRICS = "manifest.json", "report.html", "all_metrics.json"
MANIFEST_VERSION = 1
_WRITTEN_BY = "tbmetrics"
_MANAGERS_FOLDER = "tensorboard"
_TEMPORARY = ".tbmetrics-"  # and the process, in the name of a file that is being written
_SUFFIXES = (".png", ".svg", ".pdf", ".json", ".csv", ".html")


# -------------------------------------------------------------------------------------------------------- paths


def run_folders(runs: Iterable[str], logdir: Path) -> dict[str, str]:
    """The folder of each run in the export; a log directory that is itself a run keeps its name.

    A run in a folder called "tensorboard", where `MetricsManager` writes, is called after the folder around it.
    """
    names = {run: _run_name(run, logdir) for run in runs}
    alike = Counter(names.values())
    names = {run: name if alike[name] == 1 else run for run, name in names.items()}
    clashes = clashing(names.values())
    return {run: _folder_name(slug(name, clashes)) for run, name in names.items()}


def _run_name(run: str, logdir: Path) -> str:
    if run == ".":
        return (logdir.parent if logdir.name == _MANAGERS_FOLDER else logdir).name
    path = PurePosixPath(run)
    if path.name != _MANAGERS_FOLDER:
        return run
    return path.parent.as_posix() if len(path.parts) > 1 else logdir.name


def tag_path(tag: str, *, encoded: bool, clashes: Container[str] = ()) -> str:
    """The path for a tag, with a folder for each part but the last.

    Args:
        tag: any text.
        encoded: whether its parts are percent-encoded, as in tags of tbmetrics.
        clashes: names that need a hash to stay apart.
    """
    return "/".join(_folder_name(slug(part, clashes)) for part in tag_parts(tag, encoded=encoded))


def tag_parts(tag: str, *, encoded: bool) -> list[str]:
    """The names in a tag."""
    return [untag_part(part) if encoded else part for part in tag.split("/")]


def _folder_name(name: str) -> str:
    """A slug that cannot be the name of an exported file; no slug contains "="."""
    return f"{name}=" if name.endswith(_SUFFIXES) else name


# ------------------------------------------------------------------------------------------------------ writing


class WrittenFile(NamedTuple):
    """A file of the export after writing.

    Attributes:
        path: relative to the export.
        size, sha256: of its content.
        is_new: whether its bytes changed.
        is_foreign: whether a file that is not the exporter's was in its place and was left alone.
    """

    path: str
    size: int
    sha256: str
    is_new: bool
    is_foreign: bool = False


def write_whole(
    out: Path, path: str, chunks: Iterable[bytes], replaceable: Container[str] | None = None
) -> WrittenFile:
    """Write a file under a temporary name and rename it; a file that has these bytes already is left alone.

    Args:
        out: directory of the export.
        path: below it.
        chunks: the content.
        replaceable: the files that may be replaced; None = any.

    Raises:
        OSError: the file cannot be written.
    """
    target = _inside(out, path)
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name[:80]}{_TEMPORARY}{os.getpid()}")
    digest, size = hashlib.sha256(), 0
    try:
        with temporary.open("wb") as file:
            for chunk in chunks:
                file.write(chunk)
                digest.update(chunk)
                size += len(chunk)
        is_new = sha256_of(target, size) != digest.hexdigest()
        is_foreign = is_new and replaceable is not None and path not in replaceable and os.path.lexists(target)
        if is_new and not is_foreign:
            temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)
    return WrittenFile(path, size, digest.hexdigest(), is_new and not is_foreign, is_foreign)


def remove_abandoned(out: Path) -> None:
    """Remove the temporary files of exports that were killed: those whose process is gone."""
    for path in out.rglob(f".*{_TEMPORARY}*"):
        pid = path.name.rpartition(_TEMPORARY)[2]
        if pid.isdecimal() and not process_runs(int(pid)) and path.is_file() and not path.is_symlink():
            with suppress(OSError):  # on Windows, of an export that is running: its file is open
                path.unlink()


def sha256_of(path: Path, size: int) -> str:
    """SHA-256 of a file of this size, or "" if it is missing or has another size."""
    try:
        with path.open("rb") as file:
            if os.fstat(file.fileno()).st_size != size:
                return ""
            digest = hashlib.sha256()
            while chunk := file.read(2**20):
                digest.update(chunk)
    except OSError:
        return ""
    return digest.hexdigest()


def _inside(out: Path, path: str) -> Path:
    return out.joinpath(*PurePosixPath(path).parts)


# ----------------------------------------------------------------------------------------------------- manifest


@dataclass(slots=True)
class UnitEntry:
    """A unit that was made: its key, "" if it failed, and its files."""

    key: str
    files: list[str] = field(default_factory=list)


@dataclass(slots=True)
class RunEntry:
    """A run that was exported.

    Attributes:
        folder: below the export.
        sources: event file → size and modification time in nanoseconds; empty if a unit failed.
        request: fingerprint of the options and versions; "asked" in the file.
        problems: damage in its log.
        tags: kind → the tags that are in the same files, with their fingerprints.
        units: by name.
        summary: what the page says of it, or None if it has nothing that was selected.
    """

    folder: str
    sources: dict[str, list[int]]
    request: str
    problems: list[str] = field(default_factory=list)
    tags: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    units: dict[str, UnitEntry] = field(default_factory=dict)
    summary: dict[str, Any] | None = None

    def paths(self) -> list[str]:
        """All files of the run."""
        return [path for _, unit in sorted(self.units.items()) for path in unit.files]

    def is_same(self, other: RunEntry) -> bool:
        """Whether both come from the same event files with the same options and versions."""
        return (self.folder, self.sources, self.request) == (other.folder, other.sources, other.request)


@dataclass(slots=True)
class Manifest:
    """Everything an export wrote, and from what.

    Attributes:
        complete: False while files are being written.
        options: `Options.to_json()`.
        versions: of the packages and the code that wrote it.
        runs: by name.
        shared: the files of all runs together, by name.
        files: path → size and SHA-256.
    """

    complete: bool = False
    options: dict[str, Any] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    runs: dict[str, RunEntry] = field(default_factory=dict)
    shared: dict[str, UnitEntry] = field(default_factory=dict)
    files: dict[str, dict[str, Any]] = field(default_factory=dict)

    def are_intact(self, out: Path, paths: list[str]) -> bool:
        """Whether these files still have their sizes, or, after an interrupted export, their content."""
        return all(path in self.files and self._is_intact(out, path) for path in paths)

    def _is_intact(self, out: Path, path: str) -> bool:
        size, sha256 = self.files[path]["bytes"], self.files[path]["sha256"]
        target = _inside(out, path)
        if not self.complete:
            return sha256_of(target, size) == sha256
        try:
            return target.stat().st_size == size
        except OSError:
            return False

    def add(self, written: WrittenFile) -> None:
        """Add a file."""
        self.files[written.path] = {"bytes": written.size, "sha256": written.sha256}

    def carry_over(self, previous: Manifest, paths: list[str]) -> None:
        """Add files as `previous` has them."""
        self.files.update({path: previous.files[path] for path in paths if path in previous.files})

    def save(self, out: Path) -> None:
        """Write `manifest.json`.

        Raises:
            OSError: it cannot be written.
        """
        content = {"schema_version": MANIFEST_VERSION, "written_by": _WRITTEN_BY, **asdict(self)}
        for entry in content["runs"].values():
            entry["asked"] = entry.pop("request")
        text = json.dumps(content, allow_nan=False, ensure_ascii=False, indent=1, sort_keys=True)
        write_whole(out, MANIFEST, [(text + "\n").encode("utf-8", "backslashreplace")])

    def remove(self, out: Path, path: str) -> bool:
        """Remove a file unless it was edited, and the folders that this leaves empty; return whether it did."""
        target = _inside(out, path)
        if target.is_symlink() or sha256_of(target, self.files[path]["bytes"]) != self.files[path]["sha256"]:
            return False
        target.unlink()
        for folder in target.parents:
            if folder == out:
                break
            try:
                folder.rmdir()
            except OSError:
                break
        return True


def load_manifest(out: Path) -> Manifest | None:
    """The manifest in `out`, or None if there is none or its version is unknown.

    Raises:
        InputError: the file is not a manifest of tbmetrics.
    """
    try:
        content = (out / MANIFEST).read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise InputError(
            f"{str(out / MANIFEST)!r} cannot be read ({error}); remove it or choose another out"
        ) from error
    if f'"written_by": "{_WRITTEN_BY}"' not in content:
        raise InputError(f"{str(out / MANIFEST)!r} was not written by tbmetrics; choose another out")
    try:
        return _parse_manifest(json.loads(content))
    except (ValueError, TypeError, KeyError, AttributeError):
        return None


def _parse_manifest(fields: dict[str, Any]) -> Manifest | None:
    if fields.pop("schema_version") != MANIFEST_VERSION:
        return None
    del fields["written_by"]
    runs = {name: _parse_run(entry) for name, entry in fields.pop("runs").items()}
    shared = {name: UnitEntry(**entry) for name, entry in fields.pop("shared").items()}
    manifest = Manifest(runs=runs, shared=shared, **fields)
    return manifest if all(_is_below(path) for path in manifest.files) else None


def _parse_run(fields: dict[str, Any]) -> RunEntry:
    units = {name: UnitEntry(**unit) for name, unit in fields.pop("units").items()}
    return RunEntry(request=fields.pop("asked"), units=units, **fields)


def _is_below(path: str) -> bool:
    parts = PurePosixPath(path).parts
    return bool(parts) and not path.startswith("/") and ".." not in parts and "\\" not in path and ":" not in path


def list_sources(folder: Path) -> dict[str, list[int]]:
    """The event files of a run, each with its size and modification time in nanoseconds."""
    statuses = {path.name: path.stat() for path in event_files(folder)}
    return {name: [status.st_size, status.st_mtime_ns] for name, status in statuses.items()}
