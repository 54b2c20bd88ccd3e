"""Captures attention weights in a forward pass of any model, below its modules, where operators are dispatched.

What counts as attention:

- every fused scaled-dot-product operator, flex attention, and the fused inference path of `nn.MultiheadAttention` and
  `nn.TransformerEncoderLayer`; their weights are recomputed from queries, keys and mask;
- an explicit softmax that is attention by the data that flows through it; see `flow` for the rule.

Not seen: attention written with `exp` and a sum, linear attention, and anything inside a compiled graph.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from tbmetrics.tracking.patterns import matches, named_modules
from tbmetrics.training_dynamics.attention.flow import PRODUCTS, SOFTMAXES, Flow, Softmax, dense_tensors
from tbmetrics.training_dynamics.attention.weights import (
    AttentionSample,
    Bounds,
    Handler,
    explicit_sample,
    handler_of,
    unknown_kernel,
)

_HEADS = ("num_heads", "num_attention_heads", "n_heads", "n_head", "nhead", "heads")
_COMPOSITE = torch._C.DispatchKey.CompositeImplicitAutograd


@dataclass(slots=True)
class CapturedMap:
    """Attention weights of one call.

    Attributes:
        module: name of the module, numbered if it attends several times in a pass: `name#0`, `name#1`, ….
        sample: its weights.
    """

    module: str
    sample: AttentionSample

    @property
    def weights(self) -> Tensor:
        """Float32 of shape (samples, heads, queries, keys), on its device."""
        return self.sample.weights


@dataclass(slots=True)
class CaptureReport:
    """Attention in a pass.

    Attributes:
        maps: in the order of the calls.
        rejected: candidates that do not count as attention: module → why.
        over_budget: modules whose maps exceeded the byte budget even at their smallest.
        fault: an exception inside the capture; the pass itself went on.
    """

    maps: list[CapturedMap] = field(default_factory=list)
    rejected: dict[str, str] = field(default_factory=dict)
    over_budget: list[str] = field(default_factory=list)
    fault: Exception | None = None

    def why_no_maps(self) -> str:
        """What to tell the user if there are no maps."""
        if self.rejected:
            candidates = "; ".join(f"{name}: {why}" for name, why in list(self.rejected.items())[:5])
            return (
                f"attention was looked for, but nothing that was seen is taken for it ({candidates}); if one of them "
                "is, name its module exactly, modules=['…'], or give its weights with log_attention(name, weights)"
            )
        return (
            "no attention was found in this model: no fused attention ran, and no softmax (or modules=[…] leaves "
            "all out); attention written in another way can be given with log_attention(name, weights)"
        )


class AttentionCapture(TorchDispatchMode):
    """Sees every operator while it is entered, and keeps attention weights.

    Outputs, gradients and random state are those of the same pass without it; its faults never reach the pass. Leave it
    before the backward pass: activation checkpointing would show its recomputation as well.

    Args:
        model: gives the names of modules.
        bounds: what to keep of a map; narrowed if the maps of the pass would exceed `max_bytes`.
        max_bytes: of all maps of a pass together.
        modules: patterns of module names; None = all. In a module named exactly, without wildcards, a softmax
            counts whatever its scores come from.
    """

    supports_higher_order_operators = True

    def __init__(self, model: nn.Module, bounds: Bounds, max_bytes: int, modules: Sequence[str] | None = None) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._names = {id(module): name for name, module in named_modules(model)}
        self._bounds, self._max_bytes = bounds, max_bytes
        self._numbered_patterns = modules  # e.g. "vsi#0", which is known at the end of the pass
        self._patterns = None if modules is None else [pattern.partition("#")[0] for pattern in modules]
        self._flow = Flow(chain(model.parameters(), model.buffers()))
        self._candidates: list[tuple[str, AttentionSample, Softmax | None]] = []
        self._report = CaptureReport()

    @classmethod
    def ignore_compile_internals(cls) -> bool:
        """A compiled model stays compiled; its graphs are not captured."""
        return True

    def report(self) -> CaptureReport:
        """The captured maps; modules that attend several times are numbered."""
        maps = []
        for name, sample, softmax in self._candidates:
            if softmax is None or softmax.is_attention:
                maps.append((name, sample))
            else:
                self._report.rejected.setdefault(name, softmax.rejection())
        self._candidates = []
        calls, previous = Counter(name for name, _ in maps), Counter[str]()
        for name, sample in maps:
            numbered = f"{name}#{previous[name]}" if calls[name] > 1 else name
            previous[name] += 1
            if self._numbered_patterns is None or any(matches(n, self._numbered_patterns) for n in (name, numbered)):
                self._report.maps.append(CapturedMap(numbered, sample))
        return self._report

    # -------------------------------------------------------------------------------------------- operators

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run the operator unchanged, and look at its inputs and outputs."""
        kwargs = kwargs or {}
        if torch.is_inference_mode_enabled() and _is_composite(func):  # else autograd takes them apart before us
            with self:
                return func.decompose(*args, **kwargs)
        result = func(*args, **kwargs)
        if self._report.fault is None:
            try:
                self._look(func, args, kwargs, result)
            except Exception as error:  # the pass is the user's: it goes on, unwatched
                self._report.fault = error
                self._candidates.clear()
        return result

    def _look(self, func: Any, args: Any, kwargs: Any, result: Any) -> None:
        packet = getattr(func, "overloadpacket", func)
        handler = handler_of(packet)
        if handler is not None:
            self._fused(handler, args, kwargs)
        elif packet in SOFTMAXES:
            self._softmax(args[0], args[1], result)
        elif packet in PRODUCTS:
            self._flow.product(packet, args, dense_tensors(result))
        elif (kernel := unknown_kernel(packet)) is not None:
            self._report.rejected.setdefault(self._owner()[1], f"the weights of {kernel} cannot be recomputed")
        else:
            self._flow.pass_on(func, packet, dense_tensors((args, kwargs)), dense_tensors(result))

    def _fused(self, handler: Handler, args: Any, kwargs: Any) -> None:
        _, name = self._owner()
        if self._is_wanted(name):
            with torch.no_grad(), torch.autocast(_device_of(args), enabled=False):
                self._keep(name, handler(self._bounds, args, kwargs), None)

    def _softmax(self, scores: Tensor, dim: int, result: Tensor) -> None:
        if scores.dim() < 2 or not dense_tensors(scores):
            return
        owner, name = self._owner()
        if not self._is_wanted(name):
            return
        softmax = self._flow.softmax(scores, dim, trusted=name in (self._patterns or ()))
        if isinstance(softmax, str):
            self._report.rejected.setdefault(name, softmax)
            return
        with torch.no_grad():
            self._keep(name, explicit_sample(_with_heads(result.detach(), owner), self._bounds), softmax)
        self._flow.follow(result, softmax)

    def _is_wanted(self, name: str) -> bool:
        return self._patterns is None or matches(name, self._patterns)

    def _keep(self, name: str, sample: AttentionSample, softmax: Softmax | None) -> None:
        """Keep a map; if the pass would exceed its bytes, cut all its maps further."""
        self._candidates.append((name, sample, softmax))
        while sum(candidate.size for _, candidate, _ in self._candidates) > self._max_bytes:
            if not self._bounds.narrow():
                self._report.over_budget.append(name)
                self._candidates.pop()
                return
            for _, candidate, _ in self._candidates:
                candidate.cut(self._bounds)

    def _owner(self) -> tuple[nn.Module | None, str]:
        """The innermost running module and its name, from the stack: hooks would switch fused paths off."""
        frame = sys._getframe(1)
        while frame is not None:
            owner = frame.f_locals.get("self")
            if isinstance(owner, nn.Module) and id(owner) in self._names:
                name = self._names[id(owner)]
                inner = isinstance(owner, nn.TransformerEncoderLayer)
                return owner, (f"{name}.self_attn" if name else "self_attn") if inner else name or "model"
            frame = frame.f_back  # type: ignore[assignment]
        return None, "model"


def _is_composite(func: Any) -> bool:
    return isinstance(func, torch._ops.OpOverload) and func.has_kernel_for_dispatch_key(_COMPOSITE)


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
