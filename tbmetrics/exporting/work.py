"""One export on its way: reads one run after the other, makes what has changed, removes what is no longer there."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tbmetrics.events.places import writable_directory
from tbmetrics.events.reader import read_run
from tbmetrics.exporting import manifest as manifests
from tbmetrics.exporting.contents import Entry, entries, fingerprint
from tbmetrics.exporting.files import (
    ALL_METRICS,
    REPORT,
    Written,
    remove_ours,
    run_folders,
    write_whole,
)
from tbmetrics.exporting.json_files import all_metrics
from tbmetrics.exporting.manifest import Manifest, RunEntry, UnitEntry
from tbmetrics.exporting.options import EXPORTED_AREAS, NothingToShowError, Options
from tbmetrics.exporting.report import report_key, report_page
from tbmetrics.exporting.summary import summary
from tbmetrics.exporting.units import Task, Unit, task_of, units
from tbmetrics.exporting.worker import Result
from tbmetrics.exporting.workers import Workers, jobs_for
from tbmetrics.records.history import History

Progress = Callable[[int, int, str], None]
#: So many bytes of a log are as much work as one figure.
_BYTES_A_FIGURE = 4 * 2**20


@dataclass(slots=True)
class ExportReport:
    """What an export did.

    Attributes:
        files: every file of the export, sorted.
        written: those of them whose content is new.
        removed: files of the last export that are no longer produced.
        problems: by run, what was damaged in its log or failed in its export.
        skipped: runs without anything that was asked for.
    """

    files: list[Path] = field(default_factory=list)
    written: list[Path] = field(default_factory=list)
    removed: list[Path] = field(default_factory=list)
    problems: dict[str, list[str]] = field(default_factory=dict)
    skipped: list[str] = field(default_factory=list)


class Work:
    """What `export` does; `done` is called with every unit that was made."""

    def __init__(self, logdir: Path, out: Path, options: Options, progress: Progress) -> None:
        self.report = ExportReport()
        self._logdir, self._out, self._options, self._progress = logdir, out, options, progress
        last = manifests.load(out)
        self._last = last or Manifest(complete=True)
        # After an export that was cut off, what lies in the way may well be its own.
        self._owned = frozenset(self._last.files) if self._last.complete else None
        self._asked = manifests.asked(options.to_json())
        self._now = Manifest(options=options.to_json(), versions=manifests.versions())
        self._began = False
        self._total = self._done_units = 0
        self._known: set[str] = set()
        self._shown: dict[str, dict[str, list[Entry]]] = {}  # run → unit → what it shows

    # ------------------------------------------------------------------------------------------------ the runs

    def read_and_make(self, chosen: dict[str, Path], workers: Workers) -> None:
        """Reads the runs that have changed, and makes what has changed in them."""
        folders = run_folders(chosen, self._logdir.resolve().name)
        for number, (run, folder) in enumerate(chosen.items()):
            sources = manifests.sources_of(folder)
            entry = RunEntry(folders[run], sources, self._asked)
            last = self._last.runs.get(run)
            if last is not None and self._is_unchanged(last, entry):
                self._now.runs[run] = last
                self._now.keep(self._last, last.paths())
                continue
            self._say(f"reading {run}")
            self._read(run, folder, entry, workers, left=len(chosen) - number)
        if all(entry.summary is None for entry in self._now.runs.values()):
            raise NothingToShowError(_why_nothing(self._logdir, self._now, self._known, self._options))
        workers.wait()
        for run in self._now.runs:
            self._note_files_of_tags(run)

    def _is_unchanged(self, last: RunEntry, now: RunEntry) -> bool:
        same = (last.folder, last.sources, last.asked) == (now.folder, now.sources, now.asked)
        return same and self._last.holds(self._out, last.paths())

    def _read(self, run: str, folder: Path, entry: RunEntry, workers: Workers, left: int) -> None:
        history = read_run(folder, run=run)
        self._known |= set(history.class_lists)
        found = entries(history, self._options)
        entry.problems = list(history.problems)
        self._now.runs[run] = entry
        if not found or _lacks_attributes(found, self._options):
            return
        self._begin()
        entry.summary = summary(history, found)
        fingerprints = {e: fingerprint(e.of(history)) for e in found}
        for e, of_entry in fingerprints.items():
            entry.tags.setdefault(e.kind, {})[e.tag] = {"fingerprint": of_entry, "files": []}
        pending = []
        planned = units(history, found, self._options)
        self._shown[run] = {unit.name: list(unit.entries) for unit in planned}
        for unit in planned:
            key = unit.key(fingerprints, manifests.versions_for(unit.maker))
            entry.units[unit.name] = UnitEntry(key)
            if not self._reuse(run, unit, entry):
                pending.append(unit)
        self._make(history, pending, entry, workers, left)

    def _reuse(self, run: str, unit: Unit, entry: RunEntry) -> bool:
        """Keeps the files of a unit that has not changed since the last export."""
        last = self._last.runs.get(run)
        made = last.units.get(unit.name) if last is not None else None
        now = entry.units[unit.name]
        if last is None or made is None:
            return False
        if last.folder == entry.folder and made.key == now.key and self._last.holds(self._out, made.files):
            now.files = made.files
            self._now.keep(self._last, made.files)
        return bool(now.files)

    def _make(self, history: History, pending: list[Unit], entry: RunEntry, workers: Workers, left: int) -> None:
        size = sum(size for size, _ in entry.sources.values()) / _BYTES_A_FIGURE
        if pending:
            workers.start(jobs_for(left * (size + sum(unit.weight for unit in pending)), self._options.jobs))
        self._total += len(pending)
        for unit in sorted(pending, key=lambda unit: -unit.weight):
            self._say(f"{history.run}: {unit.name}")
            workers.submit(task_of(unit, history, entry.folder, self._out, self._owned))

    def done(self, task: Task, result: Result) -> None:
        """Takes in what became of a unit.

        Raises:
            OSError: a file could not be written.
        """
        run = task.history.run
        entry = self._now.runs[run]
        unit = entry.units[task.unit.name]
        if result.errno:
            raise OSError(result.errno, os.strerror(result.errno), result.problem)
        foreign = [written for written in result.written if written.foreign]
        if result.problem or foreign:
            unit.key, entry.sources = "", {}
        if result.problem:
            self.report.problems.setdefault(run, []).append(result.problem)
            self._keep_last(run, task.unit, unit)
        for written in result.written:
            self._take(written, unit, run)
        self._done_units += 1
        self._say(f"{run}: {task.unit.name}")

    def _keep_last(self, run: str, unit: Unit, entry: UnitEntry) -> None:
        """What failed leaves its last files in place."""
        last = self._last.runs.get(run)
        made = last.units.get(unit.name) if last is not None else None
        entry.files = made.files if made is not None else []
        self._now.keep(self._last, entry.files)

    def _take(self, written: Written, unit: UnitEntry, run: str) -> None:
        if written.foreign:
            said = f"{written.path} is a file of another; it was left alone: move it, or choose another directory"
            self.report.problems.setdefault(run, []).append(said)
            return
        unit.files.append(written.path)
        self._now.note(written)
        if written.changed:
            self.report.written.append(self._out / written.path)

    def _begin(self) -> None:
        """Before the first file: says in the manifest that an export is under way."""
        if self._began:
            return
        self._began = True
        writable_directory(self._out, "out")
        begun = Manifest(False, self._last.options, self._last.versions, self._last.runs, self._last.shared)
        begun.files = self._last.files
        begun.save(self._out)

    def _note_files_of_tags(self, run: str) -> None:
        entry = self._now.runs[run]
        if self._last.runs.get(run) is entry:
            return
        for name, shown in self._shown.pop(run, {}).items():
            for e in shown:
                of_tag = entry.tags[e.kind][e.tag]
                of_tag["files"] = sorted({*of_tag["files"], *entry.units[name].files})

    # ------------------------------------------------------------------------------------------ all runs together

    def finish(self, chosen: dict[str, Path]) -> None:
        """Writes what belongs to all runs, removes what is stale, and closes the manifest."""
        if "json" in self._options.formats:
            self._say(ALL_METRICS)
            self._share(ALL_METRICS, self._key_of_all(), lambda: all_metrics(self._parts()))
        if "html" in self._options.formats:
            self._say(REPORT)
            shown = {run: entry for run, entry in self._now.runs.items() if entry.summary is not None}
            key = report_key(shown, self._now.files)
            self._share(REPORT, key, lambda: report_page(self._out, shown, chosen))
        self._remove_stale()
        for run, entry in self._now.runs.items():
            if entry.summary is None:
                self.report.skipped.append(run)
            self.report.problems[run] = [*entry.problems, *self.report.problems.get(run, [])]
        self.report.problems = {run: found for run, found in self.report.problems.items() if found}
        self.report.files = sorted(self._out / path for path in self._now.files)
        self._now.complete = True
        if self._began or self._now != self._last:
            self._begin()
            self._now.save(self._out)
        self._say("done")

    def _share(self, name: str, key: str, content: Callable[[], Iterable[bytes]]) -> None:
        last = self._last.shared.get(name)
        if last is not None and last.key == key and self._last.holds(self._out, last.files):
            self._now.shared[name] = last
            self._now.keep(self._last, last.files)
            return
        self._begin()
        entry = self._now.shared[name] = UnitEntry(key)
        self._take(write_whole(self._out, name, content(), self._owned), entry, "all runs")

    def _key_of_all(self) -> str:
        return "".join(
            self._now.files[path]["sha256"] for parts in self._json_files().values() for path in parts.values()
        )

    def _json_files(self) -> dict[str, dict[str, str]]:
        """Run → part → the file that holds it."""
        found: dict[str, dict[str, str]] = {}
        for run, entry in self._now.runs.items():
            parts = {"run": "json/run", **{area: f"json/{area}" for area in EXPORTED_AREAS}}
            made = {part: entry.units[name].files for part, name in parts.items() if name in entry.units}
            found[run] = {part: files[0] for part, files in made.items() if files}
        return {run: parts for run, parts in found.items() if parts}

    def _parts(self) -> dict[str, dict[str, Callable[[], Iterator[bytes]]]]:
        return {
            run: {part: _reading(self._out / path) for part, path in parts.items()}
            for run, parts in self._json_files().items()
        }

    def _remove_stale(self) -> None:
        for path in sorted(self._last.files.keys() - self._now.files.keys()):
            self._begin()
            known = self._last.files[path]
            if remove_ours(self._out, path, known["bytes"], known["sha256"]):
                self.report.removed.append(self._out / path)

    def _say(self, what: str) -> None:
        self._progress(self._done_units, self._total, what)


def _reading(path: Path) -> Callable[[], Iterator[bytes]]:
    def pieces() -> Iterator[bytes]:
        with path.open("rb") as file:
            while piece := file.read(2**20):
                yield piece

    return pieces


def _lacks_attributes(found: list[Entry], options: Options) -> bool:
    """Whether attributes were asked for of which the run has none."""
    return options.attributes is not None and not any(entry.attribute for entry in found)


def _why_nothing(logdir: Path, found: Manifest, known: set[str], options: Options) -> str:
    where = f"nothing to show in {str(logdir)!r}"
    if options.attributes is not None and known:
        there = ", ".join(map(repr, sorted(known)[:10]))
        return f"{where}: no run has an attribute in {list(options.attributes)}; there are {there}"
    damage = "".join(f"; {problem}" for entry in found.runs.values() for problem in entry.problems[:3])
    what = "anything" if options.only is None and options.attributes is None else "anything that was asked for"
    return f"{where}: its event files do not hold {what}{damage}"
