"""The tab's modules: their own tests, and what they must never do with names that anyone may have written."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
STATIC = ROOT / "plugins" / "tbmetrics_longtail" / "static"
MODULES = sorted(STATIC.glob("*.js"))

#: Turning text into markup or code, and asking another machine for anything.
FORBIDDEN = {
    "markup": r"innerHTML|outerHTML|insertAdjacentHTML|srcdoc|DOMParser|createContextualFragment|document\.write",
    "code": r"\beval\b|new Function|\bimport\(|setTimeout\(['\"`]|setInterval\(['\"`]",
    "elsewhere": r"(?:https?:)?//(?!www\.w3\.org/2000/svg)[a-z0-9-]+\.[a-z]",
}
IMPORT = re.compile(r"^import .* from '([^']+)';$|^\} from '([^']+)';$", re.MULTILINE)


@pytest.mark.skipif(not shutil.which("node"), reason="node is not installed")
def test_the_modules_without_a_page_do_what_they_say():
    tests = sorted(str(path) for path in (ROOT / "tests" / "plugin" / "static").glob("*.test.mjs"))
    assert tests
    done = subprocess.run(["node", "--test", *tests], capture_output=True, text=True, cwd=ROOT, timeout=120)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr


@pytest.mark.parametrize("module", MODULES, ids=lambda path: path.name)
@pytest.mark.parametrize("what", FORBIDDEN)
def test_no_module_makes_markup_or_code_of_text_or_reaches_elsewhere(module, what):
    assert re.findall(FORBIDDEN[what], module.read_text(encoding="utf-8")) == []


def test_the_style_sheet_loads_nothing():
    text = (STATIC / "style.css").read_text(encoding="utf-8")
    assert re.findall(r"url\(|@import", text) == []


@pytest.mark.parametrize("module", MODULES, ids=lambda path: path.name)
def test_every_module_is_type_checked_says_what_it_is_for_and_imports_only_its_neighbours(module):
    text = module.read_text(encoding="utf-8")
    assert re.match(r"// @ts-check\n/\*\* [A-Z].*\. \*/\n", text)
    for found in IMPORT.finditer(text):
        target = found[1] or found[2]
        assert target.startswith("./"), target
        assert (STATIC / target).is_file(), target
