"""Whole processes in turns of half a second: whatever slows the machine for a while slows them all alike.

Runs that last minutes cannot be compared one after the other where the clock of a shared machine drifts by a tenth
meanwhile. Here all are started, and held (`SIGSTOP`) but for one at a time.
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

SLICE_SECONDS = 0.5


class Sliced:
    """One process that is held until its turn.

    Args:
        module: run as `python -m module arguments --report FD`; it calls `hold` when what is measured begins, and
            `report` when it has ended.

    Attributes:
        seconds: that it has run so far, since it was held first.
        result: what it reported; None before.
    """

    def __init__(self, module: str, arguments: Sequence[str]) -> None:
        self.seconds, self.result = 0.0, None
        self._answers, end = os.pipe()
        self._said = tempfile.TemporaryFile()  # noqa: SIM115 (closed in `end`)
        command = [sys.executable, "-m", module, *arguments, "--report", str(end)]
        self._process = subprocess.Popen(
            command, cwd=ROOT, env=environment(), pass_fds=[end], start_new_session=True,
            stdout=self._said, stderr=subprocess.STDOUT,
        )  # fmt: skip
        os.close(end)
        _, status = os.waitpid(self._process.pid, os.WUNTRACED)
        if not os.WIFSTOPPED(status):
            self._fail()

    def turn(self, slice_seconds: float) -> None:
        """Lets it run for so long, or until it has ended."""
        began = time.perf_counter()
        os.killpg(self._process.pid, signal.SIGCONT)
        ended, _, _ = select.select([self._answers], [], [], slice_seconds)
        if not ended:
            os.killpg(self._process.pid, signal.SIGSTOP)
        self.seconds += time.perf_counter() - began
        if ended:
            answer = os.read(self._answers, 2**16)
            if not answer:
                self._fail()
            self.result: dict[str, Any] | None = json.loads(answer)
            self._process.wait()

    def end(self) -> None:
        """Ends it, whatever it does."""
        if self.result is None and self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        os.close(self._answers)
        self._said.close()

    def _fail(self) -> None:
        self._said.seek(0)
        said = self._said.read()[-4000:].decode(errors="replace")
        raise RuntimeError(f"{self._process.args!r} failed:\n{said}")


def in_slices(
    module: str, ways: Mapping[str, Sequence[str]], slice_seconds: float = SLICE_SECONDS
) -> dict[str, dict[str, Any]]:
    """What each process reported, and its "wall" seconds.

    Args:
        module: run for each way.
        ways: the arguments of each.
        slice_seconds: how long one runs before the next has its turn.
    """
    running: dict[str, Sliced] = {}
    try:
        for name, arguments in ways.items():
            running[name] = Sliced(module, arguments)
        while going_on := [process for process in running.values() if process.result is None]:
            for process in going_on:
                process.turn(slice_seconds)
        return {name: {"wall": process.seconds, **(process.result or {})} for name, process in running.items()}
    finally:
        for process in running.values():
            process.end()


def hold() -> None:
    """In the process: what is measured begins with its first turn."""
    os.kill(os.getpid(), signal.SIGSTOP)


def report(descriptor: int, result: Mapping[str, Any]) -> None:
    """In the process: what is measured has ended."""
    os.write(descriptor, json.dumps(result).encode())
