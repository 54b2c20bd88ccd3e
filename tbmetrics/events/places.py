"""Where event files are: a directory of this machine, or a URL."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

from tbmetrics.errors import InputError
from tbmetrics.events.event_file import EVENT_FILE_MARK, EventFile
from tbmetrics.file_names import is_url, local_or_url

if TYPE_CHECKING:
    from tbmetrics.events.remote import RemoteEventFile

_OURS = re.compile(r"tfevents\.\d+\.\d{6}\.")  # other writers give whole seconds

#: How long events may gather before they are written: a disk is appended to, a remote object is put anew.
LOCAL_PAUSE_SECONDS, REMOTE_PAUSE_SECONDS = 0.2, 30.0
#: Events written at once: on a disk some, in a remote place all that there are.
LOCAL_EVENTS, REMOTE_EVENTS = 200, 1_000_000


def open_event_file(log_dir: str, suffix: str = "") -> EventFile | RemoteEventFile:
    """A new event file in `log_dir`.

    Raises:
        OSError: it cannot be written.
        InputError: a URL that nothing installed knows.
    """
    if is_url(log_dir):
        from tbmetrics.events.remote import RemoteEventFile

        return RemoteEventFile(log_dir, suffix)
    return EventFile(log_dir, suffix)


def event_file_names(log_dir: str) -> list[str]:
    """Names of the event files in `log_dir`; none where it is missing or cannot be listed."""
    try:
        if is_url(log_dir):
            from tbmetrics.events.remote import remote_event_files

            return remote_event_files(log_dir, recursive=False)
        return [name for name in os.listdir(log_dir) if EVENT_FILE_MARK in name]
    except (OSError, InputError):
        return []


def holds_events_of_others(log_dir: str) -> bool:
    """Whether another writer than tbmetrics (a logger's, the user's own) has written event files to `log_dir`."""
    return any(not _OURS.search(name) for name in event_file_names(log_dir))


def directory_to_read(path: str | os.PathLike[str], *, recursive: bool) -> Path:
    """The directory of this machine that holds the event files of `path`; of a URL a copy.

    Raises:
        InputError: it is missing or no directory, or a URL that cannot be read.
    """
    place = local_or_url(path)
    if is_url(place):
        from tbmetrics.events.remote import local_copy

        return local_copy(place, recursive=recursive)
    root = Path(place)
    if not root.exists():
        raise InputError(f"log directory {str(root)!r} does not exist; give the directory that training wrote to")
    if not root.is_dir():
        raise InputError(f"{str(root)!r} is a file; give the directory that holds the event files")
    return root
