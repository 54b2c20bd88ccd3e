"""What each route answers, without HTTP: plain JSON values (undefined as None) and bytes."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from tbmetrics.class_groups import UNKNOWN_COUNT
from tbmetrics.records import GROUP_COUNTS, GROUPS, SCHEMA_VERSION, UNKNOWN, SchemaError
from tbmetrics_longtail.comparison import ClassValues, compare
from tbmetrics_longtail.data import (
    CLASSES,
    CONFUSION,
    GROUP_TABLE,
    Attribute,
    Experiment,
    LongTailData,
    RequestError,
    RunTags,
    shown,
)

Json: TypeAlias = dict[str, Any]

#: Columns that stand beside a mean `metric` and come along with it.
COMPANIONS = ("_lower", "_upper", "_n_classes")


class Answers:
    """The answers of the plugin's routes, from the logs behind `data`."""

    def __init__(self, data: LongTailData, logdir: str) -> None:
        self._data = data
        self._logdir = logdir

    def runs(self, experiment: Experiment) -> Json:
        """Every run with long-tail data, in TensorBoard's order, and what was measured in it."""
        found = self._data.run_tags(experiment)
        runs = [self._run(experiment, run, found[run]) for run in sorted(found, key=natural_order)]
        return {"schema_version": SCHEMA_VERSION, "logdir": self._logdir, "runs": runs}

    def groups(self, experiment: Experiment, run: str, attribute: str, metrics: Sequence[str] = ()) -> Json:
        """Group metrics over steps; `metrics` (with their intervals and class counts) or, if none are named, all."""
        found = self._data.attribute(experiment, run, attribute)
        tag = found.tag(GROUP_TABLE)
        chosen = _with_companions(tag.columns, metrics) if metrics else tag.columns
        at = [tag.column_index(column, "metric") for column in chosen]
        series = found.series(GROUP_TABLE)
        _check_rows(tag.name, tag.rows, series.values.shape[1])
        by_row = {
            row: {column: _nullable(series.values[:, r, c]) for column, c in zip(chosen, at, strict=True)}
            for r, row in enumerate(tag.rows)
        }
        axis = {"steps": series.steps.tolist(), "wall_times": _nullable(series.wall_times)}
        return {"run": run, "attribute": attribute, **axis, "groups": by_row}

    def classes(self, experiment: Experiment, run: str, attribute: str) -> Json:
        """The classes of an attribute, in the order of `values`."""
        classes = self._data.attribute(experiment, run, attribute).list
        return {
            "names": list(classes.names),
            "counts": [None if count == UNKNOWN_COUNT else count for count in classes.counts.tolist()],
            "groups": list(classes.groups),
            "rule": classes.rule,
            "decision": classes.decision,
        }

    def values(self, experiment: Experiment, run: str, attribute: str, step: int, columns: Sequence[str]) -> bytes:
        """Columns of the per-class table at one step, one after the other, little-endian float32."""
        found = self._data.attribute(experiment, run, attribute)
        at = [found.tag(CLASSES).column_index(column) for column in columns]
        chosen: NDArray[np.float32] = found.series(CLASSES).at(step)[:, at].T
        return chosen.astype("<f4").tobytes()

    def history(self, experiment: Experiment, run: str, attribute: str, class_: str | int, column: str) -> Json:
        """One column of one class, by name or index, over all steps."""
        found = self._data.attribute(experiment, run, attribute)
        at = found.tag(CLASSES).column_index(column)
        index = _class_index(found, class_)
        series = found.series(CLASSES)
        return {
            "class": found.list.names[index],
            "class_index": index,
            "column": column,
            "steps": series.steps.tolist(),
            "values": _nullable(series.values[:, index, at]),
        }

    def confusion(self, experiment: Experiment, run: str, attribute: str, step: int) -> Json:
        """True group × predicted group at one step."""
        found = self._data.attribute(experiment, run, attribute)
        tag = found.tag(CONFUSION)
        values = found.series(CONFUSION).at(step)
        _check_rows(tag.name, tag.rows, len(values))
        return {"rows": list(tag.rows), "columns": list(tag.columns), "values": _nullable(values)}

    def compare(
        self, experiment: Experiment, a: tuple[str, int], b: tuple[str, int], attribute: str, metric: str
    ) -> Json:
        """Run and step `b` against `a`: means by group over the classes that both have by name."""
        result = compare(*(self._class_values(experiment, *chosen, attribute, metric) for chosen in (a, b)))
        groups = {group: {k: _null(v) for k, v in asdict(of).items()} for group, of in result.groups.items()}
        return {
            "attribute": attribute,
            "metric": metric,
            "groups": groups,
            "n_joined": result.n_joined,
            "n_regrouped": result.n_regrouped,
            "only_in_a": list(result.only_in_a),
            "only_in_b": list(result.only_in_b),
        }

    def _run(self, experiment: Experiment, run: str, tags: RunTags) -> Json:
        attributes, problems = [], list(tags.problems)
        for name in sorted(tags.attributes, key=natural_order):
            try:
                attributes.append(_described(Attribute(self._data, experiment, name, tags.attributes[name])))
            except (RequestError, SchemaError) as error:
                problems.append(str(error))
        return {"run": run, "attributes": attributes} | ({"problem": "; ".join(problems)} if problems else {})

    def _class_values(self, experiment: Experiment, run: str, step: int, attribute: str, metric: str) -> ClassValues:
        found = self._data.attribute(experiment, run, attribute)
        column = found.tag(CLASSES).column_index(metric, "metric")
        values = found.series(CLASSES).at(step)[:, column].astype(np.float64)
        return ClassValues(found.list.names, found.list.groups, values)


def natural_order(name: str) -> list[tuple[int, float, str]]:
    """A sort key like TensorBoard's own for runs: 'a2' before 'a10', and '/' or '_' before anything else."""
    parts = re.findall(r"[0-9]+(?:\.[0-9]+)?|.", name, re.DOTALL)
    return [
        (1, float(part), "") if part[0] in "0123456789" else (0 if part in "/_" else 2, 0.0, part) for part in parts
    ]


def base_metrics(columns: Iterable[str]) -> list[str]:
    """The metrics among `columns`: neither an interval or class count that belongs to one, nor a count."""
    known = set(columns)
    beside = {metric + suffix for metric in known for suffix in COMPANIONS}
    return [column for column in columns if column not in beside and column not in GROUP_COUNTS]


def _described(found: Attribute) -> Json:
    classes = found.list
    return {
        "attribute": found.name,
        "n_classes": len(classes.names),
        "group_sizes": {group: classes.groups.count(group) for group in (*GROUPS, UNKNOWN)},
        "rule": classes.rule,
        "decision": classes.decision,
        "steps": found.main_series().steps.tolist(),
        "columns": list(found.tag(CLASSES).columns),
        "metrics": base_metrics(found.tag(GROUP_TABLE).columns) if GROUP_TABLE in found.tags else [],
    }


def _with_companions(columns: Sequence[str], metrics: Sequence[str]) -> list[str]:
    wanted = [m + suffix for m in metrics for suffix in ("", *COMPANIONS) if not suffix or m + suffix in columns]
    return list(dict.fromkeys(wanted))


def _class_index(found: Attribute, class_: str | int) -> int:
    names = found.list.names
    if isinstance(class_, str):
        if class_ not in names:
            raise RequestError(f"class {shown(class_)} is unknown", "the route `classes` lists the names")
        return names.index(class_)
    if not 0 <= class_ < len(names):
        raise RequestError(f"class_index {class_} is out of range", f"use 0 to {len(names) - 1}")
    return class_


def _check_rows(tag: str, rows: Sequence[str], n_rows: int) -> None:
    if len(rows) != n_rows:
        raise SchemaError(f"tag {tag!r}: its metadata names {len(rows)} rows, its tensor has {n_rows}")


def _nullable(values: NDArray[Any]) -> list[Any]:
    """`values` as nested lists, non-finite numbers as None."""
    plain = values.astype(object)
    plain[~np.isfinite(values)] = None
    nested: list[Any] = plain.tolist()
    return nested


def _null(value: float) -> float | None:
    return value if np.isfinite(value) else None
