"""Norms and changes of many tensors, measured on their device and copied to the host without waiting."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from tbmetrics.tracking.host_copies import HostCopy
from tbmetrics.tracking.shards import is_sharded, local_shard

if TYPE_CHECKING:
    from torch.distributed.tensor import Placement

MOST_COPY_BYTES = 512 * 2**20  # of weights held from before a step until after it


@dataclass(slots=True)
class Packet:
    """Values of some rows on their way to the host.

    Attributes:
        rows: row of each value.
        values: of shape (rows,).
    """

    rows: list[int]
    values: HostCopy

    def pairs(self) -> Iterator[tuple[int, float]]:
        """(row, value); waits for the values."""
        return zip(self.rows, self.values.get().tolist(), strict=True)


_NATIVE = frozenset((torch.float16, torch.bfloat16, torch.float32, torch.float64))


def dense(tensor: Tensor) -> Tensor:
    """The local shard of `tensor`, detached, as a dense real tensor with the same norm."""
    local = local_shard(tensor)
    if local.requires_grad:
        local = local.detach()
    if local.layout != torch.strided:
        local = _stored_values(local)
    if local.dtype in _NATIVE:
        return local
    if local.is_complex():
        return torch.view_as_real(local.resolve_conj())
    return local.float()  # 8-bit floats have no arithmetic of their own


def _stored_values(tensor: Tensor) -> Tensor:
    """The values that a tensor of another layout stores, each element once."""
    if tensor.layout == torch.sparse_coo:
        return tensor.coalesce().values()
    return tensor.values() if tensor.is_sparse_csr or "sparse" in str(tensor.layout) else tensor.to_dense()


def stacked_packets(rows: Sequence[int], values: Sequence[Tensor]) -> list[Packet]:
    """One-element tensors in one packet per device."""
    by_device: dict[torch.device, list[int]] = {}
    for index, value in enumerate(values):
        by_device.setdefault(value.device, []).append(index)
    return [
        Packet([rows[i] for i in indices], HostCopy(torch.stack([values[i] for i in indices])))
        for indices in by_device.values()
    ]


def norm_packets(rows: Sequence[int], tensors: Sequence[Tensor], divisor: Tensor | None = None) -> list[Packet]:
    """The Euclidean norm of each tensor, in one fused call per device and kind of tensor.

    Accumulated in float32 or float64; a norm is finite if its elements are (see `local_norms`). Sharded tensors
    (DTensor) give the norm over all shards: one reduction that every rank has to take part in, as each does in its
    optimizer step.

    Args:
        rows: row of each tensor.
        tensors: any devices and dtypes, dense or sparse, real or complex.
        divisor: norms are divided by it (a loss scale), a tensor of one element on any device.
    """
    return [
        _packet([rows[i] for i in indices], local_norms([tensors[i] for i in indices]), kind, divisor)
        for kind, indices in _by_kind([kind_of(tensor) for tensor in tensors])
    ]


def reduced_packets(rows: Sequence[int], kinds: Sequence[Kind], norms: Sequence[Tensor]) -> list[Packet]:
    """Norms of local shards, taken one by one with `local_norms`, as norms over all shards; see `norm_packets`."""
    return [
        _packet([rows[i] for i in indices], torch.stack([norms[i] for i in indices]), kind, None)
        for kind, indices in _by_kind(kinds)
    ]


class Kind(NamedTuple):
    """Tensors of one kind are measured in one call.

    Attributes:
        double: whether they are float64.
        device: of the tensor, or of its local shard.
        mesh, placements: of a sharded tensor.
    """

    double: bool
    device: torch.device
    mesh: Any = None
    placements: tuple[Placement, ...] = ()


def kind_of(tensor: Tensor) -> Kind:
    """The kind of `tensor`."""
    double = tensor.dtype in (torch.float64, torch.complex128)
    if is_sharded(tensor):
        return Kind(double, tensor.device, tensor.device_mesh, tuple(tensor.placements))
    return Kind(double, tensor.device)


def _by_kind(kinds: Sequence[Kind]) -> Iterable[tuple[Kind, list[int]]]:
    """The indices of each kind."""
    grouped: dict[Kind, list[int]] = {}
    for index, kind in enumerate(kinds):
        grouped.setdefault(kind, []).append(index)
    return grouped.items()


def _packet(rows: list[int], norms: Tensor, kind: Kind, divisor: Tensor | None) -> Packet:
    if kind.mesh is not None:
        from torch.distributed.tensor import DTensor, Partial, Replicate

        summed: list[Placement] = [Partial() if p.is_shard() else Replicate() for p in kind.placements]
        squares = norms.double().square() if norms.device.type != "mps" else norms.square()
        norms = DTensor.from_local(squares, kind.mesh, summed, run_check=False).full_tensor().sqrt()
    if divisor is not None:
        norms = norms / divisor.to(norms.device, non_blocking=True)
    return Packet(rows, HostCopy(norms))


def local_norms(tensors: Sequence[Tensor]) -> Tensor:
    """The Euclidean norm of each tensor's local shard; on the CPU and on CUDA finite if all elements are.

    Squares of float32 elements overflow beyond 1.8e19 and vanish below 4e-23. CUDA accumulates in float64, which costs
    nothing where memory is what limits; on the CPU it would cost five times as much, but there the result can be looked
    at.
    """
    local = [dense(tensor) for tensor in tensors]
    device, double = local[0].device.type, local[0].dtype == torch.float64
    dtype = torch.float64 if double or device == "cuda" else torch.float32
    # What `torch.nn.utils.get_total_norm` is made of; fused on CUDA, a loop in C++ elsewhere.
    norms = torch.stack(torch._foreach_norm(local, 2, dtype=dtype))
    return _rescaled(norms, local) if device == "cpu" else norms


def _rescaled(norms: Tensor, tensors: Sequence[Tensor]) -> Tensor:
    """Norms on the CPU; where squares overflowed or vanished, taken again of elements that are scaled first."""
    on_host = norms.numpy()
    doubtful = [i for i in np.flatnonzero(~np.isfinite(on_host) | (on_host == 0)).tolist() if tensors[i].numel()]
    if doubtful:
        norms = norms.double()
    for index in doubtful:
        peak = tensors[index].abs().max().double()
        if peak.isfinite() and peak > 0:
            norms[index] = torch.linalg.vector_norm(tensors[index].double() / peak) * peak
        else:
            norms[index] = peak
    return norms


class WeightsBefore:
    """Copies of parameters from before a step, to measure what the step really changed.

    The smallest parameters come first until `MOST_COPY_BYTES` are held; the rest is not measured.
    """

    def __init__(self, rows: Sequence[int], parameters: Sequence[Tensor]) -> None:
        self._rows: list[int] = []
        self._parameters: list[Tensor] = []
        room = MOST_COPY_BYTES
        for row, parameter in sorted(zip(rows, parameters, strict=True), key=lambda pair: pair[1].numel()):
            room -= parameter.numel() * parameter.element_size()
            if room < 0:
                break
            self._rows.append(row)
            self._parameters.append(parameter)
        self._copies = [parameter.detach().clone() for parameter in self._parameters]

    def changed(self) -> list[Packet]:
        """The norm of the difference to the weights now, by row."""
        if not self._rows:
            return []
        with torch.no_grad():
            return norm_packets(self._rows, torch._foreach_sub([p.detach() for p in self._parameters], self._copies))
