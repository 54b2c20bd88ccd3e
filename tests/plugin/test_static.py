"""The tab's modules: their own tests, and what they must never do with names that anyone may have written."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tbmetrics_longtail.bundle import BundleError, bundle

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


def test_the_modules_put_together_are_the_modules():
    texts = {module.name: module.read_text(encoding="utf-8") for module in MODULES}
    whole = bundle(texts, "index.js")
    assert re.findall(r"^(?:import|export)\b.*", whole, re.MULTILINE) == ["export const { render } = $index;"]
    offline = bundle(texts, "offline.js", exports=False)
    reached, reached_offline = (
        {name for name in texts if f"const ${name[:-3].replace('-', '_')} = (() => {{" in text}
        for text in (whole, offline)
    )
    assert set(texts) - reached - reached_offline == {"types.js"}  # shapes only
    assert "import.meta" not in offline
    assert whole.index("const $scale =") < whole.index("const $line_chart =")  # each after what it imports
    for text in (texts[name] for name in reached):
        for line in text.splitlines():
            if line.strip() and not re.match(r"import|export|\s|\}", line):
                assert line in whole
    assert bundle(texts, "index.js", exports=False).endswith("const longtail = $index;\n")


@pytest.mark.parametrize(
    ("modules", "words"),
    [
        ({"a.js": "import x from './b.js';\n"}, "cannot put together"),
        ({"a.js": "export default 1;\n"}, "cannot put together"),
        ({"a.js": "import { b } from './b.js';\n"}, "b.js, which is not there"),
        ({"a.js": "import { b } from './b.js';\n", "b.js": "import { a } from './a.js';\n"}, "a.js → b.js → a.js"),
    ],
)
def test_modules_that_cannot_be_put_together_are_refused(modules, words):
    with pytest.raises(BundleError, match=words):
        bundle(modules, "a.js")


@pytest.mark.skipif(not shutil.which("node"), reason="node is not installed")
def test_modules_put_together_do_the_same(tmp_path):
    modules = {
        "a.js": "import { one as first, Two } from './b.js';\nexport const sum = first() + new Two().value;\n",
        "b.js": "const hidden = 1;\nexport function one() {\n  return hidden;\n}\n"
        "export class Two {\n  value = 2;\n}\n",
    }
    path = tmp_path / "bundle.mjs"
    path.write_text(bundle(modules, "a.js") + "console.log(sum);\n")
    assert subprocess.run(["node", str(path)], capture_output=True, text=True, check=True).stdout == "3\n"
