"""What is too old, missing or broken, of Python, packages, TensorBoard and its plugins, is told with a remedy."""

import os
import sys
from email.message import Message
from importlib import metadata

import pytest
from packaging.requirements import Requirement

from tbmetrics.doctor import FAILED, OK, WARNING, installation
from tests.doctor.reports import only, statuses


def _installed(monkeypatch, requires=(), versions=None, version="0.1.0", python=">=3.10"):
    """Pretends that tbmetrics has these requirements, and that these versions are there."""
    told = Message()
    told["Version"], told["Requires-Python"] = version, python
    for extra in ("gpu", "dev"):
        told["Provides-Extra"] = extra
    known = {"torch": "2.13.0", "tensorboard": "2.21.0", "numpy": "2.4.6", **(versions or {})}
    monkeypatch.setattr(installation, "_metadata", lambda: told)
    monkeypatch.setattr(installation.metadata, "requires", lambda name: list(requires))
    monkeypatch.setattr(installation, "_version", lambda name: known.get(name))


def test_python_and_packages_are_well_here():
    assert statuses(installation.python()) == [OK]
    found = only(installation.packages())
    assert found.status == OK
    assert found.details["numpy"] == metadata.version("numpy")


def test_every_requirement_of_the_package_is_looked_at(monkeypatch):
    """Were all of them gone, all of those that are always needed would be named."""
    monkeypatch.setattr(installation, "_version", lambda name: None)
    needed = [Requirement(text) for text in metadata.requires("tbmetrics")]
    always = {r.name for r in needed if r.marker is None or r.marker.evaluate({"extra": ""})}
    named = {finding.message.split(" ")[0] for finding in installation.packages()}
    assert named == always
    assert "torch" in always


def test_an_old_python_is_told(monkeypatch):
    _installed(monkeypatch, python=">=99")
    found = only(installation.python())
    assert found.status == FAILED
    assert "too old: >=99 is needed" in found.message


@pytest.mark.parametrize(
    ("requires", "versions", "status", "message", "advice"),
    [
        (["numpy>=3"], {}, FAILED, "numpy 2.4.6 is too old: numpy>=3 is needed", "pip install 'numpy>=3'"),
        (["absent>=1"], {}, FAILED, "absent is missing: absent>=1 is needed", "pip install 'absent>=1'"),
        (['meter>=2; extra == "gpu"'], {"meter": "1.0"}, WARNING, "meter 1.0 is too old", "'tbmetrics[gpu]'"),
    ],
)
def test_what_does_not_do_is_named_with_what_to_install(monkeypatch, requires, versions, status, message, advice):
    _installed(monkeypatch, requires, versions)
    first = next(iter(installation.packages()))
    assert first.status == status
    assert message in first.message
    assert advice in first.advice


def test_extras_may_be_missing_and_those_for_development_are_nobodys_business(monkeypatch):
    _installed(monkeypatch, ['meter>=2; extra == "gpu"', 'pytest>=99; extra == "dev"', 'numpy; os_name == "none"'])
    assert statuses(installation.packages()) == [OK]


def test_another_version_on_the_path_is_told(monkeypatch):
    _installed(monkeypatch, version="0.0.9")
    found = next(iter(installation.packages()))
    assert found.status == WARNING
    assert "tbmetrics 0.0.9 is installed, but" in found.message


def test_a_folder_on_the_path_that_is_not_installed_has_no_tab(monkeypatch):
    monkeypatch.setattr(installation, "_metadata", lambda: Message())
    found = only(installation.packages())
    assert found.status == FAILED
    assert "is not installed, only on Python's path" in found.message


class _Entry:
    """An entry point that loads what it is given, or raises it."""

    def __init__(self, name, loads):
        self.name, self.value, self.dist, self._loads = name, f"{name}.plugin", None, loads

    def load(self):
        if isinstance(self._loads, Exception):
            raise self._loads
        return self._loads


def _plugins(monkeypatch, *entries):
    monkeypatch.setattr(installation.metadata, "entry_points", lambda group: list(entries))
    return list(installation.plugins())


def test_tensorboard_and_the_tab_are_well_here():
    assert statuses(installation.one_tensorboard()) == [OK]
    found = only(installation.plugins())
    assert found.status == OK
    assert found.details["samples"] > 1000  # every validation, not TensorBoard's ten
    assert found.details["script_characters"] > 10_000


def test_two_tensorboards_in_one_folder_are_told(monkeypatch):
    monkeypatch.setattr(installation, "_version", {"tensorboard": "2.21.0", "tb-nightly": "2.22.0a1"}.get)
    found = only(installation.one_tensorboard())
    assert found.status == FAILED
    assert found.advice == "pip uninstall tensorboard tb-nightly; pip install tensorboard"


@pytest.mark.parametrize(
    ("version", "there", "status"), [("2.20.0", False, FAILED), ("2.20.0", True, OK), ("2.21.0", False, OK)]
)
def test_a_tensorboard_that_cannot_start_is_told(monkeypatch, version, there, status):
    monkeypatch.setattr("tensorboard.__version__", version)
    monkeypatch.setattr(installation, "find_spec", lambda name: there or None)
    found = only(installation.one_tensorboard())
    assert found.status == status
    assert status == OK or "setuptools<82" in found.advice


def test_no_tab_is_told(monkeypatch):
    found = only(_plugins(monkeypatch, _Entry("other", object)))
    assert found.status == FAILED
    assert "finds no Long Tail tab" in found.message


@pytest.mark.filterwarnings("ignore")  # of what TensorBoard imports
def test_a_plugin_of_others_that_does_not_load_is_told_beside_ours(monkeypatch):
    from tbmetrics_longtail.plugin import TBLoader

    broken = _Entry("profile", ModuleNotFoundError("No module named 'tensorflow'"))
    found = _plugins(monkeypatch, broken, _Entry("longtail", TBLoader))
    assert statuses(found) == [FAILED, OK]
    assert "plugin 'profile' of profile.plugin does not load (ModuleNotFoundError" in found[0].message
    assert "pip uninstall profile.plugin" in found[0].advice


def test_our_own_that_does_not_load_is_told_once(monkeypatch):
    found = only(_plugins(monkeypatch, _Entry("longtail", ImportError("half installed"))))
    assert found.status == FAILED
    assert "half installed" in found.message


@pytest.mark.parametrize("script", ["#!/usr/bin/python3\n", "#!{own}\n"])
def test_the_command_on_the_path_is_that_of_this_environment(monkeypatch, tmp_path, script):
    path = tmp_path / "tensorboard"
    path.write_text(script.format(own=os.path.join(os.path.dirname(sys.executable), "python")))
    path.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    found = only(installation.command())
    if "{own}" in script:
        assert found.status == OK
    else:
        assert found.status == WARNING
        assert f"`tensorboard` is {path}, of another environment" in found.message
        assert "-m tensorboard.main" in found.advice


def test_no_command_is_told_with_how_to_do_without(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    found = only(installation.command())
    assert found.status == OK
    assert "`tbmetrics board LOGDIR` starts it" in found.message
