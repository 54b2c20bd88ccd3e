"""Worker processes that make units, each started with a command of its own.

`multiprocessing` would run the caller's script again in every process; loky would not, but its two resource trackers
outlive an interrupted export, and one worker that is killed takes the others with it.
"""

from __future__ import annotations

import os
import pickle
import queue
import signal
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import suppress
from types import TracebackType
from typing import Any

from tbmetrics.exporting.units import Result, Task, attempt

MOST_JOBS = 4
#: The work, in figures, from which on starting processes pays.
_MUCH_WORK = 24.0
_TASKS_AHEAD = 64  # of each worker, so that this process gets to the page meanwhile
_START = (
    "import signal, sys; signal.signal(signal.SIGINT, signal.SIG_IGN); sys.path[:] = {path!r}; "
    "from tbmetrics.exporting.workers import serve; serve()"
)


def job_count(weight: float, jobs: int | None) -> int:
    """Number of processes, this one included: `jobs` if given, otherwise one per core for large exports."""
    if jobs is not None:
        return jobs
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(cores, MOST_JOBS) if weight >= _MUCH_WORK and sys.executable else 1


class Workers:
    """Context manager that makes units in worker processes and, when there is nothing else to do, in this one.

    Args:
        done: called in the caller's thread with each task and its result.
    """

    def __init__(self, done: Callable[[Task, Result], None]) -> None:
        self._done = done
        self._processes: list[subprocess.Popen[bytes]] = []
        self._idle: queue.SimpleQueue[subprocess.Popen[bytes]] = queue.SimpleQueue()
        self._threads: ThreadPoolExecutor | None = None  # one per process, to wait for it
        self._pending: dict[Future[Result | None], Task] = {}

    def start(self, jobs: int) -> None:
        """Start processes unless some run already, so that there are `jobs` with this one."""
        if jobs == 1 or self._threads is not None:
            return
        self._threads = ThreadPoolExecutor(jobs - 1)
        for _ in range(jobs - 1):
            command = [sys.executable, "-c", _START.format(path=sys.path)]
            process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)  # noqa: S603
            self._processes.append(process)
            self._idle.put(process)

    @property
    def are_started(self) -> bool:
        """Whether tasks are made in other processes."""
        return self._threads is not None

    def submit(self, task: Task) -> None:
        """Have a task made; make some here while too many are pending."""
        if self._threads is None:
            self._done(task, attempt(task))
            return
        self._pending[self._threads.submit(self._make, task)] = task
        self._collect(_TASKS_AHEAD * len(self._processes))

    def wait(self) -> None:
        """Wait until all tasks are done."""
        self._collect(0)

    def _collect(self, most_pending: int) -> None:
        """Hand over the finished tasks, and help with the others until at most `most_pending` are left."""
        while self._pending:
            finished = wait(self._pending, 0).done
            for future in finished:
                task = self._pending.pop(future)
                self._done(task, future.result() or attempt(task))
            if not finished:
                if len(self._pending) <= most_pending:
                    return
                self._help()

    def _help(self) -> None:
        """Make the last of the tasks that no process has begun, or wait for a process if there is none."""
        future = next((future for future in reversed(self._pending) if future.cancel()), None)
        if future is None:
            wait(self._pending, return_when=FIRST_COMPLETED)
        else:
            task = self._pending.pop(future)
            self._done(task, attempt(task))

    def _make(self, task: Task) -> Result | None:
        """Send a task to an idle process, in a thread; None if that process has died."""
        process = self._idle.get()
        try:
            return _request(process, task)
        except (OSError, EOFError, pickle.UnpicklingError):
            return None
        finally:
            self._idle.put(process)

    def __enter__(self) -> Workers:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if kind is not None:
            for process in self._processes:
                process.terminate()
        if self._threads is not None:
            self._threads.shutdown(cancel_futures=True)
        for process in self._processes:
            with suppress(OSError), process:  # closes its pipes, which ends it; a dead one leaves bytes unflushed
                pass


def _request(process: Any, task: Task) -> Result:
    pickle.dump(task, process.stdin, pickle.HIGHEST_PROTOCOL)
    process.stdin.flush()
    result: Result = pickle.load(process.stdout)  # noqa: S301 - from the process that we started
    return result


def serve() -> None:
    """Make the tasks on standard input, with results on standard output; printed text goes to standard error."""
    signal.signal(signal.SIGTERM, _exit)
    tasks, results = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    with suppress(EOFError):
        while True:
            result = attempt(pickle.load(tasks))  # noqa: S301 - from the process that started us
            pickle.dump(result, results, pickle.HIGHEST_PROTOCOL)
            results.flush()


def _exit(*_: object) -> None:
    """End the process; the unfinished file is removed on the way out."""
    raise SystemExit(1)
