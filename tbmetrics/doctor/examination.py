"""All checks, one after the other; one that breaks is a finding itself and keeps no other from running."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

from tbmetrics.doctor import job, log_directory, packages, tab
from tbmetrics.doctor.device import device
from tbmetrics.doctor.findings import FAILED, Finding
from tbmetrics.events.places import local_or_url

Check = Callable[[], Iterator[Finding]]


def examine(logdir: str | os.PathLike[str] | None = None) -> list[Finding]:
    """Every check's findings; nothing stays behind.

    Args:
        logdir: also checks that it can be written, that its runs can be read, and that TensorBoard shows all of their
            steps. May be missing still, or a URL.

    Raises:
        InputError: a URL that went through `pathlib`.
    """
    place = None if logdir is None else local_or_url(logdir)
    checks: dict[str, Check] = {
        "python": packages.python,
        "packages": packages.packages,
        "tensorboard": tab.one_tensorboard,
        "plugins": tab.plugins,
        "command": tab.command,
        "device": device,
        "processes": job.processes,
    }
    if place is not None:
        checks["log directory"] = lambda: log_directory.writable(place)
    checks["round trip"] = lambda: log_directory.round_trip(place)
    if place is not None:
        checks["runs"] = lambda: log_directory.runs(place)
    return [finding for name, check in checks.items() for finding in _run(name, check)]


def _run(name: str, check: Check) -> list[Finding]:
    found: list[Finding] = []
    try:
        found.extend(check())
    except Exception as error:  # whatever is broken here is what is looked for
        said = f"{type(error).__name__}: {error}"
        advice = "this should work; the name of the error says which package to look at or to install anew"
        found.append(Finding(name, FAILED, said, advice))
    return found
