"""The table of the paper from recorded runs: at which step each is shown, over which classes, and what limits it."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from tbmetrics.classes.groups import PARTITION
from tbmetrics.comparing.marking import marked
from tbmetrics.comparing.seeds import experiments, seed_pattern
from tbmetrics.comparing.tables import RunTable, TableCell, TableRow
from tbmetrics.comparing.validations import GroupMean, Validation, by_family, group_tables, recorded_means, validation
from tbmetrics.errors import InputError
from tbmetrics.records import ALL, GAP, HEAD, TAIL, FloatArray, mean_metrics
from tbmetrics.records.history import History
from tbmetrics.statistics.student import deviation, mean_interval

#: Steps that are chosen run by run.
LAST, BEST = "last", "best"
#: What classes are grouped by.
GROUPINGS = FREQUENCY, FAMILY = "frequency", "family"
#: Names that a note lists before it says how many more there are.
_NAMED = 5


@dataclass(frozen=True, slots=True, eq=False)
class RecordedRun:
    """One attribute and metric of one run, as a table reads it.

    Attributes:
        name: of the run.
        steps: of its validations, ascending; at least one.
        overall: the mean over all classes at each step, (steps,).
        at: the validation at a step.
    """

    name: str
    steps: Sequence[int]
    overall: Callable[[], FloatArray]
    at: Callable[[int], Validation]

    def best_step(self) -> int:
        """The first step with the highest mean over all classes; the last step if no mean is defined."""
        means = self.overall()
        return self.steps[-1] if np.isnan(means).all() else self.steps[int(np.nanargmax(means))]


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
    runs = [_recorded(run, history, attribute, metric, by) for run, history in shown.items()]
    result = table_of_runs(runs, step=step, experiment_of=seed_pattern(seeds))
    lacking = {metric: [r for r in validated if r not in measured], "families": [r for r in measured if r not in shown]}
    notes = [f"Without {what}, and left out: {_listed(names)}." for what, names in lacking.items() if names]
    return replace(result, notes=(*result.notes, *notes))


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


def _recorded(run: str, history: History, attribute: str, metric: str, by: str) -> RecordedRun:
    tables = group_tables(history, attribute)

    def overall() -> FloatArray:
        means = (recorded_means(t.rows, t.columns, t.values, metric) for t in tables)
        return np.array([mean[ALL].value for mean in means])

    def at(step: int) -> Validation:
        recorded = validation(history, attribute, metric, step)
        return by_family(history, recorded) if by == FAMILY else recorded

    return RecordedRun(run, tables.steps.tolist(), overall, at)


@dataclass(frozen=True, slots=True)
class _Experiment:
    """The validations of one row by run."""

    name: str
    validations: Mapping[str, Validation]

    @property
    def classes(self) -> frozenset[tuple[tuple[str, ...], tuple[str, ...], str]]:
        """The different lists of classes, with their groups, of its runs."""
        return frozenset((v.names, v.groups, v.decision) for v in self.validations.values())


@dataclass(frozen=True, slots=True)
class _Steps:
    """The step of each run by its name, and what is said of them."""

    by_run: Mapping[str, int]
    notes: Sequence[str]
    is_alike: bool = True


def table_of_runs(
    runs: Sequence[RecordedRun], *, step: int | str | None = None, experiment_of: Callable[[str], str] = str
) -> RunTable:
    """The table of these runs.

    Args:
        runs: of one attribute and metric, in the order of the rows.
        step: a step, "last" or "best" of each run, or None for the last that all have.
        experiment_of: from a run's name to that of its row.

    Raises:
        InputError: no runs, or no run with that step.
    """
    if not runs:
        raise InputError("no run has a validation of that attribute yet")
    steps = _steps(runs, step)
    validations = {run.name: run.at(steps.by_run[run.name]) for run in runs if run.name in steps.by_run}
    folded = [
        _Experiment(name, {run: validations[run] for run in members})
        for name, members in experiments(validations, experiment_of).items()
    ]
    columns, judged = _columns(validations.values()), _with_usual_classes(folded)
    rows = [_row(experiment, columns) for experiment in folded]
    notes = [*steps.notes, *_notes_on_spread(rows), *_notes_on_classes(folded, judged)]
    notes += _notes_on_defined(rows, folded)
    if steps.is_alike:
        is_judged = [e in judged for e in folded]
        rows, basis = marked(rows, [tuple(e.validations.values()) for e in folded], is_judged)
        notes += basis
    first = next(iter(validations.values()))
    sizes = _sizes(first) if len(judged) == len(folded) else {}
    of_columns = {c: sizes[c] for c in columns if c in sizes and c != GAP}
    return RunTable(first.attribute, first.metric, columns, of_columns, tuple(rows), tuple(notes))


# ------------------------------------------------------------------------------------------------------- steps


def _steps(runs: Sequence[RecordedRun], step: int | str | None) -> _Steps:
    if step is None:
        return _common_step(runs)
    if step == LAST:
        return _by_run({run.name: run.steps[-1] for run in runs}, "Each run is at its last step")
    if step == BEST:
        note = "Each run is at the step of its highest mean over all classes, chosen on the samples it is judged on"
        return _by_run({run.name: run.best_step() for run in runs}, note)
    if not isinstance(step, int):
        raise InputError(f"step must be a number, {LAST!r} or {BEST!r}, got {step!r}")
    return _one_step(runs, step)


def _common_step(runs: Sequence[RecordedRun]) -> _Steps:
    common = set(runs[0].steps).intersection(*(run.steps for run in runs))
    if not common:
        last = _by_run({run.name: run.steps[-1] for run in runs}, "No step is common to all: each run is at its last")
        return _Steps(last.by_run, [*last.notes, "Nothing is marked, as the steps differ."], is_alike=False)
    step = max(common)
    ending = [run.name for run in runs if run.steps[-1] == step]
    note = f"Step {step:,}, the last that all {len(runs):,} runs have." if len(runs) > 1 else f"Step {step:,}."
    if 0 < len(ending) < len(runs):
        note += f" {_listed(ending)} {'ends' if len(ending) == 1 else 'end'} there."
    return _Steps(dict.fromkeys((run.name for run in runs), step), [note])


def _by_run(by_run: Mapping[str, int], note: str) -> _Steps:
    lowest, highest = min(by_run.values()), max(by_run.values())
    span = f"step {lowest:,}" if lowest == highest else f"steps {lowest:,} to {highest:,}"
    return _Steps(by_run, [f"{note}: {span}."])


def _one_step(runs: Sequence[RecordedRun], step: int) -> _Steps:
    lacking = [run.name for run in runs if step not in run.steps]
    if len(lacking) == len(runs):
        nearest = sorted({s for run in runs for s in run.steps}, key=lambda s: abs(s - step))[:5]
        raise InputError(f"no run has a validation at step {step}; the nearest are {sorted(nearest)}")
    by_run = {run.name: step for run in runs if step in run.steps}
    notes = [f"Step {step:,}."] + ([f"Without that step, and left out: {_listed(lacking)}."] if lacking else [])
    return _Steps(by_run, notes)


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
    return TableRow(experiment.name, tuple(validations), tuple(v.step for v in validations.values()), cells)


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
    return _counted(group for group, value in zip(run.groups, run.values.tolist(), strict=True) if value == value)


def _sizes(run: Validation) -> Mapping[str, int]:
    """Number of classes in each column."""
    return _counted(run.groups)


def _counted(groups: Iterable[str]) -> Mapping[str, int]:
    counts = Counter(groups)
    return Counter({**counts, ALL: counts.total(), GAP: counts[HEAD] + counts[TAIL]})


# ------------------------------------------------------------------------------------------------------- notes


def _with_usual_classes(folded: Sequence[_Experiment]) -> list[_Experiment]:
    """The experiments with the classes and groups that most of them have: these can be compared."""
    counts = Counter(experiment.classes for experiment in folded if len(experiment.classes) == 1)
    usual = counts.most_common(1)[0][0] if counts else None
    return [experiment for experiment in folded if experiment.classes == usual]


def _notes_on_spread(rows: Sequence[TableRow]) -> list[str]:
    is_one = any(len(row.runs) == 1 for row in rows)
    notes = (
        ["Intervals of single runs: 95 %, of these validation samples; another seed may differ by more."]
        if is_one
        else []
    )
    if any(len(row.runs) > 1 for row in rows):
        notes.append("±: standard deviation over the runs of an experiment; intervals of experiments: 95 %, t.")
    return notes


def _notes_on_classes(folded: Sequence[_Experiment], judged: Sequence[_Experiment]) -> list[str]:
    others = [experiment.name for experiment in folded if experiment not in judged]
    if not others:
        return []
    return [f"Other classes or groups, and so not compared with the rest: {_listed(others)}."]


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
    return [f"Means are over the classes with a value: {_listed(partial, str)}."] if partial else []


def _listed(names: Sequence[str], shown: Callable[[str], str] = repr) -> str:
    """The names, or the first of them and how many more there are."""
    more = f" and {len(names) - _NAMED:,} more" if len(names) > _NAMED else ""
    return ", ".join(map(shown, names[:_NAMED])) + more
