"""LongTailDiagnostics: why the tail fails, class by class, and what would help without training again."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from tbmetrics.class_performance.arguments import batch_tensors, decision_thresholds
from tbmetrics.class_performance.dense import DenseWords, is_dense
from tbmetrics.class_performance.diagnostics import report
from tbmetrics.class_performance.diagnostics.attribute import AttributeDiagnostics
from tbmetrics.class_performance.diagnostics.gallery import checked_images
from tbmetrics.class_performance.diagnostics.options import (
    BALANCED_ACCURACY,
    TAUS,
    Options,
    checked_objective,
    checked_projector,
    checked_taus,
)
from tbmetrics.class_performance.diagnostics.projector import ProjectorFiles, Unwritten
from tbmetrics.class_performance.diagnostics.remedy import Remedy
from tbmetrics.class_performance.diagnostics.sheets import AttentionLookup, ContactSheets
from tbmetrics.class_performance.inputs import DEFAULT_ACTIVATION, LOGITS, Activation
from tbmetrics.class_performance.report import class_list
from tbmetrics.classes.attributes import AttributeClasses
from tbmetrics.classes.groups import ClassGroups
from tbmetrics.errors import InputError
from tbmetrics.records import REMEDIES, Record
from tbmetrics.records.history import TimedRecord
from tbmetrics.tracking.batches import CheckedBatch, Tensors, TrainingBatch, ValidationBatch
from tbmetrics.tracking.checks import by_attribute, check_choice, check_whole_numbers, logits_and_labels
from tbmetrics.tracking.modes import in_plain_mode
from tbmetrics.tracking.tracker import Tracker

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class LongTailDiagnostics(Tracker):
    """Find why classes fail (the classifier, the training signal, the features, the labels) and what would help.

        with TBMetrics("runs/a", model=model, optimizer=optimizer, classes=groups, diagnostics=True) as tb:
            ...
                logits = model(images)
                tb.observe(logits, labels)                       # before backward()
            ...
                tb.update(model(images), labels, images=images)  # validation
            tb.get_metrics()["diagnostics"]["findings"]

    In a training step only `observe` measures, with sums on the device. What cannot be measured, without a model or
    without training batches, is left out and reported as such. Definitions are on the page docs/diagnostics.md.

    Args:
        model: the model; None leaves out classifier, features and τ-normalisation. A session gives its own.
        classes: the classes; a session gives its own.
        save_dir: where `visualize` writes PNG files.
        classifiers: `{attribute: name of the module that makes its logits}`, if its width does not identify it.
        thresholds: decision threshold of multi-label attributes, as for `ClassPerformanceTracker`; None = 0.5, or those
            of the session's tracker.
        inputs, logit_scale: of `update`, as for `ClassPerformanceTracker`; None = logits, or those of the session's
            tracker. `observe` always takes logits.
        taus: amounts of logit adjustment (of logits at their fitted temperature) and τ-normalisation that are tried,
            above 0, ascending.
        objective: what the best amount is best for: "balanced_accuracy" (the mean over all classes; multi-label: of F1)
            or a weight for each group, `{"head": 0.2, "medium": 0.3, "tail": 0.5}`.
        training_samples: number of training samples, for logit adjustment of multi-label attributes; None = from what
            `observe` sees.
        max_bytes: of the features' sums, and of the stored logits, each per attribute; of more a random part is stored.
        gallery_size: images per group and kind.
        gallery_side: pixels of the longer side of a stored image.
        projector: samples of a validation whose features are written for TensorBoard's Projector tab, as many of each
            class; True = 1,000; False = none.

    Attributes:
        history: what was measured.

    Raises:
        InputError: an argument that cannot work; the message says which and why.
    """

    name = "diagnostics"

    def __init__(
        self,
        model: nn.Module | None = None,
        classes: ClassGroups | None = None,
        save_dir: str | os.PathLike[str] | None = None,
        *,
        classifiers: Mapping[str, str] | None = None,
        thresholds: float | Mapping[str, Any] | None = None,
        inputs: str | None = None,
        logit_scale: float | None = None,
        taus: Sequence[float] = TAUS,
        objective: str | Mapping[str, float] = BALANCED_ACCURACY,
        training_samples: int | None = None,
        max_bytes: int = 128 * 2**20,
        gallery_size: int = 8,
        gallery_side: int = 96,
        projector: bool | int = False,
    ) -> None:
        check_whole_numbers(max_bytes=max_bytes, gallery_size=gallery_size, gallery_side=gallery_side)
        self.save_dir = save_dir
        self._options = Options(
            checked_taus(taus), checked_objective(objective), max_bytes, gallery_size, gallery_side,
            training_samples, checked_projector(projector),
        )  # fmt: skip
        self._classifiers, self._thresholds = dict(classifiers or {}), thresholds
        is_given = inputs is not None or logit_scale is not None
        self._activation = Activation.checked(inputs or LOGITS, logit_scale) if is_given else None
        self._model: nn.Module | None = None
        self._classes: ClassGroups | None = None
        self._attributes: dict[str, AttributeDiagnostics] = {}
        self._step = 0
        self._sheets = ContactSheets()
        self._projector = ProjectorFiles()
        self._words = DenseWords()
        self.use(classes, model)

    def use(
        self,
        classes: ClassGroups | None,
        model: nn.Module | None,
        thresholds: Mapping[str, NDArray[np.float64]] | None = None,
        activation: Activation | None = None,
    ) -> None:
        """Take what a session knows, if it was not given; before anything is measured.

        Args:
            classes: of the attributes that are validated.
            model: the model.
            thresholds: decision thresholds by attribute.
            activation: how scores become probabilities.
        """
        self._activation = activation if self._activation is None else self._activation
        self._thresholds = thresholds if self._thresholds is None else self._thresholds
        self._classes = classes if self._classes is None else self._classes
        self._model = model if self._model is None else self._model
        known = self._classes if self._classes is not None else {}
        unknown = [a for a in self._classifiers if a not in known]
        if unknown and known:
            raise InputError(f"classifiers name attributes without classes: {unknown}; known are {list(known)}")
        self._attributes = {attribute: self._new(known[attribute]) for attribute in known}

    def show_attention(self, look: AttentionLookup) -> None:
        """Overlay the gallery's images with the attention from `look`; their originals are then stored too."""
        self._sheets.look = look
        for diagnostics in self._attributes.values():
            diagnostics.gallery.original_bytes = self._options.max_bytes

    def write_projector_to(self, log_dir: str | os.PathLike[str]) -> None:
        """Write the files of `projector` into this run; a session gives its own, on the rank that writes."""
        if self._options.projector:
            self._projector.write_to(log_dir)

    def _new(self, classes: AttributeClasses) -> AttributeDiagnostics:
        chosen = 0.5 if self._thresholds is None else self._thresholds
        thresholds = decision_thresholds(classes.attribute, chosen, len(classes))
        diagnostics = AttributeDiagnostics(classes, thresholds, self._options, self._activation or DEFAULT_ACTIVATION)
        if self._model is not None:
            diagnostics.use_model(self._model, self._classifiers.get(classes.attribute))
        return diagnostics

    # -------------------------------------------------------------------------------------------------- calls

    def start(self) -> None:
        """Set a forward hook on each classifier; it does nothing in training passes."""
        for diagnostics in self._attributes.values():
            if diagnostics.classifier is not None:
                diagnostics.classifier.attach(self.guard)

    def stop(self) -> None:
        """Remove every hook; idempotent."""
        for diagnostics in self._attributes.values():
            if diagnostics.classifier is not None:
                diagnostics.classifier.detach()

    @property
    def next_step(self) -> int:  # type: ignore[override]
        """None: only the last step of an epoch is of interest."""
        return sys.maxsize

    def after_step(self, step: int) -> None:
        """Note the step of training."""
        self._step = step

    @in_plain_mode
    def observe(
        self, batch: TrainingBatch | Tensors, labels: Tensors | None = None, loss: Tensors | None = None
    ) -> None:
        """Add a training batch; call it before `backward()`, so that the gradient that reaches the logits is counted.

        Args:
            batch: a `TrainingBatch`, or its logits, (N, C), or one per attribute.
            labels: with logits: class indices (N,), multi-hot (N, C), -1 = unknown, or soft targets (N, C); or one per
                attribute.
            loss: with logits: per sample, (N,), or one per attribute; None computes the cross-entropy.

        Raises:
            InputError: attributes, shapes or types that do not fit.
        """
        self._refuse_without_classes()
        if not isinstance(batch, TrainingBatch):
            if labels is None:
                raise InputError("observe() needs labels: observe(logits, labels), or a TrainingBatch")
            batch = TrainingBatch(batch, labels, loss)
        labels = by_attribute("labels", batch.labels, self._attributes)
        losses = {} if batch.loss is None else by_attribute("loss", batch.loss, self._attributes)
        for attribute, logits in by_attribute("logits", batch.logits, self._attributes).items():
            if attribute in labels and not is_dense(logits, labels[attribute]):
                values, truth = batch_tensors(attribute, logits, labels[attribute])
                self._attributes[attribute].observe(values, truth, losses.get(attribute), self.guard)

    @in_plain_mode
    def update(self, logits: Tensors, labels: Tensors, images: Tensor | NDArray[Any] | None = None) -> None:
        """Add a validation batch.

        Args:
            logits: (N, C), any float type and device, or an array; or one per attribute.
            labels: class indices (N,) or multi-hot (N, C), -1 = unknown; or one per attribute.
            images: of the samples, (N, C, H, W), (N, H, W) or (N, H, W, C), for the gallery.

        Raises:
            InputError: attributes, shapes, types or values that do not fit.
        """
        self._add(ValidationBatch(logits, labels, images))

    @in_plain_mode
    def validate(self, batch: ValidationBatch) -> None:
        """Add a session's validation batch."""
        self._add(batch)

    @torch.no_grad()
    def _add(self, batch: ValidationBatch) -> None:
        self._refuse_without_classes()
        given = self._words.without_dense(logits_and_labels(batch.logits, batch.labels, self._attributes))
        images, originals = None, batch.images if isinstance(batch.images, Tensor) else None
        checked: dict[str, CheckedBatch] = {}
        for attribute, pair in given.items():
            checked[attribute] = self._attributes[attribute].check(*pair, batch.checked.get(attribute))
            if batch.images is not None:
                images = checked_images(batch.images, len(checked[attribute].labels))
        for attribute, rows in checked.items():
            self._attributes[attribute].update(rows, images, originals)

    def _refuse_without_classes(self) -> None:
        if not self._attributes:
            raise InputError("diagnostics need classes: give LongTailDiagnostics(classes=ClassGroups.from_counts({…}))")

    # ------------------------------------------------------------------------------------------------ results

    @in_plain_mode
    def records(self, epoch: int) -> list[TimedRecord]:
        """The diagnosis of the validation since the last call; nothing without one."""
        now = time.time()
        return [TimedRecord(epoch, now, record) for record in self._records_of(epoch)]

    def _records_of(self, epoch: int) -> Iterator[Record]:
        for attribute, diagnostics in self._attributes.items():
            if diagnostics.classifier is not None:
                diagnostics.classifier.forget()
            if not diagnostics.pending:
                continue
            diagnosis = diagnostics.diagnose(self._step or epoch)
            if diagnosis is not None:
                yield from report.records(*diagnosis, diagnostics.aim, diagnostics.chosen_remedies())
            diagnostics.commit()
            self._sheets.undrawn.add(attribute)
            if diagnosis is not None and diagnostics.sample is not None:
                self._projector.unwritten[attribute] = Unwritten(epoch, diagnosis[0].left_out.get("features", ""))
            if diagnostics.gallery.by_class.are_due:
                yield from diagnostics.gallery.by_class.records()
        if not self.is_interrupted and self._sheets.are_due():
            yield from self._sheets.images(self._attributes)
        if not self.is_interrupted and self._projector.are_due():
            self._write_projector()

    def _write_projector(self) -> None:
        every = ((a, (d.classes, d.sample)) for a, d in self._attributes.items())
        self._projector.write({a: (classes, sample) for a, (classes, sample) in every if sample is not None})

    def closing(self) -> list[Record]:
        """The images of the last validation that are not written yet; the files of the Projector tab, too."""
        self._write_projector()
        by_class = [d.gallery.by_class for d in self._attributes.values()]
        unwritten = (record for images in by_class if images.has_news for record in images.records())
        return [*self._sheets.images(self._attributes), *unwritten]

    @in_plain_mode
    def get_metrics(self) -> dict[str, Any]:
        """`{"findings": [{"attribute", "name", "severity", "says", "evidence", …}], "other_rules": [...],
        "attributes": {attribute: {"classes", "groups", "remedies", "sentences", "left_out", …}}}`, JSON-ready.

        `findings` are the rules that apply; `other_rules` those that do not, or could not tell.
        """
        by_outcome: dict[bool, list[dict[str, Any]]] = {True: [], False: []}
        attributes = {}
        for attribute, diagnostics in self._attributes.items():
            result = diagnostics.diagnose(self._step)
            if result is None:
                continue
            diagnosis, findings = result
            for finding in findings:
                by_outcome[finding.judgement.severity > 0].append(report.finding_json(attribute, finding))
            attributes[attribute] = report.attribute_json(diagnosis, diagnostics.aim)
        return {"findings": by_outcome[True], "other_rules": by_outcome[False], "attributes": attributes}

    def remedy(self, attribute: str, remedy: str, *, tau: float | None = None) -> Remedy:
        """A remedy as a module that adjusts logits, with the amount that the last validation chose, or with `tau`.

        Args:
            attribute: whose logits are adjusted.
            remedy: "logit_adjustment", "tau_normalization" (single-label) or "class_thresholds" (multi-label).
            tau: its amount, in the unit of the table of remedies; None = the one that was chosen. Thresholds have none.

        Raises:
            InputError: an unknown attribute or remedy, no validation yet, or a remedy that does not apply to the
                attribute or could not be judged; the message says why.
        """
        check_choice("attribute", attribute, self._attributes)
        check_choice("remedy", remedy, REMEDIES)
        return self._attributes[attribute].remedy(remedy, tau, self._step)

    def visualize(self) -> dict[str, Figure]:
        """The figures of the last recorded validation, by name; also written as PNG if there is a `save_dir`."""
        from tbmetrics.figures.diagnostics import figures
        from tbmetrics.figures.output import collect_figures

        classes = {a: class_list(diagnostics.classes, "") for a, diagnostics in self._attributes.items()}
        if any(diagnostics.pending for diagnostics in self._attributes.values()) and not self.in_session:
            last = max((int(s.steps[-1]) for s in self.history.tables.values()), default=-1)
            self.collect(last + 1)
        sheets = self._sheets.figures(self._attributes)
        return collect_figures(chain(figures(self.history, classes=classes), sheets), self.save_dir)
