"""Directions of gradients: the cosine between a gradient and the one before, from a bounded sample of each."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TypeAlias

import torch
from torch import Tensor

from tbmetrics.tracking.host_copies import HostCopy
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
        dense_pairs: dict[torch.device, list[tuple[int, Tensor, Tensor]]] = {}
        sparse_cosines: dict[int, Tensor] = {}
        for row, sketch in zip(rows, _sketches(gradients), strict=True):
            previous = self._last.get(row)
            self._last[row] = sketch
            if isinstance(sketch, Tensor):
                if isinstance(previous, Tensor) and previous.shape == sketch.shape:
                    pair = (row, sketch, previous.to(sketch.device, non_blocking=True))
                    dense_pairs.setdefault(sketch.device, []).append(pair)
            elif isinstance(previous, dict):
                cosine = _sparse_cosine(sketch, _moved(previous, sketch["values"].device))
                if cosine is not None:
                    sparse_cosines[row] = cosine
        packets = [_cosines(pairs) for pairs in dense_pairs.values()]
        return packets + stacked_packets(list(sparse_cosines), list(sparse_cosines.values()))


def _sketches(gradients: Sequence[Tensor]) -> list[Sketch]:
    samples = [_sample(gradient) for gradient in gradients]
    scaled = _scaled([sample["values"] if isinstance(sample, dict) else sample for sample in samples])
    return [
        {**sample, "values": values} if isinstance(sample, dict) else values
        for sample, values in zip(samples, scaled, strict=True)
    ]


def _sample(gradient: Tensor) -> Sketch:
    """The sketch of `gradient`, not scaled yet."""
    local = local_shard(gradient)
    if local.layout == torch.sparse_coo and local.dense_dim() + local.sparse_dim() > 0:
        return _sparse_sample(local.detach().coalesce())
    flat = dense(local).flatten()
    if flat.numel() <= SKETCH_VALUES:
        return flat
    stride = flat.numel() // SKETCH_VALUES | 1  # odd, so that it walks through all columns of a matrix
    return flat[::stride][:SKETCH_VALUES]


def _sparse_sample(gradient: Tensor) -> Sketch:
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
    return {"hashes": hashes[:rows].clone(), "values": values[order[:rows]], "limit": limit.clone()}


def _scaled(samples: Sequence[Tensor]) -> list[Tensor]:
    """Float32 values, divided by the largest: the squares of small ones would vanish, those of large ones overflow."""
    wide = [values if values.dtype == torch.float64 else values.float() for values in samples]
    filled = [values for values in wide if values.numel()]
    if not filled:
        return [values.float() for values in wide]
    peaks = torch._foreach_norm(filled, math.inf)
    torch._foreach_clamp_min_(peaks, [torch.finfo(values.dtype).tiny for values in filled])
    divided = iter(torch._foreach_div(filled, peaks))
    return [(next(divided) if values.numel() else values).float() for values in wide]


def _cosines(pairs: Sequence[tuple[int, Tensor, Tensor]]) -> Packet:
    """The cosine between the two sketches of each row, all on one device; NaN if either is zero."""
    rows, sketches, previous = zip(*pairs, strict=True)
    products = torch.stack([a @ b for a, b in zip(sketches, previous, strict=True)])
    norms, norms_before = (torch.stack(torch._foreach_norm(vectors)) for vectors in (sketches, previous))
    return Packet(list(rows), HostCopy(products / (norms * norms_before)))


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


def _moved(sketch: Sketch, device: torch.device) -> Sketch:
    if isinstance(sketch, dict):
        return {name: tensor.to(device) for name, tensor in sketch.items()}
    return sketch.to(device)
