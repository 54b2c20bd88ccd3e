"""The training problem of the headline benchmark: digits, or with CUDA a ViT-B/16 on generated images."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.models import VisionTransformer

Batch = tuple[Tensor, dict[str, Tensor]]


@dataclass(frozen=True)
class Size:
    """Size of the model and of an epoch."""

    dim: int
    blocks: int
    heads: int
    batch: int
    steps: int
    epochs: int


SIZES = {
    "small": Size(dim=48, blocks=2, heads=4, batch=16, steps=400, epochs=3),
    "medium": Size(dim=192, blocks=6, heads=6, batch=64, steps=100, epochs=4),
    "short": Size(dim=48, blocks=2, heads=4, batch=16, steps=60, epochs=1),
    "quick": Size(dim=48, blocks=2, heads=4, batch=16, steps=30, epochs=2),
    "vit": Size(dim=768, blocks=12, heads=12, batch=64, steps=200, epochs=2),
}


class Problem:
    """The model, its batches and its loss, the same for every way."""

    def __init__(self, size: Size, *, vit: bool) -> None:
        from tbmetrics import ClassGroups

        torch.manual_seed(0)
        self.size = size
        self.device = torch.device("cuda" if vit else "cpu")
        self.autocast = torch.autocast(self.device.type, torch.bfloat16, enabled=vit)
        self.groups: ClassGroups
        self.model, self.training, self.validation, self.groups = _vit(size) if vit else _numbers(size)
        self.model.to(self.device)
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=1e-3)

    def batches(self, epoch: int) -> Iterator[Batch]:
        """Yield the training batches of an epoch, drawn with replacement."""
        generator = torch.Generator().manual_seed(epoch)
        images, targets = self.training
        for _ in range(self.size.steps):
            rows = torch.randint(len(images), (self.size.batch,), generator=generator)
            yield self.to_device((images[rows], {a: y[rows] for a, y in targets.items()}))

    def validation_batches(self) -> Iterator[Batch]:
        """Yield all validation batches."""
        images, targets = self.validation
        for first in range(0, len(images), self.size.batch):
            rows = slice(first, first + self.size.batch)
            yield self.to_device((images[rows], {a: y[rows] for a, y in targets.items()}))

    def to_device(self, batch: Batch) -> Batch:
        """Move a batch to the device of the model."""
        images, targets = batch
        moved = {a: y.to(self.device, non_blocking=True) for a, y in targets.items()}
        return images.to(self.device, non_blocking=True), moved

    def logits(self, images: Tensor) -> dict[str, Tensor]:
        """Compute the logits by attribute, in bfloat16 with CUDA."""
        with self.autocast:
            logits: dict[str, Tensor] = self.model(images)
        return logits

    @staticmethod
    def loss(logits: dict[str, Tensor], targets: dict[str, Tensor]) -> Tensor:
        """Sum of the (binary) cross-entropy of the single-label (multi-label) attributes."""
        parts = [
            F.cross_entropy(logits[a].float(), y)
            if y.ndim == 1
            else F.binary_cross_entropy_with_logits(logits[a].float(), y)
            for a, y in targets.items()
        ]
        return torch.stack(parts).sum()


def _numbers(size: Size) -> tuple[nn.Module, Batch, Batch, Any]:
    from tbmetrics.demo.model import NumberTransformer
    from tbmetrics.demo.numbers import NumberImages, class_groups, load_splits

    def known(images: NumberImages) -> Batch:
        return images.images, {a: target.clamp(min=0) for a, target in images.targets.items()}

    splits = load_splits()
    model = NumberTransformer(size.dim, size.heads, size.blocks)
    return model, known(splits.training), known(splits.validation), class_groups(splits.training)


class _OneAttribute(nn.Module):
    """Wrap a classifier so that it returns logits by attribute."""

    def __init__(self, model: nn.Module, attribute: str) -> None:
        super().__init__()
        self.model, self.attribute = model, attribute

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Logits of the only attribute."""
        return {self.attribute: self.model(images)}


def _vit(size: Size, classes: int = 1000) -> tuple[nn.Module, Batch, Batch, Any]:
    from tbmetrics import ClassGroups

    counts = [max(2, int(1280 * 0.004 ** (c / classes))) for c in range(classes)]

    def generated(n: int) -> Batch:
        return torch.randn(n, 3, 224, 224), {"species": torch.randint(classes, (n,))}

    model = _OneAttribute(VisionTransformer(size.dim, size.blocks, size.heads, classes), "species")
    return model, generated(512), generated(1024), ClassGroups.from_counts({"species": counts})
