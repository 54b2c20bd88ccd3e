"""The installation: Python, packages, TensorBoard and its plugins."""

from __future__ import annotations

import os
import platform
import shutil
import sys
import sysconfig
import warnings
from argparse import Namespace
from collections.abc import Iterator
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.version import Version

import tbmetrics
from tbmetrics.doctor.findings import FAILED, OK, WARNING, Finding
from tbmetrics.records import PLUGIN_NAME

NAME = "tbmetrics"
_DEVELOPMENT = "dev"
_SHOWN = (NAME, "torch", "tensorboard", "numpy")
_ENTRY_POINTS = "tensorboard_plugins"
_DISTRIBUTIONS = ("tensorboard", "tb-nightly", "tensorflow-tensorboard", "tensorflow-tensorboard-nightly")
_WITHOUT_PKG_RESOURCES = Version("2.21")


def python() -> Iterator[Finding]:
    """The version of the interpreter."""
    version = platform.python_version()
    required = _metadata()["Requires-Python"] or ""
    details = {"executable": sys.executable, "platform": platform.platform(), "version": version}
    if required and not SpecifierSet(required).contains(version, prereleases=True):
        advice = f"make an environment with Python {required}"
        yield Finding("python", FAILED, f"Python {version} is too old: {required} is needed", advice, details)
    else:
        yield Finding("python", OK, f"Python {version} at {sys.executable}", details=details)


def packages() -> Iterator[Finding]:
    """tbmetrics itself, its requirements, and the installed packages of its extras."""
    installed = _metadata()
    if not installed:
        message = (
            f"tbmetrics {tbmetrics.__version__} is not installed, only on Python's path: TensorBoard has no tab of it"
        )
        yield Finding("packages", FAILED, message, "pip install . in its folder, or pip install tbmetrics")
        return
    if installed["Version"] != tbmetrics.__version__:
        message = f"tbmetrics {installed['Version']} is installed, but {tbmetrics.__version__} is what Python finds"
        advice = f"remove {tbmetrics.__file__} from Python's path, or install that one"
        yield Finding("packages", WARNING, message, advice)
    yield from _requirements([Requirement(text) for text in metadata.requires(NAME) or ()])


def one_tensorboard() -> Iterator[Finding]:
    """A single distribution provides `tensorboard` (two overwrite each other's files), and it can start."""
    installed = {name: version for name in _DISTRIBUTIONS if (version := _version(name)) is not None}
    if len(installed) > 1:
        names = " ".join(installed)
        advice = f"pip uninstall {names}; pip install tensorboard"
        yield Finding(
            "tensorboard", FAILED, f"{' and '.join(installed)} are installed, in one folder", advice, installed
        )
        return
    import tensorboard

    if Version(tensorboard.__version__) < _WITHOUT_PKG_RESOURCES and find_spec("pkg_resources") is None:
        message = f"TensorBoard {tensorboard.__version__} does not start: it needs pkg_resources, gone from setuptools"
        advice = "pip install --upgrade tensorboard, or pip install 'setuptools<82'"
        yield Finding("tensorboard", FAILED, message, advice, installed)
        return
    yield Finding("tensorboard", OK, f"TensorBoard {tensorboard.__version__}", details=installed)


def plugins() -> Iterator[Finding]:
    """Every plugin loads (one that does not keeps TensorBoard from starting), and one is the Long Tail tab."""
    broken = []
    tab = None
    for entry in metadata.entry_points(group=_ENTRY_POINTS):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of what others import
                loaded = entry.load()
        except Exception as error:
            broken.append(_broken(entry, error))
            continue
        if entry.name == PLUGIN_NAME:
            tab = loaded
    yield from broken
    if tab is not None:
        yield from _tab(tab)
    elif not any(f"{PLUGIN_NAME!r}" in finding.message for finding in broken):
        advice = "pip install tbmetrics in the environment that TensorBoard runs in"
        yield Finding("plugins", FAILED, "TensorBoard finds no Long Tail tab", advice)


def command() -> Iterator[Finding]:
    """`tensorboard` on the path belongs to this environment: that of another has no tab."""
    path = shutil.which("tensorboard")
    scripts = sysconfig.get_path("scripts")
    details = {"command": path, "scripts": scripts}
    module = f"{sys.executable} -m tensorboard.main --logdir …"
    if path is None:
        yield Finding(
            "command", OK, "`tensorboard` is not on PATH; `tbmetrics board LOGDIR` starts it", details=details
        )
    elif not _is_of_this_environment(path, scripts):
        advice = f"what that one shows is not this environment's: start {module}, or put {scripts} first in PATH"
        yield Finding("command", WARNING, f"`tensorboard` is {path}, of another environment", advice, details)
    else:
        yield Finding("command", OK, f"`tensorboard` is {path}", details=details)


def _requirements(requirements: list[Requirement]) -> Iterator[Finding]:
    versions = {NAME: tbmetrics.__version__}
    problems = []
    for requirement in requirements:
        extras = [e for e in _extras() if requirement.marker is not None and _is_only_in(requirement, e)]
        if extras == [_DEVELOPMENT] or not _is_needed(requirement, extras):
            continue
        version = _version(requirement.name)
        if version is not None:
            versions[requirement.name] = version
        if finding := _problem(requirement, version, [e for e in extras if e != _DEVELOPMENT]):
            problems.append(finding)
    yield from problems
    if not any(finding.status == FAILED for finding in problems):
        shown = ", ".join(f"{name} {versions[name]}" for name in _SHOWN if name in versions)
        yield Finding("packages", OK, shown, details=versions)


def _problem(requirement: Requirement, version: str | None, extras: list[str]) -> Finding | None:
    """A requirement that is not met, or None; a package of an extra may be missing, but not too old."""
    if version is not None and requirement.specifier.contains(version, prereleases=True):
        return None
    if version is None and extras:
        return None
    wanted = f"{requirement.name}{requirement.specifier}"
    message = f"{requirement.name} is missing" if version is None else f"{requirement.name} {version} is too old"
    advice = f"pip install '{NAME}[{extras[0]}]'" if extras else f"pip install '{wanted}'"
    return Finding("packages", WARNING if extras else FAILED, f"{message}: {wanted} is needed", advice)


def _extras() -> list[str]:
    return _metadata().get_all("Provides-Extra") or []


def _is_only_in(requirement: Requirement, extra: str) -> bool:
    marker = requirement.marker
    return marker is not None and marker.evaluate({"extra": extra}) and not marker.evaluate({"extra": ""})


def _is_needed(requirement: Requirement, extras: list[str]) -> bool:
    return bool(extras) or requirement.marker is None or requirement.marker.evaluate({"extra": ""})


def _metadata() -> metadata.PackageMetadata:
    """Metadata of the installed distribution; empty if there is none."""
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


def _broken(entry: metadata.EntryPoint, error: Exception) -> Finding:
    package = entry.dist.name if entry.dist is not None else entry.value
    message = f"plugin {entry.name!r} of {package} does not load ({type(error).__name__}: {error})"
    advice = f"TensorBoard does not start with it: pip install --upgrade {package}, or pip uninstall {package}"
    return Finding("plugins", FAILED, message, advice)


def _tab(loader: type) -> Iterator[Finding]:
    """Our loader asks for all steps, and the scripts are there."""
    from tensorboard.plugins.base_plugin import TBContext

    from tbmetrics_longtail.bundle import bundle, module_texts

    flags = Namespace(samples_per_plugin={})
    loader().fix_flags(flags)
    static = Path(sys.modules[loader.__module__].__file__ or "").parent / "static"
    size = len(bundle(module_texts(static), "index.js"))
    loader().load(TBContext(flags=flags, data_provider=None))
    details = {"samples": flags.samples_per_plugin[PLUGIN_NAME], "script_characters": size}
    yield Finding("plugins", OK, "TensorBoard finds the Long Tail tab", details=details)


def _is_of_this_environment(command: str, scripts: str) -> bool:
    """Whether `command` lies in `scripts`, or is a script that this interpreter runs."""
    if os.path.realpath(os.path.dirname(command)) == os.path.realpath(scripts):
        return True
    with open(command, "rb") as file:
        return os.fsencode(os.path.dirname(sys.executable) + os.sep) in file.read(512)
