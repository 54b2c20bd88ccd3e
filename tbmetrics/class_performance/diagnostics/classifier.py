"""The classifier: which layer makes the logits of an attribute, its weights, and the features that go into it."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from tbmetrics.class_performance.diagnostics.head import Head, is_square, read_head
from tbmetrics.class_performance.diagnostics.numbers import nearest_by_cosine, to_numpy
from tbmetrics.errors import InputError
from tbmetrics.records import FloatArray
from tbmetrics.tracking.hooks import after_evaluation

_ROWS_COMPARED = 64
MAX_PASS_BYTES = 256 * 2**20  # of forward passes that no `update` has claimed yet


class ForwardPass(NamedTuple):
    """Input and output of a layer in one or several forward passes."""

    features: Tensor | None  # (N, D), or None if the input is not such a matrix
    logits: Tensor  # (N, C)

    @property
    def nbytes(self) -> int:
        """Bytes of both tensors."""
        return sum(t.numel() * t.element_size() for t in self if t is not None)


class _Candidate:
    """A layer that may be the classifier, with its evaluation passes that have not been claimed."""

    def __init__(self, name: str, module: nn.Module) -> None:
        self.name, self.module = name, module
        self._passes: deque[ForwardPass] = deque()
        self._bytes = 0

    def record(self, module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        """Keep references to input and output of an evaluation pass."""
        if not isinstance(output, Tensor) or output.ndim != 2:
            return
        features = args[0] if args and isinstance(args[0], Tensor) else None
        if features is not None:
            features = features.detach() if features.ndim == 2 and len(features) == len(output) else None
        self._passes.append(ForwardPass(features, output.detach()))
        self._bytes += self._passes[-1].nbytes
        while self._bytes > MAX_PASS_BYTES:
            self._bytes -= self._passes.popleft().nbytes

    def claim(self, logits: Tensor) -> ForwardPass | None:
        """The latest passes that together made `logits`, as one, or None if they did not."""
        chosen: list[ForwardPass] = []
        for forward_pass in reversed(self._passes):
            if sum(len(p.logits) for p in chosen) >= len(logits):
                break
            chosen.insert(0, forward_pass)
        if sum(len(p.logits) for p in chosen) != len(logits) or not chosen:
            return None
        output = _joined([p.logits for p in chosen]).to(logits.device)
        if output.shape != logits.shape or not _is_same(output, logits):
            return None
        inputs = [p.features for p in chosen if p.features is not None]
        return ForwardPass(_joined(inputs) if len(inputs) == len(chosen) else None, output)

    def forget(self) -> None:
        """Drop all passes."""
        self._passes.clear()
        self._bytes = 0


class Classifier:
    """The layer behind the logits of one attribute, and its hooks.

    Candidates are the linear layers as wide as the attribute has classes and other modules with a weight of that width,
    or the one module that the user named. The first validation batch tells them apart: its logits are the output of the
    classifier.

    Args:
        model: the model.
        attribute: its name.
        num_classes: C.
        chosen: name of the module; None = look for it.

    Raises:
        InputError: `chosen` is not a module, or has a weight of another width.
    """

    def __init__(self, model: nn.Module, attribute: str, num_classes: int, chosen: str | None) -> None:
        self._num_classes = num_classes
        named = _named(model, attribute, num_classes, chosen) if chosen is not None else None
        layers = [named] if named is not None else _layers(model, num_classes)
        self._candidates = [_Candidate(name, module) for name, module in layers]
        self._chosen = self._candidates[0] if named is not None else None
        self._handles: list[Any] = []
        self._head: Head | None = None

    @property
    def name(self) -> str:
        """Name of the layer, "" while it is unknown."""
        settled = self.settled()
        return settled.name if settled is not None else ""

    @property
    def why_not(self) -> str:
        """Why the layer is unknown, or ""."""
        if self.settled() is not None:
            return ""
        if not self._candidates:
            return f"no layer has {self._num_classes} outputs; name the module: classifiers={{attribute: name}}"
        names = ", ".join(repr(candidate.name) for candidate in self._candidates[:4])
        return f"several layers could be it ({names}) and none made these logits; name it: classifiers={{attribute: …}}"

    def settled(self) -> _Candidate | None:
        """The classifier among the candidates, or None while it is unknown."""
        return self._chosen or (self._candidates[0] if len(self._candidates) == 1 else None)

    def attach(self, guard: Callable[..., Any]) -> None:
        """Set a forward hook on every candidate; it does nothing in training passes."""
        for candidate in self._candidates if not self._handles else ():
            self._handles.append(after_evaluation(candidate.module, partial(guard, candidate.record)))

    def detach(self) -> None:
        """Remove every hook and drop all passes."""
        for handle in self._handles:
            handle.remove()
        self._handles.clear()
        self.forget()

    def forget(self) -> None:
        """Drop all passes that were not claimed."""
        for candidate in self._candidates:
            candidate.forget()

    def claim(self, logits: Tensor) -> ForwardPass | None:
        """The forward pass that made these logits, (N, C), or None if no candidate was seen to make them."""
        origin = None
        for candidate in [self._chosen] if self._chosen is not None else self._candidates:
            origin = candidate.claim(logits)
            if origin is not None:
                self._chosen = candidate
                break
        self.forget()
        return origin

    def head(self, origin: ForwardPass | None = None) -> Head | None:
        """The layer's weights, and what it was seen to make of them; None if the layer is unknown.

        Args:
            origin: a pass that tells; without it what the last one told.
        """
        layer = self.settled()
        if layer is not None and (origin is not None or self._head is None):
            seen = (None, None) if origin is None else origin
            self._head = read_head(layer.module, self._num_classes, *seen)
        return self._head

    @property
    def why_no_weights(self) -> str:
        """Why the weights of a known layer are not measured."""
        layer = self.settled()
        if layer is not None and is_square(layer.module, self._num_classes):
            return (
                f"rows and columns of the weight of {self.name!r} could both be the classes: its output does not tell"
            )
        return f"{self.name!r} has no weight with a row or a column for each class"

    def columns(self) -> dict[str, FloatArray]:
        """`weight_norm`, `bias`, `nearest_weight_cosine`, `nearest_weight_class`; empty if it is unknown."""
        head = self.head()
        if head is None or head.weight is None:
            return {}
        weight, bias = head.weight, head.bias
        nearest = nearest_by_cosine(weight)
        return {
            "weight_norm": to_numpy(torch.linalg.vector_norm(weight, dim=1)),
            "bias": to_numpy(bias if bias is not None else torch.full_like(weight[:, 0], torch.nan)),
            "nearest_weight_cosine": to_numpy(nearest.value),
            "nearest_weight_class": to_numpy(torch.where(nearest.value.isnan(), torch.nan, nearest.row.float())),
        }


def _joined(batches: list[Tensor]) -> Tensor:
    return batches[0] if len(batches) == 1 else torch.cat(batches)


def _layers(model: nn.Module, num_classes: int) -> list[tuple[str, nn.Module]]:
    """Linear layers as wide as there are classes, and other modules with a weight of that width."""
    return [(name, module) for name, module in model.named_modules() if _is_wide(module, num_classes)]


def _is_wide(module: nn.Module, num_classes: int) -> bool:
    if isinstance(module, nn.Linear):
        return module.out_features == num_classes
    weight = module._parameters.get("weight")
    return weight is not None and weight.ndim == 2 and num_classes in weight.shape


def _named(model: nn.Module, attribute: str, num_classes: int, chosen: str) -> tuple[str, nn.Module]:
    modules = dict(model.named_modules())
    if chosen not in modules:
        near = [name for name in modules if name and name.split(".")[-1] in chosen] or [n for n in modules if n]
        raise InputError(f"classifiers[{attribute!r}]: the model has no module {chosen!r}; it has {near[:8]}")
    weight = getattr(modules[chosen], "weight", None)
    is_lazy = isinstance(weight, nn.parameter.UninitializedParameter)
    if isinstance(weight, Tensor) and not is_lazy and num_classes not in weight.shape[:2]:
        raise InputError(
            f"classifiers[{attribute!r}]: the `weight` of module {chosen!r} must have one row (or column) for each of "
            f"the {num_classes} classes, got {tuple(weight.shape)}"
        )
    return chosen, modules[chosen]


def _is_same(output: Tensor, logits: Tensor) -> bool:
    """Whether two batches of logits are equal up to a change of precision, judged by evenly spaced rows."""
    if output.data_ptr() == logits.data_ptr() and output.dtype == logits.dtype:
        return True
    rows = torch.linspace(0, len(logits) - 1, min(len(logits), _ROWS_COMPARED), device=logits.device).long()
    output, logits = output[rows], logits[rows]
    tolerance = 1e-2 if min(torch.finfo(t.dtype).bits for t in (output, logits)) < 32 else 1e-5
    return torch.allclose(output.float(), logits.float(), rtol=tolerance, atol=tolerance, equal_nan=True)
