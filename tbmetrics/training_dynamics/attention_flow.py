"""Which tensors come from which: tells a softmax over attention scores from any other by the data that flows."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._pytree import tree_leaves

aten = torch.ops.aten

#: Batched matrix products: where attention scores come from.
BATCHED_PRODUCTS = {aten.bmm, aten.baddbmm}
#: What may take attention weights to the values.
PRODUCTS = {aten.bmm, aten.baddbmm, aten.mm, aten.addmm}
SOFTMAXES = {aten._softmax, aten._safe_softmax}


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


def tensors_of(values: Any) -> list[Tensor]:
    """The dense tensors in any nesting that have a storage."""
    return [t for t in tree_leaves(values) if isinstance(t, Tensor) and t.layout == torch.strided and not t.is_nested]


def passes_on(source: Tensor, output: Tensor) -> bool:
    """Whether an operator's output still holds its input's elements: as many, or more through broadcasting."""
    return output.is_floating_point() and output.numel() >= source.numel() > 0 and output.shape[-1] == source.shape[-1]
