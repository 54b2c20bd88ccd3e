"""From predictions to a run: read in parts, evaluate step by step, write what a training session would write."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import chain, zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from tbmetrics.class_performance.arguments import batch_tensors
from tbmetrics.class_performance.diagnostics.remedy import Remedy
from tbmetrics.class_performance.inputs import CLASSES, INPUTS, LOGITS, PROBABILITIES, Activation
from tbmetrics.class_performance.tracker import DEFAULT_SCORE_BYTES, ClassPerformanceTracker
from tbmetrics.classes.attributes import AttributeClasses
from tbmetrics.classes.groups import ClassGroups
from tbmetrics.classes.rules import DEFAULT_RULE
from tbmetrics.errors import InputError
from tbmetrics.predictions.batches import PredictedRows, Roles, by_step, num_classes_of
from tbmetrics.predictions.counts import LABEL_NAMES, classes_of
from tbmetrics.predictions.files import UNNAMED, Rows, column_name, joined_column, read_rows, split_rows
from tbmetrics.records import TAU_NORMALIZATION
from tbmetrics.session.session import TBMetrics
from tbmetrics.tracking.checks import check_choice

if TYPE_CHECKING:
    from torch import Tensor

#: A file, or columns by name.
Source: TypeAlias = "str | os.PathLike[str] | Mapping[str, Any]"


def evaluate(
    predictions: Source | Sequence[Source],
    *,
    counts: Any,
    out: str | os.PathLike[str],
    labels: Any = None,
    attribute: str | None = None,
    inputs: str | None = None,
    logit_scale: float | None = None,
    thresholds: Any = 0.5,
    top_k: int | Sequence[int] = (),
    rule: str = DEFAULT_RULE,
    steps: Sequence[int] | None = None,
    scores: str = "auto",
    max_score_bytes: int = DEFAULT_SCORE_BYTES,
    remedy: Remedy | str | os.PathLike[str] | None = None,
    progress: Callable[[int, str], None] | None = None,
) -> dict[str, dict[str, dict[str, Any]]]:
    """Evaluate predictions that are there already, and write them as a run for TensorBoard.

        tbmetrics.evaluate("val.npz", counts="counts.json", out="runs/focal")

    Files are read in parts and never run: no pickled objects are loaded. Each step becomes a validation of the run; an
    existing run is continued.

    Args:
        predictions: one or several; each a file (`.npz`, `.npy`, `.pt`, `.safetensors`, `.csv`, `.parquet`) or a
            dictionary of arrays or tensors. Its columns are "logits" or "probabilities", (N, C), or "predictions":
            class indices (N,), by rank (N, k), or for multi-hot labels 0/1 (N, C); "labels", (N,) or multi-hot (N, C),
            -1 = unknown; if there are several validations "step", (N,), which never falls; and "indices", (N,), with
            which a sample counts once. Tables may have a column a class instead, and class names for indices.
        counts: training counts of the classes: a JSON or CSV file, training labels, a folder of images, or as for
            `ClassGroups.from_counts`.
        out: directory of the run, created if missing.
        labels: a file or array of labels, for predictions without them.
        attribute: name of what is classified; None = "class", or the only one in `counts`.
        inputs: "logits", "probabilities" or "classes"; None = by the name of the column.
        logit_scale, thresholds, top_k, scores, max_score_bytes: as for `ClassPerformanceTracker`.
        rule: by which classes are head, medium or tail.
        steps: one for each file, instead of 0, 1, 2, …
        remedy: a `Remedy`, or a file that it wrote, to be applied to the scores.
        progress: called with the number of rows done, and the name of the file.

    Returns:
        the group metrics of the last validation, `{attribute: {group: {metric: value}}}`.

    Raises:
        InputError: files or arrays that cannot be read or do not fit.
    """
    if inputs is not None:
        check_choice("inputs", inputs, INPUTS)
    sources = _listed(predictions)
    with _named(sources[0]):
        first, opened = _peek(sources[0], labels)
        classes = classes_of(counts, num_classes=num_classes_of(first, inputs), attribute=attribute, rule=rule)
        roles = Roles(inputs, classes.names)
        roles.read(first)
    remedied = None if remedy is None else _Remedied(remedy, classes, roles.inputs or LOGITS, logit_scale)
    tracker = ClassPerformanceTracker(
        classes=ClassGroups({classes.attribute: classes}),
        inputs=(roles.inputs or LOGITS) if remedied is None else LOGITS,
        logit_scale=logit_scale,
        thresholds=thresholds,
        top_k=top_k,
        scores=scores,
        max_score_bytes=max_score_bytes,
    )
    with TBMetrics(out, class_performance=tracker, resources=False, overhead_budget=None, strict=True) as tb:
        run = _Run(tb, roles, remedied, progress or _say_nothing)
        for number, (source, step) in enumerate(zip(sources, _steps_of(sources, steps), strict=True)):
            with _named(source):
                run.add(opened if number == 0 else _parts_of(source, labels), step, _name_of(source))
    return tracker.get_class_type_metrics()


class _Run:
    """Gives predictions to a session, an epoch for each step."""

    def __init__(
        self, session: TBMetrics, roles: Roles, remedied: _Remedied | None, progress: Callable[[int, str], None]
    ) -> None:
        self._session, self._roles, self._remedied, self._progress = session, roles, remedied, progress
        self._last: int | None = None
        self._rows = 0

    def add(self, parts: Iterator[Rows], step: int, name: str) -> None:
        """Add a file, as validation `step` unless its rows say their steps."""
        for part in parts:
            for own_step, rows in by_step(self._roles.read(part)):
                self._update(step if own_step is None else own_step, rows)
                self._progress(self._rows, name)

    def _update(self, step: int, rows: PredictedRows) -> None:
        if rows.labels is None:
            raise InputError(f"there are no labels; name them 'labels' ({', '.join(LABEL_NAMES)}), or give labels=…")
        if self._last is not None and step < self._last:
            raise InputError(f"steps must not fall, got {step} after {self._last}; sort the rows or files by step")
        if step != self._last:
            self._session.start_epoch(step)
            self._last = step
        labels = self._roles.as_indices(rows.labels, "labels")
        scores = rows.scores if self._remedied is None else self._remedied(rows.scores, labels)
        self._session.update(scores, labels, indices=rows.indices)
        self._rows += len(labels)


class _Remedied:
    """Applies a remedy to scores of these classes, which become logits."""

    def __init__(self, remedy: Any, classes: AttributeClasses, inputs: str, logit_scale: float | None) -> None:
        self._remedy = remedy if isinstance(remedy, Remedy) else Remedy.load(remedy)
        self._attribute, self._activation = classes.attribute, Activation.checked(inputs, logit_scale)
        if inputs == CLASSES:
            raise InputError("a remedy adjusts scores; predicted classes have none")
        if inputs == PROBABILITIES and self._remedy.remedy == TAU_NORMALIZATION:
            raise InputError(
                "tau_normalization needs the logits that the classifier made; probabilities do not tell them"
            )
        if self._remedy.classes != classes.names:
            both = zip_longest(self._remedy.classes, classes.names)
            of_remedy, here = next(pair for pair in both if pair[0] != pair[1])
            raise InputError(
                f"the remedy is for {len(self._remedy.classes)} classes, here are {len(classes)}; the first that "
                f"differ are {of_remedy!r} and {here!r}"
            )

    def __call__(self, scores: Any, labels: Any) -> Tensor:
        values, truth = batch_tensors(self._attribute, scores, labels)
        if self._activation.takes_probabilities:
            values = self._activation.as_logits(values, truth.ndim == 1)
        return self._remedy(values)


def _listed(predictions: Any) -> list[Any]:
    is_one = isinstance(predictions, str | os.PathLike | Mapping)
    sources = [predictions] if is_one else list(predictions)
    if not sources:
        raise InputError("no predictions were given; name at least one file")
    return sources


def _steps_of(sources: Sequence[Any], steps: Sequence[int] | None) -> Sequence[int]:
    if steps is None:
        return range(len(sources))
    if len(steps) != len(sources):
        raise InputError(f"steps must be one for each of {len(sources)} files, got {len(steps)}")
    return steps


def _peek(source: Any, labels: Any) -> tuple[Rows, Iterator[Rows]]:
    """The first part of a source, and all of its parts."""
    parts = _parts_of(source, labels)
    first = next(parts, None)
    if first is None:
        raise InputError(f"{_name_of(source) or 'predictions'}: there are no rows")
    return first, chain([first], parts)


def _parts_of(source: Any, labels: Any) -> Iterator[Rows]:
    parts = split_rows(source) if isinstance(source, Mapping) else read_rows(Path(source))
    return parts if labels is None else _with_labels(parts, _all_labels(labels))


def _all_labels(labels: Any) -> Any:
    """Labels from a file of their own, which are small beside scores."""
    if not isinstance(labels, str | os.PathLike):
        return labels
    parts = list(read_rows(Path(labels)))
    name = column_name(parts[0], (*LABEL_NAMES, UNNAMED)) if parts else None
    if name is None:
        raise InputError(f"{labels}: has no labels; name them one of {', '.join(LABEL_NAMES)}")
    return joined_column(parts, name)


def _with_labels(parts: Iterator[Rows], labels: Any) -> Iterator[Rows]:
    start = 0
    for part in parts:
        stop = start + len(next(iter(part.values())))
        if stop > len(labels):
            raise InputError(f"there are {len(labels)} labels for at least {stop} predictions")
        yield {
            **{n: column for n, column in part.items() if n.lower() not in LABEL_NAMES},
            "labels": labels[start:stop],
        }
        start = stop
    if start != len(labels):
        raise InputError(f"there are {len(labels)} labels for {start} predictions")


@contextmanager
def _named(source: Any) -> Iterator[None]:
    """Say in errors which file they are about."""
    try:
        yield
    except InputError as error:
        name = _name_of(source)
        raise InputError(f"{name}: {error}" if name and name not in str(error) else str(error)) from error


def _name_of(source: Any) -> str:
    return "" if isinstance(source, Mapping) else str(source)


def _say_nothing(rows: int, name: str) -> None:
    pass
