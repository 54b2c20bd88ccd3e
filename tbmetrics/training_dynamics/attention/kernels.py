"""The fused operators that attend: for each, where its queries, keys and mask are, and so its weights."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from tbmetrics.training_dynamics.attention.weights import Bounds, Kept, attention_weights, encoder_weights

aten = torch.ops.aten

_FLEX = "flex_attention"
_HINTS = ("attention", "attn")
_HARMLESS = ("backward", "fused_sdp_choice", "philox", "mask")

Handler = Callable[[Bounds, Any, Any], Kept]


def handler_of(packet: Any) -> Handler | None:
    """What recomputes the weights of an operator; None where it is no fused attention, or one that is not known."""
    found = _FUSED.get(packet)
    return _flex if found is None and getattr(packet, "__name__", "") == _FLEX else found


def unknown_kernel(packet: Any) -> str | None:
    """The name of an operator that attends, as its name says, but whose weights cannot be recomputed here."""
    name = str(getattr(packet, "_qualified_op_name", getattr(packet, "__name__", packet)))
    low = name.lower()
    return name if any(h in low for h in _HINTS) and not any(h in low for h in _HARMLESS) else None


def _argument(args: Any, kwargs: Any, position: int | None, name: str, default: Any = None) -> Any:
    if name in kwargs:
        return kwargs[name]
    return args[position] if position is not None and len(args) > position else default


def _sdpa(bounds: Bounds, args: Any, kwargs: Any, *, mask: tuple[int | None, str] | None, is_causal: int) -> Kept:
    return attention_weights(
        args[0],
        args[1],
        bounds,
        mask=_argument(args, kwargs, *mask) if mask is not None else None,
        is_causal=bool(_argument(args, kwargs, is_causal, "is_causal", False)),
        scale=kwargs.get("scale"),
    )


def _multi_head(bounds: Bounds, args: Any, kwargs: Any) -> Kept:
    source, heads, in_weight, in_bias = args[0], args[4], args[5], args[6]
    mask, kind = _argument(args, kwargs, 9, "mask"), _argument(args, kwargs, 12, "mask_type")
    return encoder_weights(source, heads, in_weight, in_bias, mask, kind, bounds)


def _encoder_layer(bounds: Bounds, args: Any, kwargs: Any) -> Kept:
    source, width, heads, in_weight, in_bias = args[:5]
    norm_first, eps, norm_weight, norm_bias = args[8], args[9], args[10], args[11]
    mask, kind = _argument(args, kwargs, 18, "mask"), _argument(args, kwargs, 19, "mask_type")
    norm: Callable[[Tensor], Tensor] | None = None
    if norm_first:
        norm = partial(F.layer_norm, normalized_shape=(width,), weight=norm_weight, bias=norm_bias, eps=eps)
    return encoder_weights(source, heads, in_weight, in_bias, mask, kind, bounds, norm)


def _flex(bounds: Bounds, args: Any, kwargs: Any) -> Kept:
    query, key, _, score_mod, block_mask, scale = args[:6]
    mask_mod = block_mask[-1]
    extra_score, extra_mask = (args[7] if len(args) > 7 else ()), (args[8] if len(args) > 8 else ())
    batch, heads, keys = min(query.shape[0], bounds.max_samples), query.shape[1], key.shape[2]

    def modify(scores: Tensor, at: Tensor) -> Tensor:
        b = torch.arange(batch, device=at.device)[:, None, None, None]
        h = torch.arange(heads, device=at.device)[None, :, None, None]
        k = torch.arange(keys, device=at.device)[None, None, None, :]
        q = at[None, None, :, None]
        changed = score_mod(scores, b, h, q, k, *extra_score)
        seen = mask_mod(b, h, q, k, *extra_mask)
        return changed.masked_fill(~seen.expand(changed.shape), -torch.inf)

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
