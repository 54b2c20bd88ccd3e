"""Runs as a table reads them, and the step at which each is shown."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tbmetrics.comparing.validations import Validation, evaluation_name
from tbmetrics.errors import InputError
from tbmetrics.records import FloatArray

#: Steps that are chosen run by run.
LAST, BEST = "last", "best"
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
        evaluation: name of the evaluation that the run holds, such as "test"; empty for the validation.
    """

    name: str
    steps: Sequence[int]
    overall: Callable[[], FloatArray]
    at: Callable[[int], Validation]
    evaluation: str = ""

    def best_step(self) -> int:
        """The first step with the highest mean over all classes; the last step if no mean is defined."""
        means = self.overall()
        return self.steps[-1] if np.isnan(means).all() else self.steps[int(np.nanargmax(means))]


@dataclass(frozen=True, slots=True)
class ChosenSteps:
    """The step of each run by its name, and what is said of them.

    Attributes:
        by_run: the steps.
        notes: sentences.
        without_common: evaluations whose runs were to have a common step and have none.
    """

    by_run: Mapping[str, int]
    notes: Sequence[str]
    without_common: frozenset[str] = frozenset()


def choose_steps(runs: Sequence[RecordedRun], step: int | str | None) -> ChosenSteps:
    """The step at which each run is shown.

    Args:
        runs: of the table; at least one.
        step: a step, "last" or "best" of each run, or None for the last that all runs of an evaluation have.

    Raises:
        InputError: no run with that step, or another text.
    """
    if step is None:
        return _common_steps(runs)
    if step == LAST:
        return _by_run({run.name: run.steps[-1] for run in runs}, "Each run is at its last step")
    if step == BEST:
        note = "Each run is at the step of its highest mean over all classes, chosen on the samples it is judged on"
        return _by_run({run.name: run.best_step() for run in runs}, note)
    if not isinstance(step, int):
        raise InputError(f"step must be a number, {LAST!r} or {BEST!r}, got {step!r}")
    return _one_step(runs, step)


def _common_steps(runs: Sequence[RecordedRun]) -> ChosenSteps:
    """Of each evaluation on its own: a test set is seldom evaluated as often as the validation."""
    names = sorted({run.evaluation for run in runs})
    chosen = {name: _common_step([run for run in runs if run.evaluation == name]) for name in names}
    notes = [
        f"{evaluation_name(name).capitalize()}: {note[0].lower()}{note[1:]}" if len(names) > 1 else note
        for name, steps in chosen.items()
        for note in steps.notes
    ]
    by_run = {run: step for steps in chosen.values() for run, step in steps.by_run.items()}
    return ChosenSteps(by_run, notes, frozenset().union(*(steps.without_common for steps in chosen.values())))


def _common_step(runs: Sequence[RecordedRun]) -> ChosenSteps:
    """Of the runs of one evaluation."""
    common = set(runs[0].steps).intersection(*(run.steps for run in runs))
    if not common:
        last = _by_run({run.name: run.steps[-1] for run in runs}, "No step is common to all: each run is at its last")
        notes = [*last.notes, "Nothing is marked, as the steps differ."]
        return ChosenSteps(last.by_run, notes, frozenset({runs[0].evaluation}))
    step = max(common)
    ending = [run.name for run in runs if run.steps[-1] == step]
    note = f"Step {step:,}, the last that all {len(runs):,} runs have." if len(runs) > 1 else f"Step {step:,}."
    if 0 < len(ending) < len(runs):
        note += f" {listed(ending)} {'ends' if len(ending) == 1 else 'end'} there."
    return ChosenSteps(dict.fromkeys((run.name for run in runs), step), [note])


def _by_run(by_run: Mapping[str, int], note: str) -> ChosenSteps:
    lowest, highest = min(by_run.values()), max(by_run.values())
    span = f"step {lowest:,}" if lowest == highest else f"steps {lowest:,} to {highest:,}"
    return ChosenSteps(by_run, [f"{note}: {span}."])


def _one_step(runs: Sequence[RecordedRun], step: int) -> ChosenSteps:
    lacking = [run.name for run in runs if step not in run.steps]
    if len(lacking) == len(runs):
        nearest = sorted({s for run in runs for s in run.steps}, key=lambda s: abs(s - step))[:5]
        raise InputError(f"no run has a validation at step {step}; the nearest are {sorted(nearest)}")
    by_run = {run.name: step for run in runs if step in run.steps}
    notes = [f"Step {step:,}."] + ([f"Without that step, and left out: {listed(lacking)}."] if lacking else [])
    return ChosenSteps(by_run, notes)


def listed(names: Sequence[str], shown: Callable[[str], str] = repr) -> str:
    """The names, or the first of them and how many more there are."""
    more = f" and {len(names) - _NAMED:,} more" if len(names) > _NAMED else ""
    return ", ".join(map(shown, names[:_NAMED])) + more
