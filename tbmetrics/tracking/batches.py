"""Batches as a session passes them to its trackers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

Tensors: TypeAlias = "Tensor | Mapping[str, Tensor]"


class CheckedBatch(NamedTuple):
    """A validation batch of one attribute, of single samples, whose types, shapes and values fit.

    Attributes:
        given: the logits as they were given, detached.
        logits: a copy of them, (N, C).
        labels: a copy on their device: class indices int32 (N,), or int8 (N, C) of 1, 0 and -1.
        decision: "single_label" or "multi_label".
        has_unknown: whether a label is -1.
        has_finite_sum: whether the logits add up to a number, so that all are finite.
    """

    given: Tensor
    logits: Tensor
    labels: Tensor
    decision: str
    has_unknown: bool
    has_finite_sum: bool


@dataclass(frozen=True, slots=True)
class ValidationBatch:
    """A validation batch as passed to `update`.

    Attributes:
        logits: (N, C), any float type and device, or an array; or one per attribute.
        labels: class indices (N,) or multi-hot (N, C), -1 = unknown; or one per attribute.
        images: samples as (N, C, H, W), (N, H, W) or (N, H, W, C), or None.
        indices: integers (N,), the dataset index of each row, or None.
        checked: what trackers have checked of it, by attribute, so that the next ones need not.
    """

    logits: Tensors
    labels: Tensors
    images: Tensor | NDArray[Any] | None = None
    indices: Tensor | Sequence[int] | None = None
    checked: dict[str, CheckedBatch] = field(default_factory=dict, compare=False, repr=False)


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
