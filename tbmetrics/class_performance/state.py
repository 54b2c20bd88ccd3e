"""What accumulates over a validation, per attribute: exact integer counts and the scores, on the logits' device."""

from __future__ import annotations

import warnings

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tbmetrics.class_performance.scores import BinnedScores, ExactScores
from tbmetrics.errors import InputError, TBMetricsWarning

SINGLE_LABEL, MULTI_LABEL = "single_label", "multi_label"


class AttributeState:
    """The state of one attribute between two validations.

    Args:
        attribute: its name, for messages.
        num_classes: C.
        thresholds: decision thresholds as probabilities, float64 (C,); used by multi-label attributes.
        scores: "exact", "binned", or "auto": exact until `max_score_bytes` are held, then binned.
    """

    def __init__(self, attribute: str, num_classes: int, thresholds: NDArray[np.float64], scores: str, max_bytes: int):
        self.attribute = attribute
        self.num_classes = num_classes
        self.thresholds = thresholds
        self.decision: str | None = None
        self._mode, self._max_bytes = scores, max_bytes
        self._warned = False
        self.reset()

    def reset(self) -> None:
        """Forgets the validation; the decision kind stays."""
        self.n_samples = 0
        self._skipped: Tensor | int = 0
        self._counts: Tensor | None = None
        self.scores: ExactScores | BinnedScores = ExactScores()
        self.per_sample: list[tuple[Tensor, Tensor, Tensor]] = []  # single-label: label, prediction, confidence

    @property
    def n_skipped(self) -> int:
        """Rows left out for NaN logits."""
        return int(self._skipped)

    def counts(self) -> NDArray[np.int64]:
        """True positives, false positives, false negatives, support: int64 (4, C)."""
        if self._counts is None:
            return np.zeros((4, self.num_classes), dtype=np.int64)
        host: NDArray[np.int64] = self._counts.cpu().numpy()
        return host

    @torch.no_grad()
    def add(self, logits: Tensor, labels: Tensor) -> None:
        """Adds one batch.

        Raises:
            InputError: what came does not fit; the message says what was expected.
        """
        decision = self.check(logits, labels)
        logits, labels = logits.detach(), labels.detach().to(logits.device)
        logits, labels = self._without_nan(logits, labels)
        self.decision = decision
        if decision == SINGLE_LABEL:
            self._add_single(logits, labels.long())
        else:
            self._add_multi(logits, labels.to(torch.int8))
        if self._mode != "exact" and isinstance(self.scores, ExactScores):
            self._bound()

    def _add_single(self, logits: Tensor, labels: Tensor) -> None:
        known = labels >= 0
        if not bool(known.all()):
            logits, labels = logits[known], labels[known]
        if not len(labels):
            return
        wide = logits if logits.dtype == torch.float64 else logits.float()
        scores = wide.log_softmax(dim=1)
        confidence, predicted = scores.max(dim=1)
        hit = predicted == labels
        of = [labels[hit], predicted[~hit], labels[~hit], labels]
        self._accumulate(torch.stack([torch.bincount(x, minlength=self.num_classes) for x in of]))
        self.per_sample.append((labels.int(), predicted.int(), confidence.exp()))
        self.scores.add(scores, labels)
        self.n_samples += len(labels)

    def _add_multi(self, logits: Tensor, labels: Tensor) -> None:
        if not len(labels):
            return
        predicted = logits >= self.score_thresholds(logits)
        positive, known = labels > 0, labels >= 0
        of = (positive & predicted, predicted & (labels == 0), positive & ~predicted, positive)
        self._accumulate(torch.stack([x.sum(0) for x in of]))
        self.scores.add(torch.where(known, logits, -torch.inf) if not bool(known.all()) else logits.clone(), labels)
        self.n_samples += len(labels)

    def score_thresholds(self, logits: Tensor) -> Tensor:
        """The decision thresholds on the scale of `logits`."""
        p = torch.as_tensor(self.thresholds, device=logits.device)
        return p.logit().to(logits.dtype)

    def _accumulate(self, counts: Tensor) -> None:
        self._counts = counts if self._counts is None else self._counts + counts

    def _bound(self) -> None:
        over = isinstance(self.scores, ExactScores) and self.scores.bytes > self._max_bytes
        if isinstance(self.scores, ExactScores) and self.n_samples and (over or self._mode == "binned"):
            self.scores = BinnedScores(self.scores)

    def _without_nan(self, logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        good = ~logits.isnan().any(dim=1)
        if bool(good.all()):
            return logits, labels
        self._skipped = self._skipped + int((~good).sum())
        if not self._warned:
            self._warned = True
            warnings.warn(
                f"attribute {self.attribute!r}: rows with NaN logits are left out and counted (n_skipped); "
                "this is said once",
                TBMetricsWarning,
                stacklevel=2,
            )
        return logits[good], labels[good]

    def check(self, logits: Tensor, labels: Tensor) -> str:
        """The decision kind of a batch: "single_label" or "multi_label".

        Raises:
            InputError: types, shapes or values do not fit.
        """
        name, classes = f"attribute {self.attribute!r}", self.num_classes
        for what, value in (("logits", logits), ("labels", labels)):
            if not isinstance(value, Tensor):
                raise InputError(f"{name}: {what} must be a tensor, got {type(value).__name__}")
        if not logits.is_floating_point():
            raise InputError(f"{name}: logits must be a float tensor, got {logits.dtype}; pass the model's raw output")
        if logits.ndim != 2 or logits.shape[1] != classes:
            raise InputError(f"{name}: logits must have shape (N, {classes}), got {tuple(logits.shape)}")
        if labels.ndim not in (1, 2) or labels.shape[0] != logits.shape[0] or labels.shape[1:] not in ((), (classes,)):
            raise InputError(
                f"{name}: labels must be class indices ({len(logits)},) or multi-hot ({len(logits)}, {classes}), "
                f"got shape {tuple(labels.shape)}"
            )
        decision = SINGLE_LABEL if labels.ndim == 1 else MULTI_LABEL
        if self.decision not in (None, decision):
            raise InputError(
                f"{name} was {self.decision} until now, these labels are {decision}; use one attribute each"
            )
        self._check_values(name, labels, decision)
        return decision

    def _check_values(self, name: str, labels: Tensor, decision: str) -> None:
        if labels.numel() == 0:
            return
        if decision == SINGLE_LABEL:
            if labels.is_floating_point() or labels.dtype == torch.bool:
                raise InputError(f"{name}: class indices must be integers, got {labels.dtype}")
            low, high = (int(x) for x in torch.aminmax(labels))
            if low < -1 or high >= self.num_classes:
                raise InputError(
                    f"{name}: class indices must lie in 0..{self.num_classes - 1} (-1 = unknown), got {low}..{high}"
                )
        elif labels.dtype != torch.bool and bool(((labels != 0) & (labels != 1) & (labels != -1)).any()):
            odd = labels[(labels != 0) & (labels != 1) & (labels != -1)][0].item()
            raise InputError(f"{name}: multi-hot labels must be 0, 1 or -1 (unknown), got {odd}")


def per_sample(state: AttributeState) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """Label, prediction and confidence of each sample of a single-label attribute, each (samples,)."""
    if not state.per_sample:
        nothing = np.zeros(0, dtype=np.int64)
        return nothing, nothing, np.zeros(0)
    labels, predicted, confidence = (torch.cat(parts).cpu().numpy() for parts in zip(*state.per_sample, strict=True))
    return labels.astype(np.int64), predicted.astype(np.int64), confidence.astype(np.float64)
