"""The table of the paper from a log directory."""

from __future__ import annotations

import os

from tbmetrics.comparing.tables import RunTable
from tbmetrics.comparing.tabulating import FREQUENCY, table_of_histories
from tbmetrics.events.reader import find_runs, read_run
from tbmetrics.exporting.options import NothingToShowError, run_pattern
from tbmetrics.records.history import History


def table(
    logdir: str | os.PathLike[str],
    *,
    attribute: str | None = None,
    metric: str = "recall",
    seeds: str | None = None,
    step: int | str | None = None,
    runs: str | None = None,
    by: str = FREQUENCY,
) -> RunTable:
    """A row for each run, or each experiment with its seeds, and a column for head, medium, tail, all and the gap.

    The best of each column is marked, and what is not told apart from it: by the paired 95 % interval of the difference
    for single runs, by Welch's test for experiments of at least three.

    Args:
        logdir: a directory of runs, or a URL.
        attribute: may be left out if the runs have a single one.
        metric: "precision", "recall", "f1" or "ap".
        seeds: a regular expression for what tells the seeds of one experiment apart in their names, such as
            `/seed\\d+`; its group called `name`, if it has one, is the experiment's name. Without it each run is a row.
        step: a step; "last" or "best" (by the mean over all classes) of each run; None = the last that all runs have.
        runs: a regular expression; only runs in whose name it is found.
        by: "frequency", or "family" for a column for each family.

    Returns:
        the table, with methods `markdown()`, `latex()` and `csv()`.

    Raises:
        NothingToShowError: no run is left.
        InputError: an unknown attribute, metric or step, no families, or a pattern that is none.
    """
    histories = read_matching(logdir, runs)
    return table_of_histories(histories, attribute=attribute, metric=metric, by=by, step=step, seeds=seeds or "")


def read_matching(logdir: str | os.PathLike[str], runs: str | None) -> dict[str, History]:
    """The runs of a log directory in whose name `runs` is found, or all.

    Raises:
        NothingToShowError: there are none.
        InputError: `runs` is no regular expression, or the directory cannot be read.
    """
    pattern = run_pattern(runs or "")
    folders = find_runs(logdir)
    if not any(map(pattern.search, folders)):
        reason = f"no run matches {runs!r}; there are {', '.join(map(repr, list(folders)[:10]))}"
        raise NothingToShowError(f"nothing to show in {os.fspath(logdir)!r}: {reason if folders else 'no run'}")
    return {run: read_run(folder, run=run) for run, folder in folders.items() if pattern.search(run)}
