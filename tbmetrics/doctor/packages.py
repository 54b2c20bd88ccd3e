"""Python and the packages that tbmetrics needs, and those that its extras need, each in a version that will do."""

from __future__ import annotations

import platform
import sys
from collections.abc import Iterator
from importlib import metadata

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

import tbmetrics
from tbmetrics.doctor.findings import FAILED, OK, WARNING, Finding

NAME = "tbmetrics"
_DEVELOPMENT = "dev"
_SHOWN = (NAME, "torch", "tensorboard", "numpy")


def python() -> Iterator[Finding]:
    """The interpreter."""
    version = platform.python_version()
    wanted = _metadata()["Requires-Python"] or ""
    details = {"executable": sys.executable, "platform": platform.platform(), "version": version}
    if wanted and not SpecifierSet(wanted).contains(version, prereleases=True):
        advice = f"make an environment with Python {wanted}"
        yield Finding("python", FAILED, f"Python {version} is too old: {wanted} is needed", advice, details)
    else:
        yield Finding("python", OK, f"Python {version} at {sys.executable}", details=details)


def packages() -> Iterator[Finding]:
    """tbmetrics' own installation, what it needs, and what of its extras is there."""
    found = _metadata()
    if not found:
        message = (
            f"tbmetrics {tbmetrics.__version__} is not installed, only on Python's path: TensorBoard has no tab of it"
        )
        yield Finding("packages", FAILED, message, "pip install . in its folder, or pip install tbmetrics")
        return
    if found["Version"] != tbmetrics.__version__:
        message = f"tbmetrics {found['Version']} is installed, but {tbmetrics.__version__} is what Python finds"
        advice = f"remove {tbmetrics.__file__} from Python's path, or install that one"
        yield Finding("packages", WARNING, message, advice)
    yield from _requirements([Requirement(text) for text in metadata.requires(NAME) or ()])


def _requirements(needed: list[Requirement]) -> Iterator[Finding]:
    versions = {NAME: tbmetrics.__version__}
    ill = []
    for requirement in needed:
        extras = [e for e in _extras() if requirement.marker is not None and _only_with(requirement, e)]
        if extras == [_DEVELOPMENT] or not _applies(requirement, extras):
            continue
        there = _version(requirement.name)
        if there is not None:
            versions[requirement.name] = there
        if finding := _judged(requirement, there, [e for e in extras if e != _DEVELOPMENT]):
            ill.append(finding)
    yield from ill
    if not any(finding.status == FAILED for finding in ill):
        shown = ", ".join(f"{name} {versions[name]}" for name in _SHOWN if name in versions)
        yield Finding("packages", OK, shown, details=versions)


def _judged(requirement: Requirement, there: str | None, extras: list[str]) -> Finding | None:
    """What is wrong with one requirement; an extra's package may be missing, but not too old."""
    if there is not None and requirement.specifier.contains(there, prereleases=True):
        return None
    if there is None and extras:
        return None
    wanted = f"{requirement.name}{requirement.specifier}"
    message = f"{requirement.name} is missing" if there is None else f"{requirement.name} {there} is too old"
    advice = f"pip install '{NAME}[{extras[0]}]'" if extras else f"pip install '{wanted}'"
    return Finding("packages", WARNING if extras else FAILED, f"{message}: {wanted} is needed", advice)


def _extras() -> list[str]:
    return _metadata().get_all("Provides-Extra") or []


def _only_with(requirement: Requirement, extra: str) -> bool:
    marker = requirement.marker
    return marker is not None and marker.evaluate({"extra": extra}) and not marker.evaluate({"extra": ""})


def _applies(requirement: Requirement, extras: list[str]) -> bool:
    return bool(extras) or requirement.marker is None or requirement.marker.evaluate({"extra": ""})


def _metadata() -> metadata.PackageMetadata:
    """Of the installed distribution; empty where there is none."""
    try:
        return metadata.metadata(NAME)
    except metadata.PackageNotFoundError:
        from email.message import Message

        return Message()  # type: ignore[return-value]  # the same interface


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
