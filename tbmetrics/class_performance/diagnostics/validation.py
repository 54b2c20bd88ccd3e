"""What diagnostics keep of a validation, and the progress from one to the next: classes learnt, samples forgotten."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tbmetrics.class_performance.arguments import decision_kind
from tbmetrics.class_performance.diagnostics.label_noise import LabelNoise, label_noise, suspect_shares
from tbmetrics.class_performance.diagnostics.multi_label import judge_multi
from tbmetrics.class_performance.diagnostics.numbers import sum_dtype, to_numpy
from tbmetrics.class_performance.diagnostics.remedies import Objective, RemedyRow, RemedyTable, remedy_rows
from tbmetrics.class_performance.diagnostics.row_sample import RowSample
from tbmetrics.class_performance.diagnostics.single_label import Rows, Samples, judge_single, winning_amounts
from tbmetrics.class_performance.flows import first_largest
from tbmetrics.class_performance.small_batches import SmallBatchBuffer
from tbmetrics.classes.attributes import AttributeClasses
from tbmetrics.records import MULTI_LABEL, TAU_NORMALIZATION, Float32Array, FloatArray, IntArray

MAX_POINTS = 64  # validations whose recall is kept


@dataclass(slots=True)
class RemedyInputs:
    """What the remedies of one validation need; None if unknown.

    Attributes:
        log_prior: log of the training share of each class, (C,); multi-label: log-odds.
        norms, bias: of the classifier, (C,), if it was seen to make these logits.
    """

    log_prior: Tensor | None = None
    norms: Tensor | None = None
    bias: Tensor | None = None


@dataclass(slots=True)
class PositiveOutcomes:
    """The class of each positive of a validation, and whether the model as trained hit it, (positives,) each."""

    classes: IntArray
    hits: NDArray[np.bool_]


class ValidationState:
    """One attribute's validation: a few numbers per sample (single-label), and the logits of rows within a budget.

    Args:
        classes: of the attribute.
        taus: amounts that are tried.
        thresholds: decision thresholds of a multi-label attribute, as probabilities, (C,).
        max_bytes: of the logits that are kept.
    """

    def __init__(
        self, classes: AttributeClasses, taus: tuple[float, ...], thresholds: FloatArray, max_bytes: int
    ) -> None:
        self._classes, self._taus, self._thresholds = classes, taus, thresholds
        self._rows = RowSample(max_bytes)
        self._small_batches = SmallBatchBuffer(self._add_stacked)
        self.decision = ""
        self.reset()

    def reset(self) -> None:
        """Forget the validation."""
        self._rows.reset()
        self._small_batches.clear()
        self._samples: list[tuple[Tensor, ...]] = []  # labels, predictions, amounts that win
        self._positives: list[tuple[Tensor, Tensor]] = []
        self._label_logits: Tensor | None = None
        self.inputs = RemedyInputs()
        self.n_samples = 0

    @property
    def sampled_share(self) -> float:
        """Share of the rows whose logits were kept."""
        self._small_batches.flush()
        return self._rows.share

    def add(self, logits: Tensor, labels: Tensor) -> None:
        """Add a batch without NaN, which must not change afterwards.

        Args:
            logits: float32 or float64 (N, C).
            labels: (N,), all known, or (N, C) of 1, 0, -1.
        """
        self.decision = decision_kind(logits, labels)
        self.n_samples += len(labels)
        self._small_batches.put(logits, labels)

    def _add_stacked(self, logits: Tensor, labels: Tensor) -> None:
        """Add batches of equal size: logits (batches, N, C), labels (batches, N) or (batches, N, C)."""
        logits, labels = logits.flatten(0, 1), labels.flatten(0, 1)
        labels = labels.long() if labels.ndim == 1 else labels
        self._add_logits(logits, labels)
        self._rows.add(logits, labels)
        if labels.ndim == 2:
            positives = (labels > 0).nonzero(as_tuple=True)
            cuts = torch.as_tensor(self._thresholds, device=logits.device).logit().to(logits.dtype)
            self._positives.append((positives[1].int(), (logits >= cuts)[positives]))
            return
        predictions = self._predictions(logits)
        self._positives.append((labels.int(), predictions[:, 0] == labels))
        prior = self.inputs.log_prior
        wins = logits.new_full((len(labels), 2), torch.nan) if prior is None else winning_amounts(logits, labels, prior)
        self._samples.append((labels.int(), predictions, wins.float()))

    def _add_logits(self, logits: Tensor, labels: Tensor) -> None:
        dtype = sum_dtype(logits.device)
        if self._label_logits is None:
            self._label_logits, self._total, self._support, self._known = (
                torch.zeros(len(self._classes), dtype=dtype, device=logits.device) for _ in range(4)
            )
        finite = logits.clamp(-1e6, 1e6)
        if labels.ndim == 1:
            self._label_logits.index_add_(0, labels, finite.gather(1, labels[:, None])[:, 0].to(dtype))
            self._support += torch.bincount(labels, minlength=len(self._classes))
            self._total += finite.sum(0)
            self._known += len(labels)
        else:
            positive, known = labels > 0, labels >= 0
            self._label_logits += torch.where(positive, finite, 0).sum(0)
            self._support += positive.sum(0)
            self._total += torch.where(known, finite, 0).sum(0)
            self._known += known.sum(0)

    def _predictions(self, logits: Tensor) -> Tensor:
        """The class decided for as trained, and by each amount of τ-normalisation, int32 (N, 1 + amounts); -1 untried.

        Its decisions do not change with the unit of the logits.
        """
        taus = [row.tau for row in self.rows() if row.remedy == TAU_NORMALIZATION and row.tau is not None]
        decisions, norms = [first_largest(logits)], self.inputs.norms
        if norms is None:
            decisions += [torch.full_like(decisions[0], -1)] * len(taus)
        else:
            linear = logits - self.inputs.bias.to(logits) if self.inputs.bias is not None else logits
            buffer = torch.empty_like(logits)
            scales = (norms.to(logits).clamp(min=1e-12).pow(-tau) for tau in taus)
            decisions += [first_largest(torch.mul(linear, scale, out=buffer)) for scale in scales]
        return torch.stack(decisions, dim=1).int()

    def rows(self) -> tuple[RemedyRow, ...]:
        """The rows of the table of remedies."""
        return remedy_rows(self.decision != MULTI_LABEL, self._taus)

    # ------------------------------------------------------------------------------------------------- results

    def judged(self, objective: Objective) -> tuple[RemedyTable, LabelNoise | None, FloatArray | None]:
        """The table of what each remedy would do, wrong labels, and `suspect_share`; None if these cannot be told."""
        self._small_batches.flush()
        logits, labels, index = self._rows.tensors()
        if self.decision == MULTI_LABEL:
            cuts = torch.as_tensor(self._thresholds).logit().float()
            log_odds = self.inputs.log_prior
            return judge_multi(logits, labels, cuts, log_odds, self.rows(), self._classes, objective), None, None
        truth, predictions, wins = (torch.cat(parts).cpu().numpy() for parts in zip(*self._samples, strict=True))
        samples = Samples(truth.astype(np.int64), predictions, wins)
        given = (self.inputs.bias, self.inputs.norms, self.inputs.log_prior)
        rows = Rows(logits.cpu().numpy(), index.numpy(), *(None if v is None else to_numpy(v) for v in given))
        table = judge_single(samples, rows, self.rows(), self._classes, objective)
        noise, suspects = label_noise(rows, samples.labels, self._classes), None
        if table.lean is not None:
            suspects = suspect_shares(rows, samples.labels, table.lean, len(self._classes))
        return table, noise, suspects

    def columns(self) -> dict[str, FloatArray]:
        """`support`, `recall`, `own_logit`, `other_logit`."""
        self._small_batches.flush()
        if self._label_logits is None:
            return {}
        support, others = to_numpy(self._support), to_numpy(self._known - self._support)
        with np.errstate(divide="ignore", invalid="ignore"):
            columns = {
                "support": support,
                "own_logit": np.where(support > 0, to_numpy(self._label_logits) / support, np.nan),
                "other_logit": np.where(others > 0, to_numpy(self._total - self._label_logits) / others, np.nan),
            }
        outcomes = self.outcomes()
        hits = np.bincount(outcomes.classes[outcomes.hits], minlength=support.size)
        columns["recall"] = np.divide(hits, support, out=np.full(support.size, np.nan), where=support > 0)
        return columns

    def outcomes(self) -> PositiveOutcomes:
        """The outcomes of all positives, in the order of the samples."""
        self._small_batches.flush()
        if not self._positives:
            return PositiveOutcomes(np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.bool_))
        classes, hits = (torch.cat(column).cpu().numpy() for column in zip(*self._positives, strict=True))
        return PositiveOutcomes(classes.astype(np.int64), hits)


class Progress:
    """Recall of every class over the validations of a run, thinned, and forgetting events of its samples.

    Args:
        num_classes: C.
    """

    def __init__(self, num_classes: int) -> None:
        self._points: list[tuple[int, Float32Array]] = []  # step and recall, evenly spaced
        self._latest: tuple[int, Float32Array] | None = None
        self._count, self._stride = 0, 1
        self._last: PositiveOutcomes | None = None
        self._events, self._opportunities = np.zeros(num_classes), np.zeros(num_classes)
        self._compared = 0

    def after(self, step: int, recall: FloatArray, outcomes: PositiveOutcomes) -> Progress:
        """The progress with one more validation, made after `step` optimizer steps; this object does not change."""
        new = Progress(self._events.size)
        new._count, new._stride = self._count + 1, self._stride
        new._points = list(self._points)
        if self._latest is not None and (self._count - 1) % self._stride == 0:
            new._points.append(self._latest)
        if len(new._points) >= MAX_POINTS:
            new._points, new._stride = new._points[::2], 2 * self._stride
        new._latest = (step, recall.astype(np.float32))
        new._last, new._compared = outcomes, self._compared
        new._events, new._opportunities = self._events, self._opportunities
        if self._last is not None and np.array_equal(self._last.classes, outcomes.classes):
            forgotten = outcomes.classes[self._last.hits & ~outcomes.hits]
            new._events = self._events + np.bincount(forgotten, minlength=self._events.size)
            hits = outcomes.classes[self._last.hits]
            new._opportunities = self._opportunities + np.bincount(hits, minlength=self._events.size)
            new._compared += 1
        return new

    def half_recall_steps(self) -> FloatArray:
        """Step of the first validation with at least half of the latest recall; NaN if that is 0 or undefined."""
        if self._latest is None or not self._points:
            return np.full(self._events.size, np.nan)
        points = [*self._points, self._latest]
        recalls, latest = np.stack([recall for _, recall in points]), self._latest[1]
        steps = np.array([step for step, _ in points], dtype=np.float64)
        with np.errstate(invalid="ignore"):
            first = np.argmax(recalls >= latest / 2, axis=0)
            return np.where(latest > 0, steps[first], np.nan)

    def forgetting_events(self) -> FloatArray:
        """How often a positive of each class was hit in one validation and missed in the next, on average.

        NaN until two consecutive validations have the same labels in the same order. After Toneva et al., "An empirical
        study of example forgetting during deep neural network learning", ICLR 2019, who count on training samples.
        """
        if not self._compared or self._last is None:
            return np.full(self._events.size, np.nan)
        support = np.bincount(self._last.classes, minlength=self._events.size)
        return np.divide(self._events, support, out=np.full(support.size, np.nan), where=support > 0)

    def forgetting_rate(self) -> FloatArray:
        """Share of the hits of each class that were missed in the next validation; NaN if there were none."""
        n = self._opportunities
        return np.divide(self._events, n, out=np.full(n.size, np.nan), where=n > 0)
