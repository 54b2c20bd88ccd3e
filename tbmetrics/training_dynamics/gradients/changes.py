"""What changes between two moments: what a step did to the weights, how a gradient turned since the last sample."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor

from tbmetrics.tracking.host_copies import HostCopy
from tbmetrics.training_dynamics.gradients.norms import Packet, norm_packets

MOST_COPY_BYTES = 512 * 2**20  # of weights held from before a step until after it
SKETCH_VALUES = 4096  # of each gradient, kept from one detailed sample to the next


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
        """The norm of what has changed since, by row."""
        if not self._rows:
            return []
        with torch.no_grad():
            return norm_packets(self._rows, torch._foreach_sub([p.detach() for p in self._parameters], self._copies))


class DirectionSketch:
    """The cosine between a gradient and the one before, from up to `SKETCH_VALUES` evenly spaced elements of each.

    With n elements compared the estimate's standard error is at most 1/√n: 0.016 at 4,096. Of a sharded gradient the
    local shard is compared.
    """

    def __init__(self) -> None:
        self._last: dict[int, Tensor] = {}

    def state(self) -> dict[int, Tensor]:
        """The sketches held, by row, on the host."""
        return {row: sketch.cpu() for row, sketch in self._last.items()}

    def restore(self, state: Mapping[int, Tensor]) -> None:
        """Takes what `state` gave; on another device than the gradients' it is moved there when it is compared."""
        self._last = dict(state)

    def turn(self, rows: Sequence[int], gradients: Sequence[Tensor]) -> list[Packet]:
        """The cosine by row to the call before; rows without one before are left out."""
        by_device: dict[torch.device, tuple[list[int], list[Tensor]]] = {}
        for row, gradient in zip(rows, gradients, strict=True):
            now, before = _sketch(gradient), self._last.get(row)
            self._last[row] = now
            if before is not None and before.device.type == "cpu":
                before = before.to(now.device, non_blocking=True)
            if before is not None and before.shape == now.shape and before.device == now.device:
                held = by_device.setdefault(now.device, ([], []))
                held[0].append(row)
                held[1].append(_cosine(now, before))
        return [Packet(of, HostCopy(torch.stack(cosines))) for of, cosines in by_device.values()]


def _sketch(gradient: Tensor) -> Tensor:
    local = gradient.to_local() if isinstance(gradient, DTensor) else gradient
    dense = local.detach().coalesce().values() if local.is_sparse else local.detach()
    flat = (torch.view_as_real(dense) if dense.is_complex() else dense).reshape(-1)
    stride = max(flat.numel() // SKETCH_VALUES, 1) | 1  # odd, so that it walks through all columns of a matrix
    # Scaled by its largest element first: the square of a small float32 gradient would vanish.
    taken = flat[::stride][:SKETCH_VALUES].float()
    return taken / taken.abs().max().clamp_min(torch.finfo(torch.float32).tiny) if taken.numel() else taken.clone()


def _cosine(a: Tensor, b: Tensor) -> Tensor:
    """NaN where either is zero."""
    return (a @ b) / (torch.linalg.vector_norm(a) * torch.linalg.vector_norm(b))
