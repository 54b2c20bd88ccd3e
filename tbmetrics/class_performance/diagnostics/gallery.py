"""The images worth looking at: the most confident mistakes and the hardest correct samples of each group."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tbmetrics.class_performance.diagnostics.class_images import ClassImages
from tbmetrics.class_performance.diagnostics.tiles import as_pixels, tile_shape
from tbmetrics.classes.attributes import AttributeClasses
from tbmetrics.errors import InputError
from tbmetrics.records import GALLERY_KINDS, GROUPS, HARDEST, MISTAKES, UNKNOWN

_GROUPS = (*GROUPS, UNKNOWN)
_CHANNELS = (1, 3, 4)


class Picture(NamedTuple):
    """One sample of a contact sheet; `label` and `predicted` are class indices, -1 = none."""

    pixels: NDArray[np.uint8]  # (height, width, 3)
    label: int
    predicted: int
    probability: float  # of what was predicted (single-label), of the class itself (multi-label)
    image: Tensor | None = None  # the original, if originals are stored

    @property
    def claimed(self) -> int:
        """The class in question: the predicted one, or the one that was missed."""
        return self.predicted if self.predicted >= 0 else self.label


class Gallery:
    """The few samples of each group and kind with the largest score; nothing waits for the device.

    Args:
        classes: of the attribute.
        size: samples of each kind.
        side: pixels of the longer side of a stored image.
        original_bytes: budget for original images beside the shrunk ones; 0 = none.

    Attributes:
        by_class: a few samples of each class.
    """

    def __init__(self, classes: AttributeClasses, size: int, side: int, original_bytes: int = 0) -> None:
        self._group = torch.tensor([_GROUPS.index(g) for g in classes.groups])
        self._size, self._side = size, side
        self.original_bytes = original_bytes
        self.by_class = ClassImages(classes, side)
        self.reset()

    def reset(self) -> None:
        """Forget all samples."""
        self._best: dict[tuple[str, str], _Best] = {}
        self.by_class.reset()

    @torch.no_grad()
    def add(
        self, logits: Tensor, labels: Tensor, images: Tensor, cuts: Tensor | None, originals: Tensor | None = None
    ) -> None:
        """Add a batch.

        Args:
            logits: (N, C).
            labels: (N,) all known, or (N, C) of 1, 0, -1.
            images: as from `checked_images`.
            cuts: decision thresholds of a multi-label attribute, as logits, (C,).
            originals: the original images, (N, ...).
        """
        if not len(logits):
            return
        if originals is not None and not self._affords(originals):
            originals = None
        group = self._group.to(logits.device)
        scored = _single(logits, labels) if labels.ndim == 1 else _multi(logits, labels, group, cuts)
        for (kind, only_group), (score, facts) in scored.items():
            for number, name in enumerate(_GROUPS):
                if only_group in (None, number) and int((self._group == number).sum()):
                    in_group = score
                    if only_group is None:
                        in_group = torch.where(group[labels] == number, score, -torch.inf)
                    best = self._best.setdefault((kind, name), _Best(self._size, self._side))
                    best.add(in_group, facts, images, originals)
        self.by_class.add(scored, images)

    def _affords(self, originals: Tensor) -> bool:
        """Whether as many such images as may be stored fit the budget."""
        most = len(GALLERY_KINDS) * len(set(self._group.tolist())) * self._size
        return most * originals[0].numel() * originals.element_size() <= self.original_bytes

    def pictures(self) -> Iterator[tuple[str, str, list[Picture]]]:
        """(kind, group, pictures), the largest score first."""
        for kind in GALLERY_KINDS:
            for group in _GROUPS:
                best = self._best.get((kind, group))
                if best is not None and (pictures := best.pictures()):
                    yield kind, group, pictures


_Scored = dict[tuple[str, int | None], tuple[Tensor, Tensor]]


def _single(logits: Tensor, labels: Tensor) -> _Scored:
    """Score (N,) and facts (N, 3) by kind: a mistake scores its confidence, a hit its doubt."""
    confidence, predicted = logits.float().log_softmax(1).max(1)
    right = predicted == labels
    facts = torch.stack([labels.float(), predicted.float(), confidence.exp()], dim=1)
    return {
        (MISTAKES, None): (torch.where(right, -torch.inf, confidence), facts),
        (HARDEST, None): (torch.where(right, -confidence, -torch.inf), facts),
    }


def _multi(logits: Tensor, labels: Tensor, group: Tensor, cuts: Tensor | None) -> _Scored:
    """As `_single`, by group: the worst class of the group in each row, missed or wrongly claimed."""
    margin = logits.float() - (0.0 if cuts is None else cuts.to(logits).float())
    claimed, positive = margin >= 0, labels > 0
    wrong = torch.where((labels >= 0) & (claimed != positive), margin.abs(), -torch.inf)
    right = torch.where(claimed & positive, -margin, -torch.inf)
    scored: _Scored = {}
    for number in range(len(_GROUPS)):
        for kind, scores in ((MISTAKES, wrong), (HARDEST, right)):
            score, worst = torch.where(group == number, scores, -torch.inf).max(1)
            column = worst[:, None]
            label, predicted = (torch.where(x.gather(1, column)[:, 0], worst, -1).float() for x in (positive, claimed))
            facts = torch.stack([label, predicted, logits.gather(1, column)[:, 0].float().sigmoid()], dim=1)
            scored[kind, number] = (score, facts)
    return scored


class _Best:
    """The samples with the largest score so far."""

    def __init__(self, size: int, side: int) -> None:
        self._size, self._side = size, side
        self._score: Tensor | None = None
        self._originals: Tensor | None = None

    def add(self, score: Tensor, facts: Tensor, images: Tensor, originals: Tensor | None) -> None:
        """Add a batch: score (N,), facts (N, 3), images (N, channels, height, width)."""
        top = score.topk(min(self._size, len(score)))
        rows = top.indices.to(images.device)
        chosen = as_pixels(images[rows], self._shape(images))
        whole = originals[rows.to(originals.device)].detach() if originals is not None else None
        if self._score is None:
            self._score, self._facts, self._pixels, self._originals = top.values, facts[top.indices], chosen, whole
            return
        scores = torch.cat([self._score, top.values])
        best = scores.topk(min(self._size, len(scores)))
        self._score = best.values
        self._facts = torch.cat([self._facts, facts[top.indices]])[best.indices]
        self._pixels = torch.cat([self._pixels, chosen])[best.indices.to(chosen.device)]
        self._originals = _best_of(self._originals, whole, best.indices)

    def _shape(self, images: Tensor) -> tuple[int, int]:
        """(height, width) of the tiles: that of the first images, shrunk to `side`."""
        if self._score is not None:
            return int(self._pixels.shape[1]), int(self._pixels.shape[2])
        return tile_shape(images, self._side)

    def pictures(self) -> list[Picture]:
        """The samples, on the host, the largest score first."""
        if self._score is None:
            return []
        scores, facts, pixels = self._score.cpu(), self._facts.cpu(), self._pixels.cpu().numpy()
        return [
            Picture(
                pixels[i], int(facts[i, 0]), int(facts[i, 1]), float(facts[i, 2]),
                None if self._originals is None else self._originals[i],
            )
            for i in range(len(scores))
            if scores[i] > -torch.inf
        ]  # fmt: skip


def _best_of(stored: Tensor | None, new: Tensor | None, best: Tensor) -> Tensor | None:
    """The best of both, or None if one is missing or their shapes or types differ."""
    if stored is None or new is None or (stored.shape[1:], stored.dtype) != (new.shape[1:], new.dtype):
        return None
    return torch.cat([stored, new])[best.to(stored.device)]


def checked_images(images: Any, samples: int) -> Tensor:
    """`images` as (N, channels, height, width).

    Args:
        images: tensor or array (N, C, H, W), (N, H, W) or (N, H, W, C), with 1, 3 or 4 channels.
        samples: N, of the logits.

    Raises:
        InputError: another shape or another number of images.
    """
    tensor = torch.from_numpy(np.ascontiguousarray(images)) if isinstance(images, np.ndarray) else images
    expected = f"({samples}, C, H, W), ({samples}, H, W) or ({samples}, H, W, C) with 1, 3 or 4 channels"
    if not isinstance(tensor, Tensor):
        raise InputError(f"images must be a tensor or an array of shape {expected}, got {type(images).__name__}")
    if tensor.ndim == 3:
        channels_first = tensor[:, None]
    elif tensor.ndim == 4 and tensor.shape[1] in _CHANNELS:
        channels_first = tensor
    elif tensor.ndim == 4 and tensor.shape[-1] in _CHANNELS:
        channels_first = tensor.movedim(-1, 1)
    else:
        raise InputError(f"images must have shape {expected}, got {tuple(tensor.shape)}")
    if len(tensor) != samples or 0 in channels_first.shape[1:]:
        raise InputError(f"images must have shape {expected}, got {tuple(tensor.shape)}")
    return channels_first.detach()
