"""Images as small tiles of bytes."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def tile_shape(images: Tensor, side: int) -> tuple[int, int]:
    """(height, width) of images (N, C, H, W) shrunk so that the longer side has at most `side` pixels."""
    height, width = images.shape[-2:]
    factor = min(1.0, side / max(height, width))
    return max(1, round(height * factor)), max(1, round(width * factor))


def as_pixels(images: Tensor, shape: tuple[int, int]) -> Tensor:
    """uint8 (n, height, width, 3). Bytes and values in 0..1 stay as they are; others (normalised images) are stretched,
    each from its smallest to its largest value."""
    wide = images.float() / (255 if images.dtype == torch.uint8 else 1)
    low, high = (f(wide.flatten(1), dim=1)[:, None, None, None] for f in (torch.amin, torch.amax))
    in_range = (low >= 0) & (high <= 1)
    wide = torch.where(in_range, wide, (wide - low) / (high - low).clamp(min=1e-12)).nan_to_num(0)
    if wide.shape[-2:] != shape:
        wide = F.interpolate(wide, size=shape, mode="area")
    if wide.shape[1] != 3:
        wide = wide[:, :1].expand(-1, 3, -1, -1) if wide.shape[1] == 1 else wide[:, :3]
    return (wide.clamp(0, 1) * 255).round().to(torch.uint8).movedim(1, -1)
