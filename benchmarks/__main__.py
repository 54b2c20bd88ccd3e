"""Runs benchmarks, each area in a process of its own: `python -m benchmarks --help`, or `make bench`.

Prints the tables. With --write they also go to benchmarks/results.json and into docs/benchmarks.md, with the commit
that they belong to; with --keep the ratios join benchmarks/baseline.json; with --check they are compared with it.
"""

from __future__ import annotations

import argparse
import datetime
import importlib
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from importlib import metadata
from pathlib import Path
from typing import Any

from benchmarks import baseline, tables
from benchmarks.measuring import LARGE, NORMAL, QUICK, ROOT, Run, environment

AREAS = (
    "headline",
    "class_performance",
    "training_dynamics",
    "attention",
    "diagnostics",
    "tab",
    "export",
    "events",
    "resource_usage",
    "scaling",
)
RESULTS, BASELINE = ROOT / "benchmarks/results.json", ROOT / "benchmarks/baseline.json"
PAGE = ROOT / "docs/benchmarks.md"
PACKAGES = ("torch", "numpy", "tensorboard", "scikit-learn", "torchmetrics", "pytorch-lightning", "wandb", "tbparse")


def machine() -> str:
    """Processor, cores, device and versions, in one line."""
    name = platform.processor() or platform.machine()
    if os.path.exists("/proc/cpuinfo"):
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        name = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), name)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    versions = ", ".join(f"{package} {found}" for package in PACKAGES if (found := _version(package)))
    return f"{name}, {cores} cores, {_device()}; Python {platform.python_version()}, {versions}"


def _device() -> str:
    import torch

    return torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def commit() -> str:
    """The commit that is measured, with a plus where sources were changed since."""
    try:
        found = _git("rev-parse", "--short", "HEAD")
        return found + ("+" if _git("status", "--porcelain", "tbmetrics", "plugins", "benchmarks/*.py") else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def measured(area: str, size: str, where: str) -> dict[str, Any] | None:
    """The results of one area, from a process of its own; None where it failed."""
    load = [os.getloadavg()[0]]
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "results.json")
        command = [sys.executable, "-m", "benchmarks", "--only", area, "--size", size, "--child", str(file)]
        done = subprocess.run(command, cwd=ROOT, env=environment())
        if done.returncode:
            return None
        found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    load.append(os.getloadavg()[0])
    when = datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M UTC")
    about = {"commit": commit(), "date": when, "machine": where, "size": size, "load": load}
    return {**about, "seconds": round(time.perf_counter() - began, 1), **found}


def be_child(area: str, size: str, file: Path) -> None:
    """Measures one area and writes what was found to `file`."""
    run = Run(size)
    results = importlib.import_module(f"benchmarks.{area}").measure(run)
    file.write_text(json.dumps({"results": tables.as_json(results), "skipped": run.skipped}), encoding="utf-8")


def write(areas: dict[str, dict[str, Any]]) -> None:
    """Puts results into results.json and between the marks of the page; other areas stay as they are."""
    kept = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {}
    RESULTS.write_text(json.dumps({**kept, **areas}, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    text = PAGE.read_text(encoding="utf-8")
    for area, entry in areas.items():
        text = tables.put(text, area, tables.markdown(entry))
    PAGE.write_text(text, encoding="utf-8")


def check(areas: dict[str, dict[str, Any]], size: str, where: str) -> int:
    """Prints how each ratio stands; 1 where one got worse, 2 where there is nothing to compare with."""
    kept = baseline.read(BASELINE)
    if kept["machine"] != where:
        print(f"The baseline is of another machine or other versions, so ratios may differ:\n  {kept['machine']}")
    found = list(baseline.verdicts(kept, areas, size))
    for verdict in found:
        print(verdict)
    if not found:
        print(f"No ratio of size {size!r} is kept for these areas: python -m benchmarks --size {size} --keep")
        return 2
    return int(any(verdict.worse for verdict in found))


def main() -> int:
    """The command; the exit status says whether all went well."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", metavar="AREA,...", help=f"of {', '.join(AREAS)}")
    parser.add_argument("--size", choices=(QUICK, NORMAL, LARGE), default=NORMAL)
    parser.add_argument("--quick", dest="size", action="store_const", const=QUICK, help="small and few")
    parser.add_argument("--write", action="store_true", help="into results.json and docs/benchmarks.md")
    parser.add_argument("--keep", action="store_true", help="ratios join the baseline")
    parser.add_argument("--check", action="store_true", help="compare ratios with the baseline")
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    chosen = [area for area in options.only.split(",") if area] or list(AREAS)
    if unknown := set(chosen) - set(AREAS):
        parser.error(f"unknown: {', '.join(sorted(unknown))}; there are {', '.join(AREAS)}")
    if options.child:
        be_child(chosen[0], options.size, options.child)
        return 0
    return run_all(chosen, options)


def run_all(chosen: list[str], options: argparse.Namespace) -> int:
    """Measures area by area and prints each as soon as it is there; what has been measured is kept by then."""
    where = machine()
    areas: dict[str, dict[str, Any]] = {}
    for area in chosen:
        found = measured(area, options.size, where)
        if found is not None:
            areas[area] = found
            print(f"\n## {area} ({found['seconds']:.0f} s)\n\n{tables.markdown(found)}", flush=True)
            if options.write:
                write({area: found})
    if options.keep:
        text = json.dumps(baseline.keep(baseline.read(BASELINE), areas, options.size, where), indent=1, sort_keys=True)
        BASELINE.write_text(text + "\n", encoding="utf-8")
    failed = [area for area in chosen if area not in areas]
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    status = check(areas, options.size, where) if options.check else 0
    return 1 if failed else status


if __name__ == "__main__":
    sys.exit(main())
