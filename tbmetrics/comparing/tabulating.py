"""The table of the paper from recorded runs: at which step each is shown, over which classes, and what limits it."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType

import numpy as np

from tbmetrics.classes.groups import PARTITION
from tbmetrics.comparing.marking import marked
from tbmetrics.comparing.seeds import experiments, seed_pattern
from tbmetrics.comparing.steps import ChosenSteps, RecordedRun, choose_steps, listed
from tbmetrics.comparing.tables import RunTable, TableCell, TableRow
from tbmetrics.comparing.validations import (
    GroupMean,
    Validation,
    by_family,
    evaluation_of,
    group_tables,
    recorded_means,
    validation,
)
from tbmetrics.errors import InputError
from tbmetrics.records import ALL, GAP, HEAD, TAIL, FloatArray, IntArray, SchemaError, mean_metrics
from tbmetrics.records.history import History
from tbmetrics.statistics.student import deviation, mean_interval

#: What classes are grouped by.
GROUPINGS = FREQUENCY, FAMILY = "frequency", "family"
_SPREAD_OF_RUN = "Intervals of single runs: 95 %, of these validation samples; another seed may differ by more."


def table_of_histories(
    histories: Mapping[str, History],
    *,
    attribute: str | None = None,
    metric: str = "recall",
    by: str = FREQUENCY,
    step: int | str | None = None,
    seeds: str = "",
) -> RunTable:
    """The table of the runs that have validations of an attribute.

    Args:
        histories: the runs by name.
        attribute: may be left out if the runs have a single one.
        metric: a mean over classes that runs recorded.
        by: "frequency" (head, medium, tail) or "family".
        step: as for `table_of_runs`.
        seeds: a pattern that takes the seed out of a run's name, see `seed_pattern`.

    Raises:
        InputError: an unknown attribute, metric or step, no families, or a pattern that is none.
    """
    if by not in GROUPINGS:
        raise InputError(f"runs are grouped by {' or '.join(map(repr, GROUPINGS))}, got {by!r}")
    attribute = _attribute(histories.values(), attribute)
    validated = {run: history for run, history in histories.items() if _has_validations(history, attribute)}
    measured = {run: history for run, history in validated.items() if metric in _metrics(history, attribute)}
    if validated and not measured:
        known = dict.fromkeys(m for history in validated.values() for m in _metrics(history, attribute))
        raise InputError(f"metric {metric!r} is unknown; use one of {', '.join(known)}")
    shown = {r: h for r, h in measured.items() if by == FREQUENCY or h.class_lists[attribute].families}
    if measured and not shown:
        raise InputError(f"no run has families of {attribute!r}; give them in training, as ClassGroups(…, families=…)")
    runs = [_recorded(run, history, attribute, metric, by, histories) for run, history in shown.items()]
    lacking = {metric: [r for r in validated if r not in measured], "families": [r for r in measured if r not in shown]}
    return table_of_runs(runs, step=step, experiment_of=seed_pattern(seeds), left_out=lacking)


def _attribute(histories: Iterable[History], name: str | None) -> str:
    """The attribute called `name`, or the only one."""
    names = sorted({attribute for history in histories for attribute in history.class_lists})
    if name is None and len(names) == 1:
        return names[0]
    if name is None or name not in names:
        reason = "no single attribute; choose one with --attribute" if name is None else f"no {name!r}"
        raise InputError(f"the runs have {reason}: there are {', '.join(map(repr, names)) or 'none'}")
    return name


def _has_validations(history: History, attribute: str) -> bool:
    try:
        return bool(len(group_tables(history, attribute)))
    except InputError:
        return False


def _metrics(history: History, attribute: str) -> tuple[str, ...]:
    return mean_metrics(group_tables(history, attribute)[-1].columns)


def _recorded(run: str, history: History, attribute: str, metric: str, by: str, runs: Container[str]) -> RecordedRun:
    tables = group_tables(history, attribute)
    evaluation = evaluation_of(run, runs, history.class_lists[attribute].evaluation)

    def overall() -> FloatArray:
        means = (recorded_means(t.rows, t.columns, t.values, metric) for t in tables)
        return np.array([mean[ALL].value for mean in means])

    def at(step: int) -> Validation:
        recorded = validation(history, attribute, metric, step, evaluation)
        return by_family(history, recorded) if by == FAMILY else recorded

    return RecordedRun(run, tables.steps.tolist(), overall, at, evaluation)


@dataclass(frozen=True)
class _Experiment:
    """The validations of one row by run."""

    name: str
    evaluation: str
    validations: Mapping[str, Validation]

    @cached_property
    def classes(self) -> frozenset[tuple[tuple[str, ...], tuple[str, ...], str]]:
        """The different lists of classes, with their groups, of its runs."""
        return frozenset((v.names, v.groups, v.decision) for v in self.validations.values())


def table_of_runs(
    runs: Sequence[RecordedRun],
    *,
    step: int | str | None = None,
    experiment_of: Callable[[str], str] = str,
    left_out: Mapping[str, Sequence[str]] = MappingProxyType({}),
    unreadable: Mapping[str, str] = MappingProxyType({}),
) -> RunTable:
    """The table of these runs; only runs of one evaluation are compared.

    Args:
        runs: of one attribute and metric, in the order of the rows.
        step: a step, "last" or "best" of each run, or None for the last that all of an evaluation have.
        experiment_of: from a run's name to that of its row.
        left_out: names of other runs by what they lack; a note says so.
        unreadable: of other runs that cannot be read, the reason by name; a note says so.

    Raises:
        InputError: no runs, none that can be read, or no run with that step.
    """
    steps = choose_steps(runs, step) if runs else None
    validations, reasons = _read(runs, steps) if steps else ({}, {})
    reasons = {**unreadable, **reasons}
    if steps is None or not validations:
        raise InputError(_unread(reasons) if reasons else "no run has a validation of that attribute yet")
    folded = _folded({run.name: run.evaluation for run in runs}, validations, experiment_of)
    columns, judged = _columns(validations.values()), _comparable(folded)
    rows = [_row(experiment, columns) for experiment in folded]
    notes = [*steps.notes, *_notes_on_spread(rows), *_notes_on_classes(folded, judged)]
    notes += _notes_on_defined(rows, folded)
    rows, basis = marked(
        rows,
        [tuple(e.validations.values()) for e in folded],
        [e in judged and e.evaluation not in steps.without_common for e in folded],
    )
    notes += basis
    notes += [f"Without {what}, and left out: {listed(names)}." for what, names in left_out.items() if names]
    notes += [f"Left out: {_unread(reasons)}."] if reasons else []
    first = next(iter(validations.values()))
    sizes = _sizes(first) if len({e.classes for e in folded}) == len(folded[0].classes) == 1 else {}
    of_columns = {c: sizes[c] for c in columns if c in sizes and c != GAP}
    return RunTable(first.attribute, first.metric, columns, of_columns, tuple(rows), tuple(notes))


def _read(runs: Iterable[RecordedRun], steps: ChosenSteps) -> tuple[dict[str, Validation], dict[str, str]]:
    """The validation of each run at its step, and the reasons of those that cannot be read."""
    validations, reasons = dict[str, Validation](), dict[str, str]()
    for run in runs:
        if run.name in steps.by_run:
            try:
                validations[run.name] = run.at(steps.by_run[run.name])
            except (InputError, SchemaError) as error:
                reasons[run.name] = str(error)
    return validations, reasons


def _unread(reasons: Mapping[str, str]) -> str:
    """Which runs cannot be read, and why."""
    return listed([f"{run!r} cannot be read ({reason})" for run, reason in reasons.items()], str)


def _folded(
    evaluations: Mapping[str, str], validations: Mapping[str, Validation], experiment_of: Callable[[str], str]
) -> list[_Experiment]:
    """The rows, those of the validation first; the runs of an experiment are of one evaluation."""
    folded = []
    for evaluation in sorted({evaluations[run] for run in validations}):
        members = [run for run in validations if evaluations[run] == evaluation]
        for name, names in experiments(members, experiment_of).items():
            folded.append(_Experiment(name, evaluation, {run: validations[run] for run in names}))
    return folded


# ------------------------------------------------------------------------------------------------ rows, columns


def _columns(validations: Iterable[Validation]) -> tuple[str, ...]:
    """The groups that have classes in some run, all, and the gap between head and tail."""
    runs = list(validations)
    present = {group for run in runs for group in run.groups}
    groups = dict.fromkeys(group for run in runs for group in run.partition if group in present)
    gap = (GAP,) if runs[0].partition == PARTITION and {HEAD, TAIL} <= present else ()
    return (*groups, ALL, *gap)


def _row(experiment: _Experiment, columns: Sequence[str]) -> TableRow:
    validations = experiment.validations
    counts = [_defined(v) for v in validations.values()]
    cells = {c: _cell([v.mean(c) for v in validations.values()], min(n[c] for n in counts), c) for c in columns}
    steps = tuple(v.step for v in validations.values())
    return TableRow(experiment.name, tuple(validations), steps, cells, experiment.evaluation)


def _cell(means: Sequence[GroupMean], n_classes: int, column: str) -> TableCell:
    """Of one run as recorded, of several the mean over them."""
    if len(means) == 1:
        return TableCell(*means[0], deviation=math.nan, n_classes=n_classes)
    values = [mean.value for mean in means]
    lowest = -1.0 if column == GAP else 0.0
    lower, upper = mean_interval(values)
    return TableCell(float(np.mean(values)), max(lower, lowest), min(upper, 1.0), deviation(values), n_classes)


def _defined(run: Validation) -> Mapping[str, int]:
    """Number of classes with a value in each column."""
    return _counted(run, run.group_indices[~np.isnan(run.values)])


def _sizes(run: Validation) -> Mapping[str, int]:
    """Number of classes in each column."""
    return _counted(run, run.group_indices)


def _counted(run: Validation, group_indices: IntArray) -> Mapping[str, int]:
    sizes = np.bincount(group_indices, minlength=len(run.partition)).tolist()
    counts = Counter({group: size for group, size in zip(run.partition, sizes, strict=True) if size})
    return Counter({**counts, ALL: counts.total(), GAP: counts[HEAD] + counts[TAIL]})


# ------------------------------------------------------------------------------------------------------- notes


def _comparable(folded: Sequence[_Experiment]) -> list[_Experiment]:
    """The experiments with the classes and groups that most of their evaluation have."""
    comparable = []
    for evaluation in dict.fromkeys(e.evaluation for e in folded):
        counts = Counter(e.classes for e in folded if e.evaluation == evaluation and len(e.classes) == 1)
        usual = counts.most_common(1)[0][0] if counts else None
        comparable += [e for e in folded if e.evaluation == evaluation and e.classes == usual]
    return comparable


def _notes_on_spread(rows: Sequence[TableRow]) -> list[str]:
    is_one = any(len(row.runs) == 1 for row in rows)
    notes = [_SPREAD_OF_RUN] if is_one else []
    if any(len(row.runs) > 1 for row in rows):
        notes.append("±: standard deviation over the runs of an experiment; intervals of experiments: 95 %, t.")
    return notes


def _notes_on_classes(folded: Sequence[_Experiment], judged: Sequence[_Experiment]) -> list[str]:
    others = [experiment.name for experiment in folded if experiment not in judged]
    if not others:
        return []
    return [f"Other classes or groups, and so not compared with the rest: {listed(others)}."]


def _notes_on_defined(rows: Sequence[TableRow], folded: Sequence[_Experiment]) -> list[str]:
    """Where means leave out classes of their group that have no value."""
    partial = []
    for row, experiment in zip(rows, folded, strict=True):
        sizes = _sizes(next(iter(experiment.validations.values())))
        partial += [
            f"{cell.n_classes:,} of {sizes[c]:,} classes of {c} in {row.name!r}"
            for c, cell in row.cells.items()
            if c not in (ALL, GAP) and cell.n_classes < sizes[c]
        ]
    return [f"Means are over the classes with a value: {listed(partial, str)}."] if partial else []
