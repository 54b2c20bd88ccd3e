"""Dense predictions, of pixels, voxels or tokens: their shapes, and what is counted in each image or sequence."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from tbmetrics.errors import InputError
from tbmetrics.tracking.checks import check_whole_numbers

logger = logging.getLogger("tbmetrics")

#: Labels that are no class, besides those that a user names.
UNKNOWN_LABELS = (-1, -100)
#: Most cells of a table of true and predicted classes that is counted as a whole; beyond it pairs are sorted.
MOST_CELLS = 2**21
PLACES_AT_ONCE = 2**16
FEW_CLASSES = 16  # whose planes are compared one by one


class DenseOptions(NamedTuple):
    """How dense batches are read.

    Attributes:
        class_dim: dimension of the logits that the classes are in; None = told by the shapes.
        ignored: labels of places that do not count.
        binned: whether scores are kept in bins, for average precision.
    """

    class_dim: int | None = None
    ignored: tuple[int, ...] = UNKNOWN_LABELS
    binned: bool = False

    @classmethod
    def checked(cls, class_dim: Any, ignore_index: Any, *, binned: bool = False) -> DenseOptions:
        """From a user's options.

        Raises:
            InputError: an option cannot be used.
        """
        if class_dim is not None:
            check_whole_numbers(-8, 8, class_dim=class_dim)
        indices = tuple(ignore_index) if isinstance(ignore_index, Iterable) else (ignore_index,)
        for index in indices:
            check_whole_numbers(-(2**31), ignore_index=index)
        return cls(class_dim, tuple(dict.fromkeys((*UNKNOWN_LABELS, *indices))), binned)


def is_dense(logits: Any, labels: Any) -> bool:
    """Whether a batch has a label for each place: logits (N, C, …) or (N, …, C), classes (N, H, W); labels (N, …)."""
    dims, of_labels = getattr(logits, "ndim", 0), getattr(labels, "ndim", 0)
    return of_labels >= 2 and (dims == of_labels + 1 or dims == of_labels >= 3)


class DenseWords:
    """Says once of each attribute that its dense predictions are left out."""

    def __init__(self) -> None:
        self._said: set[str] = set()

    def without_dense(self, batches: Mapping[str, tuple[Tensor, Tensor]]) -> dict[str, tuple[Tensor, Tensor]]:
        """Logits and labels of the attributes that are not dense."""
        for attribute, batch in batches.items():
            if is_dense(*batch) and attribute not in self._said:
                self._said.add(attribute)
                logger.warning(
                    "attribute %r: its predictions are dense, of which there are no diagnostics and no gallery; this "
                    "is said once",
                    attribute,
                )
        return {attribute: batch for attribute, batch in batches.items() if not is_dense(*batch)}


def class_dimension(name: str, logits: Tensor, labels: Tensor, classes: int, class_dim: int | None) -> int:
    """The dimension of the logits, 1 or the last, that the classes are in.

    Raises:
        InputError: none fits, or both do.
    """
    fitting = [d for d in (1, logits.ndim - 1) if logits.shape[d] == classes and _without(logits, d) == labels.shape]
    if class_dim is not None:
        fitting = [d for d in fitting if d == class_dim % logits.ndim]
    if not fitting:
        raise InputError(
            f"{name}: dense logits must be (N, {classes}, …) or (N, …, {classes}) for labels (N, …), got "
            f"{tuple(logits.shape)} and {tuple(labels.shape)}"
            + ("" if class_dim is None else f" with class_dim={class_dim}")
        )
    if len(fitting) > 1:
        raise InputError(
            f"{name}: {tuple(logits.shape)} may be (N, C, …) or (N, …, C); give the tracker class_dim=1 or class_dim=-1"
        )
    return fitting[0]


def _without(logits: Tensor, dim: int) -> torch.Size:
    return torch.Size([*logits.shape[:dim], *logits.shape[dim + 1 :]])


class Decided(NamedTuple):
    """What was decided at each place: predicted classes, integers (N, places), and which count, bool (N, places)."""

    predicted: Tensor
    is_finite: Tensor | None  # None = all


def decided(logits: Tensor, dim: int) -> Decided:
    """The class with the highest score at each place; places whose highest score is NaN or infinite do not count.

    On the CPU the planes of the classes are compared as a whole, as torch's argmax over a dimension that is not the
    last one is about five times slower.
    """
    if dim == logits.ndim - 1 or logits.device.type != "cpu":
        largest, predicted = logits.max(dim=dim)
        return Decided(predicted.flatten(1), _all_or(largest.flatten(1)))
    planes = logits.flatten(2)
    predicted = torch.empty((len(planes), planes.shape[2]), dtype=torch.int32)
    largest = torch.empty(predicted.shape, dtype=logits.dtype)
    for image, best, index in zip(planes, largest, predicted, strict=True):
        for start in range(0, len(index), PLACES_AT_ONCE):
            part = slice(start, start + PLACES_AT_ONCE)
            best[part], index[part] = _largest(image[:, part])
    return Decided(predicted, _all_or(largest))


def _largest(planes: Tensor) -> tuple[Tensor, Tensor]:
    """The largest score at each place, NaN if any is, and the first class that has it: (places,) each.

    Args:
        planes: scores, (C, places).
    """
    classes, size = len(planes), math.ceil(len(planes) ** 0.5)
    if classes < FEW_CLASSES:
        return _first_largest(planes)
    best, block = _first_largest(torch.stack([part.amax(dim=0) for part in planes.split(size)]))
    first = block.long() * size
    rows = (planes.gather(0, (first + i).clamp_(max=classes - 1)[None])[0] for i in range(size))
    return best, first.int() + _first_largest(rows)[1]


def _first_largest(planes: Iterable[Tensor]) -> tuple[Tensor, Tensor]:
    remaining = iter(planes)
    best = next(remaining).clone()
    index = torch.zeros(best.shape, dtype=torch.int16)
    is_larger, number = torch.empty(best.shape, dtype=torch.bool), torch.empty_like(index)
    for i, plane in enumerate(remaining, start=1):
        torch.gt(plane, best, out=is_larger)
        torch.mul(is_larger, i, out=number)
        torch.maximum(index, number, out=index)  # later planes have larger numbers
        torch.maximum(best, plane, out=best)
    return best, index


def _all_or(largest: Tensor) -> Tensor | None:
    is_finite = largest.isfinite()
    return None if bool(is_finite.all()) else is_finite


class PairCounts(NamedTuple):
    """How often each pair of true and predicted class comes in each image, each (pairs,); absent pairs are left out."""

    image: Tensor  # int32
    pair: Tensor  # true class · C + predicted class, int64
    places: Tensor  # int64


def count_pairs(labels: Tensor, predicted: Tensor, counts: Tensor | None, classes: int) -> PairCounts:
    """Count a batch.

    Args:
        labels, predicted: classes of the places, integers (N, places).
        counts: which places count, bool (N, places); None = all.
        classes: C.
    """
    images, cells = len(labels), classes * classes
    pairs = labels.to(torch.int64) * classes
    pairs += predicted
    if images * cells <= MOST_CELLS * 4:
        pairs += torch.arange(images, device=labels.device)[:, None] * cells
        table = torch.bincount(pairs[counts] if counts is not None else pairs.flatten(), minlength=images * cells)
        keys = table.nonzero().flatten()
        return PairCounts((keys // cells).int(), keys % cells, table[keys])
    parts = [torch.unique(row if counts is None else row[counts[i]], return_counts=True) for i, row in enumerate(pairs)]
    image = torch.cat([torch.full_like(keys, i, dtype=torch.int32) for i, (keys, _) in enumerate(parts)])
    return PairCounts(image, *(torch.cat(column) for column in zip(*parts, strict=True)))
