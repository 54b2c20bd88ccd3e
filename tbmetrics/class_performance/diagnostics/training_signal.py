"""What each class gets from training: samples, loss, accuracy and the gradients on its logit, summed on the device."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from tbmetrics.class_performance.arguments import decision_kind
from tbmetrics.class_performance.diagnostics.numbers import sum_dtype, to_numpy
from tbmetrics.class_performance.flows import first_largest
from tbmetrics.class_performance.small_batches import SmallBatchBuffer, is_small
from tbmetrics.errors import InputError
from tbmetrics.records import MULTI_LABEL, SINGLE_LABEL, FloatArray
from tbmetrics.tracking.hooks import Hook

_SUM_TOLERANCE = 1e-2  # of soft targets in half precision
MEASURED, DERIVED = "measured", "of cross-entropy"
_SUMS = ("samples", "loss", "correct", "positive", "negative")
_COUNTS = ("rows", "odd_rows")


class TrainingSignal:
    """Sums over the training batches of one attribute, one value per class, on the logits' device.

    A batch costs a few passes over its logits, which small batches share. Nothing waits for the device, nothing grows.

    Args:
        attribute: its name, for messages.
        num_classes: C.

    Attributes:
        decision: "single_label" or "multi_label", if it is known; then labels (N, C) are soft targets or multi-hot.
        n_batches: number of batches since the last `reset`.
    """

    def __init__(self, attribute: str, num_classes: int) -> None:
        self.attribute, self.num_classes = attribute, num_classes
        self.decision: str | None = None
        self._was_soft: Tensor | None = None  # whether a matrix of labels was seen to be soft targets, on the device
        self._seen_before = torch.zeros(num_classes, dtype=torch.float64)
        self._rows_before = 0.0
        self._sums: dict[str, Tensor] = {}
        self._output_buffer = SmallBatchBuffer(self._add_outputs)
        self._gradient_buffer = SmallBatchBuffer(self._add_gradients)
        self.reset()

    def reset(self) -> None:
        """Forget everything but the number of samples since the session began."""
        self._output_buffer.flush()
        self._gradient_buffer.clear()
        if self._sums:
            self._seen_before = self._seen_before + self._sums["samples"].cpu().double()
            self._rows_before += float(self._sums["rows"])
        self._sums = {}
        self.n_batches = 0
        self._gradients = 0
        self._kinds: set[str] = set()

    @property
    def samples_seen(self) -> FloatArray:
        """Training samples (positives) of each class since the session began; waits for the device."""
        self._output_buffer.flush()
        now = self._sums["samples"].cpu().double() if self._sums else 0
        return to_numpy(self._seen_before + now)

    @property
    def rows_seen(self) -> float:
        """Training samples since the session began; waits for the device."""
        self._output_buffer.flush()
        return self._rows_before + (float(self._sums["rows"]) if self._sums else 0.0)

    @property
    def odd_rows(self) -> int:
        """Rows of soft targets since the last `reset` that do not sum to 1; waits for the device."""
        self._output_buffer.flush()
        return int(self._sums["odd_rows"]) if self._sums else 0

    @property
    def gradients(self) -> str:
        """Where the gradients come from: "measured", "of cross-entropy", or "" without any."""
        return " and ".join(sorted(self._kinds)) if self._gradients else ""

    def add(self, logits: Tensor, labels: Tensor, loss: Tensor | None, guard: Callable[..., Any]) -> None:
        """Add a training batch.

        Args:
            logits: (N, C). If they require a gradient, the one that reaches them in the backward pass is counted;
                otherwise that of cross-entropy is.
            labels: class indices (N,) or multi-hot (N, C), -1 = unknown; or soft targets (N, C) of one class a sample,
                rows that sum to 1: a sample counts for each class by its share.
            loss: (N,) or, for multi-label, (N, C), of any loss; None = cross-entropy.
            guard: runs the hook on the gradient.

        Raises:
            InputError: shapes or types that do not fit.
        """
        self._check(logits, labels, loss)
        plain, targets = logits.detach(), labels.detach().to(logits.device)
        loss = None if loss is None else loss.detach()
        if is_small(plain):  # it may be buffered, and the caller may change it meanwhile
            plain, targets, loss = plain.clone(), targets.clone(), None if loss is None else loss.clone()
        if not self._sums:
            self._begin(plain)
        self.n_batches += 1
        is_soft = self._is_soft(targets)
        self._output_buffer.put(plain, targets, loss, is_soft)
        if logits.requires_grad:
            logits.register_hook(Hook(partial(guard, self._on_gradient, targets)))
        else:
            with torch.no_grad():
                self._put_gradient(DERIVED, _derived(plain, targets, is_soft), targets)

    def _is_soft(self, labels: Tensor) -> Tensor | None:
        """Whether labels are soft targets, a bool on their device, or None if they are not; does not wait for it.

        While the decision is not known, values tell: fractions in rows that all sum to 1, here or in an earlier batch.
        """
        if labels.ndim == 1:
            self.decision = self.decision or SINGLE_LABEL
        if labels.ndim == 1 or self.decision == MULTI_LABEL:
            return None
        if self.decision == SINGLE_LABEL:
            return torch.ones((), dtype=torch.bool, device=labels.device)
        if not labels.is_floating_point():
            return None
        if self._was_soft is None and labels.device.type == "cpu" and torch.equal(labels, labels.round()):
            return None  # no fractions
        with torch.no_grad():
            is_soft = _are_shares(labels)
            self._was_soft = is_soft if self._was_soft is None else is_soft | self._was_soft.to(is_soft.device)
        return self._was_soft

    def _begin(self, logits: Tensor) -> None:
        dtype = sum_dtype(logits.device)
        self._sums = {name: torch.zeros(self.num_classes, dtype=dtype, device=logits.device) for name in _SUMS}
        self._sums |= {name: torch.zeros((), dtype=dtype, device=logits.device) for name in _COUNTS}

    def _add_outputs(self, logits: Tensor, labels: Tensor, loss: Tensor | None, is_soft: Tensor | None) -> None:
        """Add stacked batches, (batches, …); `is_soft` says of each whether its labels are soft targets."""
        rows = logits.flatten(0, 1), labels.flatten(0, 1), None if loss is None else loss.flatten(0, 1)
        if decision_kind(logits, labels) == SINGLE_LABEL:
            self._add_single(*rows)
        else:
            self._add_multi(*rows, None if is_soft is None else is_soft.repeat_interleave(labels.shape[1])[:, None])

    def _add_single(self, logits: Tensor, labels: Tensor, loss: Tensor | None) -> None:
        index, known = _safe_indices(labels, self.num_classes)
        wide = logits if logits.dtype == torch.float64 else logits.float()
        if loss is None:
            loss = F.cross_entropy(wide, index, reduction="none")
        self._add_by_class("samples", index, known, torch.ones_like(known))
        self._add_by_class("correct", index, known, first_largest(wide) == index)
        self._add_by_class("loss", index, known & loss.isfinite(), loss.detach())
        self._sums["rows"] += known.sum()

    def _add_multi(self, logits: Tensor, labels: Tensor, loss: Tensor | None, is_soft: Tensor | None) -> None:
        shares = _shares(labels)
        wide = logits if logits.dtype == torch.float64 else logits.float()
        predicted = logits > 0
        per_entry = F.softplus(-wide) if loss is None else loss if loss.ndim == 2 else loss[:, None]
        if is_soft is not None:
            predicted = torch.where(is_soft, wide == wide.amax(1, keepdim=True), predicted)
            if loss is None:
                cross_entropy = -(shares * wide.log_softmax(1)).sum(1, keepdim=True)
                per_entry = torch.where(is_soft, cross_entropy, per_entry)
            self._sums["odd_rows"] += (is_soft[:, 0] & (labels > 0).any(1) & ~_sums_to_one(labels)).sum()
        self._sums["samples"] += shares.sum(0)
        self._sums["correct"] += (shares * predicted).sum(0)
        self._sums["loss"] += (shares * torch.where(per_entry.isfinite(), per_entry.detach(), 0)).sum(0)
        self._sums["rows"] += len(labels)

    def _add_by_class(self, name: str, index: Tensor, mask: Tensor, values: Tensor) -> None:
        total = self._sums[name]
        total.index_add_(0, index, torch.where(mask, values, 0).to(total.dtype))

    def _on_gradient(self, labels: Tensor, gradient: Tensor) -> None:
        if self._sums:  # otherwise the batch came before the last `reset`
            plain = gradient.detach()
            self._put_gradient(MEASURED, plain.clone() if is_small(plain) else plain, labels)

    def _put_gradient(self, kind: str, gradient: Tensor, labels: Tensor) -> None:
        self._kinds.add(kind)
        self._gradients += 1
        self._gradient_buffer.put(gradient, labels)

    def _add_gradients(self, gradients: Tensor, labels: Tensor) -> None:
        """Add sums of |gradient|; a batch with a NaN or infinity (an overflow of mixed precision) adds 0.

        Args:
            gradients: (batches, N, C).
            labels: (batches, N) or (batches, N, C).
        """
        wide = torch.float64 if gradients.dtype == torch.float64 else torch.float32
        absolute = torch.linalg.vector_norm(gradients, ord=1, dim=1, dtype=wide)
        finite = absolute.sum(1).isfinite()
        absolute = torch.where(finite[:, None], absolute, 0).sum(0)
        if decision_kind(gradients, labels) == SINGLE_LABEL:
            index, known = _safe_indices(labels, self.num_classes)
            on_label = torch.where(known & finite[:, None], gradients.gather(2, index[:, :, None])[:, :, 0].abs(), 0)
            positive = torch.zeros_like(absolute).index_add_(0, index.flatten(), on_label.flatten().to(wide))
        else:
            on_labels = (_shares(labels) * gradients.abs().float()).nan_to_num(0, 0, 0).sum(1)
            positive = torch.where(finite[:, None], on_labels, 0).sum(0)
        self._sums["positive"] += positive
        self._sums["negative"] += (absolute - positive).clamp(min=0)

    def columns(self) -> dict[str, FloatArray]:
        """The columns of `DIAGNOSTIC_COLUMNS` that come from training; empty if nothing was observed."""
        if not self._sums:
            return {}
        self._output_buffer.flush()
        self._gradient_buffer.flush()
        sums = {name: to_numpy(values) for name, values in self._sums.items()}
        columns = {
            "samples_seen": self.samples_seen,
            "training_loss": _ratio(sums["loss"], sums["samples"]),
            "training_accuracy": _ratio(sums["correct"], sums["samples"]),
        }
        if self._gradients:
            columns |= {"positive_gradient": sums["positive"], "negative_gradient": sums["negative"]}
            columns["gradient_ratio"] = _ratio(sums["positive"], sums["negative"])
        return columns

    def _check(self, logits: Any, labels: Any, loss: Any) -> None:
        if isinstance(logits, Tensor) and isinstance(labels, Tensor) and loss is None:  # the usual case, quickly
            rows, shape = len(labels), logits.shape
            if shape == (rows, self.num_classes) and logits.is_floating_point() and labels.shape in ((rows,), shape):
                return
        name, classes = f"attribute {self.attribute!r}", self.num_classes
        for what, value in (("logits", logits), ("labels", labels), ("loss", loss)):
            if not isinstance(value, Tensor) and not (what == "loss" and value is None):
                raise InputError(f"{name}: observed {what} must be a tensor, got {type(value).__name__}")
        if logits.ndim != 2 or logits.shape[1] != classes or not logits.is_floating_point():
            raise InputError(
                f"{name}: observed logits must be floats of shape (N, {classes}), got {logits.dtype} of shape "
                f"{tuple(logits.shape)}"
            )
        if tuple(labels.shape) not in ((len(logits),), tuple(logits.shape)):
            raise InputError(
                f"{name}: observed labels must be class indices ({len(logits)},), or multi-hot or soft targets "
                f"{tuple(logits.shape)}, got shape {tuple(labels.shape)}"
            )
        if loss is not None and tuple(loss.shape) not in ((len(logits),), tuple(labels.shape)):
            raise InputError(
                f"{name}: observed loss must be one value a sample, shape {(len(logits),)} (reduction='none'), got "
                f"{tuple(loss.shape)}; or leave it out"
            )


def _derived(logits: Tensor, labels: Tensor, is_soft: Tensor | None) -> Tensor:
    """Gradient of cross-entropy (softmax, or binary for multi-hot labels) on the logits; 0 for unknown labels."""
    wide = logits.float()
    if decision_kind(logits, labels) == MULTI_LABEL:
        probabilities = wide.sigmoid()
        if is_soft is not None:
            probabilities = torch.where(is_soft, wide.softmax(1), probabilities)
        return torch.where(labels >= 0, probabilities - _shares(labels), 0)
    index, known = _safe_indices(labels, logits.shape[1])
    gradient = wide.softmax(1)
    gradient.scatter_add_(1, index[:, None], torch.full_like(gradient[:, :1], -1.0))
    return gradient * known[:, None]


def _shares(labels: Tensor) -> Tensor:
    """Share of each sample that belongs to each class, (..., C) in [0, 1]: 1 for a positive, less in soft targets."""
    return torch.where(labels > 0, labels, 0).float().clamp(max=1)


def _are_shares(labels: Tensor) -> Tensor:
    """Whether labels (N, C) have fractions and rows that sum to 1; does not wait for the device."""
    return ((labels > 0) & (labels < 1)).any() & _sums_to_one(labels).all()


def _sums_to_one(labels: Tensor) -> Tensor:
    """Whether each row of labels (N, C) sums to 1, up to the rounding of half precision; (N,)."""
    return (labels.float().sum(1) - 1).abs() < _SUM_TOLERANCE


def _ratio(numerator: FloatArray, denominator: FloatArray) -> FloatArray:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(denominator > 0, numerator / denominator, np.nan)


def _safe_indices(labels: Tensor, num_classes: int) -> tuple[Tensor, Tensor]:
    """Class indices that are safe to index with, and a mask of the known ones; one out of range counts as unknown.

    Does not wait for the device.

    Args:
        labels: (N,) integers.
        num_classes: C.
    """
    known = (labels >= 0) & (labels < num_classes)
    return torch.where(known, labels, 0).long(), known
