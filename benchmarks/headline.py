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
from benchmarks.headline_ways import BARE, LIGHTNING, LIGHTNING_BARE, OURS, WANDB, WAYS, WAYS_IN_LAPS, Laps
from benchmarks.measuring import Comparison, Facts, Results, Run, median, synchronise, two_threads
from benchmarks.slices import hold, in_slices, leave_out_stops, report

#: Modules to import before measuring, in addition to tbmetrics.session.session.
MODULES = {
    OURS: ("tbmetrics.class_performance.diagnostics", "matplotlib.figure", "matplotlib.backends.backend_agg"),
    LIGHTNING_BARE: ("pytorch_lightning",),
    LIGHTNING: ("pytorch_lightning", "torchmetrics.classification", "torch.utils.tensorboard"),
    WANDB: ("wandb", "torchmetrics.classification"),
}


def be_child(way: str, size: str, descriptor: int, *, in_laps: bool) -> None:
    """Train one way and report its processor time, in laps by what it went into; wall time is measured by its turns."""
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
        start, laps = processor_seconds(), Laps()
        if in_laps:
            WAYS_IN_LAPS[way](problem, folder, laps)
        else:
            WAYS[way](problem, folder)
        synchronise(problem.device)
        report(descriptor, {"cpu": processor_seconds() - start, "laps": laps.seconds})


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
    for turn in range(turns):
        first = turn % len(ways)
        order = ways[first:] + ways[:first]
        reports = in_slices("benchmarks.headline", {way: ["--way", way, "--problem", size] for way in order})
        for kind, times_by_way in times.items():
            for way in ways:
                times_by_way[way].append(reports[way][kind])
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
    return [*compared, where_spent(name, size)]


def where_spent(name: str, size: str) -> Facts:
    """Compare what a bare run and one with tbmetrics spend their time on; one run of each."""
    arguments = ["--problem", size, "--laps", "--way"]
    reports = in_slices("benchmarks.headline", {way: [*arguments, way] for way in WAYS_IN_LAPS})
    bare, ours = (reports[way]["laps"] for way in (BARE, OURS))
    total = sum(bare.values())
    added = {what: seconds - bare.get(what, 0.0) for what, seconds in ours.items()}
    added = dict(sorted(added.items(), key=lambda item: -item[1])) | {"together": sum(added.values())}
    columns = ["what", "bare loop, s", "tbmetrics, s", "added, s", "share of the bare run"]
    bare, ours = ({**laps, "together": sum(laps.values())} for laps in (bare, ours))
    cells = []
    for what, seconds in added.items():
        both = [f"{laps[what]:.2f}" if what in laps else "" for laps in (bare, ours)]
        cells.append([what, *both, f"{seconds:.2f}", f"{seconds / total:.2%}"])
    about = "processor time of the training thread, one run each; samples are in forward, backward and optimizer"
    return Facts(f"{name}: where it is spent", columns, cells, about)


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
    parser.add_argument("--laps", action="store_true")
    parser.add_argument("--report", type=int, required=True)
    options = parser.parse_args()
    be_child(options.way, options.problem, options.report, in_laps=options.laps)
