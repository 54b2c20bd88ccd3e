"""Norms of many tensors in one fused call a device, still on it."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor, Partial, Placement, Replicate

from tbmetrics.tracking.host_copies import HostCopy


@dataclass(slots=True)
class Packet:
    """Some rows' values on their way to the host.

    Attributes:
        rows: row of each value.
        values: of shape (rows,) or (rows, columns).
    """

    rows: list[int]
    values: HostCopy

    def pairs(self) -> Iterator[tuple[int, float]]:
        """(row, value); waits for the values."""
        return zip(self.rows, self.values.get().tolist(), strict=True)


def norm_packets(rows: Sequence[int], tensors: Sequence[Tensor], divisor: Tensor | None = None) -> list[Packet]:
    """The Euclidean norm of each tensor, on its way to the host.

    Accumulated in float32, in float64 for float64. Sharded tensors (DTensor) give the norm over all shards: one
    reduction that every rank has to take part in, as each does in its optimizer step.

    Args:
        rows: one a tensor.
        tensors: any devices and dtypes, dense or sparse, real or complex.
        divisor: norms are divided by it (a loss scale), a tensor of one element on any device.
    """
    grouped: dict[Hashable, list[int]] = {}
    for i, tensor in enumerate(tensors):
        grouped.setdefault(_kind(tensor), []).append(i)
    found = []
    for at in grouped.values():
        vector = _norms([tensors[i] for i in at])
        if divisor is not None:
            vector = vector / divisor.to(vector.device, non_blocking=True)
        found.append(Packet([rows[i] for i in at], HostCopy(vector)))
    return found


def _kind(tensor: Tensor) -> Hashable:
    """Tensors of one kind are measured in one call."""
    double = tensor.dtype in (torch.float64, torch.complex128)
    if isinstance(tensor, DTensor):
        return double, tensor.device_mesh, tuple(tensor.placements)
    return double, tensor.device


def _norms(tensors: Sequence[Tensor]) -> Tensor:
    first = tensors[0]
    if not isinstance(first, DTensor):
        return _local_norms(tensors)
    squares = _local_norms([t.to_local() for t in tensors if isinstance(t, DTensor)]).square()
    summed: list[Placement] = [Partial() if p.is_shard() else Replicate() for p in first.placements]
    return DTensor.from_local(squares, first.device_mesh, summed, run_check=False).full_tensor().sqrt()


def _local_norms(tensors: Sequence[Tensor]) -> Tensor:
    plain = [_plain(tensor) for tensor in tensors]
    dtype = torch.float64 if plain[0].dtype == torch.float64 else torch.float32
    # What `torch.nn.utils.get_total_norm` is made of; fused on CUDA, a loop in C++ elsewhere.
    return torch.stack(torch._foreach_norm(plain, 2, dtype=dtype))


def _plain(tensor: Tensor) -> Tensor:
    """`tensor` as a dense real one with the same norm."""
    tensor = tensor.detach()
    if tensor.is_sparse:
        tensor = tensor.coalesce().values()
    return torch.view_as_real(tensor) if tensor.is_complex() else tensor
