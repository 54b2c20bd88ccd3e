"""Answers of the routes, without HTTP: plain JSON values (undefined as None) and bytes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from tbmetrics.classes.groups import count_buckets, macro_mean
from tbmetrics.classes.rules import GroupRule
from tbmetrics.classes.sources import UNKNOWN_COUNT
from tbmetrics.comparing.regrouping import COMBINATIONS, FINE_BUCKETS, bucket_sums, regrouped
from tbmetrics.comparing.runs import Validation, compare
from tbmetrics.records import (
    ALL,
    BY_CLASS,
    BY_PREDICTED_CLASS,
    CALIBRATION_COLUMNS,
    CURVE_COLUMNS,
    GROUPS,
    PAIR_COLUMNS,
    SCHEMA_VERSION,
    UNKNOWN,
    SchemaError,
)
from tbmetrics_longtail.data import Attribute, Experiment, LongTailData
from tbmetrics_longtail.diagnosis import Png, class_diagnosis, class_gallery, diagnosis, sheet
from tbmetrics_longtail.replaced import REPLACED, is_replaced
from tbmetrics_longtail.tables import (
    CALIBRATION,
    CLASSES,
    CONFUSION,
    CONFUSIONS,
    CURVES,
    FLOW,
    GROUP_TABLE,
    RequestError,
    RunTags,
    natural_order,
    nullable,
    or_null,
    shown,
)

Json: TypeAlias = dict[str, Any]

#: float32 holds whole numbers below it exactly.
MOST_EXACT = 2**24
#: Pairs of classes in one answer.
MOST_PAIRS = 200


class Packed(NamedTuple):
    """Float32 values, and JSON that describes them."""

    about: Json
    values: NDArray[np.floating]


class Answers:
    """The answers of the plugin's routes, from the logs behind `data`."""

    def __init__(self, data: LongTailData, logdir: str) -> None:
        self._data = data
        self._logdir = logdir

    def runs(self, experiment: Experiment) -> Json:
        """Every run with long-tail data, in TensorBoard's order, and what was measured in it."""
        tags = self._data.run_tags(experiment)
        runs = [self._run(experiment, run, tags[run]) for run in sorted(tags, key=natural_order)]
        return {"schema_version": SCHEMA_VERSION, "logdir": self._logdir, "runs": runs}

    def groups(self, experiment: Experiment, run: str, attribute: str, metrics: Sequence[str] = ()) -> Json:
        """Group metrics over steps; `metrics` (with their intervals and class counts) or, if none are named, all."""
        recorded = self._data.attribute(experiment, run, attribute)
        tag, series = recorded.tag(GROUP_TABLE), recorded.series(GROUP_TABLE)
        indices = {
            name: tag.column_index(name, "metric")
            for name in (tag.with_companions(metrics) if metrics else tag.columns)
        }
        tag.check_rows(series.values.shape[1])
        by_row = {
            group: {name: nullable(series.values[:, row, column]) for name, column in indices.items()}
            for row, group in enumerate(tag.rows)
        }
        axis = {"steps": series.steps.tolist(), "wall_times": nullable(series.wall_times)}
        return {"run": run, "attribute": attribute, **axis, "groups": by_row}

    def classes(self, experiment: Experiment, run: str, attribute: str) -> Json:
        """The classes of an attribute, in the order of `values`."""
        classes = self._data.attribute(experiment, run, attribute).class_list
        return {
            "names": list(classes.names),
            "counts": [None if count == UNKNOWN_COUNT else count for count in classes.counts.tolist()],
            "groups": list(classes.groups),
            "rule": classes.rule,
            "decision": classes.decision,
        }

    def values(self, experiment: Experiment, run: str, attribute: str, step: int, columns: Sequence[str]) -> bytes:
        """Columns of the per-class table at one step, one after the other, little-endian float32."""
        recorded = self._data.attribute(experiment, run, attribute)
        indices = [recorded.tag(CLASSES).column_index(column) for column in columns]
        values: NDArray[np.float32] = recorded.series(CLASSES).at(step)[:, indices].T
        return values.astype("<f4").tobytes()

    def history(self, experiment: Experiment, run: str, attribute: str, class_: str | int, column: str) -> Json:
        """One column of one class, by name or index, over all steps."""
        recorded = self._data.attribute(experiment, run, attribute)
        column_index = recorded.tag(CLASSES).column_index(column)
        index = recorded.class_index(class_)
        series = recorded.series(CLASSES)
        return {
            "class": recorded.class_list.names[index],
            "class_index": index,
            "column": column,
            "steps": series.steps.tolist(),
            "values": nullable(series.values[:, index, column_index]),
        }

    def histories(
        self, experiment: Experiment, run: str, attribute: str, classes: Sequence[int], column: str
    ) -> Packed:
        """One column of several classes over all steps: values (classes, steps)."""
        recorded = self._data.attribute(experiment, run, attribute)
        column_index = recorded.tag(CLASSES).column_index(column)
        indices = [recorded.class_index(class_) for class_ in classes]
        series = recorded.series(CLASSES)
        return Packed({"steps": series.steps.tolist(), "classes": indices}, series.values[:, indices, column_index].T)

    def bucket_sums(self, experiment: Experiment, run: str, attribute: str, metric: str) -> Packed:
        """Contributions of classes of like training count to a group's metric: values (3, steps, buckets)."""
        recorded = self._data.attribute(experiment, run, attribute)
        if metric not in COMBINATIONS:
            raise RequestError(
                f"metric {shown(metric)} is no sum over classes", f"use one of {', '.join(COMBINATIONS)}"
            )
        columns = recorded.tag(CLASSES).columns
        buckets = count_buckets(recorded.classes, FINE_BUCKETS)
        try:
            sums = recorded.derived(
                CLASSES,
                ("bucket_sums", metric, *recorded.classes.counts.tolist()),
                lambda series: bucket_sums(series.values, columns, metric, buckets),
            )
        except ValueError as error:
            raise RequestError(f"metric {shown(metric)} needs a column that the run lacks: {error}", "") from error
        about = {"buckets": buckets.to_json(), "combine": COMBINATIONS[metric]}
        return Packed({"steps": recorded.series(CLASSES).steps.tolist(), **about}, sums)

    def curves(self, experiment: Experiment, run: str, attribute: str, step: int, bounds: GroupRule | None) -> Json:
        """Mean precision-recall curve and operating point of each group at one step."""
        recorded = self._data.attribute(experiment, run, attribute)
        levels, precision = _recall_levels(recorded), recorded.series(CURVES).at(step)
        points = {metric: recorded.column(metric, step) for metric in ("precision", "recall")}
        groups = np.array(regrouped(recorded.classes, bounds), dtype=object)
        return {
            "recall": levels,
            "groups": {
                group: _group_curve(precision, points, np.flatnonzero((groups == group) | (group == ALL)))
                for group in (*GROUPS, UNKNOWN, ALL)
            },
        }

    def class_curve(self, experiment: Experiment, run: str, attribute: str, step: int, class_: str | int) -> Json:
        """Precision-recall curve of one class at one step, with its operating point and its best threshold."""
        recorded = self._data.attribute(experiment, run, attribute)
        index = recorded.class_index(class_)
        columns = ("precision", "recall", "threshold", "best_threshold", "best_f1", "support")
        return {
            "class": recorded.class_list.names[index],
            "class_index": index,
            "recall": _recall_levels(recorded),
            "precision": nullable(recorded.series(CURVES).at(step)[index]),
            "at": {name: or_null(float(recorded.column(name, step)[index])) for name in columns},
        }

    def confusions(
        self, experiment: Experiment, run: str, attribute: str, step: int, class_: str | int | None = None
    ) -> Json:
        """The pairs of classes confused most, `[true, predicted, count]` by index (-1 = none); of one class, all."""
        recorded = self._data.attribute(experiment, run, attribute)
        table = recorded.series(CONFUSIONS).at(step)
        recorded.tag(CONFUSIONS).check_columns(table.shape[1], PAIR_COLUMNS)
        known = table[np.isfinite(table).all(axis=1) & (np.abs(table) < MOST_EXACT).all(axis=1)].astype(np.int64)
        mistakes = recorded.column("false_negatives", step)
        pairs = known
        if class_ is not None:
            index = recorded.class_index(class_)
            pairs = known[(known[:, 0] == index) | (known[:, 1] == index)]
        return {
            "pairs": pairs[:MOST_PAIRS].tolist(),
            "n_pairs": len(known),
            "n_mistakes": or_null(float(np.nansum(mistakes))),
            "n_recorded": int(known[:, 2].sum()),
        }

    def flow(self, experiment: Experiment, run: str, attribute: str, step: int) -> Json:
        """Where positives go between buckets of training counts at one step; the last column is "none"."""
        recorded = self._data.attribute(experiment, run, attribute)
        values = recorded.series(FLOW).at(step)
        return {"buckets": recorded.tag(FLOW).buckets(len(values)), "values": nullable(values)}

    def calibration(self, experiment: Experiment, run: str, attribute: str, step: int) -> Json:
        """Examples, summed confidence and right ones by bucket of training counts and confidence bin, at one step."""
        recorded = self._data.attribute(experiment, run, attribute)
        table = recorded.series(CALIBRATION).at(step).astype(np.float64)
        recorded.tag(CALIBRATION).check_columns(table.shape[1], CALIBRATION_COLUMNS)
        n, confidence, right = np.split(table, 3, axis=1)
        sums = {"n": nullable(n), "confidence": nullable(confidence), "right": nullable(right)}
        by = recorded.tag(CALIBRATION).details.get("by")
        by = by if by in (BY_PREDICTED_CLASS, BY_CLASS) else None
        return {"buckets": recorded.tag(CALIBRATION).buckets(len(table)), "by": by, **sums}

    def diagnosis(self, experiment: Experiment, run: str, attribute: str, step: int) -> Json:
        """Why the tail fails, and what would help, at the last diagnosis up to `step`."""
        return diagnosis(self._data.attribute(experiment, run, attribute), step)

    def class_diagnosis(self, experiment: Experiment, run: str, attribute: str, step: int, class_: str | int) -> Json:
        """Every diagnostic of one class at the last diagnosis up to `step`."""
        recorded = self._data.attribute(experiment, run, attribute)
        return class_diagnosis(recorded, step, recorded.class_index(class_))

    def gallery(self, experiment: Experiment, run: str, attribute: str, step: int, class_: str | int) -> Json:
        """The contact sheets of the group of one class, around `step`."""
        recorded = self._data.attribute(experiment, run, attribute)
        return class_gallery(recorded, step, recorded.class_index(class_))

    def gallery_image(self, experiment: Experiment, run: str, attribute: str, kind: str, group: str, step: int) -> Png:
        """One contact sheet."""
        return sheet(self._data.attribute(experiment, run, attribute), kind, group, step)

    def overview(self, experiment: Experiment, run: str, metric: str, step: int) -> Json:
        """Every attribute's groups at its last step up to `step`."""
        names = self._data.tags_of_run(experiment, run).attributes
        rows = (self._overview_row(experiment, run, name, metric, step) for name in names)
        return {"run": run, "attributes": [row for row in rows if row is not None]}

    def _overview_row(self, experiment: Experiment, run: str, name: str, metric: str, step: int) -> Json | None:
        recorded = self._data.attribute(experiment, run, name)
        if GROUP_TABLE not in recorded.tags or metric not in recorded.tag(GROUP_TABLE).columns:
            return None
        tag, series = recorded.tag(GROUP_TABLE), recorded.series(GROUP_TABLE)
        index = series.last_index(step)
        if index is None:
            return None
        tag.check_rows(series.values.shape[1])
        values = nullable(series.values[index, :, tag.column_index(metric)])
        return {"attribute": name, "step": int(series.steps[index]), "groups": dict(zip(tag.rows, values, strict=True))}

    def confusion(self, experiment: Experiment, run: str, attribute: str, step: int) -> Json:
        """True group × predicted group at one step."""
        recorded = self._data.attribute(experiment, run, attribute)
        tag = recorded.tag(CONFUSION)
        values = recorded.series(CONFUSION).at(step)
        tag.check_rows(len(values))
        return {"rows": list(tag.rows), "columns": list(tag.columns), "values": nullable(values)}

    def compare(
        self,
        experiment: Experiment,
        a: tuple[str, int],
        b: tuple[str, int],
        attribute: str,
        metric: str,
        bounds: GroupRule | None = None,
    ) -> Json:
        """Run and step `b` against `a`: means by group over the classes that both have by name."""
        result = compare(*(self._validation(experiment, *side, attribute, metric, bounds) for side in (a, b)))
        groups = {name: {k: or_null(v) for k, v in asdict(group).items()} for name, group in result.groups.items()}
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
        latest = max((tag.version[1] for kinds in tags.attributes.values() for tag in kinds.values()), default=0.0)
        if is_replaced(self._logdir, run, latest):
            problems.append(REPLACED)
        for name in sorted(tags.attributes, key=natural_order):
            try:
                attributes.append(_describe(Attribute(self._data, experiment, name, tags.attributes[name])))
            except (RequestError, SchemaError) as error:
                problems.append(str(error))
        return {"run": run, "attributes": attributes} | ({"problem": "; ".join(problems)} if problems else {})

    def _validation(
        self, experiment: Experiment, run: str, step: int, attribute: str, metric: str, bounds: GroupRule | None
    ) -> Validation:
        recorded = self._data.attribute(experiment, run, attribute)
        groups, values = regrouped(recorded.classes, bounds), recorded.column(metric, step, "metric")
        return Validation(attribute, metric, step, recorded.class_list.names, groups, values)


def _describe(attribute: Attribute) -> Json:
    """An attribute as the route `runs` lists it."""
    classes = attribute.class_list
    return {
        "attribute": attribute.name,
        "n_classes": len(classes.names),
        "group_sizes": {group: classes.groups.count(group) for group in (*GROUPS, UNKNOWN)},
        "rule": classes.rule,
        "decision": classes.decision,
        "steps": attribute.main_series().steps.tolist(),
        "columns": list(attribute.tag(CLASSES).columns),
        "metrics": attribute.tag(GROUP_TABLE).metrics if GROUP_TABLE in attribute.tags else [],
        "kinds": sorted(attribute.tags),
    }


def _recall_levels(attribute: Attribute) -> list[float]:
    """The recall of each column of the curves."""
    tag = attribute.tag(CURVES)
    tag.check_columns(len(tag.columns), CURVE_COLUMNS)
    return [float(column.rpartition("_")[2]) for column in CURVE_COLUMNS]


def _group_curve(precision: NDArray[Any], points: Mapping[str, NDArray[Any]], members: NDArray[np.int64]) -> Json:
    """Mean curve of the classes `members` and the means of `points`; `precision` is (classes, levels)."""
    curves = precision[members].astype(np.float64)
    defined = ~np.isnan(curves).all(axis=1) if len(curves) else np.zeros(0, dtype=bool)
    means = curves[defined].mean(axis=0) if defined.any() else np.full(precision.shape[1], np.nan)
    return {
        "n_classes": int(defined.sum()),
        "precision": nullable(means),
        "at": {name: or_null(macro_mean(values, members)[0]) for name, values in points.items()},
    }
