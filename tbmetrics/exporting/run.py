"""`export` itself: checks what is asked for, hands it to the work, and says why where nothing can be done."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from tbmetrics.errors import InputError
from tbmetrics.events.reader import find_runs
from tbmetrics.exporting.options import DEFAULT_FORMATS, NothingToShowError, Options, checked
from tbmetrics.exporting.work import ExportReport, Progress, Work
from tbmetrics.exporting.workers import Workers


def export(
    logdir: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    runs: str | None = None,
    attributes: Sequence[str] | None = None,
    only: Sequence[str] | None = None,
    formats: Sequence[str] = DEFAULT_FORMATS,
    dpi: int = 150,
    jobs: int | None = None,
    progress: Progress = lambda done, total, what: None,
) -> ExportReport:
    """Writes figures, tables, JSON and a page of every run in `logdir` below `out`, and keeps `out` up to date.

    The same log gives the same bytes every time, however many processes write them. Called again, it does only what
    has changed. Each file appears whole or not at all. A run that fails does not stop the others. `out` mirrors what
    is asked for: files of an earlier export that no longer belong to it are removed, files of others never touched.

    Args:
        logdir: any TensorBoard log directory; it may still be being written.
        out: made if missing.
        runs: regular expression; only runs in whose name it is found.
        attributes: only these.
        only: any of "class_performance", "training_dynamics", "resource_usage", "attention", "other"; None = all.
        formats: any of "png", "svg", "pdf", "json", "csv", "html".
        dpi: dots per inch of the PNG files.
        jobs: processes that write; None = one a core, up to four, where there is much to write.
        progress: called with the units done, those known so far, and what is being done.

    Raises:
        NothingToShowError: no run has anything, or anything of what was asked for.
        InputError: `logdir` is missing, `out` cannot be written, or an option is not known.
    """
    options = checked(runs=runs, attributes=attributes, only=only, formats=formats, dpi=dpi, jobs=jobs)
    found = find_runs(logdir)
    chosen = {run: folder for run, folder in found.items() if options.runs.search(run)}
    if not chosen:
        raise NothingToShowError(_why_none(logdir, list(found), options))
    work = Work(Path(logdir), Path(out), options, progress)
    try:
        with Workers(work.done) as workers:
            work.read_and_make(chosen, workers)
        work.finish(chosen)
    except OSError as error:
        raise InputError(_why_not_written(error, Path(out))) from error
    return work.report


def _why_none(logdir: str | os.PathLike[str], found: list[str], options: Options) -> str:
    where = f"nothing to show in {os.fspath(logdir)!r}"
    if not found:
        return f"{where}: it holds no event files; train with `with TBMetrics({os.fspath(logdir)!r}, classes=…)` first"
    return f"{where}: no run matches {options.runs.pattern!r}; there are {', '.join(map(repr, found[:10]))}"


def _why_not_written(error: OSError, out: Path) -> str:
    where = error.filename or str(out)
    return f"cannot write {where!r} ({error.strerror or error}); make room for it or choose another out"
