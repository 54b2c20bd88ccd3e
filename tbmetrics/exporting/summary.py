"""What the page says of a run at a glance, as plain JSON values, and the classes that moved most between two runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tbmetrics.comparing.runs import RunComparison, compare_runs
from tbmetrics.errors import InputError
from tbmetrics.events.reader import read_run
from tbmetrics.exporting.contents import CLASS_LISTS, SCALARS, TABLES, TEXTS, Entry
from tbmetrics.records import GROUP_ROWS, MEAN_METRICS, ClassList, group_table_tag
from tbmetrics.records.history import History, to_jsonable

MOVER_METRIC = "f1"
_LAST_VALUES = 24
_TEXT_CHARACTERS = 20_000


def summary(history: History, found: list[Entry]) -> dict[str, Any]:
    """Steps, duration, groups, hyperparameters, last values of a run's own scalars, and its texts."""
    series = [entry.of(history) for entry in found if entry.kind != CLASS_LISTS]
    steps = [int(s.steps[-1]) for s in series]
    began = min((float(s.wall_times[0]) for s in series), default=None)
    ended = max((float(s.wall_times[-1]) for s in series), default=None)
    lists: list[ClassList] = [entry.of(history) for entry in found if entry.kind == CLASS_LISTS]
    own = [entry for entry in found if entry.area == "other" and not entry.tag.startswith("tbmetrics/")]
    scalars = {e.tag: e.of(history)[-1] for e in own if e.kind == SCALARS}
    return {
        "points": sum(len(s) for s in series),
        "last_step": max(steps, default=None),
        "began": began,
        "ended": ended,
        "hparams": to_jsonable(dict(history.hparams.hparams)) if history.hparams else {},
        "attributes": {c.attribute: _attribute(history, c) for c in lists},
        "last_values": to_jsonable(dict(list(scalars.items())[:_LAST_VALUES])),
        "texts": {e.tag: e.of(history)[-1].markdown[:_TEXT_CHARACTERS] for e in found if e.kind == TEXTS},
        "tables": sorted(e.tag for e in found if e.kind == TABLES),
    }


def _attribute(history: History, classes: ClassList) -> dict[str, Any]:
    found: dict[str, Any] = {"classes": len(classes.names), "rule": classes.rule, "step": None, "groups": {}}
    tables = history.tables.get(group_table_tag(classes.attribute))
    if tables is None or not len(tables):
        return found
    last = tables[-1]
    found |= {"step": int(tables.steps[-1]), "validations": len(tables)}
    for group in (g for g in GROUP_ROWS if g in last.rows and (g in classes.groups or g not in ("unknown",))):
        row = last.values[last.rows.index(group)]
        wanted = [f"{metric}{end}" for metric in MEAN_METRICS for end in ("", "_lower", "_upper")]
        values = {name: float(row[last.columns.index(name)]) for name in (*wanted, "n_classes") if name in last.columns}
        if any(value == value for name, value in values.items() if name != "n_classes"):
            found["groups"][group] = to_jsonable(values)
    return found


def movers(runs: dict[str, Path], attributes: dict[str, list[str]]) -> list[RunComparison]:
    """The first two runs compared, one comparison for each attribute that both have; none where there is none.

    Args:
        runs: directory by name.
        attributes: of each run.
    """
    if len(runs) < 2:
        return []
    first, second = list(runs)[:2]
    common = [name for name in attributes[first] if name in attributes[second]]
    if not common:
        return []
    a, b = (read_run(runs[run], run=run) for run in (first, second))
    found = []
    for attribute in common:
        try:
            found.append(compare_runs(a, b, attribute=attribute, metric=MOVER_METRIC))
        except InputError:
            continue  # one of them has no validation yet
    return found
