"""`tbmetrics demo`: train the six runs, then print the table and where to look."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path
from typing import TypeAlias

import torch

from tbmetrics.comparing.runs import compare_runs
from tbmetrics.comparing.tables import RunTable
from tbmetrics.comparing.wording import sentence
from tbmetrics.demo.numbers import load_splits
from tbmetrics.demo.training import EPOCHS, METHODS, SEEDS, train
from tbmetrics.events.reader import read_run
from tbmetrics.exporting import table
from tbmetrics.figures.progress import progress

_Run: TypeAlias = tuple[str, int, Path, int]  # method, seed, directory, epochs

SEED_PATTERN = r"/seed\d+"
#: What the tab has to show for what the demonstration says.
SHOWN = {
    "attribute": "number",
    "metric": "recall",
    **{side: f"{method}/seed0/test" for side, method in zip("ab", METHODS, strict=True)},
}


def run_demo(
    log_dir: Path, *, epochs: int = EPOCHS, seeds: int = len(SEEDS), jobs: int | None = None, quiet: bool = False
) -> tuple[RunTable, str]:
    """Train each method with each seed into `log_dir`, in place of what an earlier demonstration left there.

    Args:
        log_dir: receives a folder `{method}/seed{number}` for each run, with its test set in `test` below.
        epochs: of each run.
        seeds: runs of each method.
        jobs: processes; None = one for each core, up to the number of runs.
        quiet: show no progress.

    Returns:
        recall of the numbers on the test set, a row a method; and a sentence on the first run of each.
    """
    runs = [(method, seed, log_dir / method / f"seed{seed}", epochs) for seed in range(seeds) for method in METHODS]
    processes = min(len(runs), jobs or os.cpu_count() or 1)
    with progress("demo", shown=not quiet) as show:
        show(0, len(runs), "training")
        for number, run in enumerate(_trained(runs, processes), start=1):
            show(number, len(runs), f"{run[0]}, seed {run[1]}")
    tests = [read_run(log_dir / method / "seed0" / "test", run=method) for method in METHODS]
    outcome = sentence(compare_runs(*tests, attribute="number", metric="recall"))
    return table(log_dir, attribute="number", metric="recall", runs=r"/test$", seeds=SEED_PATTERN), outcome


def _trained(runs: Sequence[_Run], processes: int) -> Iterator[_Run]:
    """Train the runs, and yield each when it is done."""
    if processes == 1:
        yield from map(_train, runs)
        return
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        for done in as_completed([pool.submit(_train, run) for run in runs]):
            yield done.result()


def _train(run: _Run) -> _Run:
    method, seed, log_dir, epochs = run
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # the model is small, and sums are the same whatever the number of cores
    try:
        remove_earlier_run(log_dir)
        train(method, seed, log_dir, load_splits(), epochs=epochs)
    finally:
        torch.set_num_threads(threads)
    return run


def remove_earlier_run(run: Path) -> None:
    """Remove the event files of an earlier demonstration, which a session would otherwise continue."""
    for events in (*run.glob("events.out.tfevents.*"), *run.glob("test/events.out.tfevents.*")):
        events.unlink()
