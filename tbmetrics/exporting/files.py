"""Files of an export: safe paths from untrusted names, written whole or not at all."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Container, Iterable
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from tbmetrics.figures.output import slug
from tbmetrics.records import untag_part

MANIFEST, REPORT, ALL_METRICS = "manifest.json", "report.html", "all_metrics.json"
_SUFFIXES = (".png", ".svg", ".pdf", ".json", ".csv", ".html")


class Written(NamedTuple):
    """One file that was made.

    Attributes:
        path: relative to the export.
        size, sha256: of its content.
        changed: whether its bytes are new.
        foreign: whether another file was in its place, which was left alone.
    """

    path: str
    size: int
    sha256: str
    changed: bool
    foreign: bool = False


def run_folders(runs: Iterable[str], logdir_name: str) -> dict[str, str]:
    """The folder of each run; the log directory itself, where it is a run, has its own name."""
    names = list(runs)
    found = {run: slug(run) for run in names}
    own = slug(logdir_name)
    if "." in found and own not in found.values():
        found["."] = own
    return {run: _no_file(name) for run, name in found.items()}


def tag_path(tag: str, *, encoded: bool) -> str:
    """The path that stands for a tag, a folder for each part.

    Args:
        tag: to be named.
        encoded: whether its parts are percent-encoded, as in tags of tbmetrics.
    """
    parts = tag.split("/")
    return "/".join(_no_file(slug(untag_part(part) if encoded else part)) for part in parts)


def _no_file(name: str) -> str:
    """A slug that is the name of no file of an export; "=" is in no slug."""
    return f"{name}=" if name.endswith(_SUFFIXES) else name


def write_whole(out: Path, path: str, chunks: Iterable[bytes], owned: Container[str] | None = None) -> Written:
    """Writes a file under another name first; one that already has these bytes is left alone.

    Args:
        out: directory of the export.
        path: below it.
        chunks: its content.
        owned: the files that may be replaced; None = any.

    Raises:
        OSError: it cannot be written.
    """
    target = out.joinpath(*PurePosixPath(path).parts)
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name[:80]}.{os.getpid()}")
    digest, size = hashlib.sha256(), 0
    try:
        with temporary.open("wb") as file:
            for chunk in chunks:
                file.write(chunk)
                digest.update(chunk)
                size += len(chunk)
        changed = sha256_of(target, size) != digest.hexdigest()
        foreign = changed and owned is not None and path not in owned and os.path.lexists(target)
        if changed and not foreign:
            temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)
    return Written(path, size, digest.hexdigest(), changed and not foreign, foreign)


def sha256_of(path: Path, size: int) -> str:
    """The SHA-256 of a file that has this size; "" for any other, or for none."""
    try:
        with path.open("rb") as file:
            if os.fstat(file.fileno()).st_size != size:
                return ""
            digest = hashlib.sha256()
            while piece := file.read(2**20):
                digest.update(piece)
    except OSError:
        return ""
    return digest.hexdigest()


def remove_ours(out: Path, path: str, size: int, sha256: str) -> bool:
    """Removes a file if it still is what was written, and folders that this leaves empty; whether it did."""
    target = out.joinpath(*PurePosixPath(path).parts)
    if target.is_symlink() or sha256_of(target, size) != sha256:
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
