"""Whether a batch of logits and labels fits an attribute, and which kind of labels it has; says what does not fit."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from tbmetrics.errors import InputError

SINGLE_LABEL, MULTI_LABEL = "single_label", "multi_label"


def decision_of(name: str, logits: Any, labels: Any, classes: int) -> str:
    """The decision kind that types and shapes of a batch tell: "single_label" or "multi_label".

    Args:
        name: of the attribute, for messages.
        logits: float (N, classes).
        labels: (N,) or (N, classes).
        classes: how many there are.

    Raises:
        InputError: types or shapes do not fit.
    """
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
    return SINGLE_LABEL if labels.ndim == 1 else MULTI_LABEL


def check_values(name: str, labels: Tensor, decision: str, classes: int) -> None:
    """Refuses labels that are no class of 0..classes - 1 (or -1), or not 0, 1 or -1.

    Raises:
        InputError: the message says which.
    """
    if labels.numel() == 0:
        return
    if decision == SINGLE_LABEL:
        if labels.is_floating_point() or labels.dtype == torch.bool:
            raise InputError(f"{name}: class indices must be integers, got {labels.dtype}")
        low, high = (int(x) for x in torch.aminmax(labels))
        if low < -1 or high >= classes:
            raise InputError(f"{name}: class indices must lie in 0..{classes - 1} (-1 = unknown), got {low}..{high}")
    elif labels.dtype != torch.bool and bool(((labels != 0) & (labels != 1) & (labels != -1)).any()):
        odd = labels[(labels != 0) & (labels != 1) & (labels != -1)][0].item()
        raise InputError(f"{name}: multi-hot labels must be 0, 1 or -1 (unknown), got {odd}")
