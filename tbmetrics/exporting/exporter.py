"""The export itself: read the runs that changed, make the units that changed, remove what is stale."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tbmetrics.errors import InputError
from tbmetrics.events.places import writable_directory
from tbmetrics.events.reader import find_runs, read_run
from tbmetrics.exporting.contents import Entry, fingerprint, group_by_files, list_entries, summarize
from tbmetrics.exporting.files import (
    ALL_METRICS,
    REPORT,
    Manifest,
    RunEntry,
    UnitEntry,
    WrittenFile,
    list_sources,
    load_manifest,
    remove_abandoned,
    run_folders,
    write_whole,
)
from tbmetrics.exporting.html_parts import Section
from tbmetrics.exporting.json_files import all_metrics
from tbmetrics.exporting.longtail_tab import tab_section
from tbmetrics.exporting.options import (
    DEFAULT_FORMATS,
    EXPORTED_AREAS,
    NothingToShowError,
    Options,
    check_options,
)
from tbmetrics.exporting.report import report_key, report_page
from tbmetrics.exporting.units import Result, Task, Unit, digest, make_task, plan_units, versions
from tbmetrics.exporting.workers import Workers, job_count
from tbmetrics.records.history import History

Progress = Callable[[int, int, str], None]
#: Bytes of a log that are as much work as one figure.
_BYTES_PER_FIGURE = 4 * 2**20


@dataclass(slots=True)
class ExportReport:
    """What an export did.

    Attributes:
        files: every file of the export, sorted.
        written: those whose content is new.
        removed: files of the last export that are no longer produced.
        problems: by run, what was damaged in its log or failed in its export.
        skipped: runs that hold nothing that the options select.
    """

    files: list[Path] = field(default_factory=list)
    written: list[Path] = field(default_factory=list)
    removed: list[Path] = field(default_factory=list)
    problems: dict[str, list[str]] = field(default_factory=dict)
    skipped: list[str] = field(default_factory=list)


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
    progress: Progress | None = None,
) -> ExportReport:
    """Write figures, tables, JSON and a page of every run in `logdir` below `out`, and keep `out` up to date.

    The same log gives the same bytes, however many processes write them. A further call does only what has changed.
    Each file appears whole or not at all. A run that fails does not stop the others. `out` mirrors the options: files
    of an earlier export that no longer belong to it are removed, files of others are never touched.

    Args:
        logdir: any TensorBoard log directory; it may still be being written.
        out: made if missing.
        runs: regular expression; only runs whose name contains a match.
        attributes: only these.
        only: any of "class_performance", "training_dynamics", "resource_usage", "attention", "other"; None = all.
        formats: any of "png", "svg", "pdf", "json", "csv", "csv-full" (with histograms, curves and
            covariances; the JSON has histograms and covariances then, too), "html".
        dpi: dots per inch of the PNG files.
        jobs: processes, this one included; None = one per core, up to four, if there is much to write.
        progress: called with the number of units done, the number known so far, and the current activity.

    Raises:
        NothingToShowError: no run holds anything that the options select.
        InputError: `logdir` is missing, `out` cannot be written, or an option is unknown.
    """
    options = check_options(runs=runs, attributes=attributes, only=only, formats=formats, dpi=dpi, jobs=jobs)
    folders = find_runs(logdir)
    selected = {run: folder for run, folder in folders.items() if options.runs.search(run)}
    if not selected:
        raise NothingToShowError(_why_no_run(os.fspath(logdir), list(folders), options))
    exporter = _Exporter(Path(logdir), Path(out), options, progress)
    try:
        exporter.export_runs(selected)
        exporter.finish(selected)
    except OSError as error:
        path = error.filename or os.fspath(out)
        why = f"cannot write {path!r} ({error.strerror or error}); make room for it or choose another out"
        raise InputError(why) from error
    return exporter.report


class _Exporter:
    def __init__(self, logdir: Path, out: Path, options: Options, progress: Progress | None) -> None:
        self.report = ExportReport()
        self._logdir, self._out, self._options, self._progress = logdir, out, options, progress
        self._last = load_manifest(out) or Manifest(complete=True)
        self._manifest = Manifest(options=options.to_json(), versions=versions())
        # After an interrupted export any file in the way may be its own.
        self._replaceable = frozenset(self._last.files) if self._last.complete else None
        self._workers = Workers(self._take_result)
        self._has_begun = False
        self._tab: Section | None = None
        self._has_tab = False
        self._planned: dict[str, tuple[dict[Entry, str], list[Unit]]] = {}
        self._planned_units = self._done_units = 0

    # ------------------------------------------------------------------------------------------------ the runs

    def export_runs(self, selected: dict[str, Path]) -> None:
        """Read the runs that have changed, and make what has changed in them."""
        folders = run_folders(selected, self._logdir.resolve())
        request = digest([{**self._options.to_json(), "runs": ""}, versions()])
        attributes: set[str] = set()
        with self._workers:
            for number, (run, folder) in enumerate(selected.items()):
                entry = RunEntry(folders[run], list_sources(folder), request)
                if self._reuse_run(run, entry):
                    continue
                self._show_progress(f"reading {run}")
                history = read_run(folder, run=run)
                attributes |= set(history.class_lists)
                units = self._plan(history, entry)
                self._make_units(history, units, entry, runs_left=len(selected) - number)
            if all(entry.summary is None for entry in self._manifest.runs.values()):
                raise NothingToShowError(_why_nothing(self._logdir, self._manifest, attributes, self._options))
            if self._workers.are_started and "html" in self._options.formats:
                self._make_tab(selected)
            self._workers.wait()
        for run, (fingerprints, units) in self._planned.items():
            entry = self._manifest.runs[run]
            files = [(unit.entries, entry.units[unit.name].files) for unit in units]
            entry.tags = group_by_files(fingerprints, files)

    def _reuse_run(self, run: str, entry: RunEntry) -> bool:
        """Carry over a run whose event files and request have not changed; it is not even read."""
        last = self._last.runs.get(run)
        if last is None or not last.is_same(entry) or not self._last.are_intact(self._out, last.paths()):
            return False
        self._manifest.runs[run] = last
        self._manifest.carry_over(self._last, last.paths())
        return True

    def _plan(self, history: History, entry: RunEntry) -> list[Unit]:
        """Note what the run holds and return the units that show it."""
        entries = list_entries(history, self._options)
        entry.problems = list(history.problems)
        self._manifest.runs[history.run] = entry
        if not entries or _lacks_attributes(entries, self._options):
            return []
        self._begin()
        entry.summary = summarize(history, entries)
        fingerprints = {e: fingerprint(e.content(history)) for e in entries}
        units = plan_units(history, entries, self._options)
        self._planned[history.run] = fingerprints, units
        entry.units = {unit.name: UnitEntry(unit.key(fingerprints)) for unit in units}
        return units

    def _make_units(self, history: History, units: list[Unit], entry: RunEntry, runs_left: int) -> None:
        pending = [unit for unit in units if not self._reuse_unit(history.run, unit.name, entry)]
        if not pending:
            return
        reading = sum(size for size, _ in entry.sources.values()) / _BYTES_PER_FIGURE
        weight = runs_left * (reading + sum(unit.weight for unit in pending))
        self._workers.start(job_count(weight, self._options.jobs))
        self._planned_units += len(pending)
        for unit in sorted(pending, key=lambda unit: -unit.weight):
            self._show_progress(f"{history.run}: {unit.name}")
            self._workers.submit(make_task(unit, history, entry.folder, self._out, self._replaceable))

    def _reuse_unit(self, run: str, name: str, entry: RunEntry) -> bool:
        """Carry over the files of a unit that has not changed since the last export."""
        last_run, unit = self._last.runs.get(run), entry.units[name]
        last = last_run.units.get(name) if last_run is not None and last_run.folder == entry.folder else None
        if last is None or last.key != unit.key or not self._last.are_intact(self._out, last.files):
            return False
        unit.files = last.files
        self._manifest.carry_over(self._last, last.files)
        return bool(unit.files)

    def _take_result(self, task: Task, result: Result) -> None:
        run, name = task.history.run, task.unit.name
        entry = self._manifest.runs[run]
        unit = entry.units[name]
        if result.errno:
            raise OSError(result.errno, os.strerror(result.errno), result.problem)
        if result.problem or any(file.is_foreign for file in result.files):
            unit.key, entry.sources = "", {}  # so that the next export tries again
        if result.problem:
            self.report.problems.setdefault(run, []).append(result.problem)
            self._keep_last_files(run, name, unit)
        for file in result.files:
            self._take_file(file, unit, run)
        self._done_units += 1
        self._show_progress(f"{run}: {name}")

    def _keep_last_files(self, run: str, name: str, unit: UnitEntry) -> None:
        """Leave the last files of a unit that failed in place."""
        last_run = self._last.runs.get(run)
        last = last_run.units.get(name) if last_run is not None else None
        unit.files = last.files if last is not None else []
        self._manifest.carry_over(self._last, unit.files)

    def _take_file(self, file: WrittenFile, unit: UnitEntry, run: str) -> None:
        if file.is_foreign:
            problem = f"{file.path} is a file of another; it was left alone: move it, or choose another directory"
            self.report.problems.setdefault(run, []).append(problem)
            return
        unit.files.append(file.path)
        self._manifest.add(file)
        if file.is_new:
            self.report.written.append(self._out / file.path)

    def _begin(self) -> None:
        """Mark the manifest as incomplete before the first file is written."""
        if self._has_begun:
            return
        self._has_begun = True
        remove_abandoned(writable_directory(self._out, "out"))
        last = self._last
        Manifest(False, last.options, last.versions, last.runs, last.shared, last.files).save(self._out)

    # ------------------------------------------------------------------------------------------ all runs together

    def finish(self, folders: dict[str, Path]) -> None:
        """Write what belongs to all runs, remove what is stale, and complete the manifest."""
        if "json" in self._options.formats:
            self._write_all_metrics()
        if "html" in self._options.formats:
            self._write_page(folders)
        self._remove_stale()
        self._complete_report()
        self._manifest.complete = True
        if self._has_begun or self._manifest != self._last:
            self._begin()
            self._manifest.save(self._out)
        self._show_progress("done")

    def _write_all_metrics(self) -> None:
        self._show_progress(ALL_METRICS)
        units = {"run": "json/run", **{area: f"json/{area}" for area in EXPORTED_AREAS}}
        files_by_run: dict[str, dict[str, str]] = {}
        for run, entry in self._manifest.runs.items():
            files = {part: entry.units[name].files for part, name in units.items() if name in entry.units}
            files_by_run[run] = {part: paths[0] for part, paths in files.items() if paths}
        files_by_run = {run: files for run, files in files_by_run.items() if files}
        paths = {run: {part: self._out / path for part, path in files.items()} for run, files in files_by_run.items()}
        hashes = (self._manifest.files[path]["sha256"] for files in files_by_run.values() for path in files.values())
        self._write_shared(ALL_METRICS, "".join(hashes), all_metrics(paths))

    def _make_tab(self, folders: dict[str, Path]) -> None:
        """Make the part of the page that depends on the logs alone; worker processes draw meanwhile."""
        self._show_progress(f"{REPORT}: the Long Tail tab")
        self._tab = tab_section({run: folders[run] for run in self._shown_runs()})
        self._has_tab = True

    def _shown_runs(self) -> dict[str, RunEntry]:
        return {run: entry for run, entry in self._manifest.runs.items() if entry.summary is not None}

    def _write_page(self, folders: dict[str, Path]) -> None:
        self._show_progress(REPORT)
        runs = self._shown_runs()
        self._write_shared(REPORT, report_key(runs, self._manifest.files), self._page(runs, folders))

    def _page(self, runs: dict[str, RunEntry], folders: dict[str, Path]) -> Iterator[bytes]:
        if not self._has_tab:
            self._make_tab(folders)
        yield from report_page(self._out, runs, self._tab)

    def _write_shared(self, name: str, key: str, content: Iterable[bytes]) -> None:
        last = self._last.shared.get(name)
        if last is not None and last.key == key and self._last.are_intact(self._out, last.files):
            self._manifest.shared[name] = last
            self._manifest.carry_over(self._last, last.files)
            return
        self._begin()
        entry = self._manifest.shared[name] = UnitEntry(key)
        self._take_file(write_whole(self._out, name, content, self._replaceable), entry, "all runs")

    def _remove_stale(self) -> None:
        for path in sorted(self._last.files.keys() - self._manifest.files.keys()):
            self._begin()
            if self._last.remove(self._out, path):
                self.report.removed.append(self._out / path)

    def _complete_report(self) -> None:
        for run, entry in self._manifest.runs.items():
            if entry.summary is None:
                self.report.skipped.append(run)
            self.report.problems[run] = [*entry.problems, *self.report.problems.get(run, [])]
        self.report.problems = {run: problems for run, problems in self.report.problems.items() if problems}
        self.report.files = sorted(self._out / path for path in self._manifest.files)

    def _show_progress(self, activity: str) -> None:
        if self._progress is not None:
            self._progress(self._done_units, self._planned_units, activity)


def _lacks_attributes(entries: list[Entry], options: Options) -> bool:
    """Whether attributes were selected and the run has none of them."""
    return options.attributes is not None and not any(entry.attribute for entry in entries)


def _why_no_run(logdir: str, runs: list[str], options: Options) -> str:
    where = f"nothing to show in {logdir!r}"
    if not runs:
        return f"{where}: it holds no event files; train with `with TBMetrics({logdir!r}, classes=…)` first"
    return f"{where}: no run matches {options.runs.pattern!r}; there are {', '.join(map(repr, runs[:10]))}"


def _why_nothing(logdir: Path, manifest: Manifest, attributes: set[str], options: Options) -> str:
    where = f"nothing to show in {str(logdir)!r}"
    if options.attributes is not None and attributes:
        known = ", ".join(map(repr, sorted(attributes)[:10]))
        return f"{where}: no run has an attribute in {list(options.attributes)}; there are {known}"
    damage = "".join(f"; {problem}" for entry in manifest.runs.values() for problem in entry.problems[:3])
    what = "anything" if options.only is None and options.attributes is None else "anything that was asked for"
    return f"{where}: its event files do not hold {what}{damage}"
