"""Log directories in object stores and other remote places, through TensorBoard's own file layer.

TensorBoard reads through `gfile`, so we write the same way: `s3://` by boto3, every other URL by fsspec (`gs://` by
gcsfs).
"""

from __future__ import annotations

import atexit
import hashlib
import logging
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from tensorboard.compat.tensorflow_stub.io import gfile

from tbmetrics.errors import InputError
from tbmetrics.events.event_file import EVENT_FILE_MARK, new_name

logger = logging.getLogger("tbmetrics")

#: An object is uploaded whole each time, so a new one is begun once it has grown to this size.
MOST_OBJECT_BYTES = 2 * 2**20
_DIRECTORYLESS = frozenset({"s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "adl", "oss", "r2"})
_EXTRAS = {"s3": "s3", "gs": "gs", "gcs": "gs"}
_PIECE = 64 * 2**20
_LONGEST_NAME = 200  # bytes: file systems take 255, and a copy under way has a longer name


class RemoteEventFile:
    """An event file in a remote directory; methods raise `OSError` and leave whole records behind.

    Object stores cannot append. The records of the current object are held in memory and uploaded as one object that
    replaces the former; readers see the old one or the new one, whole. When a call would make the object larger than
    `MOST_OBJECT_BYTES`, the next one is begun, whose name sorts after it.
    """

    def __init__(self, log_dir: str, suffix: str = "") -> None:
        self._log_dir, self._suffix = log_dir, suffix
        self._files = file_system(log_dir)
        if scheme_of(log_dir) not in _DIRECTORYLESS:
            with _os_errors():
                self._files.makedirs(log_dir)
        self._begin()
        self._put(self._content)

    def _begin(self) -> None:
        name, self._content = new_name(self._suffix)
        self._first_bytes = len(self._content)
        self.path = f"{self._log_dir}/{name}"

    def write(self, framed: bytes) -> None:
        """Add whole framed records; on failure add nothing and raise `OSError`."""
        size = len(self._content)
        if size > self._first_bytes and size + len(framed) > MOST_OBJECT_BYTES:
            self._begin()
        grown = self._content + framed
        self._put(grown)
        self._content = grown

    def _put(self, content: bytes) -> None:
        with _os_errors():
            self._files.write(self.path, content, True)

    def is_gone(self) -> bool:
        """Whether a new file is needed; never, since the next write uploads the whole object."""
        return False

    def close(self) -> None:
        """Do nothing: no connection stays open."""


def scheme_of(url: str) -> str:
    """The scheme of `url`, of the outermost one in a chain."""
    return url.partition("://")[0].partition("::")[0]


def file_system(url: str) -> Any:
    """TensorBoard's file layer for `url`.

    Raises:
        InputError: no installed package handles it; the message names one that does.
    """
    try:
        return gfile.get_filesystem(url)
    except (ImportError, ValueError) as error:
        scheme = scheme_of(url)
        extra = f"pip install 'tbmetrics[{_EXTRAS[scheme]}]'" if scheme in _EXTRAS else f"{error}"
        raise InputError(f"{url!r}: nothing installed reads and writes {scheme}://; {extra}") from error


@contextmanager
def _os_errors() -> Iterator[None]:
    """Raise every exception of the store's client as an `OSError`, like the fault of a disk."""
    try:
        yield
    except OSError:
        raise
    except Exception as error:  # the exceptions of botocore, gcsfs and aiohttp have no common base
        raise OSError(f"{type(error).__name__}: {error}") from error


def remote_event_files(url: str, *, recursive: bool) -> list[str]:
    """Paths, relative to `url`, of the event files in it (or below it), sorted.

    Raises:
        InputError: no installed package handles the URL.
        OSError: the store does not answer, or refuses.
    """
    files = file_system(url)
    with _os_errors():
        paths = _below(files, url)
    event_files = [path for path in paths if EVENT_FILE_MARK in path.rpartition("/")[2]]
    return sorted(path for path in event_files if recursive or "/" not in path)


def _below(files: Any, url: str) -> list[str]:
    """Relative paths of all files below `url`, by one listing."""
    if isinstance(files, gfile.FSSpecFileSystem):
        import fsspec

        store, root = fsspec.core.url_to_fs(url)
        store.invalidate_cache()
        root = root.rstrip("/")
        return [path[len(root) + 1 :] for path in store.find(root)]
    return [path[len(url) + 1 :] for path in files.glob(f"{url}/*")]  # on S3 this matches every key below


def local_copy(url: str, *, recursive: bool) -> Path:
    """A local directory with a current copy of the event files in `url` (or below it).

    It lies in the temporary directory until the process ends; files that have not grown are not fetched again. Names of
    objects are untrusted: those that lead out of the directory as paths are left out.

    Raises:
        InputError: no installed package handles the URL, it cannot be read, or it holds no event file.
    """
    try:
        root = _copies() / hashlib.sha256(f"{url}{recursive}".encode()).hexdigest()[:16]
        listed = remote_event_files(url, recursive=recursive)
        names = [name for name in listed if _lies_below(root, name)]
        if len(names) < len(listed):
            escaping = next(name for name in listed if name not in names)
            logger.warning(
                "tbmetrics: %s: %d objects are left out, their names are no paths: %.120r",
                url,
                len(listed) - len(names),
                escaping,
            )
        if not names:
            raise InputError(f"{url!r} holds no event files; give the directory that training wrote to")
        files = file_system(url)
        _forget_others(root, set(names))
        for name in names:
            _fetch(files, f"{url}/{name}", root / name)
    except OSError as error:
        raise InputError(f"{url!r} cannot be read ({error}); check its name and your credentials") from error
    return root


def _lies_below(root: Path, name: str) -> bool:
    """Whether an object's name is a normal path below `root` that a file system accepts."""
    parts = name.split("/")
    plain = os.path.join(root, *parts)
    return (
        "\0" not in name
        and os.path.normpath(plain) == plain
        and plain.startswith(f"{root}{os.sep}")
        and all(part and len(os.fsencode(part)) <= _LONGEST_NAME for part in parts)
    )


def remove(url: str) -> None:
    """Delete everything below `url`, which TensorBoard's file layer cannot.

    Raises:
        OSError: the store does not answer, or refuses.
    """
    files = file_system(url)
    if isinstance(files, gfile.FSSpecFileSystem):
        import fsspec

        store, root = fsspec.core.url_to_fs(url)
        with _os_errors():
            if store.exists(root):
                store.rm(root, recursive=True)
        return
    import boto3

    client = boto3.client("s3", endpoint_url=files._s3_endpoint)
    with _os_errors():
        for object_url in files.glob(f"{url}/*"):
            bucket, key = files.bucket_and_path(object_url)
            client.delete_object(Bucket=bucket, Key=key)


def _forget_others(root: Path, names: set[str]) -> None:
    """Delete copies of objects that are gone."""
    for path in list(root.rglob(f"*{EVENT_FILE_MARK}*")):
        if path.relative_to(root).as_posix() not in names:
            path.unlink()


def _fetch(files: Any, url: str, target: Path) -> None:
    with _os_errors():
        size = files.stat(url).length
    if target.exists() and target.stat().st_size == size:
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f".{target.name}.partial".replace(EVENT_FILE_MARK, "events"))
    with _os_errors(), gfile.GFile(url, "rb") as remote, partial.open("wb") as local:
        while piece := remote.read(_PIECE):
            local.write(piece)
    partial.replace(target)


@cache
def _copies() -> Path:
    folder = tempfile.mkdtemp(prefix="tbmetrics-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return Path(folder)
