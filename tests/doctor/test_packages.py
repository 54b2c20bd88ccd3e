"""Python and packages: what is too old or missing is told with what to install."""

from email.message import Message
from importlib import metadata

import pytest
from packaging.requirements import Requirement

from tbmetrics.doctor import FAILED, OK, WARNING, packages
from tests.doctor.reports import only, statuses


def _installed(monkeypatch, requires=(), versions=None, version="0.1.0", python=">=3.10"):
    """Pretends that tbmetrics has these requirements, and that these versions are there."""
    told = Message()
    told["Version"], told["Requires-Python"] = version, python
    for extra in ("gpu", "dev"):
        told["Provides-Extra"] = extra
    known = {"torch": "2.13.0", "tensorboard": "2.21.0", "numpy": "2.4.6", **(versions or {})}
    monkeypatch.setattr(packages, "_metadata", lambda: told)
    monkeypatch.setattr(packages.metadata, "requires", lambda name: list(requires))
    monkeypatch.setattr(packages, "_version", lambda name: known.get(name))


def test_this_environment_is_well():
    assert statuses(packages.python()) == [OK]
    found = only(packages.packages())
    assert found.status == OK
    assert found.details["numpy"] == metadata.version("numpy")


def test_every_requirement_of_the_package_is_looked_at(monkeypatch):
    """Were all of them gone, all of those that are always needed would be named."""
    monkeypatch.setattr(packages, "_version", lambda name: None)
    needed = [Requirement(text) for text in metadata.requires("tbmetrics")]
    always = {r.name for r in needed if r.marker is None or r.marker.evaluate({"extra": ""})}
    named = {finding.message.split(" ")[0] for finding in packages.packages()}
    assert named == always
    assert "torch" in always


def test_an_old_python_is_told(monkeypatch):
    _installed(monkeypatch, python=">=99")
    found = only(packages.python())
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
    first = next(iter(packages.packages()))
    assert first.status == status
    assert message in first.message
    assert advice in first.advice


def test_extras_may_be_missing_and_those_for_development_are_nobodys_business(monkeypatch):
    _installed(monkeypatch, ['meter>=2; extra == "gpu"', 'pytest>=99; extra == "dev"', 'numpy; os_name == "none"'])
    assert statuses(packages.packages()) == [OK]


def test_another_version_on_the_path_is_told(monkeypatch):
    _installed(monkeypatch, version="0.0.9")
    found = next(iter(packages.packages()))
    assert found.status == WARNING
    assert "tbmetrics 0.0.9 is installed, but" in found.message


def test_a_folder_on_the_path_that_is_not_installed_has_no_tab(monkeypatch):
    monkeypatch.setattr(packages, "_metadata", lambda: Message())
    found = only(packages.packages())
    assert found.status == FAILED
    assert "is not installed, only on Python's path" in found.message
