"""What each route answers, without HTTP: plain JSON values (undefined as None) and bytes."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from tbmetrics.class_groups import UNKNOWN_COUNT, macro_mean
from tbmetrics.count_buckets import count_buckets
from tbmetrics.records import (
    ALL,
    CALIBRATION_COLUMNS,
    CURVE_COLUMNS,
    GROUP_COUNTS,
    GROUPS,
    PAIR_COLUMNS,
    SCHEMA_VERSION,
    UNKNOWN,
    SchemaError,
)
from tbmetrics_longtail.comparison import ClassValues, compare
from tbmetrics_longtail.data import (
    CALIBRATION,
    CLASSES,
    CONFUSION,
    CONFUSIONS,
    CURVES,
    FLOW,
    GROUP_TABLE,
    Attribute,
    Experiment,
    LongTailData,
    RequestError,
    RunTags,
    Tag,
    shown,
)
from tbmetrics_longtail.diagnosis import class_diagnosis, diagnosis
from tbmetrics_longtail.gallery import Png, class_gallery, sheet
from tbmetrics_longtail.regrouping import COMBINATIONS, FINE_BUCKETS, Bounds, bucket_sums, regrouped

Json: TypeAlias = dict[str, Any]

#: float32 holds whole numbers below it exactly.
MOST_EXACT = 2**24
#: Pairs of classes in one answer.
MOST_PAIRS = 200


class Packed(NamedTuple):
    """Numbers with a few words about them: JSON, and float32 values."""

    about: Json
    values: NDArray[np.floating]


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

    def histories(
        self, experiment: Experiment, run: str, attribute: str, classes: Sequence[int], column: str
    ) -> Packed:
        """One column of several classes over all steps: values (classes, steps)."""
        found = self._data.attribute(experiment, run, attribute)
        at = found.tag(CLASSES).column_index(column)
        indices = [_class_index(found, class_) for class_ in classes]
        series = found.series(CLASSES)
        return Packed({"steps": series.steps.tolist(), "classes": indices}, series.values[:, indices, at].T)

    def bucket_sums(self, experiment: Experiment, run: str, attribute: str, metric: str) -> Packed:
        """What classes of like training count add to a group's metric: values (3, steps, buckets)."""
        found = self._data.attribute(experiment, run, attribute)
        if metric not in COMBINATIONS:
            raise RequestError(
                f"metric {shown(metric)} is no sum over classes", f"use one of {', '.join(COMBINATIONS)}"
            )
        columns = found.tag(CLASSES).columns
        buckets = count_buckets(found.classes, FINE_BUCKETS)
        try:
            sums = found.derived(
                CLASSES,
                ("bucket_sums", metric, *found.classes.counts.tolist()),
                lambda series: bucket_sums(series.values, columns, metric, buckets),
            )
        except ValueError as error:
            raise RequestError(f"metric {shown(metric)} needs a column that the run lacks: {error}", "") from error
        about = {"buckets": buckets.to_json(), "combine": COMBINATIONS[metric]}
        return Packed({"steps": found.series(CLASSES).steps.tolist(), **about}, sums)

    def curves(self, experiment: Experiment, run: str, attribute: str, step: int, bounds: Bounds | None) -> Json:
        """Mean precision-recall curve and operating point of each group at one step."""
        found = self._data.attribute(experiment, run, attribute)
        levels, precision = _levels(found), found.series(CURVES).at(step)
        points = {m: self._column(found, m, step) for m in ("precision", "recall")}
        groups = np.array(regrouped(found.classes, bounds), dtype=object)
        return {
            "recall": levels,
            "groups": {
                group: _group_curve(precision, points, np.flatnonzero((groups == group) | (group == ALL)))
                for group in (*GROUPS, UNKNOWN, ALL)
            },
        }

    def class_curve(self, experiment: Experiment, run: str, attribute: str, step: int, class_: str | int) -> Json:
        """Precision-recall curve of one class at one step, with its operating point and its best threshold."""
        found = self._data.attribute(experiment, run, attribute)
        index = _class_index(found, class_)
        named = ("precision", "recall", "threshold", "best_threshold", "best_f1", "support")
        return {
            "class": found.list.names[index],
            "class_index": index,
            "recall": _levels(found),
            "precision": _nullable(found.series(CURVES).at(step)[index]),
            "at": {name: _null(float(self._column(found, name, step)[index])) for name in named},
        }

    def confusions(
        self, experiment: Experiment, run: str, attribute: str, step: int, class_: str | int | None = None
    ) -> Json:
        """The pairs of classes confused most, `[true, predicted, count]` by index (-1 = none); of one class, all."""
        found = self._data.attribute(experiment, run, attribute)
        table = found.series(CONFUSIONS).at(step)
        _check_columns(found.tag(CONFUSIONS), table.shape[1], PAIR_COLUMNS)
        known = table[np.isfinite(table).all(axis=1) & (np.abs(table) < MOST_EXACT).all(axis=1)].astype(np.int64)
        mistakes = self._column(found, "false_negatives", step)
        if class_ is None:
            chosen = known[:MOST_PAIRS]
        else:
            index = _class_index(found, class_)
            chosen = known[(known[:, 0] == index) | (known[:, 1] == index)][:MOST_PAIRS]
        return {
            "pairs": chosen.tolist(),
            "n_pairs": len(known),
            "n_mistakes": _null(float(np.nansum(mistakes))),
            "n_recorded": int(known[:, 2].sum()),
        }

    def flow(self, experiment: Experiment, run: str, attribute: str, step: int) -> Json:
        """Where positives go between buckets of training counts at one step; the last column is "none"."""
        found = self._data.attribute(experiment, run, attribute)
        values = found.series(FLOW).at(step)
        return {"buckets": found.tag(FLOW).details.get("buckets", []), "values": _nullable(values)}

    def calibration(self, experiment: Experiment, run: str, attribute: str, step: int) -> Json:
        """Examples, summed confidence and right ones by bucket of training counts and confidence bin, at one step."""
        found = self._data.attribute(experiment, run, attribute)
        table = found.series(CALIBRATION).at(step).astype(np.float64)
        _check_columns(found.tag(CALIBRATION), table.shape[1], CALIBRATION_COLUMNS)
        n, confidence, right = np.split(table, 3, axis=1)
        sums = {"n": _nullable(n), "confidence": _nullable(confidence), "right": _nullable(right)}
        return {"buckets": found.tag(CALIBRATION).details.get("buckets", []), **sums}

    def diagnosis(self, experiment: Experiment, run: str, attribute: str, step: int) -> Json:
        """Why the tail fails, and what would help, at the last diagnosis up to `step`."""
        return diagnosis(self._data.attribute(experiment, run, attribute), step)

    def class_diagnosis(self, experiment: Experiment, run: str, attribute: str, step: int, class_: str | int) -> Json:
        """Every diagnostic of one class at the last diagnosis up to `step`."""
        found = self._data.attribute(experiment, run, attribute)
        return class_diagnosis(found, step, _class_index(found, class_))

    def gallery(self, experiment: Experiment, run: str, attribute: str, step: int, class_: str | int) -> Json:
        """The contact sheets of the group of one class, around `step`."""
        found = self._data.attribute(experiment, run, attribute)
        return class_gallery(found, step, _class_index(found, class_))

    def gallery_image(self, experiment: Experiment, run: str, attribute: str, kind: str, group: str, step: int) -> Png:
        """One contact sheet."""
        return sheet(self._data.attribute(experiment, run, attribute), kind, group, step)

    def overview(self, experiment: Experiment, run: str, metric: str, step: int) -> Json:
        """Every attribute's groups at its last step up to `step`."""
        found = self._data.run_tags(experiment, [run]).get(run)
        if found is None:
            raise RequestError(f"run {shown(run)} is unknown", "the route `runs` lists the runs with long-tail data")
        rows = (self._overview_row(experiment, run, name, metric, step) for name in found.attributes)
        return {"run": run, "attributes": [row for row in rows if row is not None]}

    def _overview_row(self, experiment: Experiment, run: str, name: str, metric: str, step: int) -> Json | None:
        found = self._data.attribute(experiment, run, name)
        if GROUP_TABLE not in found.tags or metric not in found.tag(GROUP_TABLE).columns:
            return None
        tag, series = found.tag(GROUP_TABLE), found.series(GROUP_TABLE)
        at = int(np.searchsorted(series.steps, step, side="right")) - 1
        if at < 0:
            return None
        _check_rows(tag.name, tag.rows, series.values.shape[1])
        values = _nullable(series.values[at, :, tag.column_index(metric)])
        return {"attribute": name, "step": int(series.steps[at]), "groups": dict(zip(tag.rows, values, strict=True))}

    def confusion(self, experiment: Experiment, run: str, attribute: str, step: int) -> Json:
        """True group × predicted group at one step."""
        found = self._data.attribute(experiment, run, attribute)
        tag = found.tag(CONFUSION)
        values = found.series(CONFUSION).at(step)
        _check_rows(tag.name, tag.rows, len(values))
        return {"rows": list(tag.rows), "columns": list(tag.columns), "values": _nullable(values)}

    def compare(
        self,
        experiment: Experiment,
        a: tuple[str, int],
        b: tuple[str, int],
        attribute: str,
        metric: str,
        bounds: Bounds | None = None,
    ) -> Json:
        """Run and step `b` against `a`: means by group over the classes that both have by name."""
        result = compare(*(self._class_values(experiment, *chosen, attribute, metric, bounds) for chosen in (a, b)))
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

    def _class_values(
        self, experiment: Experiment, run: str, step: int, attribute: str, metric: str, bounds: Bounds | None
    ) -> ClassValues:
        found = self._data.attribute(experiment, run, attribute)
        values = self._column(found, metric, step, "metric")
        return ClassValues(found.list.names, regrouped(found.classes, bounds), values)

    def _column(self, found: Attribute, name: str, step: int, word: str = "column") -> NDArray[np.float64]:
        """One column of the per-class table at `step`, float64 (classes,)."""
        index = found.tag(CLASSES).column_index(name, word)
        return found.series(CLASSES).at(step)[:, index].astype(np.float64)


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
        "kinds": sorted(found.tags),
    }


def _with_companions(columns: Sequence[str], metrics: Sequence[str]) -> list[str]:
    wanted = [m + suffix for m in metrics for suffix in ("", *COMPANIONS) if not suffix or m + suffix in columns]
    return list(dict.fromkeys(wanted))


def _levels(found: Attribute) -> list[float]:
    """The recalls behind the columns of the curves."""
    tag = found.tag(CURVES)
    _check_columns(tag, len(tag.columns), CURVE_COLUMNS)
    return [float(column.rpartition("_")[2]) for column in CURVE_COLUMNS]


def _group_curve(precision: NDArray[Any], points: Json, members: NDArray[np.int64]) -> Json:
    chosen = precision[members].astype(np.float64)
    defined = ~np.isnan(chosen).all(axis=1) if len(chosen) else np.zeros(0, dtype=bool)
    means = chosen[defined].mean(axis=0) if defined.any() else np.full(precision.shape[1], np.nan)
    return {
        "n_classes": int(defined.sum()),
        "precision": _nullable(means),
        "at": {name: _null(macro_mean(values, members)[0]) for name, values in points.items()},
    }


def _class_index(found: Attribute, class_: str | int) -> int:
    names = found.list.names
    if isinstance(class_, str):
        if class_ not in names:
            raise RequestError(f"class {shown(class_)} is unknown", "the route `classes` lists the names")
        return names.index(class_)
    if not 0 <= class_ < len(names):
        raise RequestError(f"class_index {class_} is out of range", f"use 0 to {len(names) - 1}")
    return class_


def _check_columns(tag: Tag, n_columns: int, expected: Sequence[str]) -> None:
    if n_columns != len(expected) or tag.columns != tuple(expected):
        raise SchemaError(f"tag {tag.name!r}: its columns are not those of its kind")


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
