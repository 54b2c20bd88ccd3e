"""Attention weights as fused operators compute them, softmax(QKᵀ · scale + mask), recomputed and cut to bounds."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

aten = torch.ops.aten

ROWS_AT_ONCE = 128  # query rows: bounds the memory of the recomputation
_FEWEST_TOKENS, _FEW_TOKENS = 16, 64


@dataclass(slots=True)
class Bounds:
    """How much of a map is kept; narrowed if a pass would exceed its bytes.

    Attributes:
        max_samples: first samples of the batch.
        max_tokens: of queries and of keys; of more, every 2nd, 4th, 8th, … is kept, starting with the first.
        rows_bytes: limit for a map's `rows`, which have every key.
    """

    max_samples: int
    max_tokens: int
    rows_bytes: int = 2**20

    def step(self, tokens: int) -> int:
        """The smallest power of two so that every `step`-th token is at most `max_tokens`."""
        step = 1
        while -(-tokens // step) > self.max_tokens:
            step *= 2
        return step

    def row_step(self, tokens: tuple[int, int], batch: int) -> int:
        """Step between the queries that are computed: 1 if all rows take few bytes, else as in `step`."""
        rows = min(batch, self.max_samples) * tokens[0] * tokens[1] * 4
        return 1 if rows <= self.rows_bytes else self.step(tokens[0])

    def narrow(self) -> bool:
        """Keep less from now on: coarser maps first, then fewer samples; False if it is the least already."""
        self.rows_bytes //= 2
        if self.max_tokens > _FEW_TOKENS or (self.max_samples == 1 and self.max_tokens > _FEWEST_TOKENS):
            self.max_tokens = max(self.max_tokens // 2, _FEWEST_TOKENS)
        elif self.max_samples > 1:
            self.max_samples = (self.max_samples + 1) // 2
        else:
            return False
        return True


@dataclass(slots=True)
class AttentionSample:
    """One map, cut to bounds, float32 on its device.

    Attributes:
        weights: (samples, heads, queries, keys), cut to the bounds.
        mean: (samples, keys), every key: the mean over heads and queries.
        rows: (samples, rows, keys), every key: the mean over heads of every `row_step`-th query, or of the first query
            alone if that exceeds the bounds.
        row_step: see `rows`.
        steps: steps between the queries, and between the keys, in `weights`.
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
        """Cut further, to bounds that were narrowed."""
        samples = bounds.max_samples
        steps = (bounds.step(self.tokens[0]), bounds.step(self.tokens[1]))
        if samples < len(self.weights) or steps != self.steps:
            queries, keys = steps[0] // self.steps[0], steps[1] // self.steps[1]
            self.weights, self.steps = self.weights[:samples, :, ::queries, ::keys].clone(), steps
            self.mean, self.rows = self.mean[:samples].clone(), self.rows[:samples].clone()
        if _size(self.rows) > bounds.rows_bytes:
            self.rows, self.row_step = self.rows[:, :1].clone(), self.tokens[0]


def _cut_sample(chunks: Iterable[Tensor], tokens: tuple[int, int], batch: int, bounds: Bounds) -> AttentionSample:
    """Cut a map to the bounds.

    Args:
        chunks: of (samples, heads, some queries, all keys), in order; together every `row_step`-th query.
        tokens: queries and keys of the whole map.
        batch: first dimension of the whole map.
        bounds: what to keep.
    """
    steps, row_step = (bounds.step(tokens[0]), bounds.step(tokens[1])), bounds.row_step(tokens, batch)
    stride = steps[0] // row_step
    weights, rows, done = [], [], 0
    for chunk in chunks:
        weights.append(chunk[:, :, -done % stride :: stride, :: steps[1]].float())
        rows.append(chunk.mean(dim=1, dtype=torch.float32))
        done += chunk.shape[2]
    all_rows = torch.cat(rows, dim=1)
    mean = all_rows.mean(dim=1)
    if _size(all_rows) > bounds.rows_bytes:
        all_rows, row_step = all_rows[:, :1].clone(), tokens[0]
    return AttentionSample(torch.cat(weights, dim=2), mean, all_rows, row_step, steps, tokens, batch)


def _size(tensor: Tensor) -> int:
    return tensor.numel() * tensor.element_size()


def explicit_sample(weights: Tensor, bounds: Bounds) -> AttentionSample:
    """Cut weights that a model computed itself, (samples, heads, queries, keys), into separate memory."""
    batch, _, queries, keys = weights.shape
    rows = weights.detach()[: bounds.max_samples, :, :: bounds.row_step((queries, keys), batch)]
    return _cut_sample([rows], (queries, keys), batch, bounds)


def attention_weights(
    query: Tensor,
    key: Tensor,
    bounds: Bounds,
    *,
    mask: Tensor | None = None,
    is_causal: bool = False,
    scale: float | None = None,
    modify: Callable[[Tensor, Tensor], Tensor] | None = None,
) -> AttentionSample:
    """Weights of scaled dot-product attention before dropout, in float32.

    Args:
        query: (batch, heads, queries, width).
        key: (batch, heads or groups of heads, keys, width).
        bounds: what to keep.
        mask: float is added to the scores, bool leaves keys out where it is False; broadcast against the scores.
        is_causal: query i sees keys up to i.
        scale: of the scores; None = 1 / √width.
        modify: of a chunk of scores and its query positions, before the softmax.

    A query that sees no key has a row of zeros, as in PyTorch's safe softmax.
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

    def chunk(positions: Tensor) -> Tensor:
        scores = query.index_select(2, positions) @ key.transpose(-1, -2) * scale
        if mask is not None:
            rows = mask.index_select(mask.dim() - 2, positions)
            scores = scores.masked_fill(~rows, -torch.inf) if rows.dtype == torch.bool else scores + rows.float()
        if is_causal:
            later = torch.arange(keys, device=positions.device) > positions[:, None]
            scores = scores.masked_fill(later, -torch.inf)
        if modify is not None:
            scores = modify(scores, positions)
        return torch.softmax(scores, dim=-1).nan_to_num(0.0)

    computed = torch.arange(0, queries, bounds.row_step((queries, keys), batch), device=query.device)
    return _cut_sample(map(chunk, computed.split(ROWS_AT_ONCE)), (queries, keys), batch, bounds)


def encoder_weights(
    source: Tensor,
    num_heads: int,
    in_weight: Tensor,
    in_bias: Tensor | None,
    mask: Tensor | None,
    mask_type: int | None,
    bounds: Bounds,
    norm: Callable[[Tensor], Tensor] | None = None,
) -> AttentionSample:
    """Weights of self-attention in PyTorch's inference fast path, from the layer's input.

    Args:
        source: (batch, tokens, width), or nested.
        num_heads: heads.
        in_weight, in_bias: of the joint projection to queries, keys and values.
        mask: True = left out, as in the fast path.
        mask_type: 0 = (tokens, tokens), 1 = (batch, tokens), 2 = (batch, heads, tokens, tokens).
        bounds: what to keep.
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
    sample = attention_weights(query, key, bounds, mask=None if left_out is None else ~left_out)
    sample.batch = batch  # only the first samples were projected
    return sample


_FLEX = "flex_attention"
_HINTS = ("attention", "attn")
_HARMLESS = ("backward", "fused_sdp_choice", "philox", "mask")

Handler = Callable[[Bounds, Any, Any], AttentionSample]


def handler_of(packet: Any) -> Handler | None:
    """The function that recomputes the weights of an operator; None if it is not a known fused attention."""
    return _flex if getattr(packet, "__name__", "") == _FLEX else _FUSED.get(packet)


def unknown_kernel(packet: Any) -> str | None:
    """The name of an operator that is attention by its name, but whose weights cannot be recomputed here."""
    name = str(getattr(packet, "_qualified_op_name", getattr(packet, "__name__", packet)))
    lower = name.lower()
    return name if any(h in lower for h in _HINTS) and not any(h in lower for h in _HARMLESS) else None


def _argument(args: Any, kwargs: Any, position: int | None, name: str, default: Any = None) -> Any:
    if name in kwargs:
        return kwargs[name]
    return args[position] if position is not None and len(args) > position else default


def _sdpa(
    bounds: Bounds, args: Any, kwargs: Any, *, mask: tuple[int | None, str] | None, is_causal: int
) -> AttentionSample:
    return attention_weights(
        args[0],
        args[1],
        bounds,
        mask=_argument(args, kwargs, *mask) if mask is not None else None,
        is_causal=bool(_argument(args, kwargs, is_causal, "is_causal", False)),
        scale=kwargs.get("scale"),
    )


def _multi_head(bounds: Bounds, args: Any, kwargs: Any) -> AttentionSample:
    source, heads, in_weight, in_bias = args[0], args[4], args[5], args[6]
    mask, kind = _argument(args, kwargs, 9, "mask"), _argument(args, kwargs, 12, "mask_type")
    return encoder_weights(source, heads, in_weight, in_bias, mask, kind, bounds)


def _encoder_layer(bounds: Bounds, args: Any, kwargs: Any) -> AttentionSample:
    source, width, heads, in_weight, in_bias = args[:5]
    norm_first, eps, norm_weight, norm_bias = args[8], args[9], args[10], args[11]
    mask, kind = _argument(args, kwargs, 18, "mask"), _argument(args, kwargs, 19, "mask_type")
    norm: Callable[[Tensor], Tensor] | None = None
    if norm_first:
        norm = partial(F.layer_norm, normalized_shape=(width,), weight=norm_weight, bias=norm_bias, eps=eps)
    return encoder_weights(source, heads, in_weight, in_bias, mask, kind, bounds, norm)


def _flex(bounds: Bounds, args: Any, kwargs: Any) -> AttentionSample:
    query, key, _, score_mod, block_mask, scale = args[:6]
    mask_mod = block_mask[-1]
    extra_score, extra_mask = (args[7] if len(args) > 7 else ()), (args[8] if len(args) > 8 else ())
    batch, heads, keys = min(query.shape[0], bounds.max_samples), query.shape[1], key.shape[2]

    def modify(scores: Tensor, positions: Tensor) -> Tensor:
        b = torch.arange(batch, device=positions.device)[:, None, None, None]
        h = torch.arange(heads, device=positions.device)[None, :, None, None]
        k = torch.arange(keys, device=positions.device)[None, None, None, :]
        q = positions[None, None, :, None]
        changed = score_mod(scores, b, h, q, k, *extra_score)
        visible = mask_mod(b, h, q, k, *extra_mask)
        return changed.masked_fill(~visible.expand(changed.shape), -torch.inf)

    return attention_weights(query, key, bounds, scale=scale, modify=modify)


_FUSED: dict[Any, Handler] = {
    aten._scaled_dot_product_flash_attention: partial(_sdpa, mask=None, is_causal=4),
    aten._scaled_dot_product_flash_attention_for_cpu: partial(_sdpa, mask=(None, "attn_mask"), is_causal=4),
    aten._scaled_dot_product_efficient_attention: partial(_sdpa, mask=(3, "attn_bias"), is_causal=6),
    aten._scaled_dot_product_cudnn_attention: partial(_sdpa, mask=(3, "attn_bias"), is_causal=6),
    aten._scaled_dot_product_fused_attention_overrideable: partial(_sdpa, mask=(3, "attn_bias"), is_causal=5),
    aten._scaled_dot_product_attention_math_for_mps: partial(_sdpa, mask=(3, "attn_mask"), is_causal=5),
    aten._native_multi_head_attention: _multi_head,
    aten._transformer_encoder_layer_fwd: _encoder_layer,
}
