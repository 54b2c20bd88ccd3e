"""Recomputes attention weights from what a fused kernel was given: softmax(QKᵀ · scale + mask), for a few samples."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

ROWS_AT_ONCE = 128  # query rows: bounds the memory of the recomputation


@dataclass(frozen=True, slots=True)
class Bounds:
    """How much of a map is kept.

    Attributes:
        max_samples: first samples of the batch.
        max_tokens: of queries and of keys; of more, evenly spaced ones are kept.
    """

    max_samples: int
    max_tokens: int

    def positions(self, tokens: int) -> Tensor:
        """The positions kept of so many tokens, ascending."""
        if tokens <= self.max_tokens:
            return torch.arange(tokens)
        return torch.linspace(0, tokens - 1, self.max_tokens).round().long()

    def cut(self, weights: Tensor) -> Tensor:
        """Weights (samples, heads, queries, keys) cut to the bounds, float32, in memory of their own."""
        kept = weights[: self.max_samples]
        for dim in (2, 3):
            if kept.shape[dim] > self.max_tokens:
                kept = kept.index_select(dim, self.positions(kept.shape[dim]).to(kept.device))
        return kept.float().clone()


def attention_weights(
    query: Tensor,
    key: Tensor,
    bounds: Bounds,
    *,
    mask: Tensor | None = None,
    is_causal: bool = False,
    scale: float | None = None,
    modify: Callable[[Tensor, Tensor], Tensor] | None = None,
) -> Tensor:
    """Weights of scaled dot-product attention before dropout; float32 of shape (samples, heads, queries, keys).

    Args:
        query: (batch, heads, queries, width).
        key: (batch, heads or groups of heads, keys, width).
        bounds: what is kept.
        mask: added to the scores where float, False = left out where bool; broadcast against the scores.
        is_causal: query i sees keys up to i.
        scale: of the scores; None = 1 / √width.
        modify: of a chunk of scores and its query positions, before the softmax.

    A row that sees no key is zero, as in PyTorch's safe softmax.
    """
    query, key = query[: bounds.max_samples].float(), key[: bounds.max_samples].float()
    if key.shape[1] != query.shape[1]:  # grouped-query attention
        key = key.repeat_interleave(query.shape[1] // key.shape[1], dim=1)
    scale = query.shape[-1] ** -0.5 if scale is None else scale
    rows = bounds.positions(query.shape[2]).to(query.device)
    columns = bounds.positions(key.shape[2]).to(query.device)
    if mask is not None:
        mask = mask.expand(*([-1] * (mask.dim() - 2)), query.shape[2], key.shape[2])
        if mask.dim() > 2 and mask.shape[0] > 1 and mask.dim() == 4:
            mask = mask[: bounds.max_samples]
    chunks = []
    for at in rows.split(ROWS_AT_ONCE):
        scores = query.index_select(2, at) @ key.transpose(-1, -2) * scale
        if mask is not None:
            part = mask.index_select(mask.dim() - 2, at)
            scores = scores.masked_fill(~part, -torch.inf) if part.dtype == torch.bool else scores + part.float()
        if is_causal:
            seen = torch.arange(key.shape[2], device=at.device) <= at[:, None]
            scores = scores.masked_fill(~seen, -torch.inf)
        if modify is not None:
            scores = modify(scores, at)
        weights = torch.softmax(scores, dim=-1).nan_to_num(0.0)
        chunks.append(weights.index_select(3, columns) if len(columns) < key.shape[2] else weights)
    return torch.cat(chunks, dim=2)


def encoder_weights(
    source: Tensor,
    num_heads: int,
    in_weight: Tensor,
    in_bias: Tensor | None,
    mask: Tensor | None,
    mask_type: int | None,
    bounds: Bounds,
    norm: Callable[[Tensor], Tensor] | None = None,
) -> Tensor:
    """Weights of self-attention in PyTorch's inference fast path, from the layer's input.

    Args:
        source: (batch, tokens, width), or nested.
        num_heads: heads.
        in_weight, in_bias: of the joint projection to queries, keys and values.
        mask: True = left out, as the fast path takes it.
        mask_type: 0 = (tokens, tokens), 1 = (batch, tokens), 2 = (batch, heads, tokens, tokens).
        bounds: what is kept.
        norm: applied to the input first.
    """
    padding = None
    if source.is_nested:
        lengths = torch.tensor([part.shape[0] for part in source.unbind()], device=source.device)
        source = torch.nested.to_padded_tensor(source, 0.0)
        padding = torch.arange(source.shape[1], device=source.device) >= lengths[:, None]
    if norm is not None:
        source = norm(source)
    batch, tokens, width = source.shape
    projected = F.linear(source, in_weight[: 2 * width], None if in_bias is None else in_bias[: 2 * width])
    query, key = projected.reshape(batch, tokens, 2, num_heads, width // num_heads).permute(2, 0, 3, 1, 4)
    left_out = None
    if mask is not None:
        left_out = mask.bool()
        left_out = left_out[:, None, None, :] if mask_type == 1 else left_out
    elif padding is not None:
        left_out = padding[:, None, None, :]
    return attention_weights(query, key, bounds, mask=None if left_out is None else ~left_out)
