"""ClassPerformanceTracker: precision, recall, F1 and AP of every class and of head, medium and tail, streaming."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tbmetrics.class_performance import report
from tbmetrics.class_performance.arguments import (
    as_indices,
    checked_pr_classes,
    checked_top_k,
    chosen_attributes,
    decision_thresholds,
    known_classes,
)
from tbmetrics.class_performance.decisions import DEFAULT_DECISION_BYTES, DecisionLog
from tbmetrics.class_performance.dense import DenseOptions, is_dense
from tbmetrics.class_performance.dense_evaluation import IOU
from tbmetrics.class_performance.dense_state import DenseState
from tbmetrics.class_performance.inputs import LOGITS, Activation
from tbmetrics.class_performance.state import AttributeState
from tbmetrics.class_performance.states import AttributeStates
from tbmetrics.class_performance.validations import ValidationTracker
from tbmetrics.classes.groups import ClassGroups
from tbmetrics.errors import InputError
from tbmetrics.records import MEAN_METRICS, recall_at
from tbmetrics.tracking.checks import check_choice, check_whole_numbers, logits_and_labels
from tbmetrics.tracking.modes import in_plain_mode

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from torch import Tensor

    from tbmetrics.tracking.batches import CheckedBatch, Tensors, ValidationBatch

SCORE_MODES = ("auto", "exact", "binned")
DEFAULT_SCORE_BYTES = 2 * 2**30


class ClassPerformanceTracker(ValidationTracker):
    """Measure how each class, and each group of classes, does on a stream of validation batches.

        tracker = ClassPerformanceTracker(classes=ClassGroups.from_counts({"digit": {"0": 900, "1": 5}}))
        tracker.update(logits, labels)
        tracker.get_metrics()["digit"]["1"]["recall"]

    An attribute is single-label (class indices, decided by argmax) or multi-label (multi-hot, decided by threshold);
    its first batch settles which. Definitions are on the page docs/class-performance.md.

    Args:
        attributes: names of the attributes to track; None = all that `classes`, `hmt_info` or `label_to_idx_dict` know.
        label_to_idx_dict: `{attribute: {label: column of the logits}}`.
        idx_to_label_dict: `{attribute: {column: label}}`, where the above is not given.
        hmt_info: head/medium/tail information, see `ClassGroups.from_hmt_info`.
        save_dir: where `visualize` writes PNG files.
        classes: `ClassGroups`, instead of the four above.
        thresholds: decision threshold for multi-label attributes, as probability: one, or `{attribute: one or one per
            class}`.
        scores: "exact" keeps every score; "binned" keeps positives exactly and negatives in bins, in bounded memory;
            "auto" is exact until `max_score_bytes` are held.
        max_score_bytes: the budget of "auto", per attribute.
        pr_classes: `{attribute: class names}` whose PR curves are written besides those of the groups.
        inputs: "logits"; "probabilities": outputs of a softmax (single-label) or of sigmoids (multi-label); or
            "classes": predicted classes, where what needs scores (AP, curves, calibration) is undefined.
        logit_scale: factor of the logits before softmax or sigmoid, for classifiers that give cosines; None = 1.
        max_decision_bytes: what was decided on each sample is recorded, so that runs can be compared sample by sample,
            if it takes at most so many bytes a validation; 0 = never.
        top_k: for each k, the recall at k (`recall_at_5`) of single-label attributes is measured too: the share of a
            class's samples whose label is among the k highest scores, or the first k of the lists given with
            `inputs="classes"`.
        class_dim: dimension of dense logits that the classes are in, 1 or -1, if their shape does not tell.
        ignore_index: labels of places of dense predictions that do not count, besides -1 and -100.

    Raises:
        InputError: no classes, or options that do not fit them.
    """

    name = "class_performance"

    def __init__(
        self,
        attributes: Iterable[str] | None = None,
        label_to_idx_dict: Mapping[str, Mapping[Any, int]] | None = None,
        idx_to_label_dict: Mapping[str, Mapping[int, Any]] | None = None,
        hmt_info: Mapping[str, Mapping[Any, Any]] | None = None,
        save_dir: str | os.PathLike[str] | None = None,
        *,
        classes: ClassGroups | None = None,
        thresholds: float | Mapping[str, float | Sequence[float] | NDArray[np.floating]] = 0.5,
        scores: str = "auto",
        max_score_bytes: int = DEFAULT_SCORE_BYTES,
        pr_classes: Mapping[str, Sequence[str]] | None = None,
        inputs: str = LOGITS,
        logit_scale: float | None = None,
        max_decision_bytes: int = DEFAULT_DECISION_BYTES,
        top_k: int | Sequence[int] = (),
        class_dim: int | None = None,
        ignore_index: int | Sequence[int] = (),
    ) -> None:
        check_choice("scores", scores, SCORE_MODES)
        check_whole_numbers(0, max_decision_bytes=max_decision_bytes)
        self._options: dict[str, Any] = {
            "thresholds": thresholds, "scores": scores, "max_score_bytes": max_score_bytes, "pr_classes": pr_classes,
            "inputs": inputs, "logit_scale": logit_scale, "max_decision_bytes": max_decision_bytes, "top_k": top_k,
            "class_dim": class_dim, "ignore_index": ignore_index,
        }  # fmt: skip
        classes = classes or known_classes(label_to_idx_dict, idx_to_label_dict, hmt_info)
        self.save_dir = save_dir
        self.activation = Activation.checked(inputs, logit_scale)
        self.top_k = checked_top_k(top_k)
        state = partial(
            AttributeState, scores=scores, max_bytes=max_score_bytes, activation=self.activation, top_k=self.top_k
        )
        sizes = {a: len(classes[a]) for a in chosen_attributes(attributes, classes)}
        states = {a: state(a, n, decision_thresholds(a, thresholds, n)) for a, n in sizes.items()}
        curves = checked_pr_classes(pr_classes or {}, classes)
        dense = DenseOptions.checked(class_dim, ignore_index, binned=scores == "binned")
        super().__init__(classes, AttributeStates(states, dense), curves, DecisionLog(max_decision_bytes))

    def empty(self, sample_set: str = "") -> ClassPerformanceTracker:
        """Another tracker of the same classes and options, without samples.

        Args:
            sample_set: name of the samples that it is to see, such as "test": decisions on them are compared in pairs
                with those on samples of the same name only.
        """
        other = ClassPerformanceTracker(self.attributes, save_dir=self.save_dir, classes=self.classes, **self._options)
        other._decisions.sample_set = sample_set
        return other

    @in_plain_mode
    def update(
        self,
        logits: Tensor | Mapping[str, Tensor],
        labels: Tensor | Mapping[str, Tensor],
        *,
        indices: Tensor | Sequence[int] | None = None,
    ) -> None:
        """Add one validation batch.

        Args:
            logits: (N, C) or, dense, (N, C, …) or (N, …, C), any float type and device, or an array; probabilities with
                `inputs="probabilities"`; with `inputs="classes"` integers (N,), lists by rank (N, k), dense (N, H, W),
                or 0/1 (N, C) for multi-hot labels; or `{attribute: logits}`.
            labels: class indices (N,) or, dense, (N, …) of any integer type, or multi-hot (N, C), -1 = unknown; or
                `{attribute: labels}`.
            indices: integers (N,): which sample of the data set each row is. With them a sample counts once, however
                often and on however many ranks it comes.

        Raises:
            InputError: attributes, shapes, types or values that do not fit; says what came and what was expected.
        """
        self._add(logits, labels, indices)

    @in_plain_mode
    def validate(self, batch: ValidationBatch) -> None:
        """Add a session's validation batch."""
        batch.checked.update(self._add(batch.logits, batch.labels, batch.indices))

    def _add(self, logits: Tensors, labels: Tensors, indices: Any) -> dict[str, CheckedBatch]:
        checked: dict[str, CheckedBatch] = {}
        rows = as_indices(indices)
        for attribute, (values, truth) in logits_and_labels(logits, labels, self.attributes).items():
            self._own.check_update(attribute, (*self.measured, IOU) if is_dense(values, truth) else self.measured)
            has_rows, batch = self._states.add(attribute, values, truth, rows)
            if has_rows:
                self._unevaluated.add(attribute)
                self._unrecorded.add(attribute)
            if batch is not None:
                checked[attribute] = batch
        return checked

    def log_class_metrics(
        self,
        attribute: str,
        metrics: Mapping[str, Any],
        *,
        support: Any = None,
        lower: Mapping[str, Any] | None = None,
        upper: Mapping[str, Any] | None = None,
    ) -> None:
        """Add metrics of the classes that were computed elsewhere to this validation, e.g. average precisions of LVIS.

        They are averaged over groups, compared and exported like those measured here. If `update` is called for the
        attribute too, they join its table. A run keeps the metrics of its first validation; one that is not given later
        is undefined there.

        Args:
            attribute: whose classes they are.
            metrics: values by metric, each an array (C,) in the order of the classes or `{class name: value}`, between
                0 and 1 and higher the better; NaN or left out = undefined.
            support: number of examples behind the values, as one of `metrics`; that of `update` goes first.
            lower, upper: ends of 95 % intervals, by metric as `metrics`. A group's mean has an interval (MOVER, which
                takes the classes as independent) if all of its classes have one.

        Raises:
            InputError: an unknown attribute or class, values that cannot be used, or a name that is taken.
        """
        if attribute not in self.attributes:
            known = ", ".join(map(repr, self.attributes))
            raise InputError(f"attribute {attribute!r} is not tracked; tracked are {known}")
        is_measured = self._states[attribute].has_rows or self._own.is_measured(attribute)
        measured = (*self.measured, IOU) if isinstance(self._states[attribute], DenseState) else self.measured
        self._own.add(attribute, metrics, support, lower, upper, measured if is_measured else ())
        self._unevaluated.add(attribute)
        self._unrecorded.add(attribute)

    @property
    def thresholds(self) -> dict[str, NDArray[np.float64]]:
        """Decision thresholds of each attribute as probabilities, (classes,); multi-label attributes use them."""
        return {a: state.thresholds for a, state in self._states.items() if isinstance(state, AttributeState)}

    @property
    def measured(self) -> tuple[str, ...]:
        """The means over classes that are measured, if the attribute is single-label."""
        return (*MEAN_METRICS, *map(recall_at, self.top_k))

    # ------------------------------------------------------------------------------------------------- results

    def get_metrics(self) -> dict[str, dict[str, dict[str, Any]]]:
        """`{attribute: {label: {"support", "precision", "recall", "f1", "ap", "type", "defined", …}}}`."""
        return {a: report.class_metrics(r) for a, r in self._evaluate().items()}

    def get_class_type_metrics(self) -> dict[str, dict[str, dict[str, Any]]]:
        """`{attribute: {"head" | "medium" | "tail" | "unknown" | "all" | "gap": {"precision", …, "count", …}}}`."""
        return {a: report.type_metrics(r) for a, r in self._evaluate().items()}

    def save_metrics(self, path: str | os.PathLike[str]) -> None:
        """Write both forms as JSON to `path`."""
        content = {"class_metrics": self.get_metrics(), "type_metrics": self.get_class_type_metrics()}
        Path(path).write_text(json.dumps(content, indent=2, allow_nan=False, ensure_ascii=False), encoding="utf-8")

    def visualize(self) -> dict[str, Figure]:
        """The figures of the last recorded validation, by name; also written as PNG if there is a `save_dir`."""
        from tbmetrics.figures.class_metrics import figures
        from tbmetrics.figures.output import collect_figures

        if self._unrecorded and not self.in_session:
            last = max((int(s.steps[-1]) for s in self.history.tables.values()), default=-1)
            self.collect(last + 1)
        return collect_figures(figures(self.history), self.save_dir)
