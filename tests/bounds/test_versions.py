"""The matrix takes its lowest versions from pyproject.toml, all of them."""

import subprocess
import sys

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

from tests.bounds import __main__ as bounds
from tests.bounds.versions import ROOT, TOOLS, declared, lower_bound, lowest, torch_pin

tomllib = pytest.importorskip("tomllib")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def test_every_dependency_of_the_package_is_tested_at_its_lower_bound_but_torch():
    requirements = [Requirement(text) for text in PROJECT["dependencies"]]
    expected = {r.name: Version(next(iter(r.specifier)).version) for r in requirements if r.name != "torch"}
    found = {r.name: Version(next(iter(r.specifier)).version) for r in map(Requirement, lowest())}
    assert found.items() >= expected.items()
    compared, frameworks = {"torchmetrics"}, {"pytorch-lightning", "transformers", "accelerate"}
    assert compared | frameworks == found.keys() - expected.keys()


def test_lists_are_read_as_tomllib_reads_them():
    for extra, listed in PROJECT["optional-dependencies"].items():
        assert declared(extra).keys() == {Requirement(text).name for text in listed}
    assert set(TOOLS) <= declared("dev").keys()
    assert Requirement(torch_pin()).name == "torch"


def test_what_others_ask_for_is_taken_at_its_lower_bound():
    assert lower_bound("protobuf", ["numpy>=1.12", "protobuf!=4.24.0,>=3.19.6", "six"]) == "protobuf==3.19.6"


def test_what_is_left_out_exists():
    for path in (*bounds.LEFT_OUT, *bounds.KEPT):
        assert (ROOT / path).exists(), path


@pytest.mark.parametrize(
    ("output", "expected"),
    [
        ("..\n== 3 passed, 1 skipped in 4.02s ==\n", "3 passed, 1 skipped"),
        ("x\n1 failed, 2 passed in 61.00s (0:01:01)\n", "1 failed, 2 passed"),
        ("ImportError\n", "did not run"),
    ],
)
def test_the_outcome_is_pytests_last_line(output, expected):
    assert bounds.summary(output) == expected


def test_the_oldest_python_has_the_lowest_versions_and_every_one_the_newest():
    found = [(cell.python, cell.versions) for cell in bounds.cells(["3.10", "3.13"])]
    assert found == [("3.10", "lowest"), ("3.10", "newest"), ("3.13", "newest")]


def test_the_command_says_what_it_takes():
    done = subprocess.run(
        [sys.executable, "-m", "tests.bounds", "--help"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert "--versions" in done.stdout
