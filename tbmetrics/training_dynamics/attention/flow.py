"""Which tensors come from which: tells a softmax over attention scores from any other by the data that flows.

A softmax is attention if it is over the last dimension, its scores come from a matrix product of queries and keys
(scaled, masked, cast, moved, but not otherwise computed with), and a matrix product takes its result to the values.
The keys must be computed, not a layer's own weights: `x @ W` is a classifier, a gate or a router, whatever its shape.
Weights as keys are attention all the same where the values come from those very weights, as with class prompts that
are used without a projection.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._pytree import tree_leaves

aten = torch.ops.aten

_ADDING = {aten.addmm, aten.baddbmm, aten.addbmm, aten.addmv, aten._addmm_activation}  # their first is added
PRODUCTS = {aten.bmm, aten.mm, aten.mv, *_ADDING}
SOFTMAXES = {aten._softmax, aten._safe_softmax}
_GROWING = {aten.cat, aten.constant_pad_nd}  # a sink or a zero key beside the scores
_PASSING = {
    *_GROWING,
    aten._to_copy,
    aten.clone,
    aten.copy_,
    aten.masked_fill,
    aten.masked_fill_,
    aten.native_dropout,
    aten._fused_dropout,
    aten.tril,
    aten.triu,
}


class Tags:
    """Marks on storages, by what they hold; a mark ends with its storage, and views share it."""

    def __init__(self) -> None:
        self._marks: dict[int, tuple[StorageWeakRef, Any]] = {}

    def put(self, tensor: Tensor, mark: Any) -> None:
        """Marks what `tensor` is stored in."""
        storage = tensor.untyped_storage()
        self._marks[storage._cdata] = (StorageWeakRef(storage), mark)  # the reference keeps the address from reuse

    def of(self, tensor: Tensor) -> Any:
        """The mark of `tensor`, or None."""
        found = self._marks.get(tensor.untyped_storage()._cdata)
        return None if found is None or found[0].expired() else found[1]


@dataclass(frozen=True, slots=True)
class Product:
    """A matrix product: which of the model's own weights its two sides are (None = computed), and its size."""

    left: int | None
    right: int | None
    rows: int
    columns: int

    def copied(self, source: Tensor, output: Tensor) -> Product:
        """The product as it lies in a copy of its scores: one that was transposed may be laid out anew."""
        if source.stride(-1) == 1 or output.stride(-1) != 1 or output.shape[-1] < 2:
            return self
        return Product(self.right, self.left, self.columns, self.rows)

    def weights_as_keys(self, scores: Tensor) -> int | None:
        """The model's own weights that are the keys of these scores; None where the keys are computed.

        The keys are the side whose size fits the last dimension; where both or none do, the columns, unless the scores
        lie transposed.
        """
        keys = max(scores.shape[-1], 1)
        fits = (self.rows % keys == 0, self.columns % keys == 0)
        transposed = fits[0] if fits[0] != fits[1] else scores.stride(-1) != 1
        return self.left if transposed else self.right


@dataclass(slots=True)
class Softmax:
    """A softmax that may be attention's: until a matrix product takes it, it is not."""

    bare_keys: int | None = None
    taken: bool = False

    def why_not(self) -> str:
        """Why it is not taken for attention."""
        if self.bare_keys is not None:
            return "its scores come from a layer's own weights, as a classifier's or a gate's do"
        return "no matrix product took its result"


class Flow:
    """Follows scores and weights through the operators of one pass.

    Args:
        own: the model's parameters and buffers.
    """

    def __init__(self, own: Iterable[Tensor]) -> None:
        self._own, self._products, self._weights = Tags(), Tags(), Tags()
        for number, tensor in enumerate(tensors_of(list(own))):
            self._own.put(tensor, number)

    def product(self, packet: Any, args: Any, gave: list[Tensor]) -> None:
        """A matrix product: takes weights to values, and may make scores."""
        left, right = args[1:3] if packet in _ADDING else args[:2]
        for weights, values in ((left, right), (right, left)):
            softmax: Softmax | None = self._weights.of(weights)
            if softmax is not None and (softmax.bare_keys is None or self._holds(values, softmax.bare_keys)):
                softmax.taken = True
        made = Product(self._own.of(left), self._own.of(right), left.shape[max(left.dim() - 2, 0)], right.shape[-1])
        for tensor in gave:
            self._products.put(tensor, made)

    def softmax(self, scores: Tensor, dim: int, *, trusted: bool) -> Softmax | str:
        """What a softmax is: one that may be attention's, or why it is not.

        Args:
            scores: what it is of.
            dim: over which dimension.
            trusted: whatever its scores come from.
        """
        made: Product | None = self._products.of(scores)
        if dim % scores.dim() != scores.dim() - 1:
            return "it is not over the last dimension"
        if made is None and not trusted:
            return "its scores do not come from a matrix product"
        return Softmax(None if made is None or trusted else made.weights_as_keys(scores))

    def follow(self, weights: Tensor, softmax: Softmax) -> None:
        """Waits for what takes the result of a softmax."""
        self._weights.put(weights, softmax)

    def pass_on(self, func: Any, packet: Any, given: list[Tensor], gave: list[Tensor]) -> None:
        """Masks, scales, casts and dropout keep what a tensor is."""
        if packet not in _PASSING and torch.Tag.pointwise not in getattr(func, "tags", ()):
            return
        for source in given:
            for output in gave:
                if _keeps(source, output, growing=packet in _GROWING):
                    self._pass(source, output)
                if source.numel() == output.numel() and self._own.of(source) is not None and self._alone(source, given):
                    self._own.put(output, self._own.of(source))

    def _pass(self, source: Tensor, output: Tensor) -> None:
        softmax, made = self._weights.of(source), self._products.of(source)
        if softmax is not None:
            self._weights.put(output, softmax)
        if made is not None:
            there: Product | None = self._products.of(output)
            if there is None or there.right is not None:  # of two products the one with computed keys counts
                self._products.put(output, made.copied(source, output))

    def _alone(self, source: Tensor, given: list[Tensor]) -> bool:
        """Whether an operator changed only the model's own weights, e.g. divided them by their norm."""
        size = source.untyped_storage().nbytes()
        return all(t.untyped_storage().nbytes() < size or self._own.of(t) is not None for t in given)

    def _holds(self, values: Tensor, own: int) -> bool:
        """Whether values are the model's weights `own`, or were projected from them."""
        made: Product | None = self._products.of(values)
        return self._own.of(values) == own or (made is not None and own in (made.left, made.right))


def tensors_of(values: Any) -> list[Tensor]:
    """The dense tensors in any nesting that have a storage."""
    return [
        t
        for t in tree_leaves(values)
        if isinstance(t, Tensor)
        and not torch.nn.parameter.is_lazy(t)
        and t.layout == torch.strided
        and not t.is_nested
        and t.device.type != "meta"
    ]


def _keeps(source: Tensor, output: Tensor, *, growing: bool) -> bool:
    """Whether an output still holds its input's elements: as many, or more through broadcasting."""
    if not output.is_floating_point() or not output.numel() >= source.numel() > 0 or not source.dim():
        return False
    return growing or output.shape[-1] == source.shape[-1]
