"""Tensors that are spread over ranks, told without loading what torch needs for them: that takes as long as torch."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from torch import Tensor
from torch.nn import Parameter

if TYPE_CHECKING:
    from torch.distributed.tensor import DTensor
    from typing_extensions import TypeIs

_NEVER_SHARDED = frozenset((Tensor, Parameter))  # the types of most tensors, told apart at once


def is_sharded(tensor: Tensor) -> TypeIs[DTensor]:
    """Whether `tensor` is a DTensor; there is none before torch's module of it is loaded."""
    if type(tensor) in _NEVER_SHARDED:
        return False
    kind = getattr(sys.modules.get("torch.distributed.tensor"), "DTensor", None)
    return kind is not None and isinstance(tensor, kind)


def local_shard(tensor: Tensor) -> Tensor:
    """This rank's shard of a sharded tensor; any other tensor as it is."""
    return tensor.to_local() if is_sharded(tensor) else tensor
