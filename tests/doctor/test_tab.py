"""TensorBoard and its plugins: two of it, a plugin that does not load, no tab, a command of another environment."""

import os
import sys

import pytest

from tbmetrics.doctor import FAILED, OK, WARNING, tab
from tests.doctor.reports import only, statuses


class _Entry:
    """An entry point that loads what it is given, or raises it."""

    def __init__(self, name, loads):
        self.name, self.value, self.dist, self._loads = name, f"{name}.plugin", None, loads

    def load(self):
        if isinstance(self._loads, Exception):
            raise self._loads
        return self._loads


def _plugins(monkeypatch, *entries):
    monkeypatch.setattr(tab.metadata, "entry_points", lambda group: list(entries))
    return list(tab.plugins())


def test_this_environment_is_well():
    assert statuses(tab.one_tensorboard()) == [OK]
    found = only(tab.plugins())
    assert found.status == OK
    assert found.details["samples"] > 1000  # every validation, not TensorBoard's ten
    assert found.details["script_characters"] > 10_000


def test_two_tensorboards_in_one_folder_are_told(monkeypatch):
    monkeypatch.setattr(tab, "_installed", {"tensorboard": "2.21.0", "tb-nightly": "2.22.0a1"}.get)
    found = only(tab.one_tensorboard())
    assert found.status == FAILED
    assert found.advice == "pip uninstall tensorboard tb-nightly; pip install tensorboard"


@pytest.mark.parametrize(
    ("version", "there", "status"), [("2.20.0", False, FAILED), ("2.20.0", True, OK), ("2.21.0", False, OK)]
)
def test_a_tensorboard_that_cannot_start_is_told(monkeypatch, version, there, status):
    monkeypatch.setattr("tensorboard.__version__", version)
    monkeypatch.setattr(tab, "find_spec", lambda name: there or None)
    found = only(tab.one_tensorboard())
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
    found = only(tab.command())
    if "{own}" in script:
        assert found.status == OK
    else:
        assert found.status == WARNING
        assert f"`tensorboard` is {path}, of another environment" in found.message
        assert "-m tensorboard.main" in found.advice


def test_no_command_is_told_with_how_to_do_without(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    found = only(tab.command())
    assert found.status == WARNING
    assert found.advice == f"start it as {sys.executable} -m tensorboard.main --logdir …"
