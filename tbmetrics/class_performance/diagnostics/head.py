"""What a layer makes of its weight: weight · input + bias, cosines, or something else; a row or a column a class."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

LINEAR, COSINE, OTHER = "linear", "cosine", "other"
_ROWS = 16
_TOLERANCE = 0.05  # of the root mean square of the output


class Head(NamedTuple):
    """The weights behind the logits.

    Attributes:
        kind: LINEAR, COSINE (input and weights are normalised, so that their norms do not count), or OTHER.
        weight: float32 (C, D), or None if there is none with a row or column a class, or either could be it.
        bias: float32 (C,), or None.
    """

    kind: str
    weight: Tensor | None
    bias: Tensor | None


@torch.no_grad()
def read_head(module: nn.Module, num_classes: int, features: Tensor | None, logits: Tensor | None) -> Head:
    """Tell layout and kind of a layer from a few rows of its input (N, D) and output (N, C), if there are any."""
    layouts, bias = _layouts(module, num_classes), _bias(module, num_classes)
    if features is not None and logits is not None:
        x, made = features[:_ROWS].float(), logits[:_ROWS].float()
        for kind in (LINEAR, COSINE):
            for weight in layouts:
                if weight.shape[1] == x.shape[1] and _makes(kind, weight.to(x), bias, x, made):
                    return Head(kind, weight, bias if kind == LINEAR else None)
    is_clear = len(layouts) == 1 or isinstance(module, nn.Linear)
    return Head(OTHER, layouts[0] if layouts and is_clear else None, bias)


def is_square(module: nn.Module, num_classes: int) -> bool:
    """Whether rows and columns of its weight could both be the classes."""
    return len(_layouts(module, num_classes)) == 2


def _layouts(module: nn.Module, num_classes: int) -> list[Tensor]:
    """The weight as (C, D): its rows, its columns, or both ways if it is square."""
    weight = getattr(module, "weight", None)
    if not isinstance(weight, Tensor) or weight.ndim < 2:
        return []
    rows = weight.detach().float()
    layouts = [rows.flatten(1)] if len(rows) == num_classes else []
    return [*layouts, rows.T] if rows.ndim == 2 and rows.shape[1] == num_classes else layouts


def _bias(module: nn.Module, num_classes: int) -> Tensor | None:
    bias = getattr(module, "bias", None)
    return bias.detach().float() if isinstance(bias, Tensor) and bias.shape == (num_classes,) else None


def _makes(kind: str, weight: Tensor, bias: Tensor | None, x: Tensor, made: Tensor) -> bool:
    if kind == LINEAR:
        expected = x @ weight.T + (0 if bias is None else bias.to(x))
    else:
        expected = F.normalize(x, dim=1) @ F.normalize(weight, dim=1).T
        expected = expected * ((expected * made).sum() / expected.square().sum().clamp(min=1e-30))
    error, size = (expected - made).abs().amax(), made.square().mean().sqrt()
    return bool(error <= _TOLERANCE * size)
