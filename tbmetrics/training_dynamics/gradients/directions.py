"""Directions of gradients: the cosine between a gradient and the one before, from a bounded sample of each."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TypeAlias

import torch
from torch import Tensor

from tbmetrics.tracking.shards import local_shard
from tbmetrics.training_dynamics.gradients.norms import Packet, dense, stacked_packets

SKETCH_VALUES = 4096  # of each gradient, held from one detailed sample to the next
_MULTIPLIER, _BITS = 0x9E3779B1, 31  # of the hash that chooses the rows of a sparse gradient

#: Of a dense gradient its elements; of a sparse one its rows: hash of the index, in ascending order, and values.
Sketch: TypeAlias = "Tensor | dict[str, Tensor]"


class DirectionSketch:
    """The cosine between a gradient and the previous one, from up to `SKETCH_VALUES` elements of each.

    Elements are evenly spaced; with n compared the estimate's standard error is at most 1/√n: 0.016 at 4,096. Of sparse
    gradients those rows are compared whose index has the lowest hashes, the same in both; a row that one of them does
    not have is zero there. For a sharded gradient the local shard is compared.
    """

    def __init__(self) -> None:
        self._last: dict[int, Sketch] = {}

    def state(self) -> dict[int, Sketch]:
        """The current sketches, by row, on the host."""
        return {row: _moved(sketch, torch.device("cpu")) for row, sketch in self._last.items()}

    def restore(self, state: Mapping[int, Sketch]) -> None:
        """Restore what `state` returned; a sketch is moved to its gradient's device when they are compared."""
        self._last = dict(state)

    def turn(self, rows: Sequence[int], gradients: Sequence[Tensor]) -> list[Packet]:
        """The cosine to the previous call, by row; rows that the previous call did not have are left out."""
        compared, cosines = [], []
        for row, gradient in zip(rows, gradients, strict=True):
            sketch, previous = _sketch(gradient), self._last.get(row)
            self._last[row] = sketch
            cosine = None if previous is None else _cosine(sketch, previous)
            if cosine is not None:
                compared.append(row)
                cosines.append(cosine)
        return stacked_packets(compared, cosines)


def _sketch(gradient: Tensor) -> Sketch:
    local = local_shard(gradient)
    if local.layout == torch.sparse_coo and local.dense_dim() + local.sparse_dim() > 0:
        return _sparse_sketch(local.detach().coalesce())
    flat = dense(local).reshape(-1)
    stride = max(flat.numel() // SKETCH_VALUES, 1) | 1  # odd, so that it walks through all columns of a matrix
    return _scaled(flat[::stride][:SKETCH_VALUES])


def _sparse_sketch(gradient: Tensor) -> Sketch:
    indices, values = gradient.indices(), dense(gradient.values())
    values = values.reshape(values.shape[0], math.prod(values.shape[1:]))
    number = torch.zeros_like(indices[0])
    for size, index in zip(gradient.shape, indices, strict=False):
        number = number * size + index
    # A bijection on numbers below 2**31, so that no two rows share a hash; beyond it they may, which does little harm.
    hashes, order = ((number * _MULTIPLIER) & (2**_BITS - 1)).sort()
    rows = max(SKETCH_VALUES // max(values.shape[1], 1), 64)
    # Where rows are left out, only hashes below the first of these can be compared.
    limit = hashes[rows : rows + 1] if len(hashes) > rows else hashes.new_full((1,), 2**_BITS)
    return {"hashes": hashes[:rows].clone(), "values": _scaled(values[order[:rows]]), "limit": limit.clone()}


def _scaled(values: Tensor) -> Tensor:
    """Float32 values, divided by the largest: the squares of small ones would vanish, those of large ones overflow."""
    if not values.numel():
        return values.float()
    wide = values if values.dtype == torch.float64 else values.float()
    return (wide / wide.abs().max().clamp_min(torch.finfo(wide.dtype).tiny)).float()


def _cosine(sketch: Sketch, previous: Sketch) -> Tensor | None:
    """The cosine between two sketches, NaN if either is zero, or None if they cannot be compared."""
    if isinstance(sketch, dict):
        return _sparse_cosine(sketch, _moved(previous, sketch["values"].device)) if isinstance(previous, dict) else None
    if not isinstance(previous, Tensor) or previous.shape != sketch.shape:
        return None
    return _of_vectors(sketch, previous.to(sketch.device, non_blocking=True))


def _sparse_cosine(a: Sketch, b: Sketch) -> Tensor | None:
    if not isinstance(a, dict) or not isinstance(b, dict) or a["values"].shape[1:] != b["values"].shape[1:]:
        return None
    if not len(a["hashes"]) or not len(b["hashes"]):
        return torch.full((), torch.nan, device=a["values"].device)
    limit = torch.minimum(a["limit"], b["limit"])
    left, right = (s["values"] * (s["hashes"] < limit)[:, None] for s in (a, b))
    position = torch.searchsorted(b["hashes"], a["hashes"]).clamp_max(len(b["hashes"]) - 1)
    matching = right[position] * (b["hashes"][position] == a["hashes"])[:, None]
    return (left * matching).sum() / (torch.linalg.vector_norm(left) * torch.linalg.vector_norm(right))


def _of_vectors(a: Tensor, b: Tensor) -> Tensor:
    return (a @ b) / (torch.linalg.vector_norm(a) * torch.linalg.vector_norm(b))


def _moved(sketch: Sketch, device: torch.device) -> Sketch:
    if isinstance(sketch, dict):
        return {name: tensor.to(device) for name, tensor in sketch.items()}
    return sketch.to(device)
