"""The classifier: which layer makes the logits of an attribute, what its rows look like, and what goes into it."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from tbmetrics.class_performance.diagnostics.numbers import nearest_by_cosine, to_numpy
from tbmetrics.errors import InputError
from tbmetrics.records import FloatArray
from tbmetrics.tracking.hooks import Hook

_ROWS_COMPARED = 64
MAX_PASS_BYTES = 256 * 2**20  # of passes that no `update` has claimed yet


class Claimed(NamedTuple):
    """A batch of logits that a classifier was seen to make."""

    features: Tensor | None  # its input, (N, D); None where it is no matrix
    logits: Tensor  # its output, (N, C)


class _Pass(NamedTuple):
    features: Tensor | None
    logits: Tensor

    @property
    def nbytes(self) -> int:
        held = (self.features, self.logits)
        return sum(t.numel() * t.element_size() for t in held if t is not None)


class _Tap:
    """One candidate: the passes in evaluation that have not been claimed."""

    def __init__(self, name: str, module: nn.Module) -> None:
        self.name, self.module = name, module
        self._passes: deque[_Pass] = deque()
        self._bytes = 0

    def see(self, module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        """Keeps the input and output of a pass in evaluation: references, no copies."""
        if (module.training and torch.is_grad_enabled()) or not isinstance(output, Tensor) or output.ndim != 2:
            return
        given = args[0] if args and isinstance(args[0], Tensor) else None
        fits = given is not None and given.ndim == 2 and len(given) == len(output)
        kept = _Pass(given.detach() if given is not None and fits else None, output.detach())
        self._passes.append(kept)
        self._bytes += kept.nbytes
        while self._bytes > MAX_PASS_BYTES:
            self._bytes -= self._passes.popleft().nbytes

    def claim(self, logits: Tensor) -> _Pass | None:
        """The latest passes that together made `logits`, as one; None where they did not."""
        chosen: list[_Pass] = []
        for candidate in reversed(self._passes):
            if sum(len(p.logits) for p in chosen) >= len(logits):
                break
            chosen.insert(0, candidate)
        if sum(len(p.logits) for p in chosen) != len(logits) or not chosen:
            return None
        made = (chosen[0].logits if len(chosen) == 1 else torch.cat([p.logits for p in chosen])).to(logits.device)
        if made.shape != logits.shape or not _same(made, logits):
            return None
        inputs = [p.features for p in chosen if p.features is not None]
        return _Pass(torch.cat(inputs) if len(inputs) == len(chosen) else None, made)

    def forget(self) -> None:
        """Lets go of all passes."""
        self._passes.clear()
        self._bytes = 0


class Classifier:
    """The layer behind the logits of one attribute, and its hooks.

    Candidates are the linear layers as wide as the attribute has classes, or the one module that the user named.
    Which of them it is shows when the first validation batch comes: the one whose output these logits are.

    Args:
        model: the model.
        attribute: its name.
        num_classes: C.
        wanted: name of the module, None = look for it.

    Attributes:
        name: of the layer, "" while it is not settled.
        why_not: why there are no numbers of it, "" where there are.

    Raises:
        InputError: `wanted` is no module with a weight of C rows.
    """

    def __init__(self, model: nn.Module, attribute: str, num_classes: int, wanted: str | None) -> None:
        self._num_classes = num_classes
        named = _named(model, attribute, num_classes, wanted) if wanted is not None else None
        found = [named] if named is not None else _candidates(model, num_classes)
        self._taps = [_Tap(name, module) for name, module in found]
        self._chosen = self._taps[0] if named is not None else None
        self._handles: list[Any] = []

    @property
    def name(self) -> str:
        """Name of the layer, "" while it is not known."""
        settled = self.settled()
        return settled.name if settled is not None else ""

    @property
    def why_not(self) -> str:
        """Why the layer is not known, "" where it is."""
        if self.settled() is not None:
            return ""
        if not self._taps:
            return f"no linear layer has {self._num_classes} outputs; name the module: classifiers={{attribute: name}}"
        names = ", ".join(repr(tap.name) for tap in self._taps[:4])
        return f"several layers could be it ({names}) and none made these logits; name it: classifiers={{attribute: …}}"

    def settled(self) -> _Tap | None:
        """The candidate that it is."""
        return self._chosen or (self._taps[0] if len(self._taps) == 1 else None)

    def attach(self, guard: Callable[..., Any]) -> None:
        """Sets a forward hook on every candidate; it does nothing in training passes."""
        for tap in self._taps if not self._handles else ():
            hook = Hook(lambda *args, see=tap.see: guard(see, *args))
            self._handles.append(tap.module.register_forward_hook(hook))

    def detach(self) -> None:
        """Removes every hook and lets go of all passes."""
        for handle in self._handles:
            handle.remove()
        self._handles.clear()
        self.forget()

    def forget(self) -> None:
        """Lets go of all passes that were not claimed."""
        for tap in self._taps:
            tap.forget()

    def claim(self, logits: Tensor) -> Claimed | None:
        """What went into the layer for these logits, (N, C); None where no candidate is seen to have made them."""
        found = None
        for tap in [self._chosen] if self._chosen is not None else self._taps:
            found = tap.claim(logits)
            if found is not None:
                self._chosen = tap
                break
        self.forget()
        if found is None or self._chosen is None:
            return None
        return Claimed(found.features, found.logits)

    def is_linear(self, claimed: Claimed) -> bool:
        """Whether these logits are weight · input + bias of the layer."""
        tap = self.settled()
        return (
            tap is not None
            and claimed.features is not None
            and _is_linear(tap.module, claimed.features, claimed.logits)
        )

    def weight_and_bias(self) -> tuple[Tensor, Tensor | None] | None:
        """Weight (C, D) and bias (C,) as they are now, float32; None where the layer is not known."""
        tap = self.settled()
        return None if tap is None else _weight_and_bias(tap.module)

    def columns(self) -> dict[str, FloatArray]:
        """`weight_norm`, `bias`, `nearest_weight_cosine`, `nearest_weight_class`; empty where it is not known."""
        found = self.weight_and_bias()
        if found is None:
            return {}
        weight, bias = found
        nearest = nearest_by_cosine(weight)
        return {
            "weight_norm": to_numpy(torch.linalg.vector_norm(weight, dim=1)),
            "bias": to_numpy(bias if bias is not None else torch.full_like(weight[:, 0], torch.nan)),
            "nearest_weight_cosine": to_numpy(nearest.value),
            "nearest_weight_class": to_numpy(torch.where(nearest.value.isnan(), torch.nan, nearest.row.float())),
        }


def _candidates(model: nn.Module, num_classes: int) -> list[tuple[str, nn.Module]]:
    linear = [(name, m) for name, m in model.named_modules() if isinstance(m, nn.Linear)]
    return [(name, m) for name, m in linear if m.out_features == num_classes]


def _named(model: nn.Module, attribute: str, num_classes: int, wanted: str) -> tuple[str, nn.Module]:
    modules = dict(model.named_modules())
    if wanted not in modules:
        near = [name for name in modules if name and name.split(".")[-1] in wanted] or [n for n in modules if n]
        raise InputError(f"classifiers[{attribute!r}]: the model has no module {wanted!r}; it has {near[:8]}")
    weight = getattr(modules[wanted], "weight", None)
    if not isinstance(weight, Tensor) or weight.ndim < 2 or len(weight) != num_classes:
        shape = tuple(weight.shape) if isinstance(weight, Tensor) else None
        raise InputError(
            f"classifiers[{attribute!r}]: module {wanted!r} must have a `weight` with one row for each of the "
            f"{num_classes} classes, got {shape}"
        )
    return wanted, modules[wanted]


@torch.no_grad()
def _weight_and_bias(module: nn.Module) -> tuple[Tensor, Tensor | None]:
    weight = module.weight.detach().float().flatten(1)  # type: ignore[operator]
    bias = getattr(module, "bias", None)
    fits = isinstance(bias, Tensor) and bias.shape == weight.shape[:1]
    return weight, bias.detach().float() if isinstance(bias, Tensor) and fits else None


def _same(made: Tensor, logits: Tensor) -> bool:
    """Whether two batches of logits are one, give or take a change of precision, seen on rows spread over them."""
    if made.data_ptr() == logits.data_ptr() and made.dtype == logits.dtype:
        return True
    rows = torch.linspace(0, len(logits) - 1, min(len(logits), _ROWS_COMPARED), device=logits.device).long()
    made, logits = made[rows], logits[rows]
    tolerance = 1e-2 if min(torch.finfo(t.dtype).bits for t in (made, logits)) < 32 else 1e-5
    return torch.allclose(made.float(), logits.float(), rtol=tolerance, atol=tolerance, equal_nan=True)


@torch.no_grad()
def _is_linear(module: nn.Module, features: Tensor, logits: Tensor, rows: int = 16) -> bool:
    """Whether the layer's output is weight · input + bias, seen on a few rows."""
    weight, bias = _weight_and_bias(module)
    if features.shape[1] != weight.shape[1]:
        return False
    made = features[:rows].float() @ weight.T + (bias if bias is not None else 0)
    close = torch.allclose(made, logits[:rows].float().to(made.device), rtol=0.05, atol=0.05, equal_nan=True)
    return bool(close)
