"""The table of all runs, as `tbmetrics table` makes it, for the leaderboard."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple, TypeAlias

from tbmetrics.classes.rules import GroupRule
from tbmetrics.comparing.steps import RecordedRun
from tbmetrics.comparing.tables import RunTable, TableCell, TableRow
from tbmetrics.comparing.tabulating import FAMILY, FREQUENCY, GROUPINGS, table_of_runs
from tbmetrics.comparing.validations import Validation, evaluation_name, evaluation_of
from tbmetrics.errors import InputError
from tbmetrics.records import ALL, FloatArray, SchemaError
from tbmetrics_longtail.comparison import by_family, means_of, validation
from tbmetrics_longtail.data import Attribute
from tbmetrics_longtail.hparams import HParams
from tbmetrics_longtail.tables import GROUP_TABLE, RequestError, or_null, shown

Json: TypeAlias = dict[str, Any]


class TableQuery(NamedTuple):
    """What a table is to show.

    Attributes:
        metric: the mean over classes.
        step: of all runs, "last" or "best" of each, or None for the last that all have.
        experiments: of runs that share a row; a run that is not in it has its own.
        by: "frequency" or "family".
        bounds: of head and tail, instead of the recorded groups.
    """

    metric: str
    step: int | str | None = None
    experiments: Mapping[str, str] = MappingProxyType({})
    by: str = FREQUENCY
    bounds: GroupRule | None = None


def run_table(
    runs: Mapping[str, Attribute], query: TableQuery, hparams: Mapping[str, HParams], unreadable: Mapping[str, str]
) -> Json:
    """The table of these runs, its text in three formats, and the hyperparameters of each row.

    Args:
        runs: that can be read, as far as is known.
        query: what to show.
        hparams: by run.
        unreadable: of other runs, the reason by name; a note says so.

    Raises:
        RequestError: what is asked for is unknown, or no run has it.
    """
    check_grouping(query.by)
    measured = _measured(runs, query.metric)
    shown_runs = {run: a for run, a in measured.items() if query.by == FREQUENCY or a.class_list.families}
    lacking = {query.metric: [r for r in runs if r not in measured]}
    lacking["families"] = [r for r in measured if r not in shown_runs]
    recorded, damaged = _readable(shown_runs, query, {*runs, *unreadable})
    try:
        table = table_of_runs(
            recorded,
            step=query.step,
            experiment_of=lambda run: query.experiments.get(run, run),
            left_out=lacking,
            unreadable={**unreadable, **damaged},
        )
    except InputError as error:
        raise RequestError(str(error), getattr(error, "hint", "choose another step")) from error
    return _to_json(table, query.by == FREQUENCY, hparams)


def check_grouping(by: str) -> None:
    """Check what classes are grouped by.

    Raises:
        RequestError: it is unknown.
    """
    if by not in GROUPINGS:
        raise RequestError(f"by={shown(by)} is unknown", f"use one of {', '.join(GROUPINGS)}")


def _measured(runs: Mapping[str, Attribute], metric: str) -> dict[str, Attribute]:
    """The runs that have the metric.

    Raises:
        RequestError: none has it.
    """
    measured = {run: attribute for run, attribute in runs.items() if metric in means_of(attribute)}
    if runs and not measured:
        known = dict.fromkeys(m for attribute in runs.values() for m in means_of(attribute))
        raise RequestError(f"metric {shown(metric)} is no mean over classes", f"use one of {', '.join(known)}")
    return measured


def _readable(
    runs: Mapping[str, Attribute], query: TableQuery, names: Container[str]
) -> tuple[list[RecordedRun], dict[str, str]]:
    """The runs whose groups can be read, and the reasons of the others."""
    readable, reasons = [], dict[str, str]()
    for run, attribute in runs.items():
        try:
            readable.append(_recorded(run, attribute, query, names))
        except (RequestError, SchemaError) as error:
            reasons[run] = str(error)
    return readable, reasons


def _recorded(run: str, attribute: Attribute, query: TableQuery, names: Container[str]) -> RecordedRun:
    tag, series = attribute.tag(GROUP_TABLE), attribute.series(GROUP_TABLE)
    evaluation = evaluation_of(run, names, attribute.class_list.evaluation)

    def overall() -> FloatArray:
        means: FloatArray = series.values[:, tag.rows.index(ALL), tag.column_index(query.metric)].astype(float)
        return means

    def at(step: int) -> Validation:
        bounds = None if query.by == FAMILY else query.bounds
        recorded = validation(attribute, evaluation, step, query.metric, bounds)
        return by_family(attribute, recorded) if query.by == FAMILY else recorded

    return RecordedRun(run, series.steps.tolist(), overall, at, evaluation)


def _to_json(table: RunTable, by_frequency: bool, hparams: Mapping[str, HParams]) -> Json:
    return {
        "attribute": table.attribute,
        "metric": table.metric,
        "columns": list(table.columns),
        "by_frequency": by_frequency,
        "sizes": [table.sizes.get(column) for column in table.columns],
        "rows": [_row(row, hparams) for row in table.rows],
        "notes": list(table.notes),
        "texts": {"markdown": table.markdown(), "latex": table.latex(), "csv": table.csv()},
    }


def _row(row: TableRow, hparams: Mapping[str, HParams]) -> Json:
    return {
        "name": row.name,
        "evaluation": evaluation_name(row.evaluation),
        "runs": list(row.runs),
        "steps": list(row.steps),
        "cells": [_cell(cell) for cell in row.cells.values()],
        "hparams": _in_common([hparams.get(run, {}) for run in row.runs]),
    }


def _cell(cell: TableCell) -> Json:
    ends = {name: or_null(getattr(cell, name)) for name in ("mean", "lower", "upper", "deviation")}
    return {**ends, "n_classes": cell.n_classes, "mark": cell.mark}


def _in_common(settings: Sequence[Mapping[str, Any]]) -> list[list[Any]]:
    """The hyperparameters that all runs of a row have alike, as [name, value]."""
    first, *others = settings
    return [[name, value] for name, value in first.items() if all(o.get(name) == value for o in others)]
