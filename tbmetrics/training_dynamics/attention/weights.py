"""Recomputes attention weights from what a fused kernel was given, softmax(QKᵀ · scale + mask), and cuts them small."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

ROWS_AT_ONCE = 128  # query rows: bounds the memory of the recomputation
_FEWEST_TOKENS, _FEW_TOKENS = 16, 64


@dataclass(slots=True)
class Bounds:
    """How much of a map is kept; narrowed where a pass would exceed its bytes.

    Attributes:
        max_samples: first samples of the batch.
        max_tokens: of queries and of keys; of more, every 2nd, 4th, 8th, … is kept, the first always.
        rows_bytes: so much may a map's `rows`, which have every key, take.
    """

    max_samples: int
    max_tokens: int
    rows_bytes: int = 2**20

    def step(self, tokens: int) -> int:
        """Every how many tokens one is kept: the smallest power of two that keeps at most `max_tokens`."""
        step = 1
        while -(-tokens // step) > self.max_tokens:
            step *= 2
        return step

    def row_step(self, tokens: tuple[int, int], batch: int) -> int:
        """Every how many queries one is computed: all, where their rows take few bytes, else those that are kept."""
        rows = min(batch, self.max_samples) * tokens[0] * tokens[1] * 4
        return 1 if rows <= self.rows_bytes else self.step(tokens[0])

    def narrow(self) -> bool:
        """Keeps less from here on: coarser maps first, then fewer samples; False where there is no less."""
        self.rows_bytes //= 2
        if self.max_tokens > _FEW_TOKENS or (self.max_samples == 1 and self.max_tokens > _FEWEST_TOKENS):
            self.max_tokens = max(self.max_tokens // 2, _FEWEST_TOKENS)
        elif self.max_samples > 1:
            self.max_samples = (self.max_samples + 1) // 2
        else:
            return False
        return True


@dataclass(slots=True)
class Kept:
    """What is kept of one map, float32 on its device.

    Attributes:
        weights: (samples, heads, queries, keys), cut to the bounds.
        mean: (samples, keys), every key: the mean over heads and queries.
        rows: (samples, rows, keys), every key: the mean over heads of every `row_step`-th query; where that is too
            much, of the first query alone.
        row_step: see `rows`.
        steps: every how many queries and keys one is in `weights`.
        tokens: queries and keys before the cut.
        batch: first dimension before the cut: samples, or samples times windows.
    """

    weights: Tensor
    mean: Tensor
    rows: Tensor
    row_step: int
    steps: tuple[int, int]
    tokens: tuple[int, int]
    batch: int

    @property
    def size(self) -> int:
        """Bytes."""
        return _size(self.weights) + _size(self.mean) + _size(self.rows)

    def cut(self, bounds: Bounds) -> None:
        """Cuts further, to bounds that were narrowed."""
        samples = bounds.max_samples
        steps = (bounds.step(self.tokens[0]), bounds.step(self.tokens[1]))
        if samples < len(self.weights) or steps != self.steps:
            queries, keys = steps[0] // self.steps[0], steps[1] // self.steps[1]
            self.weights, self.steps = self.weights[:samples, :, ::queries, ::keys].clone(), steps
            self.mean, self.rows = self.mean[:samples].clone(), self.rows[:samples].clone()
        if _size(self.rows) > bounds.rows_bytes:
            self.rows, self.row_step = self.rows[:, :1].clone(), self.tokens[0]


def keep(chunks: Iterable[Tensor], tokens: tuple[int, int], batch: int, bounds: Bounds) -> Kept:
    """Cuts a map to the bounds.

    Args:
        chunks: of (samples, heads, some queries, all keys), in order; together every `row_step`-th query.
        tokens: queries and keys of the whole map.
        batch: first dimension of the whole map.
        bounds: what is kept.
    """
    steps, row_step = (bounds.step(tokens[0]), bounds.step(tokens[1])), bounds.row_step(tokens, batch)
    every = steps[0] // row_step
    weights, rows, done = [], [], 0
    for chunk in chunks:
        weights.append(chunk[:, :, -done % every :: every, :: steps[1]].float())
        rows.append(chunk.mean(dim=1, dtype=torch.float32))
        done += chunk.shape[2]
    whole = torch.cat(rows, dim=1)
    mean = whole.mean(dim=1)
    if _size(whole) > bounds.rows_bytes:
        whole, row_step = whole[:, :1].clone(), tokens[0]
    return Kept(torch.cat(weights, dim=2), mean, whole, row_step, steps, tokens, batch)


def _size(tensor: Tensor) -> int:
    return tensor.numel() * tensor.element_size()


def keep_explicit(weights: Tensor, bounds: Bounds) -> Kept:
    """Cuts weights that a model computed itself, (samples, heads, queries, keys), into memory of their own."""
    batch, _, queries, keys = weights.shape
    kept = weights.detach()[: bounds.max_samples, :, :: bounds.row_step((queries, keys), batch)]
    return keep([kept], (queries, keys), batch, bounds)


def attention_weights(
    query: Tensor,
    key: Tensor,
    bounds: Bounds,
    *,
    mask: Tensor | None = None,
    is_causal: bool = False,
    scale: float | None = None,
    modify: Callable[[Tensor, Tensor], Tensor] | None = None,
) -> Kept:
    """Weights of scaled dot-product attention before dropout, in float32.

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
    batch, queries = query.shape[0], query.shape[2]
    query, key = query[: bounds.max_samples].float(), key[: bounds.max_samples].float()
    if key.shape[1] != query.shape[1]:  # grouped-query attention
        key = key.repeat_interleave(query.shape[1] // key.shape[1], dim=1)
    scale = query.shape[-1] ** -0.5 if scale is None else scale
    keys = key.shape[2]
    if mask is not None:
        mask = mask.expand(*mask.shape[:-2], queries, keys)
        mask = mask[: bounds.max_samples] if mask.dim() == 4 and mask.shape[0] > 1 else mask

    def chunk(at: Tensor) -> Tensor:
        scores = query.index_select(2, at) @ key.transpose(-1, -2) * scale
        if mask is not None:
            part = mask.index_select(mask.dim() - 2, at)
            scores = scores.masked_fill(~part, -torch.inf) if part.dtype == torch.bool else scores + part.float()
        if is_causal:
            scores = scores.masked_fill(torch.arange(keys, device=at.device) > at[:, None], -torch.inf)
        if modify is not None:
            scores = modify(scores, at)
        return torch.softmax(scores, dim=-1).nan_to_num(0.0)

    rows = torch.arange(0, queries, bounds.row_step((queries, keys), batch), device=query.device)
    return keep(map(chunk, rows.split(ROWS_AT_ONCE)), (queries, keys), batch, bounds)


def encoder_weights(
    source: Tensor,
    num_heads: int,
    in_weight: Tensor,
    in_bias: Tensor | None,
    mask: Tensor | None,
    mask_type: int | None,
    bounds: Bounds,
    norm: Callable[[Tensor], Tensor] | None = None,
) -> Kept:
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
    left_out = None
    if source.is_nested:
        lengths = torch.tensor([part.shape[0] for part in source.unbind()], device=source.device)
        source = torch.nested.to_padded_tensor(source, 0.0)
        left_out = (torch.arange(source.shape[1], device=source.device) >= lengths[:, None])[:, None, None, :]
    elif mask is not None:
        left_out = mask.bool()[:, None, None, :] if mask_type == 1 else mask.bool()
    batch, tokens, width = source.shape
    source = source[: bounds.max_samples]
    if norm is not None:
        source = norm(source)
    projected = F.linear(source, in_weight[: 2 * width], None if in_bias is None else in_bias[: 2 * width])
    query, key = projected.reshape(len(source), tokens, 2, num_heads, width // num_heads).permute(2, 0, 3, 1, 4)
    kept = attention_weights(query, key, bounds, mask=None if left_out is None else ~left_out)
    kept.batch = batch  # only the first samples were projected
    return kept
