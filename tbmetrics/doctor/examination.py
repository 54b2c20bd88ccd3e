"""The checks of `tbmetrics doctor`, in their order."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

from tbmetrics.doctor import hardware, installation, log_directory
from tbmetrics.doctor.findings import FAILED, Finding
from tbmetrics.events.places import local_or_url

Check = Callable[[], Iterator[Finding]]


def examine(logdir: str | os.PathLike[str] | None = None) -> list[Finding]:
    """Run all checks, one after the other; nothing stays behind.

    Args:
        logdir: a directory, which may not exist yet, or a URL. Also checks that it can be written, that its runs can
            be read, and that TensorBoard shows all of their steps.

    Raises:
        InputError: a URL that went through `pathlib`.
    """
    place = None if logdir is None else local_or_url(logdir)
    checks: dict[str, Check] = {
        "python": installation.python,
        "packages": installation.packages,
        "tensorboard": installation.one_tensorboard,
        "plugins": installation.plugins,
        "command": installation.command,
        "device": hardware.device,
        "processes": hardware.processes,
    }
    if place is not None:
        checks["log directory"] = lambda: log_directory.writable(place)
    checks["round trip"] = lambda: log_directory.round_trip(place)
    if place is not None:
        checks["runs"] = lambda: log_directory.runs(place)
    return [finding for name, check in checks.items() for finding in _run(name, check)]


def _run(name: str, check: Check) -> list[Finding]:
    findings: list[Finding] = []
    try:
        findings.extend(check())
    except Exception as error:  # a check that breaks is a finding, and keeps no other from running
        message = f"{type(error).__name__}: {error}"
        advice = "this should work; the name of the error says which package to look at or to install anew"
        findings.append(Finding(name, FAILED, message, advice))
    return findings
