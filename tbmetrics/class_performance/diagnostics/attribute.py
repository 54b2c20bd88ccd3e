"""All diagnostics of one attribute, from its batches to the diagnosis."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from tbmetrics.class_performance.arguments import check_batch, check_kind, decision_kind
from tbmetrics.class_performance.diagnostics.classifier import Classifier, ForwardPass
from tbmetrics.class_performance.diagnostics.diagnosis import Diagnosis
from tbmetrics.class_performance.diagnostics.feature_sample import FeatureSample
from tbmetrics.class_performance.diagnostics.features import FeatureState
from tbmetrics.class_performance.diagnostics.gallery import Gallery
from tbmetrics.class_performance.diagnostics.head import COSINE, LINEAR
from tbmetrics.class_performance.diagnostics.options import Options
from tbmetrics.class_performance.diagnostics.remedies import RemedyTable, objective_weights
from tbmetrics.class_performance.diagnostics.remedy import Remedy
from tbmetrics.class_performance.diagnostics.remedy_choice import chosen_remedy
from tbmetrics.class_performance.diagnostics.training_signal import TrainingSignal
from tbmetrics.class_performance.diagnostics.validation import Progress, RemedyInputs, ValidationState
from tbmetrics.class_performance.diagnostics.verdict import Finding, verdict
from tbmetrics.class_performance.inputs import (
    DEFAULT_ACTIVATION,
    Activation,
    InputLook,
    ScoreFacts,
    check_probabilities,
)
from tbmetrics.classes.attributes import AttributeClasses
from tbmetrics.errors import InputError
from tbmetrics.records import (
    DIAGNOSTIC_COLUMNS,
    HEAD,
    LOGIT_ADJUSTMENT,
    MULTI_LABEL,
    REMEDIES,
    SINGLE_LABEL,
    TAU_NORMALIZATION,
    FloatArray,
)
from tbmetrics.tracking.batches import CheckedBatch

#: Training samples assumed of a class without any, so that its prior has a logarithm.
LEAST_COUNT = 0.5


class AttributeDiagnostics:
    """Everything that is measured of one attribute, from batch to diagnosis.

    Args:
        classes: of the attribute.
        thresholds: decision thresholds of a multi-label attribute, as probabilities, (C,).
        options: see `LongTailDiagnostics`.
        activation: how scores become probabilities.
    """

    def __init__(
        self,
        classes: AttributeClasses,
        thresholds: FloatArray,
        options: Options,
        activation: Activation = DEFAULT_ACTIVATION,
    ) -> None:
        self.classes, self.options = classes, options
        self._activation = activation
        self._cuts = torch.as_tensor(thresholds).logit()  # of a multi-label attribute
        self._decision: str | None = None  # of the batches checked so far
        self.signal = TrainingSignal(classes.attribute, len(classes))
        self.features = FeatureState(len(classes), options.max_bytes)
        self.validation = ValidationState(classes, options.taus, thresholds, options.max_bytes)
        self.gallery = Gallery(classes, options.gallery_size, options.gallery_side)
        most = options.projector
        self.sample = FeatureSample(classes, most, options.max_bytes) if most else None
        self.classifier: Classifier | None = None
        self._progress = self._next_progress = Progress(len(classes))
        self._diagnosis: tuple[Diagnosis, list[Finding]] | None = None
        self._stale = False
        self.pending = False  # whether there is a validation that is not recorded yet
        self._left_out: dict[str, str] = {}
        self._look = InputLook()

    def use_model(self, model: nn.Module, classifier: str | None) -> None:
        """Look for the classifier in `model`, or take the module of that name."""
        self.classifier = Classifier(model, self.classes.attribute, len(self.classes), classifier)

    @property
    def aim(self) -> str:
        """The objective in words."""
        return self.options.aim(self.validation.decision)

    # ------------------------------------------------------------------------------------------------ batches

    def observe(self, logits: Tensor, labels: Tensor, loss: Tensor | None, guard: Callable[..., Any]) -> None:
        """Add a training batch."""
        self.signal.add(logits, labels, loss, guard)

    def check(self, logits: Any, labels: Any, checked: CheckedBatch | None = None) -> CheckedBatch:
        """A validation batch of the attribute, checked here if it was not before.

        Raises:
            InputError: it does not fit.
        """
        attribute, n_classes = self.classes.attribute, len(self.classes)
        if checked is None or checked.logits.shape[1] != n_classes:
            checked = check_batch(attribute, logits, labels, n_classes, self._decision)
        check_kind(attribute, checked.decision, self._decision)
        if self._activation.takes_probabilities and checked.logits.numel():
            facts, is_single = ScoreFacts.measured(checked.logits), checked.decision == SINGLE_LABEL
            check_probabilities(f"attribute {attribute!r}", facts, checked.given.dtype, is_single)
        self._decision = self.signal.decision = checked.decision
        return checked

    def update(self, batch: CheckedBatch, images: Tensor | None, originals: Tensor | None = None) -> None:
        """Add a checked validation batch; rows with NaN or (single-label) an unknown label are left out."""
        labels, is_single = batch.labels, batch.decision == SINGLE_LABEL
        if not labels.numel():
            return
        origin = self.classifier.claim(batch.given) if self.classifier is not None else None
        wide = self._activation.as_logits(batch.logits, is_single)
        if not self.pending:
            self._begin(wide, labels, origin)
        self._look_at(batch.logits)
        good = _good_rows(batch)
        if good is not None:
            wide, labels = wide[good], labels[good]
        if not labels.numel():
            return
        self.pending = self._stale = True
        self.validation.add(wide, labels)
        if images is not None and good is not None:
            images = images[good.to(images.device)]
            originals = None if originals is None else originals[good.to(originals.device)]
        features = self._add_features(origin, good, labels)
        cuts = None if is_single else self._cuts
        if features is not None and self.sample is not None:
            self.sample.add(features, wide, labels, cuts, images)
        if images is not None:
            self.gallery.add(wide, labels, images, cuts, originals)

    def _look_at(self, scores: Tensor) -> None:
        """Look whether logits are probabilities, until they are seen not to be."""
        is_said = self._activation.takes_probabilities or self._activation.logit_scale is not None
        if not is_said and self._look.in_unit:
            self._look.add(ScoreFacts.measured(scores, with_sums=self._look.sums_to_one), scores.numel())

    def _begin(self, logits: Tensor, labels: Tensor, origin: ForwardPass | None) -> None:
        """With the first batch of a validation, collect what its remedies need."""
        self._forget()
        self.gallery.reset()
        if self.sample is not None:
            self.sample.reset()
        inputs, decision = self.validation.inputs, decision_kind(logits, labels)
        self.validation.decision = decision
        inputs.log_prior = self._log_prior(decision, logits.device)
        self._read_classifier(inputs, origin)
        if decision == MULTI_LABEL:
            self._left_out[TAU_NORMALIZATION] = (
                "scaling a logit never changes its sign: for single-label attributes only"
            )

    def _read_classifier(self, inputs: RemedyInputs, origin: ForwardPass | None) -> None:
        """Take norms and bias of the classifier, or note why they are not known or do not count."""
        head = self.classifier.head(origin) if self.classifier is not None else None
        if self.classifier is None or head is None:
            reason = "no model was given" if self.classifier is None else self.classifier.why_not
            self._left_out |= dict.fromkeys(("classifier", "features", TAU_NORMALIZATION), reason)
            return
        name = self.classifier.name
        if head.weight is None:
            self._left_out["classifier"] = self.classifier.why_no_weights
        if head.kind == LINEAR and head.weight is not None:
            inputs.norms, inputs.bias = torch.linalg.vector_norm(head.weight, dim=1), head.bias
            inputs.bias = None if inputs.bias is None else inputs.bias * self._activation.scale
        elif head.kind == COSINE:
            self._left_out[TAU_NORMALIZATION] = f"{name!r} normalises its weights: their norms change no decision"
        else:
            self._left_out[TAU_NORMALIZATION] = f"the logits were not seen to be weight · input + bias of {name!r}"

    def _add_features(self, origin: ForwardPass | None, good: Tensor | None, labels: Tensor) -> Tensor | None:
        """Add the features of the good rows and return them, or None and note why there are none."""
        if origin is not None and origin.features is not None:
            features = origin.features if good is None else origin.features[good.to(origin.features.device)]
            self.features.add(features, labels)
            return features
        if "features" not in self._left_out and self.classifier is not None:
            self._left_out["features"] = (
                f"no input of {self.classifier.name!r} was seen to go with these logits (in evaluation mode, one row "
                "a sample)"
            )
        return None

    def _log_prior(self, decision: str, device: torch.device) -> Tensor | None:
        counts, rows = self._training_counts()
        if counts is None:
            self._left_out[LOGIT_ADJUSTMENT] = (
                "the training counts are unknown: give ClassGroups.from_counts, or show training batches to observe()"
            )
            return None
        counts = np.maximum(counts, LEAST_COUNT)
        if decision == SINGLE_LABEL:
            return torch.from_numpy(np.log(counts / counts.sum())).float().to(device)
        if rows is None:
            self._left_out[LOGIT_ADJUSTMENT] = (
                "for multi-label attributes it needs the number of training samples: give training_samples=…, or show "
                "training batches to observe()"
            )
            return None
        counts = np.minimum(counts, max(rows - LEAST_COUNT, LEAST_COUNT))
        return torch.from_numpy(np.log(counts / np.maximum(rows - counts, LEAST_COUNT))).float().to(device)

    def _training_counts(self) -> tuple[FloatArray | None, float | None]:
        """Number of training samples of each class, and of all, as far as known or observed."""
        counts = self.classes.counts.astype(np.float64)
        if (counts >= 0).all() and self.options.training_samples is not None:
            return counts, float(self.options.training_samples)
        rows = self.signal.rows_seen
        if self.validation.decision != SINGLE_LABEL and rows and not (counts >= 0).all():
            return self.signal.samples_seen, rows
        if (counts >= 0).all():
            return counts, self._rows_for(counts, rows)
        return (self.signal.samples_seen, rows) if rows else (None, None)

    def _rows_for(self, counts: FloatArray, rows: float) -> float | None:
        """Number of all training samples, estimated from the positives per observed sample."""
        seen = self.signal.samples_seen.sum() if rows else 0.0
        return float(counts.sum() * rows / seen) if seen else None

    # ------------------------------------------------------------------------------------------------ results

    def diagnose(self, step: int) -> tuple[Diagnosis, list[Finding]] | None:
        """The diagnosis of the current validation, or of the last one; None before the first."""
        if self._stale:
            self._stale = False
            self._diagnosis = self._new_diagnosis(step)
        return self._diagnosis

    def remedy(self, name: str, tau: float | None, step: int) -> Remedy:
        """The remedy `name` with the amount `tau`, or the one that was chosen, see `LongTailDiagnostics.remedy`."""
        result = self.diagnose(step)
        if result is None:
            raise InputError(
                f"attribute {self.classes.attribute!r} has no diagnosis yet: pass a validation to update() first"
            )
        return chosen_remedy(result[0], name, tau, self._activation.scale)

    def chosen_remedies(self) -> list[Remedy]:
        """Every remedy that applies and that the last diagnosis could judge, with the amount it chose."""
        chosen = []
        for name in REMEDIES:
            with suppress(InputError):
                chosen.append(self.remedy(name, None, 0))
        return chosen

    def _new_diagnosis(self, step: int) -> tuple[Diagnosis, list[Finding]]:
        columns = {name: np.full(len(self.classes), np.nan) for name in DIAGNOSTIC_COLUMNS}
        columns |= self.validation.columns()
        reasons = self._reasons()
        table, noise, suspects = self.validation.judged(objective_weights(self.options.objective))
        if "logits" in reasons:
            table, noise, suspects = RemedyTable.untried(table.rows, table.n_samples, table.gap), None, None
        if suspects is not None:
            columns["suspect_share"] = suspects
        columns |= self.signal.columns()
        columns |= self.classifier.columns() if self.classifier is not None else {}
        columns |= self.features.columns(self.classes.members(HEAD))
        self._next_progress = self._progress.after(step, columns["recall"], self.validation.outcomes())
        columns["half_recall_step"] = self._next_progress.half_recall_steps()
        columns["forgetting_events"] = self._next_progress.forgetting_events()
        columns["forgetting_rate"] = self._next_progress.forgetting_rate()
        is_single = self.validation.decision == SINGLE_LABEL
        inputs = self.validation.inputs
        diagnosis = Diagnosis(self.classes, columns, table, noise, is_single, self.aim, reasons, inputs)
        return diagnosis, verdict(diagnosis)

    def _reasons(self) -> dict[str, str]:
        """Why parts could not be measured, and what was cut for memory."""
        reasons = dict(self._left_out)
        if not self.signal.n_batches:
            reasons["training"] = "no training batch was shown: call tb.observe(logits, labels) in the training loop"
            reasons["gradients"] = reasons["training"]
        elif not self.signal.gradients:
            reasons["gradients"] = (
                "no backward pass reached the observed logits: call observe() before backward(), or give it detached "
                "logits to count the gradient of cross-entropy"
            )
        if odd := self.signal.odd_rows:
            reasons["training targets"] = (
                f"{odd} observed rows of soft targets do not sum to 1, and count by what they hold: give class "
                "indices, or floats (N, C) whose rows sum to 1"
            )
        if advice := self._look.probabilities_advice(self.validation.decision == SINGLE_LABEL):
            reasons["logits"] = advice
        width, projected = self.features.dimensions
        if projected < width and self.features.n_samples:
            reasons["feature dimensions"] = f"{width} were projected at random to {projected}, to fit max_bytes"
        if self.validation.sampled_share < 1:
            what = "remedies were" if self.validation.decision == MULTI_LABEL else "the temperature and the labels were"
            reasons["samples"] = f"{what} judged on a random {self.validation.sampled_share:.1%} of the samples"
        return reasons

    def commit(self) -> None:
        """Begin anew after the validation was recorded; only the progress of training stays."""
        self._progress = self._next_progress
        self.pending = False
        self.signal.reset()
        self._forget()

    def _forget(self) -> None:
        self._left_out = {}
        self._look = InputLook()
        self.validation.reset()
        self.features.reset()


def _good_rows(batch: CheckedBatch) -> Tensor | None:
    """Which rows have no NaN and, single-label, a known label: bool (N,); None = all."""
    good = None if batch.has_finite_sum else ~batch.logits.isnan().any(1)
    if batch.has_unknown and batch.decision == SINGLE_LABEL:
        good = batch.labels >= 0 if good is None else good & (batch.labels >= 0)
    return None if good is None or bool(good.all()) else good
