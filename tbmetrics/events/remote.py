"""Log directories in object stores and other remote places, through TensorBoard's own file layer.

What TensorBoard can read it reads through `gfile`, so what is written there goes the same way: `s3://` by boto3, every
other URL by fsspec (`gs://` by gcsfs).
"""

from __future__ import annotations

import atexit
import hashlib
import logging
import os
import shutil
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

from tensorboard.compat.tensorflow_stub.io import gfile

from tbmetrics.errors import InputError
from tbmetrics.events.event_file import EVENT_FILE_MARK, new_name

logger = logging.getLogger("tbmetrics")

#: An object is put whole each time, so one that has grown to this size is left and a new one begun.
MOST_OBJECT_BYTES = 2 * 2**20
_DIRECTORYLESS = frozenset({"s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "adl", "oss", "r2"})
_EXTRAS = {"s3": "s3", "gs": "gs", "gcs": "gs"}
_PIECE = 64 * 2**20
_LONGEST_NAME = 200  # bytes: file systems take 255, and a copy under way has a longer name


class RemoteEventFile:
    """An event file in a remote directory; methods raise `OSError` and leave whole records behind.

    Object stores cannot append. The records of the open object are held in memory and put as one object, which replaces
    the former; readers see the old one or the new one, whole. An object is never larger than `MOST_OBJECT_BYTES` and
    what one call adds: then the next object is begun, whose name sorts after it.
    """

    def __init__(self, log_dir: str, suffix: str = "") -> None:
        self._log_dir, self._suffix = log_dir, suffix
        self._files = file_system(log_dir)
        if scheme_of(log_dir) not in _DIRECTORYLESS:
            _as_os_error(self._files.makedirs, log_dir)
        self._begin()
        self._put(self._content)

    def _begin(self) -> None:
        name, self._content = new_name(self._suffix)
        self._first_bytes = len(self._content)
        self.path = f"{self._log_dir}/{name}"

    def write(self, framed: bytes) -> None:
        """Adds whole framed records; on failure nothing is added and `OSError` raised."""
        size = len(self._content)
        if size > self._first_bytes and size + len(framed) > MOST_OBJECT_BYTES:
            self._begin()
        grown = self._content + framed
        self._put(grown)
        self._content = grown

    def _put(self, content: bytes) -> None:
        _as_os_error(self._files.write, self.path, content, True)

    def is_gone(self) -> bool:
        """Whether a new file is needed; never, since the next write puts the whole object."""
        return False

    def close(self) -> None:
        """Nothing is open."""


def scheme_of(url: str) -> str:
    """What stands before "://", of the outermost layer."""
    return url.partition("://")[0].partition("::")[0]


def file_system(url: str) -> Any:
    """TensorBoard's file layer for `url`.

    Raises:
        InputError: nothing installed knows it; the message says what to install.
    """
    try:
        return gfile.get_filesystem(url)
    except (ImportError, ValueError) as error:
        scheme = scheme_of(url)
        extra = f"pip install 'tbmetrics[{_EXTRAS[scheme]}]'" if scheme in _EXTRAS else f"{error}"
        raise InputError(f"{url!r}: nothing installed reads and writes {scheme}://; {extra}") from error


def _as_os_error(action: Any, *args: Any, **options: Any) -> Any:
    """`action(...)`; whatever the store's client raises is an `OSError`, as a disk's fault is."""
    try:
        return action(*args, **options)
    except OSError:
        raise
    except Exception as error:  # botocore's, gcsfs's and aiohttp's exceptions have no base in common
        raise OSError(f"{type(error).__name__}: {error}") from error


def remote_event_files(url: str, *, recursive: bool) -> list[str]:
    """Paths, relative to `url`, of the event files in it (or below it), sorted.

    Raises:
        InputError: nothing installed knows the URL.
        OSError: the store does not answer, or refuses.
    """
    files = file_system(url)
    found: list[str] = _as_os_error(_below, files, url)
    return sorted(
        path for path in found if EVENT_FILE_MARK in path.rpartition("/")[2] and (recursive or "/" not in path)
    )


def _below(files: Any, url: str) -> list[str]:
    """Relative paths of all files below `url`, by one listing where the store has one."""
    if isinstance(files, gfile.FSSpecFileSystem):
        import fsspec

        store, root = fsspec.core.url_to_fs(url)
        store.invalidate_cache()
        root = root.rstrip("/")
        return [path[len(root) + 1 :] for path in store.find(root)]
    return [path[len(url) + 1 :] for path in files.glob(f"{url}/*")]  # of S3: every key below


def local_copy(url: str, *, recursive: bool) -> Path:
    """A directory of this machine with the event files in `url` (or below it), as they are now.

    It lies in the temporary directory until the process ends; what is there already and has not grown is not fetched
    again. Whoever writes to the store names its objects: those whose names lead elsewhere as paths are left out.

    Raises:
        InputError: nothing installed knows the URL, it cannot be read, or it holds no event file.
    """
    try:
        root = _copies() / hashlib.sha256(f"{url}{recursive}".encode()).hexdigest()[:16]
        found = remote_event_files(url, recursive=recursive)
        names = [name for name in found if _lies_below(root, name)]
        if len(names) < len(found):
            odd = next(name for name in found if name not in names)
            logger.warning(
                "tbmetrics: %s: %d objects are left out, their names are no paths: %.120r",
                url,
                len(found) - len(names),
                odd,
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
    """Whether an object's name is a path below `root` as it stands, and one that this machine can have."""
    parts = name.split("/")
    plain = os.path.join(root, *parts)
    return (
        "\0" not in name
        and os.path.normpath(plain) == plain
        and plain.startswith(f"{root}{os.sep}")
        and all(part and len(os.fsencode(part)) <= _LONGEST_NAME for part in parts)
    )


def remove(url: str) -> None:
    """Deletes everything below `url`; TensorBoard's file layer cannot.

    Raises:
        OSError: the store does not answer, or refuses.
    """
    files = file_system(url)
    if isinstance(files, gfile.FSSpecFileSystem):
        import fsspec

        store, root = fsspec.core.url_to_fs(url)
        if _as_os_error(store.exists, root):
            _as_os_error(store.rm, root, recursive=True)
        return
    import boto3

    client = boto3.client("s3", endpoint_url=files._s3_endpoint)
    for found in _as_os_error(files.glob, f"{url}/*"):
        bucket, key = files.bucket_and_path(found)
        _as_os_error(lambda bucket=bucket, key=key: client.delete_object(Bucket=bucket, Key=key))


def _forget_others(root: Path, names: set[str]) -> None:
    """Deletes copies of what is not there any more."""
    for path in list(root.rglob(f"*{EVENT_FILE_MARK}*")):
        if path.relative_to(root).as_posix() not in names:
            path.unlink()


def _fetch(files: Any, url: str, target: Path) -> None:
    size = _as_os_error(files.stat, url).length
    if target.exists() and target.stat().st_size == size:
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f".{target.name}.partial".replace(EVENT_FILE_MARK, "events"))
    with gfile.GFile(url, "rb") as remote, partial.open("wb") as local:
        while piece := _as_os_error(remote.read, _PIECE):
            local.write(piece)
    partial.replace(target)


@cache
def _copies() -> Path:
    folder = tempfile.mkdtemp(prefix="tbmetrics-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return Path(folder)
