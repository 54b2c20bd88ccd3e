"""Locations of event files: a local directory, or a URL."""

from __future__ import annotations

import os
import re
import shlex
import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from tbmetrics.errors import InputError
from tbmetrics.events.event_file import EVENT_FILE_MARK, EventFile

if TYPE_CHECKING:
    from tbmetrics.events.remote import RemoteEventFile

#: Names of our event files: time, host and process. Other writers use whole seconds.
_OURS = re.compile(r"tfevents\.\d+\.\d{6}\.(?P<host>.*)\.(?P<pid>\d+)\.\d+")

#: How long events gather before they are written: a disk is appended to, a remote object is uploaded whole.
LOCAL_PAUSE_SECONDS, REMOTE_PAUSE_SECONDS = 0.2, 30.0
#: Most events written at once; to a remote place as many as there are.
LOCAL_EVENTS, REMOTE_EVENTS = 200, 1_000_000


#: What follows TensorBoard's address to open the Long Tail tab, which a narrow window hides behind an arrow.
TAB = "#longtail"


def how_to_look(log_dir: str | os.PathLike[str], **state: str) -> str:
    """How to open the tab on a log directory, in one line, with this state of the tab; see `tab_address`."""
    place = quoted(os.fspath(log_dir))
    options = "".join(f" --{name} {quoted(value)}" for name, value in state.items())
    address = f"http://localhost:6006/{tab_address(state)}"
    return f"See it: tbmetrics board {place}{options}   (or tensorboard --logdir {place}, then {address})"


def tab_address(state: Mapping[str, str]) -> str:
    """What follows TensorBoard's address to open the tab: `attribute`, `metric`, and the runs `a` and `b` it shows."""
    return TAB + "".join(f"&p.longtail.{name}={quote(value, safe='')}" for name, value in state.items())


def quoted(argument: str) -> str:
    """`argument` as this system's shell takes it."""
    return subprocess.list2cmdline([argument]) if sys.platform == "win32" else shlex.quote(argument)


def directory_of_runs(log_dir: str) -> str:
    """The directory or URL that a run lies in, relative to the working directory if it is below."""
    if is_url(log_dir):
        return log_dir.rpartition("/")[0]
    parent = os.path.dirname(os.path.abspath(log_dir))
    return os.path.relpath(parent) if Path(parent).is_relative_to(Path.cwd()) else parent


def is_url(path: object) -> bool:
    """Whether `path` lies in a remote store (`s3://…`, `gs://…`); `file://` is a local path."""
    return isinstance(path, str) and "://" in path and not path.startswith("file://")


def local_or_url(path: str | os.PathLike[str]) -> str:
    """`path` as text: a URL without a trailing "/", or a local path.

    Raises:
        InputError: a URL that went through `pathlib`, which merges slashes.
    """
    text = os.fspath(path)
    if is_url(text):
        return text.rstrip("/")
    if not isinstance(path, str) and re.match(r"(s3|gs|gcs|abfs|abfss|az|hdfs|memory):/[^/]", text):
        raise InputError(f"{text!r} is a URL given as a path, which loses a slash of it; give it as a string")
    return text.removeprefix("file://")


def writable_directory(path: str | os.PathLike[str], option: str) -> Path:
    """The directory `path`, made if missing.

    Args:
        path: local path of the directory.
        option: name of the option that gave it, for the message.

    Raises:
        InputError: the directory cannot be made or written.
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


def open_event_file(log_dir: str, suffix: str = "") -> EventFile | RemoteEventFile:
    """A new event file in `log_dir`.

    Raises:
        OSError: it cannot be written.
        InputError: no installed package handles the URL.
    """
    if is_url(log_dir):
        from tbmetrics.events.remote import RemoteEventFile

        return RemoteEventFile(log_dir, suffix)
    return EventFile(log_dir, suffix)


def event_file_names(log_dir: str) -> list[str]:
    """Names of the event files in `log_dir`; empty if it is missing or cannot be listed."""
    try:
        if is_url(log_dir):
            from tbmetrics.events.remote import remote_event_files

            return remote_event_files(log_dir, recursive=False)
        return [name for name in os.listdir(log_dir) if EVENT_FILE_MARK in name]
    except (OSError, InputError):
        return []


def holds_events_of_others(log_dir: str) -> bool:
    """Whether a writer other than tbmetrics (a logger's, the user's own) has written event files to `log_dir`."""
    return any(not _OURS.search(name) for name in event_file_names(log_dir))


def writer_of(name: str) -> str | None:
    """The process that writes the event file `name`, as "process PID on HOST"; None if it is not tbmetrics."""
    match = _OURS.search(name)
    return f"process {match['pid']} on {match['host']}" if match is not None else None


def this_writer() -> str:
    """This process, as `writer_of` names it."""
    return f"process {os.getpid()} on {socket.gethostname()}"


def is_writing(log_dir: str, name: str) -> bool:
    """Whether the process that made the event file `name` seems to be running: on this host, where that can be told."""
    match = _OURS.search(name)
    if match is None or match["host"] != socket.gethostname() or is_url(log_dir):
        return False
    return process_runs(int(match["pid"]))


def process_runs(pid: int) -> bool:
    """Whether a process of this machine has the number `pid`; False where that cannot be asked without harm."""
    if os.name != "posix":  # elsewhere signal 0 is a signal
        return False
    try:
        os.kill(pid, 0)
    except PermissionError:
        return True
    except (OSError, OverflowError):
        return False
    return True


def directory_to_read(path: str | os.PathLike[str], *, recursive: bool) -> Path:
    """The local directory that holds the event files of `path`, for a URL a copy.

    Raises:
        InputError: the directory is missing, is a file, or is a URL that cannot be read.
    """
    location = local_or_url(path)
    if is_url(location):
        from tbmetrics.events.remote import local_copy

        return local_copy(location, recursive=recursive)
    root = Path(location)
    if not root.exists():
        raise InputError(f"log directory {str(root)!r} does not exist; give the directory that training wrote to")
    if not root.is_dir():
        raise InputError(f"{str(root)!r} is a file; give the directory that holds the event files")
    return root
