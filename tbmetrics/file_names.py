"""File names from names of runs, attributes and classes, which are untrusted text; directories and URLs to write to."""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path

from tbmetrics.errors import InputError


def slug(name: str) -> str:
    """`name` as a file name that is safe on every system; a short hash is added where it had to change.

    A name kept as it is has only lower-case letters, digits, '-', '_' and inner dots, so names that differ in case
    alone stay apart where files' names do not.
    """
    safe = re.sub(r"[^a-z0-9_.-]+", "-", name.lower()).strip("-.")[:80]
    if safe and safe == name and safe not in {"con", "prn", "aux", "nul"}:
        return safe
    return f"{safe or 'run'}-{hashlib.sha256(name.encode('utf-8', 'surrogatepass')).hexdigest()[:8]}"


def is_url(path: object) -> bool:
    """Whether `path` lies in a remote store (`s3://…`, `gs://…`); `file://` is a path of this machine."""
    return isinstance(path, str) and "://" in path and not path.startswith("file://")


def local_or_url(path: str | os.PathLike[str]) -> str:
    """`path` as text: a URL without "/" at its end, or a path of this machine.

    Raises:
        InputError: a URL that went through `pathlib`, which joins its slashes.
    """
    text = os.fspath(path)
    if is_url(text):
        return text.rstrip("/")
    if not isinstance(path, str) and re.match(r"(s3|gs|gcs|abfs|abfss|az|hdfs|memory):/[^/]", text):
        raise InputError(f"{text!r} is a URL given as a path, which loses a slash of it; give it as a string")
    return text.removeprefix("file://")


def writable_directory(path: str | os.PathLike[str], option: str) -> Path:
    """The directory, made if missing.

    Args:
        path: of the directory.
        option: the option that it was given with, for the message.

    Raises:
        InputError: it cannot be made or written.
    """
    if is_url(path):
        raise InputError(f"{option} {path!r} is a URL; give a directory of this machine (only log_dir may be remote)")
    folder = Path(path)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / f".tbmetrics.{os.getpid()}"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise InputError(f"cannot write to {option} {str(folder)!r} ({error.strerror}); choose another one") from error
    return folder
