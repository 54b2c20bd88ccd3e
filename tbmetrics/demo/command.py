"""`tbmetrics demo`: train the six runs, then print the table and where to look."""

from __future__ import annotations

from pathlib import Path

import torch

from tbmetrics.comparing.tables import RunTable
from tbmetrics.demo.numbers import load_splits
from tbmetrics.demo.training import EPOCHS, METHODS, SEEDS, train
from tbmetrics.errors import InputError
from tbmetrics.exporting import table
from tbmetrics.figures.progress import progress

SEED_PATTERN = r"/seed\d+"


def run_demo(log_dir: Path, *, epochs: int = EPOCHS, seeds: int = len(SEEDS), quiet: bool = False) -> RunTable:
    """Train each method with each seed into `log_dir`, in place of what an earlier demonstration left there.

    Args:
        log_dir: receives a folder `{method}/seed{number}` for each run, with its test set in `test` below.
        epochs: of each run.
        seeds: runs of each method.
        quiet: show no progress.

    Returns:
        recall of the numbers on the test set, a row a method.

    Raises:
        InputError: scikit-learn, whose digits are the data, is missing.
    """
    try:
        splits = load_splits()
    except ModuleNotFoundError as error:
        raise InputError("the demonstration needs scikit-learn: pip install 'tbmetrics[demo]'") from error
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # the model is small, and sums are the same whatever the number of cores
    try:
        with progress("demo", shown=not quiet) as show:
            runs = [(method, seed) for seed in range(seeds) for method in METHODS]
            for number, (method, seed) in enumerate(runs):
                show(number, len(runs), f"{method}, seed {seed}")
                run = log_dir / method / f"seed{seed}"
                remove_earlier_run(run)
                train(method, seed, run, splits, epochs=epochs)
    finally:
        torch.set_num_threads(threads)
    return table(log_dir, attribute="number", metric="recall", runs=r"/test$", seeds=SEED_PATTERN)


def remove_earlier_run(run: Path) -> None:
    """Remove the event files of an earlier demonstration, which a session would otherwise continue."""
    for events in (*run.glob("events.out.tfevents.*"), *run.glob("test/events.out.tfevents.*")):
        events.unlink()
