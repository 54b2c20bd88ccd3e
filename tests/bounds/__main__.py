"""Tests the bounds: `python -m tests.bounds`, or `make test-bounds`.

For each Python of 3.10 to 3.14 that is found (on PATH, or below ~/.pyenv) an environment is made and the tests run in
it: with the lowest declared versions on the oldest of them, with the newest versions on all. Prints a table, and writes
it to build/bounds/table.md. Exit status 1 where a test failed or an environment could not be made.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.bounds.versions import FRAMEWORKS, HELD, SHOWN, TOOLS, declared, lower_bound, lowest, torch_pin

ROOT = Path(__file__).parents[2]
WORK = ROOT / "build" / "bounds"
PYTHONS = ("3.10", "3.11", "3.12", "3.13", "3.14")
LOWEST, NEWEST = "lowest", "newest"
#: Not run here, and why.
LEFT_OUT = {
    "tests/plugin": "but for the server's tests: the browser sees none of these versions",
    "tests/benchmarks": "measure, and need the peers",
    "tests/integrations": "only with --frameworks",
    "tests/distributed": "as slow as all others together, and of torch alone",
    "tests/faults/test_killed.py": "twenty processes",
    "tests/fuzz": "needs atheris",
    "tests/test_docs.py": "some samples need frameworks",
    "tests/test_package.py": "builds the wheel with the pinned tools",
    "tests/test_notebooks.py": "needs Jupyter",
    "tests/test_dependencies.py": "is about the files, not about what is installed",
    "tests/events/test_remote.py": "needs an S3 server",
    "tests/exporting/test_json_files.py": "needs the pinned schema validator",
}
KEPT = ("tests/plugin/test_server.py", "tests/plugin/test_hostile_routes.py")


@dataclass(slots=True)
class Cell:
    """One environment, and how the tests went in it."""

    python: str
    versions: str
    frameworks: bool = False
    installed: str = ""
    outcome: str = ""
    failed: bool = False

    @property
    def folder(self) -> Path:
        """Of the environment."""
        return WORK / f"py{self.python}-{self.versions}"


def interpreters() -> dict[str, str]:
    """Command of each Python that is there, by version: a command may be there that starts none, as pyenv's are."""
    found = {}
    for version in PYTHONS:
        pyenv = sorted(Path.home().glob(f".pyenv/versions/{version}.*/bin/python{version}"))
        command = next(filter(starts, (shutil.which(f"python{version}"), *map(str, reversed(pyenv)))), None)
        if command is not None:
            found[version] = command
    return found


def starts(command: str | None) -> bool:
    """Whether the command runs a Python that can make environments."""
    return command is not None and not subprocess.run([command, "-c", "import venv"], capture_output=True).returncode


def cells(pythons: Sequence[str], frameworks: bool = False) -> Iterator[Cell]:
    """The lowest versions on the oldest Python, the newest on each."""
    yield Cell(pythons[0], LOWEST, frameworks)
    for version in pythons:
        yield Cell(version, NEWEST, frameworks)


def make(cell: Cell, command: str) -> None:
    """Makes the environment; torch comes first, in the pinned version; protobuf last, which TensorBoard asks for."""
    subprocess.run([command, "-m", "venv", "--clear", cell.folder], check=True)
    pins = WORK / f"{cell.versions}.txt"
    pins.write_text("\n".join([*lowest(), *HELD] if cell.versions == LOWEST else []) + "\n", encoding="utf-8")
    pip = [cell.folder / "bin" / "python", "-m", "pip", "install", "--quiet", "--constraint", pins]
    subprocess.run([*pip, torch_pin()], check=True)
    extras = f"[{','.join(FRAMEWORKS)}]" if cell.frameworks else ""
    subprocess.run([*pip, "--editable", f"{ROOT}{extras}", *TOOLS], check=True)
    if cell.versions == LOWEST:
        asked = asked_of(cell, "requires('tensorboard')").splitlines()
        subprocess.run([*pip, lower_bound("protobuf", asked)], check=True)


def test(cell: Cell, processes: int, more: Sequence[str]) -> None:
    """Runs the tests in the environment."""
    kept = (*KEPT, *(["tests/integrations"] if cell.frameworks else []))
    ignored = [f"--ignore={path}" for path in LEFT_OUT if not any(one.startswith(path) for one in kept)]
    plugin = [str(path.relative_to(ROOT)) for path in sorted((ROOT / "tests/plugin").glob("test_*.py"))]
    ignored += [f"--ignore={path}" for path in plugin if path not in KEPT]
    command = [cell.folder / "bin" / "python", "-m", "pytest", "-q", "-n", str(processes), "--dist", "loadfile"]
    log = cell.folder / "pytest.log"  # to look at while they run
    with log.open("w", encoding="utf-8") as file:
        done = subprocess.run(
            [*command, *ignored, *(more or ["tests"])], cwd=ROOT, stdout=file, stderr=subprocess.STDOUT
        )
    output = log.read_text(encoding="utf-8")
    cell.outcome = summary(output)
    cell.failed = done.returncode != 0
    if cell.failed:
        print("\n".join(line for line in output.splitlines() if line.startswith(("FAILED", "ERROR"))))


def summary(output: str) -> str:
    """The last line of pytest, without its time."""
    lines = [line for line in output.splitlines() if re.search(r"\d+ (passed|failed|error)", line)]
    return re.sub(r" in [\d.]+s.*", "", lines[-1]).strip("= ") if lines else "did not run"


def installed(cell: Cell) -> str:
    """The versions that the environment has of what the matrix is about."""
    shown = (*SHOWN, *(name for extra in FRAMEWORKS if cell.frameworks for name in declared(extra)))
    return ", ".join(asked_of(cell, f"(name + ' ' + version(name) for name in {shown!r})").splitlines())


def asked_of(cell: Cell, lines: str) -> str:
    """What the environment's metadata says: an expression of several texts, a line each."""
    code = f"from importlib.metadata import requires, version\nprint(*{lines}, sep='\\n')"
    done = subprocess.run([cell.folder / "bin" / "python", "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def table(found: Sequence[Cell]) -> str:
    """The cells as Markdown."""
    rows = [f"| {cell.python} | {cell.versions} | {cell.installed} | {cell.outcome} |" for cell in found]
    return "\n".join(["| Python | versions | installed | tests |", "|---|---|---|---|", *rows])


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--python", action="append", choices=PYTHONS, help="only these (default: all that are found)")
    parser.add_argument("--versions", choices=(LOWEST, NEWEST), help="only these")
    parser.add_argument(
        "--frameworks", action="store_true", help="also Lightning, Transformers and Accelerate, with tests/integrations"
    )
    parser.add_argument("--processes", type=int, default=2, help="that run tests side by side")
    parser.add_argument("tests", nargs="*", help="paths (default: all but those that the matrix leaves out)")
    options = parser.parse_args()
    there = interpreters()
    print(f"Pythons: {', '.join(there) or 'none'}; missing: {', '.join(set(PYTHONS) - set(there)) or 'none'}")
    wanted = [version for version in there if not options.python or version in options.python]
    WORK.mkdir(parents=True, exist_ok=True)
    every = cells(wanted, options.frameworks) if wanted else ()
    found = [cell for cell in every if options.versions in (None, cell.versions)]
    for cell in found:
        try:
            make(cell, there[cell.python])
            cell.installed = installed(cell)
        except subprocess.CalledProcessError as error:
            cell.outcome, cell.failed = f"the environment could not be made ({error.returncode})", True
            continue
        test(cell, options.processes, options.tests)
        print(f"Python {cell.python}, {cell.versions}: {cell.outcome}", flush=True)
    (WORK / "table.md").write_text(table(found) + "\n", encoding="utf-8")
    print(table(found))
    return int(not found or any(cell.failed for cell in found))


if __name__ == "__main__":
    sys.exit(main())
