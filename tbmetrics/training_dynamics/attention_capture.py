"""Captures attention weights from a forward pass of any model, below its modules, where operators are dispatched.

What counts as attention:

- every fused scaled-dot-product operator, flex attention, and the fused inference path of `nn.MultiheadAttention` and
  `nn.TransformerEncoderLayer`; their weights are recomputed from queries, keys and mask;
- an explicit softmax over the last dimension whose scores come from a batched matrix product and whose result goes
  into a matrix product. A classifier, a gate or a loss is none of these, whatever its shape.

Not seen: attention written with `exp` and a sum, linear attention, and anything inside a compiled graph.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from tbmetrics.training_dynamics.attention_flow import (
    BATCHED_PRODUCTS,
    PRODUCTS,
    SOFTMAXES,
    Tags,
    passes_on,
    tensors_of,
)
from tbmetrics.training_dynamics.attention_weights import Bounds, attention_weights, encoder_weights
from tbmetrics.training_dynamics.patterns import matches, plain_name

aten = torch.ops.aten

_HEADS = ("num_heads", "num_attention_heads", "n_heads", "n_head", "nhead", "heads")
_FLEX = "flex_attention"


@dataclass(slots=True)
class CapturedMap:
    """Attention weights of one call.

    Attributes:
        module: name of the module that attended; of one that attends several times in a pass `name#0`, `name#1`, ….
        weights: float32 of shape (samples, heads, queries, keys), on its device.
        tokens: queries and keys before they were cut to the bounds.
    """

    module: str
    weights: Tensor
    tokens: tuple[int, int]


@dataclass(slots=True)
class _Candidate:
    """A softmax whose scores are attention's, until a matrix product takes it."""

    order: int
    module: str
    weights: Tensor
    tokens: tuple[int, int]
    taken: bool = False


@dataclass(slots=True)
class CaptureReport:
    """What a pass held.

    Attributes:
        maps: in the order of the calls.
        rejected: softmaxes that were seen and not taken for attention: module → why.
        over_budget: modules whose maps did not fit into the byte budget.
        fault: what went wrong in the capture itself, which then stopped; the pass was not touched.
    """

    maps: list[CapturedMap] = field(default_factory=list)
    rejected: dict[str, str] = field(default_factory=dict)
    over_budget: list[str] = field(default_factory=list)
    fault: Exception | None = None


class AttentionCapture(TorchDispatchMode):
    """Sees every operator while it is entered, and keeps the attention weights among them.

    Outputs, gradients and random state are those of the same pass without it. To be left before the backward pass:
    activation checkpointing would show its recomputation as well.

    Args:
        model: whose modules give the names.
        bounds: what is kept of a map.
        max_bytes: of all maps of a pass together.
        modules: patterns of module names; None = all.
    """

    supports_higher_order_operators = True

    def __init__(self, model: nn.Module, bounds: Bounds, max_bytes: int, modules: Sequence[str] | None = None) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._names = {id(module): plain_name(name) for name, module in model.named_modules()}
        self._bounds, self._room, self._patterns = bounds, max_bytes, modules
        self._scores, self._weights = Tags(), Tags()
        self._found: list[_Candidate] = []
        self._report = CaptureReport()

    @classmethod
    def ignore_compile_internals(cls) -> bool:
        """A compiled model stays compiled; its graphs are not looked into."""
        return True

    def report(self) -> CaptureReport:
        """What was captured; modules that attend several times are numbered."""
        kept = [c for c in sorted(self._found, key=lambda c: c.order) if c.taken]
        for c in self._found:
            if not c.taken:
                self._report.rejected.setdefault(c.module, "no matrix product took its result")
        calls = Counter(c.module for c in kept)
        seen: Counter[str] = Counter()
        for c in kept:
            name = f"{c.module}#{seen[c.module]}" if calls[c.module] > 1 else c.module
            seen[c.module] += 1
            self._report.maps.append(CapturedMap(name, c.weights, c.tokens))
        self._found = []
        return self._report

    # -------------------------------------------------------------------------------------------- operators

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Runs the operator as it is, and looks at what it was given and gave; a fault in looking stops it."""
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        if self._report.fault is None:
            try:
                self._look(getattr(func, "overloadpacket", func), args, kwargs, result)
            except Exception as error:
                self._report.fault = error
        return result

    def _look(self, packet: Any, args: Any, kwargs: Any, result: Any) -> None:
        handler = _FUSED.get(packet) or (_flex if getattr(packet, "__name__", "") == _FLEX else None)
        if handler is None:
            self._follow(packet, args, kwargs, result)
            return
        with torch.no_grad(), torch.autocast(_device_of(args), enabled=False):
            weights, tokens = handler(self._bounds, args, kwargs)
        self._keep(weights, tokens, taken=True)

    def _follow(self, packet: Any, args: Any, kwargs: Any, result: Any) -> None:
        given, gave = tensors_of((args, kwargs)), tensors_of(result)
        if packet in PRODUCTS:
            for tensor in given:
                if (candidate := self._weights.of(tensor)) is not None:
                    candidate.taken = True
        if packet in BATCHED_PRODUCTS:
            for tensor in gave:
                self._scores.put(tensor, True)
        elif packet in SOFTMAXES:
            self._softmax(given[0], args[1], gave[0])
        elif packet not in PRODUCTS:
            self._pass_on(given, gave)

    def _pass_on(self, given: list[Tensor], gave: list[Tensor]) -> None:
        """Masks, scales, casts and dropout keep what a tensor is."""
        for source in given:
            for tags in (self._scores, self._weights):
                mark = tags.of(source)
                if mark is not None:
                    for output in gave:
                        if passes_on(source, output):
                            tags.put(output, mark)

    def _softmax(self, scores: Tensor, dim: int, result: Tensor) -> None:
        if scores.dim() < 2:
            return
        owner, name = self._owner()
        if self._scores.of(scores) is None:
            self._report.rejected.setdefault(name, "its scores do not come from a batched matrix product")
        elif dim % scores.dim() != scores.dim() - 1:
            self._report.rejected.setdefault(name, "it is not over the last dimension")
        else:
            weights = _with_heads(result.detach(), owner)
            with torch.no_grad():
                candidate = self._keep(self._bounds.cut(weights), (weights.shape[-2], weights.shape[-1]), taken=False)
            if candidate is not None:
                self._weights.put(result, candidate)

    def _keep(self, weights: Tensor, tokens: tuple[int, int], *, taken: bool) -> _Candidate | None:
        _, name = self._owner()
        if self._patterns is not None and not matches(name, self._patterns):
            return None
        size = weights.numel() * weights.element_size()
        if size > self._room:
            self._report.over_budget.append(name)
            return None
        self._room -= size
        candidate = _Candidate(len(self._found), name, weights.detach(), tokens, taken)
        self._found.append(candidate)
        return candidate

    def _owner(self) -> tuple[nn.Module | None, str]:
        """The innermost module that is running, by walking the frames up; hooks would switch fused paths off."""
        frame = sys._getframe(1)
        while frame is not None:
            owner = frame.f_locals.get("self")
            if isinstance(owner, nn.Module) and id(owner) in self._names:
                name = self._names[id(owner)]
                inner = isinstance(owner, nn.TransformerEncoderLayer)
                return owner, (f"{name}.self_attn" if name else "self_attn") if inner else name or "model"
            frame = frame.f_back  # type: ignore[assignment]
        return None, "model"


def _device_of(args: Any) -> str:
    return next((t.device.type for t in args if isinstance(t, Tensor)), "cpu")


def _with_heads(weights: Tensor, owner: nn.Module | None) -> Tensor:
    """Weights of any number of dimensions as (samples, heads, queries, keys)."""
    if weights.dim() == 2:
        return weights[None, None]
    if weights.dim() == 3:
        heads = next((int(h) for a in _HEADS if isinstance(h := getattr(owner, a, None), int) and h > 0), 1)
        heads = heads if weights.shape[0] % heads == 0 else 1
        return weights.reshape(-1, heads, *weights.shape[1:])
    return weights.reshape(-1, *weights.shape[-3:])


# ------------------------------------------------------------------------------------------- fused operators

_Weights = tuple[Tensor, tuple[int, int]]


def _argument(args: Any, kwargs: Any, position: int | None, name: str, default: Any = None) -> Any:
    if name in kwargs:
        return kwargs[name]
    return args[position] if position is not None and len(args) > position else default


def _sdpa(bounds: Bounds, args: Any, kwargs: Any, *, mask: tuple[int | None, str] | None, is_causal: int) -> _Weights:
    query, key = args[0], args[1]
    given = _argument(args, kwargs, *mask) if mask is not None else None
    weights = attention_weights(
        query,
        key,
        bounds,
        mask=given,
        is_causal=bool(_argument(args, kwargs, is_causal, "is_causal", False)),
        scale=kwargs.get("scale"),
    )
    return weights, (query.shape[2], key.shape[2])


def _multi_head(bounds: Bounds, args: Any, kwargs: Any) -> _Weights:
    source, heads, in_weight, in_bias = args[0], args[4], args[5], args[6]
    mask, kind = _argument(args, kwargs, 9, "mask"), _argument(args, kwargs, 12, "mask_type")
    weights = encoder_weights(source, heads, in_weight, in_bias, mask, kind, bounds)
    return weights, (weights.shape[2], weights.shape[3]) if source.is_nested else (source.shape[1], args[1].shape[1])


def _encoder_layer(bounds: Bounds, args: Any, kwargs: Any) -> _Weights:
    source, width, heads, in_weight, in_bias = args[:5]
    norm_first, eps, norm_weight, norm_bias = args[8], args[9], args[10], args[11]
    mask, kind = _argument(args, kwargs, 18, "mask"), _argument(args, kwargs, 19, "mask_type")
    norm: Callable[[Tensor], Tensor] | None = None
    if norm_first:
        norm = partial(F.layer_norm, normalized_shape=(width,), weight=norm_weight, bias=norm_bias, eps=eps)
    weights = encoder_weights(source, heads, in_weight, in_bias, mask, kind, bounds, norm)
    tokens = weights.shape[2] if source.is_nested else source.shape[1]
    return weights, (tokens, tokens)


def _flex(bounds: Bounds, args: Any, kwargs: Any) -> _Weights:
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

    return attention_weights(query, key, bounds, scale=scale, modify=modify), (query.shape[2], keys)


_FUSED: dict[Any, Callable[[Bounds, Any, Any], _Weights]] = {
    aten._scaled_dot_product_flash_attention: partial(_sdpa, mask=None, is_causal=4),
    aten._scaled_dot_product_flash_attention_for_cpu: partial(_sdpa, mask=(None, "attn_mask"), is_causal=4),
    aten._scaled_dot_product_efficient_attention: partial(_sdpa, mask=(3, "attn_bias"), is_causal=6),
    aten._scaled_dot_product_cudnn_attention: partial(_sdpa, mask=(3, "attn_bias"), is_causal=6),
    aten._scaled_dot_product_fused_attention_overrideable: partial(_sdpa, mask=(3, "attn_bias"), is_causal=5),
    aten._native_multi_head_attention: _multi_head,
    aten._transformer_encoder_layer_fwd: _encoder_layer,
}
