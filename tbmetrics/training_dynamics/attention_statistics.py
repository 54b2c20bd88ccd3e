"""Numbers about attention weights: how spread out they are, where their mass goes, how they add up over layers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.floating]

COLLAPSED_ENTROPY = 0.05  # of the largest possible; a head below looks at one key


def entropy(weights: FloatArray) -> FloatArray:
    """Normalised entropy by head, shape (heads,): 0 = every query looks at one key, 1 = at all alike.

    Args:
        weights: (samples, heads, queries, keys), rows that sum to 1; others (cut, or of padding) are scaled to.
    """
    keys = weights.shape[-1]
    if keys < 2:
        return np.zeros(weights.shape[1])
    total = weights.sum(axis=-1, keepdims=True, dtype=np.float64)
    p = np.divide(weights, total, out=np.zeros(weights.shape), where=total > 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        bits = -np.where(p > 0, p * np.log(p), 0.0).sum(axis=-1) / np.log(keys)
    seen = total[..., 0] > 0
    return _mean_where(bits, seen)


def sparsity(weights: FloatArray, share: float = 0.9) -> FloatArray:
    """The smallest share of the keys that holds `share` of a query's mass; mean over queries, shape (heads,)."""
    ordered = np.sort(weights.astype(np.float64), axis=-1)[..., ::-1]
    total = ordered.sum(axis=-1, keepdims=True)
    reached = np.cumsum(ordered, axis=-1) >= share * total
    needed = (reached.argmax(axis=-1) + 1) / weights.shape[-1]
    return _mean_where(needed, total[..., 0] > 0)


def mass_by_group(weights: FloatArray, groups: Sequence[str]) -> Mapping[str, float]:
    """Mean share of attention that goes to the keys of each group.

    Args:
        weights: (samples, heads, queries, keys).
        groups: of each key.
    """
    named = np.asarray(groups)
    return {group: float(weights[..., named == group].sum(axis=-1).mean()) for group in dict.fromkeys(groups)}


def rollout(maps: Sequence[FloatArray]) -> FloatArray:
    """Attention rollout through layers: (samples, tokens, tokens).

    Source: Abnar and Zuidema, "Quantifying Attention Flow in Transformers" (2020): heads averaged, half of each layer
    for its residual connection, layers multiplied.

    Args:
        maps: square self-attention of one number of tokens, first layer first.

    Raises:
        ValueError: maps that are not of this kind.
    """
    shapes = {m.shape[-2:] for m in maps}
    if len(shapes) != 1 or next(iter(shapes))[0] != next(iter(shapes))[1]:
        raise ValueError(f"rollout needs square self-attention of one number of tokens, got {sorted(shapes)}")
    identity = np.eye(maps[0].shape[-1])
    product = identity
    for layer in maps:
        mixed = (layer.mean(axis=1) + identity) / 2
        product = mixed / mixed.sum(axis=-1, keepdims=True) @ product
    return product


def patch_grid(tokens: int, given: tuple[int, int] | None = None) -> tuple[int, int, int] | None:
    """(tokens that are no patches, rows, columns) of a grid of patches; None where there is none.

    Without a given grid (rows, columns) the patches are a square, alone or after one class token; with one, what is
    more than the grid comes before it.
    """
    if given is not None:
        extra = tokens - given[0] * given[1]
        return (extra, *given) if extra >= 0 else None
    for extra in (0, 1):
        side = int(np.sqrt(tokens - extra))
        if side > 1 and side * side == tokens - extra:
            return extra, side, side
    return None


def _mean_where(values: FloatArray, where: NDArray[np.bool_]) -> FloatArray:
    """Mean over samples and queries of (samples, heads, queries); NaN for a head without any."""
    count = where.sum(axis=(0, 2))
    total = np.where(where, values, 0).sum(axis=(0, 2))
    found: FloatArray = np.divide(total, count, out=np.full(count.shape, np.nan), where=count > 0)
    return found
