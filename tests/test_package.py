"""The fence around the package: public names, what an import loads, layers, and the wheel in an empty environment."""

import ast
import importlib
import re
import subprocess
import sys
import sysconfig
import urllib.request
import venv
from pathlib import Path
from types import ModuleType

import pytest

import tbmetrics
from tests.plugin.logs import tensorboard_server, write_log

ROOT = Path(__file__).parent.parent


def _loaded_by(statement: str) -> set[str]:
    code = f"{statement}\nimport sys\nprint(*sorted({{m.split('.')[0] for m in sys.modules}}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


@pytest.mark.parametrize(
    "statement",
    [
        "import tbmetrics",
        "from tbmetrics import ClassGroups, InputError, History, read_logdir",
        "import tbmetrics_longtail",
        "import tbmetrics_longtail.plugin",
        "import tbmetrics.exporting",
        "import tbmetrics.cli",
    ],
)
def test_light_imports_load_neither_torch_nor_matplotlib(statement):
    assert not _loaded_by(statement) & {"torch", "matplotlib", "sklearn", "pandas"}


def test_every_public_name_loads_and_nothing_else_is_public():
    for name in tbmetrics.__all__:
        assert getattr(tbmetrics, name) is not None
    assert dir(tbmetrics) == sorted(tbmetrics.__all__)


#: Packages whose `__all__` is all that is visible in them.
PUBLIC_PACKAGES = (
    "tbmetrics.class_performance",
    "tbmetrics.class_performance.diagnostics",
    "tbmetrics.classes",
    "tbmetrics.comparing",
    "tbmetrics.doctor",
    "tbmetrics.events",
    "tbmetrics.exporting",
    "tbmetrics.records",
    "tbmetrics.resource_usage",
    "tbmetrics.session",
    "tbmetrics.training_dynamics",
)
#: Public modules, which also see what they import.
PUBLIC_MODULES = ("tbmetrics.integrations.lightning", "tbmetrics.integrations.transformers")


@pytest.mark.parametrize("name", PUBLIC_PACKAGES)
def test_what_is_visible_in_a_public_package_is_declared(name):
    package = importlib.import_module(name)
    visible = {n for n, v in vars(package).items() if not n.startswith("_") and not isinstance(v, ModuleType)}
    assert visible - {"annotations"} == set(package.__all__)


@pytest.mark.parametrize("name", PUBLIC_MODULES)
def test_public_modules_declare_what_they_offer(name):
    module = importlib.import_module(name)
    assert all(hasattr(module, public) for public in module.__all__)


def test_the_contributing_page_lists_what_is_public():
    page = (ROOT / "docs" / "contributing.md").read_text(encoding="utf-8")
    assert [name for name in (*PUBLIC_PACKAGES, *PUBLIC_MODULES) if f"`{name}`" not in page] == []


def test_the_version_and_its_date_are_the_same_everywhere():
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    cited = tuple(re.search(rf"^{key}: (\S+)$", citation, re.MULTILINE)[1] for key in ("version", "date-released"))
    latest = re.search(r"^## (\d\S*) \((\S+)\)$", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert cited == latest.groups()
    assert tbmetrics.__version__ == cited[0]


def test_an_unknown_name_says_what_there_is():
    with pytest.raises(AttributeError, match=r"has no attribute 'Metrics'; it has .*TBMetrics"):
        _ = tbmetrics.Metrics


ARCHITECTURE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
#: Floor of each room, as the table in docs/architecture.md draws them.
FLOORS = {
    room: int(floor)
    for floor, rooms in re.findall(r"^\| (\d+) \| ([^|]+) \|", ARCHITECTURE, re.MULTILINE)
    for room in re.findall(r"`(\w+)`", rooms)
}
TORCH_FREE = {"errors", "statistics", "classes", "records", "comparing", "figures", "exporting", "cli"}


def _imports(path: Path) -> set[str]:
    """The modules that a file imports anywhere in it; `from tbmetrics import records` is `tbmetrics.records`."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.module, f"{path}: imports are absolute"
            assert not node.level, f"{path}: imports are absolute"
            found |= {node.module} if node.module != "tbmetrics" else {f"tbmetrics.{a.name}" for a in node.names}
    return found


def _room(path: Path) -> str:
    relative = path.relative_to(ROOT / "tbmetrics")
    return relative.parts[0] if len(relative.parts) > 1 else relative.stem


@pytest.mark.parametrize("path", sorted((ROOT / "tbmetrics").rglob("*.py")), ids=lambda p: str(p.name))
def test_modules_import_from_their_room_or_from_lower_floors(path):
    room = _room(path)
    if room == "__init__":
        return  # it is lazy: nothing is imported until it is asked for
    for name in _imports(path):
        if name.startswith("tbmetrics.") and name.split(".")[1] not in tbmetrics.__all__:
            imported = name.split(".")[1]
            assert imported == room or FLOORS[imported] < FLOORS[room], f"{path.name} imports {name}"
        if room in TORCH_FREE:
            assert name.split(".")[0] != "torch", f"{path.name} must not import torch"


def test_the_architecture_page_draws_every_room():
    assert set(FLOORS) == {_room(path) for path in (ROOT / "tbmetrics").rglob("*.py")}


@pytest.mark.parametrize("path", sorted((ROOT / "plugins").rglob("*.py")), ids=lambda p: p.name)
def test_the_plugin_knows_the_ground_floor_only(path):
    ours = {name for name in _imports(path) if name.split(".")[0] == "tbmetrics"}
    known = {"errors", "statistics", "classes", "records", "comparing"}
    assert {name.split(".")[1] for name in ours if name != "tbmetrics"} <= known
    assert not {name.split(".")[0] for name in _imports(path)} & {"torch", "matplotlib"}


def test_what_reads_and_draws_never_loads_torch():
    """All of it, function bodies aside: what an import pulls in indirectly counts too."""
    paths = [p for part in TORCH_FREE for p in (ROOT / "tbmetrics").glob(f"{part}.py")]
    paths += [p for part in TORCH_FREE for p in (ROOT / "tbmetrics" / part).rglob("*.py")]
    paths += [ROOT / "tbmetrics/events/reader.py", *(ROOT / "plugins/tbmetrics_longtail").rglob("*.py")]
    roots = (ROOT / "tbmetrics", ROOT / "plugins" / "tbmetrics_longtail")
    modules = sorted(
        ".".join(path.relative_to(root.parent).with_suffix("").parts) for path in paths for root in roots
        if path.is_relative_to(root) and path.stem not in ("__init__", "__main__")
    )  # fmt: skip
    assert len(modules) > 40
    assert "torch" not in _loaded_by("import " + ", ".join(modules))


def test_every_module_says_what_it_is_for():
    for path in [*(ROOT / "tbmetrics").rglob("*.py"), *(ROOT / "plugins").rglob("*.py")]:
        assert ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))), path


@pytest.mark.slow
def test_the_wheel_alone_gives_the_tab(tmp_path, monkeypatch):
    monkeypatch.delenv("PYTHONPATH", raising=False)
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(tmp_path), str(ROOT)],
        check=True,
        capture_output=True,
    )
    (wheel,) = tmp_path.glob("*.whl")
    environment = tmp_path / "env"
    venv.create(environment, with_pip=False)
    site = Path(sysconfig.get_path("purelib", "venv", {"base": str(environment), "platbase": str(environment)}))
    # The dependencies come from this environment; its editable install of the checkout does not (a .pth in a .pth).
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    subprocess.run(
        [sys.executable, "-m", "pip", "install", "--no-deps", "--target", str(site), "--quiet", str(wheel)], check=True
    )
    python = Path(sysconfig.get_path("scripts", "venv", {"base": str(environment)}), "python")
    where = subprocess.run(
        [str(python), "-c", "import tbmetrics, tbmetrics_longtail; print(tbmetrics.__file__)"],
        cwd=tmp_path, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert where.stdout.startswith(str(site))
    write_log(tmp_path / "runs")
    with (
        tensorboard_server(tmp_path / "runs", python=python) as base,
        urllib.request.urlopen(f"{base}data/plugin/longtail/static/index.js") as response,
    ):
        assert response.status == 200
        assert b"export" in response.read()
