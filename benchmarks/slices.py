"""Run processes in turns of a tenth of a second, so that a slow phase of the machine affects all of them alike.

Runs of several minutes cannot be compared one after the other on a shared machine, whose speed may drift by 10 %. Here
all processes are started at once, and all but one are stopped (`SIGSTOP`) at any time. Two equal runs of six seconds
then differ by 1.5 % (standard deviation), with turns of two seconds by 6 %: other tenants come and go within a second.

The clocks of a process leave out the time in which it was stopped (`leave_out_stops`). Otherwise what goes by the
clock, such as samples, pictures and a budget that is a share of the time, would have several times of what a run of its
own has.
"""

from __future__ import annotations

import json
import mmap
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from benchmarks.measuring import ROOT, environment

SLICE_SECONDS = 0.1
_STOPPED = "BENCHMARKS_STOPPED"  # variable with the file in which a process finds for how long it was stopped


class Sliced:
    """A process that only runs during its turns.

    Args:
        module: run as `python -m module arguments --report FD`; it must call `hold` before the part to measure and
            `report` after it.
        arguments: command-line arguments of the process.

    Attributes:
        seconds: total time of its turns.
        result: what it reported, or None before.
    """

    def __init__(self, module: str, arguments: Sequence[str]) -> None:
        self.seconds, self.result = 0.0, None
        self._reader, writer = os.pipe()
        self._output = tempfile.TemporaryFile()  # noqa: SIM115 (closed in `end`)
        self._shared = tempfile.NamedTemporaryFile()  # noqa: SIM115 (closed in `end`)
        self._shared.write(bytes(8))
        self._shared.flush()
        self._stopped = _seconds_in(self._shared.name)
        command = [sys.executable, "-m", module, *arguments, "--report", str(writer)]
        self._process = subprocess.Popen(
            command, cwd=ROOT, env={**environment(), _STOPPED: self._shared.name}, pass_fds=[writer],
            start_new_session=True, stdout=self._output, stderr=subprocess.STDOUT,
        )  # fmt: skip
        os.close(writer)
        _, status = os.waitpid(self._process.pid, os.WUNTRACED)
        if not os.WIFSTOPPED(status):
            self._fail()
        self._since = time.perf_counter()  # it is stopped

    def turn(self, slice_seconds: float) -> None:
        """Let the process run for `slice_seconds` or until it reports."""
        start = time.perf_counter()
        self._stopped[0] += start - self._since
        os.killpg(self._process.pid, signal.SIGCONT)
        readable, _, _ = select.select([self._reader], [], [], slice_seconds)
        if not readable:
            os.killpg(self._process.pid, signal.SIGSTOP)
        self._since = time.perf_counter()
        self.seconds += self._since - start
        if readable:
            message = os.read(self._reader, 2**16)
            if not message:
                self._fail()
            self.result: dict[str, Any] | None = json.loads(message)
            self._process.wait()

    def end(self) -> None:
        """Kill the process if it is still running, and release its files."""
        if self.result is None and self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        os.close(self._reader)
        self._output.close()
        self._shared.close()

    def _fail(self) -> None:
        self._output.seek(0)
        output = self._output.read()[-4000:].decode(errors="replace")
        raise RuntimeError(f"{self._process.args!r} failed:\n{output}")


def in_slices(
    module: str, ways: Mapping[str, Sequence[str]], slice_seconds: float = SLICE_SECONDS
) -> dict[str, dict[str, Any]]:
    """Run one process per way in turns; return what each reported, and its "wall" seconds.

    Args:
        module: module that every process runs; see `Sliced`.
        ways: arguments of each process, by name.
        slice_seconds: length of a turn.
    """
    processes: dict[str, Sliced] = {}
    try:
        for name, arguments in ways.items():
            processes[name] = Sliced(module, arguments)
        while unfinished := [process for process in processes.values() if process.result is None]:
            for process in unfinished:
                process.turn(slice_seconds)
        return {name: {"wall": process.seconds, **(process.result or {})} for name, process in processes.items()}
    finally:
        for process in processes.values():
            process.end()


def leave_out_stops() -> None:
    """Let this process' clocks leave out the time in which it was stopped; before what holds on to them is imported."""
    stopped = _seconds_in(os.environ[_STOPPED])
    for name, per_second in (
        ("monotonic", 1),
        ("perf_counter", 1),
        ("monotonic_ns", 10**9),
        ("perf_counter_ns", 10**9),
    ):
        setattr(time, name, partial(_running, getattr(time, name), stopped, per_second))


def _running(clock: Callable[[], Any], stopped: memoryview, per_second: int) -> Any:
    return clock() - (stopped[0] if per_second == 1 else int(per_second * stopped[0]))


def _seconds_in(path: str) -> memoryview:
    """A float64 that processes share."""
    with open(path, "r+b") as file:
        return memoryview(mmap.mmap(file.fileno(), 8)).cast("d")


def hold() -> None:
    """Stop this process until its first turn, right before the part to measure."""
    os.kill(os.getpid(), signal.SIGSTOP)


def report(descriptor: int, result: Mapping[str, Any]) -> None:
    """Report the result of this process, right after the part to measure."""
    os.write(descriptor, json.dumps(result).encode())
