"""The tab's modules: their own tests, their layers, and what they must never do with untrusted names."""

import posixpath
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tbmetrics.figures.style import COLOURS, MARKERS
from tbmetrics.records import GROUPS, UNKNOWN
from tbmetrics_longtail.bundle import BundleError, bundle, module_texts

ROOT = Path(__file__).parents[2]
STATIC = ROOT / "plugins" / "tbmetrics_longtail" / "static"
TEXTS = module_texts(STATIC)

#: The folders that a module may import from, by its own folder; `""` is that of `index.js`. Types count too.
LAYERS = {
    "model": {"model"},
    "host": {"host", "model"},
    "charts": {"charts", "model"},
    "cards": {"cards", "charts", "host", "model"},
    "app": {"app", "cards", "charts", "host", "model"},
    "offline": {"offline", "app", "charts", "host", "model"},
    "": {"app", "charts", "host"},
}

#: Turning text into markup or code, and asking another machine for anything.
FORBIDDEN = {
    "markup": r"innerHTML|outerHTML|insertAdjacentHTML|srcdoc|DOMParser|createContextualFragment|document\.write",
    "code": r"\beval\b|new Function|\bimport\(|setTimeout\(['\"`]|setInterval\(['\"`]",
    "elsewhere": r"(?:https?:)?//(?!www\.w3\.org/2000/svg)[a-z0-9-]+\.[a-z]",
}
IMPORT = re.compile(r"from '([^']+)'")


@pytest.mark.skipif(not shutil.which("node"), reason="node is not installed")
def test_the_modules_without_a_page_do_what_they_say():
    tests = sorted(str(path) for path in (ROOT / "tests" / "plugin" / "static").glob("*.test.mjs"))
    assert tests
    done = subprocess.run(["node", "--test", *tests], capture_output=True, text=True, cwd=ROOT, timeout=120)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr


@pytest.mark.parametrize("module", TEXTS)
@pytest.mark.parametrize("what", FORBIDDEN)
def test_no_module_makes_markup_or_code_of_text_or_reaches_elsewhere(module, what):
    assert re.findall(FORBIDDEN[what], TEXTS[module]) == []


def test_the_style_sheet_loads_nothing():
    text = (STATIC / "style.css").read_text(encoding="utf-8")
    assert re.findall(r"url\(|@import", text) == []


#: What the tab calls the markers of matplotlib.
MARKER_NAMES = {"o": "circle", "s": "square", "^": "triangle", "P": "cross"}


def test_groups_have_the_colours_and_shapes_of_the_figures():
    groups = (*GROUPS, UNKNOWN)
    sheets = [STATIC / "style.css", ROOT / "tbmetrics" / "exporting" / "report.css"]
    light, light_report, dark, dark_report = (
        [re.findall(rf"--{group}: (#\w{{6}});", sheet.read_text(encoding="utf-8"))[theme] for group in groups]
        for theme in (0, 1)
        for sheet in sheets
    )
    assert light == light_report == [COLOURS[group] for group in groups]
    assert dark == dark_report
    assert len(set(dark)) == len(groups)
    shapes = re.search(r"GROUP_MARKERS = Object.freeze\(\{(.*)\}\)", TEXTS["charts/dom.js"])[1]
    assert dict(re.findall(r"(\w+): '(\w+)'", shapes)) == {g: MARKER_NAMES[MARKERS[g]] for g in groups}


def imported(module: str) -> set[str]:
    targets = (posixpath.join(posixpath.dirname(module), target) for target in IMPORT.findall(TEXTS[module]))
    return set(map(posixpath.normpath, targets))


@pytest.mark.parametrize("module", TEXTS)
def test_every_module_is_type_checked_and_says_what_it_is_for(module):
    assert re.match(r"// @ts-check\n/\*\* [A-Z].*\. \*/\n", TEXTS[module])


@pytest.mark.parametrize("module", TEXTS)
def test_every_module_imports_only_from_its_folder_and_those_below(module):
    assert imported(module) <= set(TEXTS)
    assert {posixpath.dirname(target) for target in imported(module)} <= LAYERS[posixpath.dirname(module)]


def test_the_modules_put_together_are_the_modules():
    whole = bundle(TEXTS, "index.js")
    assert re.findall(r"^(?:import|export)\b.*", whole, re.MULTILINE) == ["export const { render } = $index;"]
    offline = bundle(TEXTS, "offline/page.js", exports=False)
    reached, reached_offline = (
        {path for path in TEXTS if f"const ${path[:-3].replace('-', '_').replace('/', '$')} = (() => {{" in text}
        for text in (whole, offline)
    )
    assert set(TEXTS) - reached - reached_offline == {"model/answers.js", "model/types.js"}  # shapes only
    assert "import.meta" not in offline
    assert whole.index("const $model$scale =") < whole.index("const $charts$line_chart =")  # each after what it imports
    for text in (TEXTS[path] for path in reached):
        for line in text.splitlines():
            if line.strip() and not re.match(r"import|export|\s|\}", line):
                assert line in whole
    assert bundle(TEXTS, "index.js", exports=False).endswith("const longtail = $index;\n")


@pytest.mark.parametrize(
    ("modules", "words"),
    [
        ({"a.js": "import x from './b.js';\n"}, "cannot put together"),
        ({"a.js": "export default 1;\n"}, "cannot put together"),
        ({"a.js": "import { b } from 'b.js';\n"}, "cannot put together"),
        ({"a.js": "import { b } from './.hidden/b.js';\n"}, "cannot put together"),
        ({"a.js": "import { b } from './b/../c.js';\n", "c.js": ""}, "cannot put together"),
        ({"a.js": "import { b } from './b.js';\n"}, "b.js, which is not there"),
        ({"a.js": "import { b } from '../b.js';\n", "b.js": ""}, "a.js imports ../b.js, which is not there"),
        (
            {"a.js": "import { b } from './x/b.js';\n", "x/b.js": "import { a } from '../a.js';\n"},
            "a.js → x/b.js → a.js",
        ),
        ({"a.js": "import { b } from './b.js';\n", "b.js": "import { a } from './a.js';\n"}, "a.js → b.js → a.js"),
    ],
)
def test_modules_that_cannot_be_put_together_are_refused(modules, words):
    with pytest.raises(BundleError, match=words):
        bundle(modules, "a.js")


@pytest.mark.skipif(not shutil.which("node"), reason="node is not installed")
def test_modules_put_together_do_the_same(tmp_path):
    modules = {
        "a.js": "import { one as first, Two } from './x/b.js';\nexport const sum = first() + new Two().value;\n",
        "x/b.js": "import { hidden } from '../y-z/b.js';\nexport function one() {\n  return hidden;\n}\n"
        "export class Two {\n  value = 2;\n}\n",
        "y-z/b.js": "export const hidden = 1;\n",
    }
    path = tmp_path / "bundle.mjs"
    path.write_text(bundle(modules, "a.js") + "console.log(sum);\n")
    assert subprocess.run(["node", str(path)], capture_output=True, text=True, check=True).stdout == "3\n"
