"""Progress of long work: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
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
        yield progress_lines(title)
    else:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

        activities = TextColumn("{task.description}", markup=False)
        columns = (BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), activities)
        with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
            task = bar.add_task("", total=None)
            yield lambda done, total, name: bar.update(task, completed=done, total=total or None, description=name[:60])


def progress_lines(title: str, clock: Callable[[], float] = time.monotonic) -> Progress:
    """A function that prints a line to stderr after the first second and every five; shorter work prints none.

    Args:
        title: what the lines begin with.
        clock: seconds.
    """
    following = clock() + _FIRST_SECONDS

    def show(done: int, total: int, activity: str) -> None:
        nonlocal following
        if clock() >= following:
            following = clock() + _PAUSE_SECONDS
            of_all = f" of {total}" if total else ""
            print(f"tbmetrics: {title}: {done}{of_all} done, {activity}", file=sys.stderr, flush=True)

    return show
