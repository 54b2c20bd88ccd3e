"""Processor time to import what training code imports, each in a process of its own, with bytecode in place."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
from functools import partial

from benchmarks.measuring import ROOT, Comparison, Facts, Results, Run, environment, in_turns

TORCH, WRITER, OURS = "import torch", "import torch.utils.tensorboard", "import tbmetrics.session"
BY_MODULE = "import time by package, without torch"


def measure(run: Run) -> Results:
    """Compare the session with torch alone and with torch's own `SummaryWriter`, on which it stands."""
    with tempfile.TemporaryDirectory() as folder:
        variables = {**environment(), "PYTHONPYCACHEPREFIX": folder, "OMP_NUM_THREADS": "1"}
        ways = {statement: partial(_processor_seconds, statement, variables) for statement in (TORCH, WRITER, OURS)}
        times = in_turns(ways, run.choose(3, 15))
        share = _by_package(variables)
    return [Comparison("importing", "s", TORCH, times, watched=(OURS,)), share]


def _processor_seconds(statement: str, variables: dict[str, str]) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-c", statement], check=True, env=variables, cwd=ROOT)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def _by_package(variables: dict[str, str]) -> Facts:
    """What is loaded after torch, by its top-level package."""
    command = [sys.executable, "-X", "importtime", "-c", "import torch, sys; sys.stderr.write('loaded\\n'); " + OURS]
    process = subprocess.run(command, check=True, env=variables, cwd=ROOT, capture_output=True, text=True)
    milliseconds: dict[str, float] = {}
    for line in process.stderr.partition("loaded\n")[2].splitlines():
        own, _, module = line.removeprefix("import time:").split("|")
        package = module.strip().partition(".")[0]
        milliseconds[package] = milliseconds.get(package, 0.0) + float(own) / 1e3
    largest = sorted(milliseconds.items(), key=lambda item: -item[1])[:8]
    rows = [[package, f"{value:.0f}"] for package, value in largest if value >= 1]
    about = f"{os.path.basename(sys.executable)} -X importtime, one run"
    return Facts(BY_MODULE, ["package", "ms"], rows, about)
