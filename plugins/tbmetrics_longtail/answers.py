"""Answers of the routes, without HTTP: plain JSON values (undefined as None) and bytes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from tbmetrics.classes.groups import fine_buckets
from tbmetrics.classes.rules import GroupRule
from tbmetrics.classes.sources import UNKNOWN_COUNT
from tbmetrics.comparing.regrouping import COMBINATIONS, bucket_sums, combination
from tbmetrics.comparing.tabulating import FREQUENCY
from tbmetrics.comparing.validations import evaluation_name, evaluation_of
from tbmetrics.records import (
    BY_CLASS,
    BY_PREDICTED_CLASS,
    CALIBRATION_COLUMNS,
    GROUPS,
    SCHEMA_VERSION,
    UNKNOWN,
    SchemaError,
    lift_sum_columns,
)
from tbmetrics_longtail.comparison import (
    Side,
    by_family,
    comparison,
    comparison_by_count,
    counted,
    means_of,
    validation,
)
from tbmetrics_longtail.confusions import confusions
from tbmetrics_longtail.curves import class_curve, group_curves
from tbmetrics_longtail.data import Attribute, LongTailData
from tbmetrics_longtail.diagnosis import Picture, class_diagnosis, class_gallery, diagnosis, sheet
from tbmetrics_longtail.listing import Experiment
from tbmetrics_longtail.replaced import REPLACED, is_replaced
from tbmetrics_longtail.run_table import TableQuery, check_grouping, run_table
from tbmetrics_longtail.tables import (
    CALIBRATION,
    CLASS_LIST,
    CLASSES,
    CONFUSION,
    FLOW,
    GROUP_TABLE,
    LIFT_SUMS,
    SAMPLES,
    UNCERTAINTY,
    RequestError,
    RunTags,
    natural_order,
    nullable,
    shown,
)
from tbmetrics_longtail.uncertainty import bucket_uncertainty

Json: TypeAlias = dict[str, Any]
#: Steps in one answer of flows.
MOST_FLOWS = 100


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
        runs = [self._run(experiment, run, tags) for run in sorted(tags, key=natural_order)]
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
        values: NDArray[np.float32] = recorded.table(CLASSES, step)[:, indices].T
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
        columns = recorded.tag(CLASSES).columns
        combine = combination(metric, columns)
        if combine is None:
            raise RequestError(
                f"metric {shown(metric)} is no sum over classes", f"use one of {', '.join(COMBINATIONS)}"
            )
        buckets = fine_buckets(recorded.classes)
        try:
            sums = recorded.derived(
                CLASSES,
                ("bucket_sums", metric, recorded.tag(CLASS_LIST).version),
                lambda series: bucket_sums(series.values, columns, metric, buckets),
            )
        except ValueError as error:
            raise RequestError(f"metric {shown(metric)} needs a column that the run lacks: {error}", "") from error
        about = {"buckets": buckets.to_json(), "combine": combine}
        return Packed({"steps": recorded.series(CLASSES).steps.tolist(), **about}, sums)

    def bucket_uncertainty(self, experiment: Experiment, run: str, attribute: str, metric: str) -> Packed:
        """Uncertainty of the sums over classes of like training count: values (steps, columns)."""
        return Packed(*bucket_uncertainty(self._data.attribute(experiment, run, attribute), metric))

    def curves(self, experiment: Experiment, run: str, attribute: str, step: int, bounds: GroupRule | None) -> Json:
        """Mean precision-recall curve and operating point of each group at one step."""
        return group_curves(self._data.attribute(experiment, run, attribute), step, bounds)

    def class_curve(self, experiment: Experiment, run: str, attribute: str, step: int, class_: str | int) -> Json:
        """Precision-recall curve of one class at one step, with its operating point and its best threshold."""
        recorded = self._data.attribute(experiment, run, attribute)
        return class_curve(recorded, step, recorded.class_index(class_))

    def confusions(
        self, experiment: Experiment, run: str, attribute: str, step: int, class_: str | int | None = None
    ) -> Json:
        """The pairs of classes confused most, `[true, predicted, count]` by index (-1 = none); of one class, all."""
        return confusions(self._data.attribute(experiment, run, attribute), step, class_)

    def flow(self, experiment: Experiment, run: str, attribute: str, step: int) -> Json:
        """Where positives go between buckets of training counts at one step; the last column is "none"."""
        recorded = self._data.attribute(experiment, run, attribute)
        values = recorded.table(FLOW, step)
        return {"buckets": recorded.tag(FLOW).buckets(len(values)), "values": nullable(values)}

    def flows(self, experiment: Experiment, run: str, attribute: str) -> Packed:
        """The same over steps, at most `MOST_FLOWS` of them and the last: values (steps, buckets, buckets + 1)."""
        recorded = self._data.attribute(experiment, run, attribute)
        series = recorded.series(FLOW)
        last = len(series.steps) - 1
        chosen = np.unique(np.linspace(0, last, min(last + 1, MOST_FLOWS)).round().astype(np.int64))
        about = {"steps": series.steps[chosen].tolist(), "buckets": recorded.tag(FLOW).buckets(series.values.shape[1])}
        return Packed(about, series.values[chosen])

    def lift_sums(self, experiment: Experiment, run: str, attribute: str, step: int) -> Json:
        """What adds up to the lifts between misses and false positives, by bucket of training counts, at one step."""
        recorded = self._data.attribute(experiment, run, attribute)
        tag, values = recorded.tag(LIFT_SUMS), recorded.table(LIFT_SUMS, step)
        tag.check_columns(values.shape[1], lift_sum_columns(tag.rows))
        names = ("positives", "missed", "absent_share", "false_positives")
        columns = {name: nullable(values[:, i]) for i, name in enumerate(names)}
        tables = np.split(values[:, len(names) :], 3, axis=1)
        by_pair = zip(("observed", "expected", "variance"), map(nullable, tables), strict=True)
        return {"buckets": tag.buckets(len(values)), **columns, **dict(by_pair)}

    def calibration(self, experiment: Experiment, run: str, attribute: str, step: int) -> Json:
        """Examples, summed confidence and right ones by bucket of training counts and confidence bin, at one step."""
        recorded = self._data.attribute(experiment, run, attribute)
        table = recorded.table(CALIBRATION, step).astype(np.float64)
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

    def gallery_image(
        self, experiment: Experiment, run: str, attribute: str, kind: str, group: str, step: int
    ) -> Picture:
        """One contact sheet."""
        return sheet(self._data.attribute(experiment, run, attribute), kind, group, step)

    def confusion(self, experiment: Experiment, run: str, attribute: str, step: int) -> Json:
        """True group × predicted group at one step."""
        recorded = self._data.attribute(experiment, run, attribute)
        tag = recorded.tag(CONFUSION)
        values = recorded.table(CONFUSION, step)
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
        by: str = FREQUENCY,
    ) -> Json:
        """Run and step `b` against `a`: means by group, or family, over the classes that both have by name."""
        check_grouping(by)
        sides = self._sides(experiment, a, b, attribute)
        if by == FREQUENCY:
            return comparison(*(validation(*side, metric, bounds) for side in sides))
        return comparison(*(by_family(side.recorded, validation(*side, metric)) for side in sides))

    def by_count(
        self, experiment: Experiment, a: tuple[str, int], b: tuple[str, int], attribute: str, metric: str
    ) -> Json:
        """Run and step `b` against `a` along the training count."""
        return comparison_by_count(*(counted(side, metric) for side in self._sides(experiment, a, b, attribute)))

    def _sides(self, experiment: Experiment, a: tuple[str, int], b: tuple[str, int], attribute: str) -> list[Side]:
        tags = self._data.run_tags(experiment, {a[0], b[0]})
        return [self._side(experiment, *side, attribute, tags) for side in (a, b)]

    def _side(self, experiment: Experiment, run: str, step: int, attribute: str, tags: Mapping[str, RunTags]) -> Side:
        recorded = self._data.attribute(experiment, run, attribute, tags)
        name = recorded.class_list.evaluation
        runs = self._data.run_tags(experiment, [run.rpartition("/")[0]]) if name is None else ()
        return Side(recorded, evaluation_of(run, runs, name), step)

    def table(self, experiment: Experiment, runs: Sequence[str], attribute: str, query: TableQuery) -> Json:
        """The table of these runs, or of all that have validations of the attribute."""
        tags = self._data.run_tags(experiment, runs or None)
        if not runs:
            validated = (run for run in tags if GROUP_TABLE in tags[run].attributes.get(attribute, {}))
            runs = sorted(validated, key=natural_order)
        recorded, unreadable = dict[str, Attribute](), dict[str, str]()
        for run in runs:
            try:
                recorded[run] = self._data.attribute(experiment, run, attribute, tags)
            except SchemaError as error:
                unreadable[run] = str(error)
        return run_table(recorded, query, self._data.hparams(experiment), unreadable)

    def settings(self, experiment: Experiment, run: str) -> Json:
        """The hyperparameters of a run, by name; empty if it has none."""
        self._data.tags_of_run(experiment, run)  # refuses a run that is not there
        return {"settings": self._data.hparams(experiment).get(run, {})}

    def _run(self, experiment: Experiment, run: str, tags_by_run: Mapping[str, RunTags]) -> Json:
        tags = tags_by_run[run]
        attributes, problems = [], list(tags.problems)
        latest = max((tag.version[1] for kinds in tags.attributes.values() for tag in kinds.values()), default=0.0)
        if is_replaced(self._logdir, run, latest):
            problems.append(REPLACED)
        for name in sorted(tags.attributes, key=natural_order):
            try:
                attribute = Attribute(self._data, experiment, name, tags.attributes[name])
                evaluation = evaluation_of(run, tags_by_run, attribute.class_list.evaluation)
                attributes.append(_describe(attribute) | {"evaluation": evaluation_name(evaluation)})
            except (RequestError, SchemaError) as error:
                problems.append(str(error))
        return {"run": run, "attributes": attributes} | ({"problem": "; ".join(problems)} if problems else {})


def _describe(attribute: Attribute) -> Json:
    """An attribute as the route `runs` lists it."""
    classes = attribute.class_list
    return {
        "attribute": attribute.name,
        "n_classes": len(classes.names),
        "group_sizes": {group: attribute.group_sizes.get(group, 0) for group in (*GROUPS, UNKNOWN)},
        "rule": classes.rule,
        "decision": classes.decision,
        "steps": attribute.main_series().steps.tolist(),
        "columns": list(attribute.tag(CLASSES).columns),
        "metrics": attribute.tag(GROUP_TABLE).metrics if GROUP_TABLE in attribute.tags else [],
        "means": list(means_of(attribute)),
        "uncertain": list(attribute.tag(UNCERTAINTY).columns) if UNCERTAINTY in attribute.tags else [],
        "kinds": sorted(kind for kind in attribute.tags if kind.partition("/")[0] not in SAMPLES),
    }
