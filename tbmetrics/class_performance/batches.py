"""What a batch must look like, and the messages for those that do not."""

from __future__ import annotations

import torch
from torch import Tensor

from tbmetrics.errors import InputError

SINGLE_LABEL, MULTI_LABEL = "single_label", "multi_label"


def check_batch(attribute: str, classes: int, logits: Tensor, labels: Tensor) -> str:
    """The decision kind of a batch whose types and shapes fit; looks at no value.

    Raises:
        InputError: they do not fit.
    """
    name = f"attribute {attribute!r}"
    for what, value in (("logits", logits), ("labels", labels)):
        if not isinstance(value, Tensor):
            raise InputError(f"{name}: {what} must be a tensor, got {type(value).__name__}")
    if not logits.is_floating_point():
        raise InputError(f"{name}: logits must be a float tensor, got {logits.dtype}; pass the model's raw output")
    if logits.ndim != 2 or logits.shape[1] != classes:
        raise InputError(f"{name}: logits must have shape (N, {classes}), got {tuple(logits.shape)}")
    rows = len(logits)
    if tuple(labels.shape) not in ((rows,), (rows, classes)):
        raise InputError(
            f"{name}: labels must be class indices ({rows},) or multi-hot ({rows}, {classes}), "
            f"got shape {tuple(labels.shape)}"
        )
    if labels.is_complex() or (labels.ndim == 1 and (labels.is_floating_point() or labels.dtype == torch.bool)):
        kind = "class indices must be integers" if labels.ndim == 1 else "multi-hot labels must be bool, int or float"
        raise InputError(f"{name}: {kind}, got {labels.dtype}")
    return SINGLE_LABEL if labels.ndim == 1 else MULTI_LABEL


def check_values(attribute: str, classes: int, labels: Tensor) -> None:
    """Refuses labels out of range; waits for their device.

    Raises:
        InputError: a class index outside -1..C-1, or a multi-hot label that is not 0, 1 or -1.
    """
    if labels.numel() == 0 or labels.dtype == torch.bool or not bool(invalid_values(labels, classes).any()):
        return
    odd = labels[invalid_values(labels, classes)][0].item()
    if labels.ndim == 1:
        expected = f"class indices must lie in 0..{classes - 1} (-1 = unknown)"
    else:
        expected = "multi-hot labels must be 0, 1 or -1 (unknown)"
    raise InputError(f"attribute {attribute!r}: {expected}, got {odd}")


def invalid_values(labels: Tensor, classes: int) -> Tensor:
    """Which labels are out of range: bool of their shape."""
    if labels.ndim == 1:
        return (labels < -1) | (labels >= classes)
    if labels.is_floating_point():
        return (labels != 0) & (labels != 1) & (labels != -1)
    return (labels < -1) | (labels > 1)
