"""Norms, changes and directions of many tensors, measured on their device and copied to the host without waiting."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor, Partial, Placement, Replicate

from tbmetrics.tracking.host_copies import HostCopy

MOST_COPY_BYTES = 512 * 2**20  # of weights held from before a step until after it
SKETCH_VALUES = 4096  # of each gradient, held from one detailed sample to the next


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


def dense(tensor: Tensor) -> Tensor:
    """The local shard of `tensor`, detached, as a dense real tensor with the same norm."""
    local = (tensor.to_local() if isinstance(tensor, DTensor) else tensor).detach()
    if local.is_sparse:
        local = local.coalesce().values()
    return torch.view_as_real(local) if local.is_complex() else local


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

    Accumulated in float32, in float64 for float64. Sharded tensors (DTensor) give the norm over all shards: one
    reduction that every rank has to take part in, as each does in its optimizer step.

    Args:
        rows: row of each tensor.
        tensors: any devices and dtypes, dense or sparse, real or complex.
        divisor: norms are divided by it (a loss scale), a tensor of one element on any device.
    """
    grouped: dict[Hashable, list[int]] = {}
    for index, tensor in enumerate(tensors):
        grouped.setdefault(_kind(tensor), []).append(index)
    packets = []
    for indices in grouped.values():
        norms = _norms([tensors[i] for i in indices])
        if divisor is not None:
            norms = norms / divisor.to(norms.device, non_blocking=True)
        packets.append(Packet([rows[i] for i in indices], HostCopy(norms)))
    return packets


def _kind(tensor: Tensor) -> Hashable:
    """Tensors of one kind are measured in one call."""
    double = tensor.dtype in (torch.float64, torch.complex128)
    if isinstance(tensor, DTensor):
        return double, tensor.device_mesh, tuple(tensor.placements)
    return double, tensor.device


def _norms(tensors: Sequence[Tensor]) -> Tensor:
    local, first = [dense(tensor) for tensor in tensors], tensors[0]
    dtype = torch.float64 if local[0].dtype == torch.float64 else torch.float32
    # What `torch.nn.utils.get_total_norm` is made of; fused on CUDA, a loop in C++ elsewhere.
    norms = torch.stack(torch._foreach_norm(local, 2, dtype=dtype))
    if not isinstance(first, DTensor):
        return norms
    summed: list[Placement] = [Partial() if p.is_shard() else Replicate() for p in first.placements]
    return DTensor.from_local(norms.square(), first.device_mesh, summed, run_check=False).full_tensor().sqrt()


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


class DirectionSketch:
    """The cosine between a gradient and the previous one, from up to `SKETCH_VALUES` evenly spaced elements of each.

    With n elements compared the estimate's standard error is at most 1/√n: 0.016 at 4,096. For a sharded gradient the
    local shard is compared.
    """

    def __init__(self) -> None:
        self._last: dict[int, Tensor] = {}

    def state(self) -> dict[int, Tensor]:
        """The current sketches, by row, on the host."""
        return {row: sketch.cpu() for row, sketch in self._last.items()}

    def restore(self, state: Mapping[int, Tensor]) -> None:
        """Restore what `state` returned; a sketch is moved to its gradient's device when they are compared."""
        self._last = dict(state)

    def turn(self, rows: Sequence[int], gradients: Sequence[Tensor]) -> list[Packet]:
        """The cosine to the previous call, by row; rows that the previous call did not have are left out."""
        compared, cosines = [], []
        for row, gradient in zip(rows, gradients, strict=True):
            sketch, previous = _sketch(gradient), self._last.get(row)
            self._last[row] = sketch
            if previous is not None and previous.device.type == "cpu":
                previous = previous.to(sketch.device, non_blocking=True)
            if previous is not None and previous.shape == sketch.shape and previous.device == sketch.device:
                compared.append(row)
                cosines.append(_cosine(sketch, previous))
        return stacked_packets(compared, cosines)


def _sketch(gradient: Tensor) -> Tensor:
    flat = dense(gradient).reshape(-1)
    stride = max(flat.numel() // SKETCH_VALUES, 1) | 1  # odd, so that it walks through all columns of a matrix
    # Scaled by its largest element first: the square of a small float32 gradient would vanish.
    values = flat[::stride][:SKETCH_VALUES].float()
    return values / values.abs().max().clamp_min(torch.finfo(torch.float32).tiny) if values.numel() else values.clone()


def _cosine(a: Tensor, b: Tensor) -> Tensor:
    """NaN if either is zero."""
    return (a @ b) / (torch.linalg.vector_norm(a) * torch.linalg.vector_norm(b))
