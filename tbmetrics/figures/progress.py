"""Progress of long work: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeAlias

#: Called with the work done, all that is known (0: unknown), and the current activity.
Progress: TypeAlias = Callable[[int, int, str], None]

#: Seconds before the first line, and between lines.
_FIRST_SECONDS, _PAUSE_SECONDS = 1.0, 5.0


@contextmanager
def progress(title: str, *, shown: bool = True) -> Iterator[Progress]:
    """Show progress on stderr: a bar that disappears at the end, or lines if it is no terminal, see `progress_lines`.

    Args:
        title: what the lines begin with.
        shown: False shows nothing.
    """
    if not shown:
        yield lambda done, total, activity: None
    elif not sys.stderr.isatty():
        with progress_lines(title) as show:
            yield show
    else:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

        activities = TextColumn("{task.description}", markup=False)
        columns = (BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), activities)
        with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
            task = bar.add_task("", total=None)
            yield lambda done, total, name: bar.update(task, completed=done, total=total or None, description=name[:60])


@contextmanager
def progress_lines(title: str, first: float = _FIRST_SECONDS, pause: float = _PAUSE_SECONDS) -> Iterator[Progress]:
    """Print the latest activity to stderr, even if it takes long; work that is done before the first line prints none.

    Args:
        title: what the lines begin with.
        first: seconds before the first line.
        pause: seconds between lines.
    """
    latest, has_ended = [(0, 0, "starting")], threading.Event()

    def say() -> None:
        seconds = first
        while not has_ended.wait(seconds):
            done, total, activity = latest[0]
            of_all = f" of {total}" if total else ""
            print(f"tbmetrics: {title}: {done}{of_all} done, {activity}", file=sys.stderr, flush=True)
            seconds = pause

    thread = threading.Thread(target=say, daemon=True)
    thread.start()
    try:
        yield lambda *state: latest.__setitem__(0, state)
    finally:
        has_ended.set()
        thread.join()
