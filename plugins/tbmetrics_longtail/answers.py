"""What each route answers, without HTTP: plain JSON values (undefined as None) and bytes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from tbmetrics.classes.groups import count_buckets
from tbmetrics.classes.rules import GroupRule
from tbmetrics.classes.sources import UNKNOWN_COUNT
from tbmetrics.comparing.regrouping import COMBINATIONS, FINE_BUCKETS, bucket_sums, regrouped
from tbmetrics.comparing.runs import Validation, compare
from tbmetrics.records import ALL, CALIBRATION_COLUMNS, GROUPS, PAIR_COLUMNS, SCHEMA_VERSION, UNKNOWN, SchemaError
from tbmetrics_longtail.answer_parts import (
    buckets_of,
    check_columns,
    check_rows,
    class_index,
    described,
    group_curve,
    natural_order,
    nullable,
    or_null,
    recall_levels,
    with_companions,
)
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
    shown,
)
from tbmetrics_longtail.diagnosis import class_diagnosis, diagnosis
from tbmetrics_longtail.gallery import Png, class_gallery, sheet

Json: TypeAlias = dict[str, Any]

#: float32 holds whole numbers below it exactly.
MOST_EXACT = 2**24
#: Pairs of classes in one answer.
MOST_PAIRS = 200


class Packed(NamedTuple):
    """Numbers with a few words about them: JSON, and float32 values."""

    about: Json
    values: NDArray[np.floating]


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
        chosen = with_companions(tag.columns, metrics) if metrics else tag.columns
        at = [tag.column_index(column, "metric") for column in chosen]
        series = found.series(GROUP_TABLE)
        check_rows(tag.name, tag.rows, series.values.shape[1])
        by_row = {
            row: {column: nullable(series.values[:, r, c]) for column, c in zip(chosen, at, strict=True)}
            for r, row in enumerate(tag.rows)
        }
        axis = {"steps": series.steps.tolist(), "wall_times": nullable(series.wall_times)}
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
        index = class_index(found, class_)
        series = found.series(CLASSES)
        return {
            "class": found.list.names[index],
            "class_index": index,
            "column": column,
            "steps": series.steps.tolist(),
            "values": nullable(series.values[:, index, at]),
        }

    def histories(
        self, experiment: Experiment, run: str, attribute: str, classes: Sequence[int], column: str
    ) -> Packed:
        """One column of several classes over all steps: values (classes, steps)."""
        found = self._data.attribute(experiment, run, attribute)
        at = found.tag(CLASSES).column_index(column)
        indices = [class_index(found, class_) for class_ in classes]
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

    def curves(self, experiment: Experiment, run: str, attribute: str, step: int, bounds: GroupRule | None) -> Json:
        """Mean precision-recall curve and operating point of each group at one step."""
        found = self._data.attribute(experiment, run, attribute)
        levels, precision = recall_levels(found), found.series(CURVES).at(step)
        points = {m: self._column(found, m, step) for m in ("precision", "recall")}
        groups = np.array(regrouped(found.classes, bounds), dtype=object)
        return {
            "recall": levels,
            "groups": {
                group: group_curve(precision, points, np.flatnonzero((groups == group) | (group == ALL)))
                for group in (*GROUPS, UNKNOWN, ALL)
            },
        }

    def class_curve(self, experiment: Experiment, run: str, attribute: str, step: int, class_: str | int) -> Json:
        """Precision-recall curve of one class at one step, with its operating point and its best threshold."""
        found = self._data.attribute(experiment, run, attribute)
        index = class_index(found, class_)
        named = ("precision", "recall", "threshold", "best_threshold", "best_f1", "support")
        return {
            "class": found.list.names[index],
            "class_index": index,
            "recall": recall_levels(found),
            "precision": nullable(found.series(CURVES).at(step)[index]),
            "at": {name: or_null(float(self._column(found, name, step)[index])) for name in named},
        }

    def confusions(
        self, experiment: Experiment, run: str, attribute: str, step: int, class_: str | int | None = None
    ) -> Json:
        """The pairs of classes confused most, `[true, predicted, count]` by index (-1 = none); of one class, all."""
        found = self._data.attribute(experiment, run, attribute)
        table = found.series(CONFUSIONS).at(step)
        check_columns(found.tag(CONFUSIONS), table.shape[1], PAIR_COLUMNS)
        known = table[np.isfinite(table).all(axis=1) & (np.abs(table) < MOST_EXACT).all(axis=1)].astype(np.int64)
        mistakes = self._column(found, "false_negatives", step)
        if class_ is None:
            chosen = known[:MOST_PAIRS]
        else:
            index = class_index(found, class_)
            chosen = known[(known[:, 0] == index) | (known[:, 1] == index)][:MOST_PAIRS]
        return {
            "pairs": chosen.tolist(),
            "n_pairs": len(known),
            "n_mistakes": or_null(float(np.nansum(mistakes))),
            "n_recorded": int(known[:, 2].sum()),
        }

    def flow(self, experiment: Experiment, run: str, attribute: str, step: int) -> Json:
        """Where positives go between buckets of training counts at one step; the last column is "none"."""
        found = self._data.attribute(experiment, run, attribute)
        values = found.series(FLOW).at(step)
        return {"buckets": buckets_of(found.tag(FLOW), len(values)), "values": nullable(values)}

    def calibration(self, experiment: Experiment, run: str, attribute: str, step: int) -> Json:
        """Examples, summed confidence and right ones by bucket of training counts and confidence bin, at one step."""
        found = self._data.attribute(experiment, run, attribute)
        table = found.series(CALIBRATION).at(step).astype(np.float64)
        check_columns(found.tag(CALIBRATION), table.shape[1], CALIBRATION_COLUMNS)
        n, confidence, right = np.split(table, 3, axis=1)
        sums = {"n": nullable(n), "confidence": nullable(confidence), "right": nullable(right)}
        return {"buckets": buckets_of(found.tag(CALIBRATION), len(table)), **sums}

    def diagnosis(self, experiment: Experiment, run: str, attribute: str, step: int) -> Json:
        """Why the tail fails, and what would help, at the last diagnosis up to `step`."""
        return diagnosis(self._data.attribute(experiment, run, attribute), step)

    def class_diagnosis(self, experiment: Experiment, run: str, attribute: str, step: int, class_: str | int) -> Json:
        """Every diagnostic of one class at the last diagnosis up to `step`."""
        found = self._data.attribute(experiment, run, attribute)
        return class_diagnosis(found, step, class_index(found, class_))

    def gallery(self, experiment: Experiment, run: str, attribute: str, step: int, class_: str | int) -> Json:
        """The contact sheets of the group of one class, around `step`."""
        found = self._data.attribute(experiment, run, attribute)
        return class_gallery(found, step, class_index(found, class_))

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
        check_rows(tag.name, tag.rows, series.values.shape[1])
        values = nullable(series.values[at, :, tag.column_index(metric)])
        return {"attribute": name, "step": int(series.steps[at]), "groups": dict(zip(tag.rows, values, strict=True))}

    def confusion(self, experiment: Experiment, run: str, attribute: str, step: int) -> Json:
        """True group × predicted group at one step."""
        found = self._data.attribute(experiment, run, attribute)
        tag = found.tag(CONFUSION)
        values = found.series(CONFUSION).at(step)
        check_rows(tag.name, tag.rows, len(values))
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
        for name in sorted(tags.attributes, key=natural_order):
            try:
                attributes.append(described(Attribute(self._data, experiment, name, tags.attributes[name])))
            except (RequestError, SchemaError) as error:
                problems.append(str(error))
        return {"run": run, "attributes": attributes} | ({"problem": "; ".join(problems)} if problems else {})

    def _validation(
        self, experiment: Experiment, run: str, step: int, attribute: str, metric: str, bounds: GroupRule | None
    ) -> Validation:
        found = self._data.attribute(experiment, run, attribute)
        values = self._column(found, metric, step, "metric")
        return Validation(attribute, metric, step, found.list.names, regrouped(found.classes, bounds), values)

    def _column(self, found: Attribute, name: str, step: int, word: str = "column") -> NDArray[np.float64]:
        """One column of the per-class table at `step`, float64 (classes,)."""
        index = found.tag(CLASSES).column_index(name, word)
        return found.series(CLASSES).at(step)[:, index].astype(np.float64)
