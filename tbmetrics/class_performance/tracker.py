"""ClassPerformanceTracker: precision, recall, F1 and AP of every class and of head, medium and tail, streaming."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import fields, replace
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
from tbmetrics.class_performance.evaluation import Evaluation, evaluate
from tbmetrics.class_performance.inputs import LOGITS, Activation
from tbmetrics.class_performance.state import AttributeState
from tbmetrics.class_performance.states import AttributeStates
from tbmetrics.classes.groups import ClassGroups
from tbmetrics.records import ALL, MEAN_METRICS, Record, recall_at
from tbmetrics.records.history import TimedRecord
from tbmetrics.tracking.checks import check_choice, check_whole_numbers, logits_and_labels
from tbmetrics.tracking.modes import outside_inference
from tbmetrics.tracking.ranks import Ranks, reduce_trackers
from tbmetrics.tracking.state import checked_tracker_state, pack, tracker_state, unpack
from tbmetrics.tracking.tracker import Tracker

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from torch import Tensor

    from tbmetrics.tracking.batches import ValidationBatch

SCORE_MODES = ("auto", "exact", "binned")
DEFAULT_SCORE_BYTES = 2 * 2**30


class ClassPerformanceTracker(Tracker):
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
    ) -> None:
        check_choice("scores", scores, SCORE_MODES)
        check_whole_numbers(0, max_decision_bytes=max_decision_bytes)
        self._decisions = DecisionLog(max_decision_bytes)
        self._options: dict[str, Any] = {
            "thresholds": thresholds, "scores": scores, "max_score_bytes": max_score_bytes, "pr_classes": pr_classes,
            "inputs": inputs, "logit_scale": logit_scale, "max_decision_bytes": max_decision_bytes,
            "top_k": top_k,
        }  # fmt: skip
        self.classes = classes or known_classes(label_to_idx_dict, idx_to_label_dict, hmt_info)
        self.attributes = chosen_attributes(attributes, self.classes)
        self.save_dir = save_dir
        self._pr_classes = checked_pr_classes(pr_classes or {}, self.classes)
        self.activation = Activation.checked(inputs, logit_scale)
        self.top_k = checked_top_k(top_k)
        self._states = AttributeStates(
            {
                a: AttributeState(
                    a,
                    len(self.classes[a]),
                    decision_thresholds(a, thresholds, len(self.classes[a])),
                    scores,
                    max_score_bytes,
                    self.activation,
                    self.top_k,
                )
                for a in self.attributes
            }
        )
        self.epochs, self._results = dict[str, int](), dict[str, Evaluation]()
        self._unevaluated: set[str] = set()  # attributes with batches that `_results` does not know yet
        self._unrecorded: set[str] = set()  # attributes with batches that `records` has not returned
        self._listed: set[str] = set()

    def empty(self) -> ClassPerformanceTracker:
        """Another tracker of the same classes and options, without samples."""
        return ClassPerformanceTracker(self.attributes, save_dir=self.save_dir, classes=self.classes, **self._options)

    @outside_inference
    def update(
        self,
        logits: Tensor | Mapping[str, Tensor],
        labels: Tensor | Mapping[str, Tensor],
        *,
        indices: Tensor | Sequence[int] | None = None,
    ) -> None:
        """Add one validation batch.

        Args:
            logits: (N, C), any float type and device, or an array; probabilities with `inputs="probabilities"`; with
                `inputs="classes"` integers (N,), lists by rank (N, k), or 0/1 (N, C) for multi-hot labels; or
                `{attribute: logits}`.
            labels: class indices (N,) of any integer type, or multi-hot (N, C), -1 = unknown; or `{attribute: labels}`.
            indices: integers (N,): which sample of the data set each row is. With them a sample counts once, however
                often and on however many ranks it comes.

        Raises:
            InputError: attributes, shapes, types or values that do not fit; says what came and what was expected.
        """
        for attribute, (values, truth) in logits_and_labels(logits, labels, self.attributes).items():
            if self._states.add(attribute, values, truth, as_indices(indices)):
                self._unevaluated.add(attribute)
                self._unrecorded.add(attribute)

    def validate(self, batch: ValidationBatch) -> None:
        """Add a session's validation batch."""
        self.update(batch.logits, batch.labels, indices=batch.indices)

    @property
    def thresholds(self) -> dict[str, NDArray[np.float64]]:
        """Decision thresholds of each attribute as probabilities, (classes,); multi-label attributes use them."""
        return {a: state.thresholds for a, state in self._states.items()}

    @property
    def measured(self) -> tuple[str, ...]:
        """The means over classes that are measured, if the attribute is single-label."""
        return (*MEAN_METRICS, *map(recall_at, self.top_k))

    def records(self, epoch: int) -> list[TimedRecord]:
        """Records of the validation since the last call, at step `epoch`; none without an update."""
        fresh = [a for a in self.attributes if a in self._unrecorded]
        self._evaluate()
        self._unrecorded.clear()
        self.epochs.update(dict.fromkeys(fresh, epoch))
        now = time.time()
        return [TimedRecord(epoch, now, record) for attribute in fresh for record in self._records_of(attribute)]

    def _records_of(self, attribute: str) -> Iterator[Record]:
        result = self._results[attribute]
        decided = list(self._decisions.records(self._states[attribute]))
        self._states[attribute].reset()
        if attribute not in self._listed:
            self._listed.add(attribute)
            yield report.class_list(result.classes, result.decision)
        yield from report.records(result, self._pr_classes.get(attribute, ()))
        yield from decided

    def _evaluate(self) -> dict[str, Evaluation]:
        """The evaluation of each attribute, of the batches since the last `records` or of the last validation."""
        for attribute in sorted(self._unevaluated):
            self._states[attribute].drop_repeated()
            result = evaluate(self._states[attribute], self.classes[attribute])
            self._results[attribute] = result
            prevalence = result.columns["support"] / max(self._states[attribute].n_samples, 1)
            self._states[attribute].watch.warn(result.groups[ALL]["ap"] - float(prevalence.mean()))
        self._unevaluated.clear()
        return self._results

    # ------------------------------------------------------------------------------------------ several ranks

    def reduce(self, process_group: Any = None) -> None:
        """Combine the batches of all ranks; a collective, so every rank calls it before asking for metrics.

        Afterwards all ranks give the same results. A session does this in `end_epoch`; outside a distributed job it
        does nothing.

        Args:
            process_group: the ranks that share the validation; None = all.

        Raises:
            InputError: not a process group.
        """
        ranks = Ranks(process_group)
        if ranks.size > 1:
            reduce_trackers([self], ranks, lambda tracker, action, *args, default=None: action(*args))

    def announce(self) -> dict[str, Any] | None:
        """Number and indices of the samples, and the first and last row, which reveal padding."""
        if not self._unrecorded:
            return None
        return self._states.announce()

    def share(self, announced: list[Any], rank: int) -> dict[str, Any] | None:
        """The raw state of each attribute, without the samples that lower ranks count."""
        if all(facts is None for facts in announced):
            return None
        return self._states.share(announced, rank)

    def combine(self, share: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
        """The states of two blocks of ranks as one."""
        return self._states.combine(share, other)

    def adopt(self, share: dict[str, Any]) -> dict[str, Evaluation]:
        """Evaluate what all ranks have seen; returns the results for the other ranks."""
        self._states.restore(share)
        fresh = {a for a, state in self._states.items() if state.n_samples or state.n_skipped}
        self._unevaluated, self._unrecorded = set(fresh), set(fresh)
        results = self._evaluate()
        return {a: results[a] for a in sorted(fresh)}

    def take_outcome(self, outcome: dict[str, Evaluation] | None) -> None:
        """Take over the results of all ranks; None = this validation has none."""
        self._states.reset()
        self._results |= {a: replace(r, classes=self.classes[a]) for a, r in (outcome or {}).items()}
        self._unevaluated, self._unrecorded = set(), set(outcome or ())

    # ----------------------------------------------------------------------------------------------- resuming

    def state_dict(self) -> dict[str, Any]:
        """The last results, and this rank's batches of a validation that is under way."""
        return tracker_state(
            self,
            classes={a: list(self.classes[a].names) for a in self.attributes},
            results={a: pack(replace(r, classes=None)) for a, r in self._results.items()},  # type: ignore[arg-type]
            open={a: self._states[a].share() for a in sorted(self._unrecorded)},
            unevaluated=sorted(self._unevaluated),
            epochs=dict(self.epochs),
        )

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` returned.

        Raises:
            InputError: other attributes or classes, or a newer version.
        """
        expected = {a: list(self.classes[a].names) for a in self.attributes}
        saved = checked_tracker_state(self, state, classes=expected)
        known = {f.name for f in fields(Evaluation)} - {"classes"}
        for attribute, packed in saved["results"].items():
            values = {name: unpack(value) for name, value in packed.items() if name in known}
            self._results[attribute] = Evaluation(classes=self.classes[attribute], **values)
        self._states.restore(saved["open"])
        self._unevaluated, self._unrecorded = set(saved["unevaluated"]), set(saved["open"])
        self.epochs = dict(saved.get("epochs", {}))

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
