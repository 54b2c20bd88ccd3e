"""Batches as a session passes them to its trackers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

Tensors: TypeAlias = "Tensor | Mapping[str, Tensor]"


@dataclass(frozen=True, slots=True)
class ValidationBatch:
    """A validation batch as passed to `update`.

    Attributes:
        logits: (N, C), any float type and device, or an array; or one per attribute.
        labels: class indices (N,) or multi-hot (N, C), -1 = unknown; or one per attribute.
        images: samples as (N, C, H, W), (N, H, W) or (N, H, W, C), or None.
        indices: integers (N,), the dataset index of each row, or None.
    """

    logits: Tensors
    labels: Tensors
    images: Tensor | NDArray[Any] | None = None
    indices: Tensor | Sequence[int] | None = None


@dataclass(frozen=True, slots=True)
class TrainingBatch:
    """A training batch as passed to `observe`.

    Attributes:
        logits: (N, C), any float type and device, or an array; or one per attribute.
        labels: class indices (N,) or multi-hot (N, C), -1 = unknown; soft targets as floats (N, C) whose rows sum to 1;
            or one per attribute.
        loss: per sample, (N,); or one per attribute; None stands for the cross-entropy.
    """

    logits: Tensors
    labels: Tensors
    loss: Tensors | None = None
