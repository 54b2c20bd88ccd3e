"""Checks a release: `python -m tests.bounds.release`, or `make release-check`.

Builds the wheel and the source archive, checks what the index would refuse, installs the wheel in an empty environment
of the lowest and of the newest Python found, and there writes a run, exports it, lets the doctor look, and trains the
demo. Leaves dist/.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.bounds.__main__ import PYTHONS, interpreters
from tests.bounds.versions import ROOT, torch_pin

#: What a person tries first.
PROGRAM = """
import torch
from tbmetrics import ClassGroups, TBMetrics

groups = ClassGroups.from_counts({"animal": {"cat": 900, "dog": 60, "lynx": 4}})
with TBMetrics("runs/first", classes=groups) as tb:
    for epoch in tb.epochs(range(2)):
        tb.update(torch.eye(3), torch.tensor([0, 1, 2]))
assert tb.get_metrics()["class_performance"]["type_metrics"]["animal"]["tail"]["recall"] == 1
"""
COMMANDS = (
    ("-m", "tbmetrics", "export", "runs", "--out", "exports", "--quiet"),
    ("-m", "tbmetrics", "doctor", "runs"),
    ("-m", "tbmetrics", "demo", "--log-dir", "runs/demo", "--epochs", "1", "--seeds", "1", "--quiet"),
    (
        "-m",
        "tbmetrics",
        "compare",
        "runs/demo/cross_entropy/seed0",
        "runs/demo/logit_adjusted/seed0",
        "--attribute",
        "number",
    ),
    ("-c", "from importlib.metadata import entry_points; entry_points(group='tensorboard_plugins')['longtail'].load()"),
)


def build() -> Path:
    """Build both archives into an empty dist/, check them, and return the wheel."""
    dist = ROOT / "dist"
    shutil.rmtree(dist, ignore_errors=True)
    subprocess.run([sys.executable, "-m", "build", "--no-isolation", "--outdir", dist, ROOT], check=True)
    archives = sorted(dist.iterdir())
    subprocess.run([sys.executable, "-m", "twine", "check", "--strict", *archives], check=True)
    (wheel,) = dist.glob("*.whl")
    return wheel


def try_wheel(wheel: Path, command: str, folder: Path) -> None:
    """Install `wheel` into an empty environment of a Python, and use it in an empty folder."""
    subprocess.run([command, "-m", "venv", folder / "env"], check=True)
    python = folder / "env" / "bin" / "python"
    for package in (torch_pin(), wheel):
        subprocess.run([python, "-m", "pip", "install", "--quiet", package], check=True)
    subprocess.run([python, "-c", PROGRAM], cwd=folder, check=True)
    for arguments in COMMANDS:
        subprocess.run([python, *arguments], cwd=folder, check=True)


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--python", action="append", choices=PYTHONS, help="only these (default: lowest and newest)")
    chosen = parser.parse_args().python
    wheel = build()
    by_version = interpreters()
    for version in chosen or sorted({*list(by_version)[:1], *list(by_version)[-1:]}):
        with tempfile.TemporaryDirectory() as folder:
            try_wheel(wheel, by_version[version], Path(folder))
        print(f"Python {version}: installed and used", flush=True)


if __name__ == "__main__":
    main()
