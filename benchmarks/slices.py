"""Run processes in turns of two seconds, so that a slow phase of the machine affects all of them alike.

Runs of several minutes cannot be compared one after the other on a shared machine, whose speed may drift by 10 %. Here
all processes are started at once, and all but one are stopped (`SIGSTOP`) at any time. Turns are not shorter, because
clocks run on while a process is stopped, and what goes by the clock, such as samples, would come too often.
"""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.measuring import ROOT, environment

SLICE_SECONDS = 2.0


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
        command = [sys.executable, "-m", module, *arguments, "--report", str(writer)]
        self._process = subprocess.Popen(
            command, cwd=ROOT, env=environment(), pass_fds=[writer], start_new_session=True,
            stdout=self._output, stderr=subprocess.STDOUT,
        )  # fmt: skip
        os.close(writer)
        _, status = os.waitpid(self._process.pid, os.WUNTRACED)
        if not os.WIFSTOPPED(status):
            self._fail()

    def turn(self, slice_seconds: float) -> None:
        """Let the process run for `slice_seconds` or until it reports."""
        start = time.perf_counter()
        os.killpg(self._process.pid, signal.SIGCONT)
        readable, _, _ = select.select([self._reader], [], [], slice_seconds)
        if not readable:
            os.killpg(self._process.pid, signal.SIGSTOP)
        self.seconds += time.perf_counter() - start
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


def hold() -> None:
    """Stop this process until its first turn, right before the part to measure."""
    os.kill(os.getpid(), signal.SIGSTOP)


def report(descriptor: int, result: Mapping[str, Any]) -> None:
    """Report the result of this process, right after the part to measure."""
    os.write(descriptor, json.dumps(result).encode())
