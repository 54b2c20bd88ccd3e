"""Units made in several processes, started anew and not forked: safe in notebooks, threads and unguarded scripts."""

from __future__ import annotations

import os
import queue
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import Any

from tbmetrics.exporting.units import Task
from tbmetrics.exporting.worker import Result, attempt, receive, send

MOST_JOBS = 4
#: So much work, in figures, makes the start of processes worth while.
WORTH_WHILE = 24.0
_START = "import sys; sys.path[:] = {path!r}; from tbmetrics.exporting.worker import main; main()"

Done = Callable[[Task, Result], None]


def jobs_for(weight: float, asked: int | None) -> int:
    """How many processes make so much work: as many as asked for, else one a core where there is much to do."""
    if asked is not None:
        return asked
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(cores, MOST_JOBS) if weight >= WORTH_WHILE and sys.executable else 1


class Workers:
    """Makes tasks in `jobs` processes, or in this one where `jobs` is 1; `done` is called in the caller's thread.

    It is a context manager: leaving it ends the processes.

    Args:
        done: called with each task and its result.
    """

    def __init__(self, done: Done) -> None:
        self._done = done
        self._processes: list[subprocess.Popen[bytes]] = []
        self._tasks: queue.Queue[Task | None] = queue.Queue()
        self._results: queue.Queue[tuple[Task, Result]] = queue.Queue()
        self._threads: list[threading.Thread] = []
        self._open = 0
        self._stopping = False

    def start(self, jobs: int) -> None:
        """Starts what is missing to `jobs` processes; none for one job."""
        while jobs > 1 and len(self._processes) < jobs:
            command = [sys.executable, "-c", _START.format(path=sys.path)]
            process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)  # noqa: S603
            self._processes.append(process)
            thread = threading.Thread(target=self._serve, args=(process,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def submit(self, task: Task) -> None:
        """Makes a task some time; waits while many are waiting already."""
        if not self._processes:
            self._done(task, attempt(task))
            return
        self._tasks.put(task)
        self._open += 1
        while self._open > 3 * len(self._processes):
            self._take()
        while not self._results.empty():
            self._take()

    def wait(self) -> None:
        """Waits until all tasks are done."""
        while self._open:
            self._take()

    def _take(self) -> None:
        task, result = self._results.get()
        self._open -= 1
        self._done(task, result)

    def _serve(self, process: subprocess.Popen[bytes]) -> None:
        """In a thread: one task after the other to a process. One that dies leaves its task to this process."""
        pipes: Any = process
        while (task := self._tasks.get()) is not None and not self._stopping:
            try:
                send(pipes.stdin, task)
                result = receive(pipes.stdout)
            except (OSError, EOFError):
                result = Result(problem="interrupted") if self._stopping else attempt(task)
            self._results.put((task, result))

    def __enter__(self) -> Workers:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if kind is not None:
            self._stopping = True
            for process in self._processes:
                process.terminate()
        for _ in self._threads:
            self._tasks.put(None)
        for thread in self._threads:
            thread.join()
        for process in self._processes:
            _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    """Closes its pipes, which ends it, and waits for that."""
    for pipe in (process.stdin, process.stdout):
        with suppress(OSError):  # a process that died leaves bytes that cannot be flushed
            if pipe is not None:
                pipe.close()
    process.wait()
