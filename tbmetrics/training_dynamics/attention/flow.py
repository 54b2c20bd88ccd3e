"""Data flow between tensors: tells a softmax over attention scores from any other softmax.

A softmax is attention if it is over the last dimension, its scores come from a matrix product of queries and keys
(scaled, masked, cast, moved, but not otherwise computed with), and a matrix product takes its result to the values.
The keys must be computed, not a layer's own weights: `x @ W` is a classifier, a gate or a router, whatever its shape.
Weights as keys are attention all the same if the values come from the same weights, as with class prompts that are
used without a projection.
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


class StorageMarks:
    """Marks on tensors' storages; a mark ends with its storage, and views share it."""

    def __init__(self) -> None:
        self._marks: dict[int, tuple[StorageWeakRef, Any]] = {}

    def put(self, tensor: Tensor, mark: Any) -> None:
        """Mark the storage of `tensor`."""
        storage = tensor.untyped_storage()
        self._marks[storage._cdata] = (StorageWeakRef(storage), mark)  # the reference keeps the address from reuse

    def get(self, tensor: Tensor) -> Any:
        """The mark of `tensor`, or None."""
        reference, mark = self._marks.get(tensor.untyped_storage()._cdata, (None, None))
        return None if reference is None or reference.expired() else mark


@dataclass(frozen=True, slots=True)
class Product:
    """A matrix product: the number of the model's weights on each side (None = computed), and its size."""

    left: int | None
    right: int | None
    rows: int
    columns: int

    def copied(self, source: Tensor, output: Tensor) -> Product:
        """The product in a copy of its scores, which may undo a transposition."""
        if source.stride(-1) == 1 or output.stride(-1) != 1 or output.shape[-1] < 2:
            return self
        return Product(self.right, self.left, self.columns, self.rows)

    def weights_as_keys(self, scores: Tensor) -> int | None:
        """The number of the model's weights that are the keys of these scores, or None if the keys are computed.

        The keys are the side whose size fits the last dimension; if both or none do, the columns, unless the scores are
        transposed.
        """
        keys = max(scores.shape[-1], 1)
        fits = (self.rows % keys == 0, self.columns % keys == 0)
        transposed = fits[0] if fits[0] != fits[1] else scores.stride(-1) != 1
        return self.left if transposed else self.right


@dataclass(slots=True)
class Softmax:
    """A candidate for attention, confirmed when a matrix product takes its result to values."""

    weights_as_keys: int | None = None
    is_attention: bool = False

    def rejection(self) -> str:
        """Why it does not count as attention."""
        if self.weights_as_keys is not None:
            return "its scores come from a layer's own weights, as a classifier's or a gate's do"
        return "no matrix product took its result"


class Flow:
    """Follows scores and weights through the operators of one pass.

    Args:
        model_tensors: the model's parameters and buffers.
    """

    def __init__(self, model_tensors: Iterable[Tensor]) -> None:
        self._numbers, self._products, self._softmaxes = StorageMarks(), StorageMarks(), StorageMarks()
        for number, tensor in enumerate(dense_tensors(list(model_tensors))):
            self._numbers.put(tensor, number)

    def product(self, packet: Any, args: Any, outputs: list[Tensor]) -> None:
        """Follow a matrix product: it may take weights to values, and it may make scores."""
        left, right = args[1:3] if packet in _ADDING else args[:2]
        for weights, values in ((left, right), (right, left)):
            softmax: Softmax | None = self._softmaxes.get(weights)
            if softmax is not None and self._come_from(values, softmax.weights_as_keys):
                softmax.is_attention = True
        rows, columns = left.shape[max(left.dim() - 2, 0)], right.shape[-1]
        product = Product(self._numbers.get(left), self._numbers.get(right), rows, columns)
        for tensor in outputs:
            self._products.put(tensor, product)

    def softmax(self, scores: Tensor, dim: int, *, trusted: bool) -> Softmax | str:
        """A candidate for attention, or why it is not one.

        Args:
            scores: input of the softmax.
            dim: its dimension.
            trusted: accept scores of any origin.
        """
        product: Product | None = self._products.get(scores)
        if dim % scores.dim() != scores.dim() - 1:
            return "it is not over the last dimension"
        if product is None and not trusted:
            return "its scores do not come from a matrix product"
        return Softmax(None if product is None or trusted else product.weights_as_keys(scores))

    def follow(self, weights: Tensor, softmax: Softmax) -> None:
        """Wait for the operator that takes the result of a softmax."""
        self._softmaxes.put(weights, softmax)

    def pass_on(self, func: Any, packet: Any, inputs: list[Tensor], outputs: list[Tensor]) -> None:
        """Pass marks on through masks, scales, casts and dropout."""
        if packet not in _PASSING and torch.Tag.pointwise not in getattr(func, "tags", ()):
            return
        for source in inputs:
            for output in outputs:
                if _has_elements_of(source, output, growing=packet in _GROWING):
                    self._pass(source, output)
                number = self._numbers.get(source)
                if number is not None and source.numel() == output.numel() and self._is_only_weights(source, inputs):
                    self._numbers.put(output, number)

    def _pass(self, source: Tensor, output: Tensor) -> None:
        softmax, product = self._softmaxes.get(source), self._products.get(source)
        if softmax is not None:
            self._softmaxes.put(output, softmax)
        if product is not None:
            earlier: Product | None = self._products.get(output)
            if earlier is None or earlier.right is not None:  # of two products the one with computed keys counts
                self._products.put(output, product.copied(source, output))

    def _is_only_weights(self, source: Tensor, inputs: list[Tensor]) -> bool:
        """Whether an operator has only the model's weights as inputs, e.g. divides them by their norm."""
        size = source.untyped_storage().nbytes()
        return all(t.untyped_storage().nbytes() < size or self._numbers.get(t) is not None for t in inputs)

    def _come_from(self, values: Tensor, number: int | None) -> bool:
        """Whether values are the model's weights of this number, or were projected from them; None allows any."""
        if number is None:
            return True
        product: Product | None = self._products.get(values)
        return self._numbers.get(values) == number or (product is not None and number in (product.left, product.right))


def dense_tensors(values: Any) -> list[Tensor]:
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


def _has_elements_of(source: Tensor, output: Tensor, *, growing: bool) -> bool:
    """Whether an output still has its input's elements: as many, or more through broadcasting."""
    if not output.is_floating_point() or not output.numel() >= source.numel() > 0 or not source.dim():
        return False
    return growing or output.shape[-1] == source.shape[-1]
