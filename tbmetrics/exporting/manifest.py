"""What an export wrote, from which files and tags: what the next one needs to do only what changed."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path, PurePosixPath
from typing import Any

from tbmetrics.errors import InputError
from tbmetrics.events.reader import event_files
from tbmetrics.exporting.files import MANIFEST, Written, sha256_of, write_whole

MANIFEST_VERSION = 1
_US = "tbmetrics"
#: What decides how figures look; the rest of the files depends on tbmetrics alone.
_DRAWERS = ("matplotlib", "numpy", "pillow")
_SOURCES = ("exporting", "figures", "events/decoding.py", "records", "comparing")


@dataclass(slots=True)
class UnitEntry:
    """A unit as it was made: its key, "" where it failed, and its files."""

    key: str
    files: list[str] = field(default_factory=list)


@dataclass(slots=True)
class RunEntry:
    """A run as it was exported.

    Attributes:
        folder: below the export.
        sources: event file → its size and the time of its last change, in nanoseconds; empty where a unit failed.
        asked: fingerprint of options and versions.
        problems: of its log.
        tags: kind → tag → fingerprint and files.
        units: by name.
        summary: what the page says of it; None for a run without what was asked for.
    """

    folder: str
    sources: dict[str, list[int]]
    asked: str
    problems: list[str] = field(default_factory=list)
    tags: dict[str, dict[str, dict[str, Any]]] = field(default_factory=dict)
    units: dict[str, UnitEntry] = field(default_factory=dict)
    summary: dict[str, Any] | None = None

    def paths(self) -> list[str]:
        """All files of the run."""
        return [path for _, unit in sorted(self.units.items()) for path in unit.files]


@dataclass(slots=True)
class Manifest:
    """Everything that an export wrote.

    Attributes:
        complete: False while files are being written.
        options: as asked for.
        versions: of what wrote it.
        runs: by name.
        shared: files of all runs together, by name.
        files: path → size and SHA-256.
    """

    complete: bool = False
    options: dict[str, Any] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    runs: dict[str, RunEntry] = field(default_factory=dict)
    shared: dict[str, UnitEntry] = field(default_factory=dict)
    files: dict[str, dict[str, Any]] = field(default_factory=dict)

    def holds(self, out: Path, paths: list[str]) -> bool:
        """Whether these files are still there with their sizes; with their content, after a cut-off export."""
        return all(path in self.files and self._has(out, path) for path in paths)

    def _has(self, out: Path, path: str) -> bool:
        known, target = self.files[path], out.joinpath(*PurePosixPath(path).parts)
        if self.complete:
            return _size(target) == known["bytes"]
        return sha256_of(target, known["bytes"]) == known["sha256"]

    def note(self, written: Written) -> None:
        """Takes a file in."""
        self.files[written.path] = {"bytes": written.size, "sha256": written.sha256}

    def keep(self, old: Manifest, paths: list[str]) -> None:
        """Takes files in as `old` has them."""
        self.files.update({path: old.files[path] for path in paths if path in old.files})

    def save(self, out: Path) -> None:
        """Writes it to `manifest.json`.

        Raises:
            OSError: it cannot be written.
        """
        content = {"schema_version": MANIFEST_VERSION, "written_by": _US, **asdict(self)}
        text = json.dumps(content, allow_nan=False, ensure_ascii=False, indent=1, sort_keys=True)
        write_whole(out, MANIFEST, [(text + "\n").encode("utf-8", "backslashreplace")])


def load(out: Path) -> Manifest | None:
    """The manifest in `out`; None where there is none, or one of another version of tbmetrics.

    Raises:
        InputError: a file of this name is none of ours.
    """
    try:
        content = (out / MANIFEST).read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise InputError(
            f"{str(out / MANIFEST)!r} cannot be read ({error}); remove it or choose another out"
        ) from error
    if f'"written_by": "{_US}"' not in content:
        raise InputError(f"{str(out / MANIFEST)!r} was not written by tbmetrics; choose another out")
    try:
        fields = json.loads(content)
        if fields.pop("schema_version") != MANIFEST_VERSION:
            return None
        del fields["written_by"]
        runs = {name: _run_entry(entry) for name, entry in fields.pop("runs").items()}
        shared = {name: UnitEntry(**entry) for name, entry in fields.pop("shared").items()}
        found = Manifest(runs=runs, shared=shared, **fields)
        return found if all(_is_below(path) for path in found.files) else None
    except (ValueError, TypeError, KeyError, AttributeError):
        return None


def _run_entry(fields: dict[str, Any]) -> RunEntry:
    return RunEntry(**{**fields, "units": {name: UnitEntry(**unit) for name, unit in fields["units"].items()}})


def _is_below(path: str) -> bool:
    parts = PurePosixPath(path).parts
    return bool(parts) and not path.startswith("/") and ".." not in parts and "\\" not in path and ":" not in path


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return -1


def sources_of(folder: Path) -> dict[str, list[int]]:
    """The event files of a run, each with its size and the time of its last change."""
    found = {}
    for path in event_files(folder):
        status = path.stat()
        found[path.name] = [status.st_size, status.st_mtime_ns]
    return found


@cache
def versions() -> dict[str, str]:
    """Versions of what writes the files, and a fingerprint of the code that does."""
    found = {"code": _code()}
    for package in ("tbmetrics", *_DRAWERS):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = ""
    return found


def versions_for(maker: str) -> dict[str, str]:
    """Those versions that the content of a unit depends on."""
    drawn = maker in ("figures", "images")
    return {name: value for name, value in versions().items() if drawn or name not in _DRAWERS}


def _code() -> str:
    """Changes with the source of exporter and figures, so that a new version draws again what it draws otherwise."""
    root = Path(__file__).parents[1]
    digest = hashlib.blake2b(digest_size=12)
    for name in _SOURCES:
        path = root / name
        for source in sorted(path.rglob("*.py")) if path.is_dir() else [path]:
            digest.update(source.read_bytes() if source.exists() else b"")
    return digest.hexdigest()


def asked(options: dict[str, Any]) -> str:
    """A fingerprint of options and versions."""
    content = json.dumps([{**options, "runs": ""}, versions()], sort_keys=True)
    return hashlib.blake2b(content.encode(), digest_size=12).hexdigest()
