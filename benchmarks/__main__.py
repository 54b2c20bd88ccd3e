"""Run benchmarks, each area in its own process: `python -m benchmarks --help`, or `make bench`.

Prints the tables. --write also writes them to benchmarks/results.json and docs/benchmarks.md, together with the
commit; --keep adds the ratios to benchmarks/baseline.json; --check compares them with it.
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

from benchmarks import baseline, glance, tables
from benchmarks.measuring import LARGE, NORMAL, QUICK, ROOT, Run, environment

AREAS = (
    "headline",
    "class_performance",
    "coverage",
    "seeds",
    "verdicts",
    "steps",
    "imports",
    "training_dynamics",
    "attention",
    "diagnostics",
    "findings",
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
    """Describe processor, cores, device and versions in one line."""
    name = platform.processor() or platform.machine()
    if os.path.exists("/proc/cpuinfo"):
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        name = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), name)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    versions = ", ".join(f"{package} {version}" for package in PACKAGES if (version := _version(package)))
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
    """The measured commit, followed by a plus if sources have changed since."""
    try:
        revision = _git("rev-parse", "--short", "HEAD")
        return revision + ("+" if _git("status", "--porcelain", "tbmetrics", "plugins", "benchmarks/*.py") else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def _git(*arguments: str) -> str:
    process = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True)
    return process.stdout.strip()


def measured(area: str, size: str, where: str) -> dict[str, Any] | None:
    """Measure one area in its own process; return its results, or None if it failed."""
    load = [os.getloadavg()[0]]
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "results.json")
        command = [sys.executable, "-m", "benchmarks", "--only", area, "--size", size, "--child", str(file)]
        if subprocess.run(command, cwd=ROOT, env=environment()).returncode:
            return None
        results: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    load.append(os.getloadavg()[0])
    when = datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M UTC")
    about = {"commit": commit(), "date": when, "machine": where, "size": size, "load": load}
    return {**about, "seconds": round(time.perf_counter() - start, 1), **results}


def be_child(area: str, size: str, file: Path) -> None:
    """Measure one area and write its results to `file`."""
    run = Run(size)
    results = importlib.import_module(f"benchmarks.{area}").measure(run)
    file.write_text(json.dumps({"results": tables.as_json(results), "skipped": run.skipped}), encoding="utf-8")


def write(areas: dict[str, dict[str, Any]]) -> None:
    """Write results to results.json and between the marks of the page; leave other areas unchanged."""
    previous = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {}
    everything = {**previous, **areas}
    RESULTS.write_text(json.dumps(everything, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    text = tables.put(PAGE.read_text(encoding="utf-8"), glance.PLACE, glance.table(everything))
    for area, entry in areas.items():
        text = tables.put(text, area, tables.folded(tables.markdown(entry)))
    PAGE.write_text(text, encoding="utf-8")


def check(areas: dict[str, dict[str, Any]], size: str, where: str) -> int:
    """Print a verdict on each ratio; return 1 if any got worse, 2 if there is nothing to compare with."""
    reference = baseline.read(BASELINE)
    if reference["machine"] != where:
        print(f"The baseline is of another machine or other versions, so ratios may differ:\n  {reference['machine']}")
    verdicts = list(baseline.verdicts(reference, areas, size))
    for verdict in verdicts:
        print(verdict)
    if not verdicts:
        print(f"No ratio of size {size!r} is kept for these areas: python -m benchmarks --size {size} --keep")
        return 2
    return int(any(verdict.worse for verdict in verdicts))


def main() -> int:
    """Run the command line; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", metavar="AREA,...", help=f"of {', '.join(AREAS)}")
    parser.add_argument("--size", choices=(QUICK, NORMAL, LARGE), default=NORMAL)
    parser.add_argument("--quick", dest="size", action="store_const", const=QUICK, help="small and few measurements")
    parser.add_argument("--write", action="store_true", help="write results.json and docs/benchmarks.md")
    parser.add_argument("--keep", action="store_true", help="add the ratios to the baseline")
    parser.add_argument("--check", action="store_true", help="compare ratios with the baseline")
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    selected = [area for area in options.only.split(",") if area] or list(AREAS)
    if unknown := set(selected) - set(AREAS):
        parser.error(f"unknown: {', '.join(sorted(unknown))}; there are {', '.join(AREAS)}")
    if options.child:
        be_child(selected[0], options.size, options.child)
        return 0
    return run_all(selected, options)


def run_all(selected: list[str], options: argparse.Namespace) -> int:
    """Measure area by area; print and write the results of each as soon as it is done."""
    where = machine()
    areas: dict[str, dict[str, Any]] = {}
    for area in selected:
        results = measured(area, options.size, where)
        if results is not None:
            areas[area] = results
            print(f"\n## {area} ({results['seconds']:.0f} s)\n\n{tables.markdown(results)}", flush=True)
            if options.write:
                write({area: results})
    if options.keep:
        text = json.dumps(baseline.keep(baseline.read(BASELINE), areas, options.size, where), indent=1, sort_keys=True)
        BASELINE.write_text(text + "\n", encoding="utf-8")
    failed = [area for area in selected if area not in areas]
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    status = check(areas, options.size, where) if options.check else 0
    return 1 if failed else status


if __name__ == "__main__":
    sys.exit(main())
