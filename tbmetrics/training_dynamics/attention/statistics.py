"""Numbers about attention weights: how spread out they are, where their mass goes, how they add up over layers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.floating]

COLLAPSED_ENTROPY = 0.05  # of the largest possible; a head below looks at one key
_EXTRA_TOKENS = (0, 1, 2, 5)  # none; a class token; and one of distillation; or four registers


def entropy(weights: FloatArray) -> FloatArray:
    """Normalised entropy by head, shape (heads,): 0 = every query looks at one key, 1 = at all that it sees alike.

    What a query sees is what any head or sample gives it weight for, so causal masks count as what they are.

    Args:
        weights: (samples, heads, queries, keys), rows that sum to 1; others (cut, or of padding) are scaled to.
    """
    total = weights.sum(axis=-1, keepdims=True, dtype=np.float64)
    p = np.divide(weights, total, out=np.zeros(weights.shape), where=total > 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        nats = -np.where(p > 0, p * np.log(p), 0.0).sum(axis=-1)
    visible = (weights > 0).any(axis=(0, 1)).sum(axis=-1)
    return _mean_where(np.abs(nats) / np.log(np.maximum(visible, 2)), total[..., 0] > 0)


def sparsity(weights: FloatArray, share: float = 0.9) -> FloatArray:
    """The smallest share of the keys that holds `share` of a query's mass; mean over queries, shape (heads,)."""
    ordered = np.sort(weights.astype(np.float64), axis=-1)[..., ::-1]
    total = ordered.sum(axis=-1, keepdims=True)
    reached = np.cumsum(ordered, axis=-1) >= share * total
    needed = (reached.argmax(axis=-1) + 1) / weights.shape[-1]
    return _mean_where(needed, total[..., 0] > 0)


def mass_by_group(mean: FloatArray, groups: Sequence[str]) -> Mapping[str, float]:
    """Mean share of attention that goes to the keys of each group.

    Args:
        mean: (samples, keys): the mean over heads and queries.
        groups: of each key.
    """
    named = np.asarray(groups)
    return {group: float(mean[..., named == group].sum(axis=-1).mean()) for group in dict.fromkeys(groups)}


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


def patch_grid(
    tokens: int, image: tuple[int, ...] = (1, 1), given: tuple[int, int] | None = None
) -> tuple[int, tuple[int, int]] | None:
    """(tokens before the patches, (rows, columns) of the patches) in an image; None where tokens are no patches.

    Args:
        tokens: the patches, and before them none or a few that are none: a class token, registers.
        image: its height and width; patches are taken to be square.
        given: rows and columns, where they are known.
    """
    for extra in _EXTRA_TOKENS if given is None else (tokens - given[0] * given[1],):
        patches = tokens - extra
        rows, columns = given or _rectangle(patches, image[0] / image[1])
        if extra >= 0 and rows * columns == patches > 1:
            return extra, (rows, columns)
    return None


def _rectangle(patches: int, ratio: float) -> tuple[int, int]:
    """Rows and columns of about so many patches whose ratio is the image's."""
    rows = max(round((max(patches, 0) * ratio) ** 0.5), 1)
    return rows, round(rows / ratio)


def _mean_where(values: FloatArray, where: NDArray[np.bool_]) -> FloatArray:
    """Mean over samples and queries of (samples, heads, queries); NaN for a head without any."""
    count = where.sum(axis=(0, 2))
    total = np.where(where, values, 0).sum(axis=(0, 2))
    found: FloatArray = np.divide(total, count, out=np.full(count.shape, np.nan), where=count > 0)
    return found
