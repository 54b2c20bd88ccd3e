"""TensorBoard: one of it, its command that of this environment, and every plugin loads, ours among them."""

from __future__ import annotations

import os
import shutil
import sys
import sysconfig
import warnings
from argparse import Namespace
from collections.abc import Iterator
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

from packaging.version import Version

from tbmetrics.doctor.findings import FAILED, OK, WARNING, Finding
from tbmetrics.records import PLUGIN_NAME

GROUP = "tensorboard_plugins"
_DISTRIBUTIONS = ("tensorboard", "tb-nightly", "tensorflow-tensorboard", "tensorflow-tensorboard-nightly")
_WITHOUT_PKG_RESOURCES = Version("2.21")


def one_tensorboard() -> Iterator[Finding]:
    """One distribution provides the package `tensorboard`: two overwrite each other's files. It can start."""
    there = {name: found for name in _DISTRIBUTIONS if (found := _installed(name)) is not None}
    if len(there) > 1:
        names = " ".join(there)
        advice = f"pip uninstall {names}; pip install tensorboard"
        yield Finding("tensorboard", FAILED, f"{' and '.join(there)} are installed, in one folder", advice, there)
        return
    import tensorboard

    if Version(tensorboard.__version__) < _WITHOUT_PKG_RESOURCES and find_spec("pkg_resources") is None:
        message = f"TensorBoard {tensorboard.__version__} does not start: it needs pkg_resources, gone from setuptools"
        advice = "pip install --upgrade tensorboard, or pip install 'setuptools<82'"
        yield Finding("tensorboard", FAILED, message, advice, there)
        return
    yield Finding("tensorboard", OK, f"TensorBoard {tensorboard.__version__}", details=there)


def plugins() -> Iterator[Finding]:
    """Every plugin loads (one that does not keeps TensorBoard from starting), and the Long Tail tab is among them."""
    broken = []
    ours = None
    for entry in metadata.entry_points(group=GROUP):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of what others import
                loaded = entry.load()
        except Exception as error:
            broken.append(_broken(entry, error))
            continue
        if entry.name == PLUGIN_NAME:
            ours = loaded
    yield from broken
    if ours is not None:
        yield from _tab(ours)
    elif not any(f"{PLUGIN_NAME!r}" in finding.message for finding in broken):
        advice = "pip install tbmetrics in the environment that TensorBoard runs in"
        yield Finding("plugins", FAILED, "TensorBoard finds no Long Tail tab", advice)


def _broken(entry: metadata.EntryPoint, error: Exception) -> Finding:
    package = entry.dist.name if entry.dist is not None else entry.value
    message = f"plugin {entry.name!r} of {package} does not load ({type(error).__name__}: {error})"
    advice = f"TensorBoard does not start with it: pip install --upgrade {package}, or pip uninstall {package}"
    return Finding("plugins", FAILED, message, advice)


def _tab(loader: type) -> Iterator[Finding]:
    """Our loader asks for all steps, and what the browser needs is there."""
    from tensorboard.plugins.base_plugin import TBContext

    from tbmetrics_longtail.bundle import bundle, module_texts

    flags = Namespace(samples_per_plugin={})
    loader().fix_flags(flags)
    static = Path(sys.modules[loader.__module__].__file__ or "").parent / "static"
    size = len(bundle(module_texts(static), "index.js"))
    loader().load(TBContext(flags=flags, data_provider=None))
    details = {"samples": flags.samples_per_plugin[PLUGIN_NAME], "script_characters": size}
    yield Finding("plugins", OK, "TensorBoard finds the Long Tail tab", details=details)


def command() -> Iterator[Finding]:
    """`tensorboard` on the path is that of this environment: another one's has no tab."""
    found = shutil.which("tensorboard")
    own = sysconfig.get_path("scripts")
    details = {"command": found, "scripts": own}
    module = f"{sys.executable} -m tensorboard.main --logdir …"
    if found is None:
        yield Finding("command", WARNING, "there is no command `tensorboard` on PATH", f"start it as {module}", details)
    elif not _is_of_this_environment(found, own):
        advice = f"what that one shows is not this environment's: start {module}, or put {own} first in PATH"
        yield Finding("command", WARNING, f"`tensorboard` is {found}, of another environment", advice, details)
    else:
        yield Finding("command", OK, f"`tensorboard` is {found}", details=details)


def _is_of_this_environment(command: str, scripts: str) -> bool:
    """Whether it lies among this environment's scripts, or is a script that this interpreter runs."""
    if os.path.realpath(os.path.dirname(command)) == os.path.realpath(scripts):
        return True
    with open(command, "rb") as file:
        return os.fsencode(os.path.dirname(sys.executable) + os.sep) in file.read(512)


def _installed(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
