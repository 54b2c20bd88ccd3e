"""Total cost: whole training runs without instrumentation, with tbmetrics, and with alternatives.

Each run is a separate process, and runs take turns of a tenth of a second: a transformer is trained and validated on
handwritten digits with two attributes over a few epochs. With CUDA the model is a ViT-B/16 in bfloat16 on generated
images. Times are those of the loop, from the first epoch until everything is written, without loading modules and data.
Processor time includes all threads and child processes, so background work is counted there.

Ways: a bare loop; tbmetrics with everything on; Lightning's Trainer, bare and with its callbacks, logger and
torchmetrics; wandb offline, watching gradients and weights, with torchmetrics.
"""

from __future__ import annotations

import argparse
import itertools
import logging
import os
import resource
import tempfile
import warnings
from importlib import import_module

import torch

from benchmarks.headline_problem import SIZES, Problem
from benchmarks.headline_ways import BARE, EPOCHS_END, LIGHTNING, LIGHTNING_BARE, OURS, RUNS_END, WANDB, WAYS
from benchmarks.measuring import Comparison, Facts, Results, Run, median, synchronise, two_threads
from benchmarks.slices import hold, in_slices, leave_out_stops, report

#: Modules to import before measuring, in addition to tbmetrics.session.session.
MODULES = {
    OURS: ("tbmetrics.class_performance.diagnostics", "matplotlib.figure", "matplotlib.backends.backend_agg"),
    LIGHTNING_BARE: ("pytorch_lightning",),
    LIGHTNING: ("pytorch_lightning", "torchmetrics.classification", "torch.utils.tensorboard"),
    WANDB: ("wandb", "torchmetrics.classification"),
}


def be_child(way: str, size: str, descriptor: int) -> None:
    """Train one way and report its processor time; wall time is measured by its turns."""
    warnings.filterwarnings("ignore")
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    os.environ.update(WANDB_MODE="offline", WANDB_SILENT="true", WANDB_ERROR_REPORTING="false")
    leave_out_stops()
    two_threads()
    for module in ("tbmetrics.session.session", *MODULES.get(way, ())):
        import_module(module)
    problem = Problem(SIZES[size], vit=size == "vit")
    warm_up(problem)
    with tempfile.TemporaryDirectory() as folder:
        hold()
        start = processor_seconds()
        parts = WAYS[way](problem, folder) or {}
        synchronise(problem.device)
        report(descriptor, {"cpu": processor_seconds() - start, "parts": parts})


def warm_up(problem: Problem) -> None:
    """Run a few steps and restore the model, so that no way pays for lazy initialization."""
    state = {name: value.clone() for name, value in problem.model.state_dict().items()}
    for images, targets in itertools.islice(problem.batches(0), 6):
        problem.loss(problem.logits(images), targets).backward()
        problem.optimizer.zero_grad()
    problem.model.load_state_dict(state)


def processor_seconds() -> float:
    """Processor time of all threads of this process and of its finished children."""
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def compare(size: str, turns: int, ways: list[str]) -> Results:
    """Compare wall time and processor time of whole runs."""
    times: dict[str, dict[str, list[float]]] = {kind: {way: [] for way in ways} for kind in ("wall", "cpu")}
    parts: list[dict[str, float]] = []
    for turn in range(turns):
        first = turn % len(ways)
        order = ways[first:] + ways[:first]
        reports = in_slices("benchmarks.headline", {way: ["--way", way, "--problem", size] for way in order})
        for kind, times_by_way in times.items():
            for way in ways:
                times_by_way[way].append(reports[way][kind])
        parts.append(reports[OURS]["parts"])
    problem = SIZES[size]
    name = "ViT-B/16, bfloat16" if size == "vit" else f"digits, {size}"
    about = f"width {problem.dim}, {problem.blocks} blocks, batches of {problem.batch}, "
    about += f"{problem.epochs} epochs of {problem.steps} steps"
    step = median(times["wall"][BARE]) / (problem.epochs * problem.steps) * 1e3
    about += f"; a bare step with its share of validation takes {step:.0f} ms"
    titles = {"wall": "a whole run by the clock", "cpu": "processor time of a whole run"}
    compared = [
        Comparison(f"{name}: {title}", "s", BARE, times[kind], watched=(OURS,), about=about)
        for kind, title in titles.items()
    ]
    return [*compared, when_spent(name, problem.epochs, times["wall"], parts)]


def when_spent(name: str, epochs: int, wall: dict[str, list[float]], parts: list[dict[str, float]]) -> Facts:
    """Split the time tbmetrics adds into steps, ends of epochs and end of the run, to extrapolate to longer runs."""
    bare, added = median(wall[BARE]), median([ours - bare for ours, bare in zip(wall[OURS], wall[BARE], strict=True)])
    fixed = {part: median([run[part] for run in parts]) for part in (EPOCHS_END, RUNS_END)}
    rows = [
        ("steps and validation", added - sum(fixed.values()), "grows with the run"),
        (f"ends of {epochs} epochs", fixed[EPOCHS_END], f"{fixed[EPOCHS_END] / epochs:.2f} s each"),
        ("end of the run", fixed[RUNS_END], "once: pictures, the last records on disk"),
        ("together", added, ""),
    ]
    columns = ["what tbmetrics adds", "s", "share of the bare run", ""]
    cells = [[what, f"{seconds:.2f}", f"{seconds / bare:.2%}", note] for what, seconds, note in rows]
    about = "ends in processor time of the training thread, the rest is what remains of the difference by the clock"
    return Facts(f"{name}: when it is spent", columns, cells, about)


def measure(run: Run) -> Results:
    """Compare on two sizes of the digits' transformer and in a short run, or on ViT-B/16 with a GPU."""
    ways = [BARE, OURS]
    if run.has("pytorch_lightning", "Lightning") and run.has("torchmetrics"):
        ways += [LIGHTNING_BARE, LIGHTNING]
    if run.has("wandb") and run.has("torchmetrics"):
        ways.append(WANDB)
    if torch.cuda.is_available():
        return compare("vit", run.choose(1, 5), ways)
    run.skip("ViT-B/16 in bfloat16", "needs CUDA")
    if run.size == "quick":
        return compare("quick", 3, ways)
    return [*compare("medium", 3, ways), *compare("small", 5, ways), *compare("short", 9, ways)]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--way", choices=WAYS, required=True)
    parser.add_argument("--problem", choices=SIZES, required=True)
    parser.add_argument("--report", type=int, required=True)
    options = parser.parse_args()
    be_child(options.way, options.problem, options.report)
