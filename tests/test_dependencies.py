"""Every dependency has a lower bound, a reason on the architecture page, and a tested version within the bound."""

import re
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

tomllib = pytest.importorskip("tomllib")  # from Python 3.11 on

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS = {name: [*map(Requirement, listed)] for name, listed in PROJECT["optional-dependencies"].items()}
RUNTIME = [*map(Requirement, PROJECT["dependencies"])]
EVERY = [*RUNTIME, *(requirement for listed in EXTRAS.values() for requirement in listed)]
PINS = dict(
    line.split("==") for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines() if "==" in line
)
PINNED = {canonicalize_name(name): Version(version) for name, version in PINS.items()}
PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8").partition("## Dependencies")[2]


@pytest.mark.parametrize("requirement", EVERY, ids=str)
def test_each_has_a_lower_bound_and_nothing_else(requirement):
    assert [bound.operator for bound in requirement.specifier] == [">="]
    assert requirement.url is None


@pytest.mark.parametrize("requirement", RUNTIME, ids=str)
def test_each_that_users_install_has_its_reason_in_the_table(requirement):
    assert re.search(rf"^\| {re.escape(requirement.name)}(?: \(.*\))? \| .{{10,}} \|$", PAGE, re.MULTILINE)


@pytest.mark.parametrize("requirement", [r for listed in EXTRAS.values() for r in listed], ids=str)
def test_each_of_an_extra_is_named_on_the_page(requirement):
    assert re.search(rf"(?<![\w-]){re.escape(requirement.name)}(?![\w-])", PAGE)


@pytest.mark.parametrize("requirement", [*RUNTIME, *EXTRAS["dev"], *EXTRAS["fuzz"]], ids=str)
def test_each_that_the_tests_need_is_pinned_within_its_bound(requirement):
    assert PINNED[canonicalize_name(requirement.name)] in requirement.specifier
