"""What training gives each class: samples, loss, accuracy and the gradients on its logit, summed on the device."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from tbmetrics.class_performance.arguments import MULTI_LABEL, SINGLE_LABEL, decision_kind
from tbmetrics.class_performance.diagnostics.gathered import Gathered, is_small
from tbmetrics.class_performance.diagnostics.numbers import indices_of, sum_dtype, to_numpy
from tbmetrics.errors import InputError
from tbmetrics.records import FloatArray
from tbmetrics.tracking.hooks import Hook

MEASURED, DERIVED = "measured", "of cross-entropy"
_SUMS = ("samples", "loss", "correct", "positive", "negative")


class TrainingSignal:
    """Sums over training batches of one attribute, one value a class, on the logits' device.

    A batch costs a few passes over its logits, small batches share them; nothing waits for the device, nothing grows.

    Args:
        attribute: its name, for messages.
        num_classes: C.

    Attributes:
        n_batches: batches seen since the last `reset`.
    """

    def __init__(self, attribute: str, num_classes: int) -> None:
        self.attribute, self.num_classes = attribute, num_classes
        self._seen_before = torch.zeros(num_classes, dtype=torch.float64)
        self._rows_before = 0.0
        self._sums: dict[str, Tensor] = {}
        self._outputs, self._gradients_waiting = Gathered(self._add_outputs), Gathered(self._add_gradients)
        self.reset()

    def reset(self) -> None:
        """Forgets all but the samples seen since the beginning."""
        self._outputs.flush()
        self._gradients_waiting.forget()
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
        self._outputs.flush()
        now = self._sums["samples"].cpu().double() if self._sums else 0
        return to_numpy(self._seen_before + now)

    @property
    def rows_seen(self) -> float:
        """Training samples since the session began; waits for the device."""
        self._outputs.flush()
        return self._rows_before + (float(self._sums["rows"]) if self._sums else 0.0)

    @property
    def gradients(self) -> str:
        """Where the gradients come from: "measured", "of cross-entropy", or "" where there are none."""
        return " and ".join(sorted(self._kinds)) if self._gradients else ""

    def add(self, logits: Tensor, labels: Tensor, loss: Tensor | None, guard: Callable[..., Any]) -> None:
        """Adds a training batch.

        Args:
            logits: (N, C). Where they wait for a backward pass, the gradient that reaches them is counted then;
                where they do not (detached), that of cross-entropy is counted now.
            labels: class indices (N,) or multi-hot (N, C), -1 = unknown.
            loss: (N,) or, for multi-label, (N, C), of any loss; None = cross-entropy.
            guard: runs what the backward pass calls.

        Raises:
            InputError: shapes or types that do not fit.
        """
        self._check(logits, labels, loss)
        plain, targets = logits.detach(), labels.detach().to(logits.device)
        given = loss if loss is None else loss.detach()
        if is_small(plain):  # it may wait, and the caller may change it meanwhile
            plain, targets, given = plain.clone(), targets.clone(), given if given is None else given.clone()
        if not self._sums:
            self._begin(plain)
        self.n_batches += 1
        self._outputs.put(plain, targets, given)
        if logits.requires_grad:
            logits.register_hook(Hook(partial(guard, self._on_gradient, targets)))
        else:
            with torch.no_grad():
                self._put_gradient(DERIVED, _derived(plain, targets), targets)

    def _begin(self, logits: Tensor) -> None:
        kind = sum_dtype(logits.device)
        self._sums = {name: torch.zeros(self.num_classes, dtype=kind, device=logits.device) for name in _SUMS}
        self._sums["rows"] = torch.zeros((), dtype=kind, device=logits.device)

    def _add_outputs(self, logits: Tensor, labels: Tensor, loss: Tensor | None) -> None:
        """Adds batches, each (batches, …)."""
        rows = [None if of is None else of.flatten(0, 1) for of in (logits, labels, loss)]
        add = self._add_single if decision_kind(logits, labels) == SINGLE_LABEL else self._add_multi
        add(*rows)  # type: ignore[arg-type]

    def _add_single(self, logits: Tensor, labels: Tensor, loss: Tensor | None) -> None:
        index, known = indices_of(labels, self.num_classes)
        wide = logits if logits.dtype == torch.float64 else logits.float()
        if loss is None:
            loss = F.cross_entropy(wide, index, reduction="none")
        self._put("samples", index, known, torch.ones_like(known))
        self._put("correct", index, known, wide.argmax(1) == index)
        self._put("loss", index, known & loss.isfinite(), loss.detach())
        self._sums["rows"] += known.sum()

    def _add_multi(self, logits: Tensor, labels: Tensor, loss: Tensor | None) -> None:
        positive = labels > 0
        if loss is None:
            loss = F.softplus(-(logits if logits.dtype == torch.float64 else logits.float()))
        per_entry = loss if loss.ndim == 2 else loss[:, None]
        for name, values in (("samples", positive), ("correct", positive & (logits > 0))):
            self._sums[name] += values.sum(0)
        finite = torch.where(positive & per_entry.isfinite(), per_entry.detach(), 0)
        self._sums["loss"] += finite.sum(0)
        self._sums["rows"] += len(labels)

    def _put(self, name: str, index: Tensor, chosen: Tensor, values: Tensor) -> None:
        total = self._sums[name]
        total.index_add_(0, index, torch.where(chosen, values, 0).to(total.dtype))

    def _on_gradient(self, labels: Tensor, gradient: Tensor) -> None:
        """What the backward pass brings to the logits of one batch; a batch before the last `reset` is late."""
        if self._sums:
            plain = gradient.detach()
            self._put_gradient(MEASURED, plain.clone() if is_small(plain) else plain, labels)

    def _put_gradient(self, kind: str, gradient: Tensor, labels: Tensor) -> None:
        self._kinds.add(kind)
        self._gradients += 1
        self._gradients_waiting.put(gradient, labels)

    def _add_gradients(self, gradients: Tensor, labels: Tensor) -> None:
        """Adds sums of |gradient|; a batch with a NaN or infinity in it (an overflow of mixed precision) adds 0.

        Args:
            gradients: (batches, N, C).
            labels: (batches, N) or (batches, N, C).
        """
        absolute = torch.linalg.vector_norm(gradients, ord=1, dim=1, dtype=torch.float32)
        finite = absolute.sum(1).isfinite()
        absolute = torch.where(finite[:, None], absolute, 0).sum(0)
        if decision_kind(gradients, labels) == SINGLE_LABEL:
            index, known = indices_of(labels, self.num_classes)
            own = torch.where(known & finite[:, None], gradients.gather(2, index[:, :, None])[:, :, 0].abs(), 0)
            positive = torch.zeros_like(absolute).index_add_(0, index.flatten(), own.flatten().float())
        else:
            own = torch.where(labels > 0, gradients.abs(), 0).float().sum(1)
            positive = torch.where(finite[:, None], own, 0).sum(0)
        self._sums["positive"] += positive
        self._sums["negative"] += (absolute - positive).clamp(min=0)

    def columns(self) -> dict[str, FloatArray]:
        """The columns of `DIAGNOSTIC_COLUMNS` that training gives; empty where nothing was observed."""
        if not self._sums:
            return {}
        self._outputs.flush()
        self._gradients_waiting.flush()
        sums = {name: to_numpy(values) for name, values in self._sums.items()}
        found = {
            "samples_seen": self.samples_seen,
            "training_loss": _ratio(sums["loss"], sums["samples"]),
            "training_accuracy": _ratio(sums["correct"], sums["samples"]),
        }
        if self._gradients:
            found |= {"positive_gradient": sums["positive"], "negative_gradient": sums["negative"]}
            found["gradient_ratio"] = _ratio(sums["positive"], sums["negative"])
        return found

    def _check(self, logits: Any, labels: Any, loss: Any) -> None:
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
                f"{name}: observed labels must be class indices ({len(logits)},) or multi-hot {tuple(logits.shape)}, "
                f"got shape {tuple(labels.shape)}"
            )
        if loss is not None and tuple(loss.shape) not in ((len(logits),), tuple(labels.shape)):
            raise InputError(
                f"{name}: observed loss must be one value a sample, shape {(len(logits),)} (reduction='none'), got "
                f"{tuple(loss.shape)}; or leave it out"
            )


def _derived(logits: Tensor, labels: Tensor) -> Tensor:
    """Gradient of cross-entropy (softmax, or binary for multi-hot labels) on the logits; 0 where unknown."""
    wide = logits.float()
    if decision_kind(logits, labels) == MULTI_LABEL:
        return torch.where(labels >= 0, wide.sigmoid() - (labels > 0).float(), 0)
    index, known = indices_of(labels, logits.shape[1])
    gradient = wide.softmax(1)
    gradient.scatter_add_(1, index[:, None], torch.full_like(gradient[:, :1], -1.0))
    return gradient * known[:, None]


def _ratio(above: FloatArray, below: FloatArray) -> FloatArray:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(below > 0, above / below, np.nan)
