"""Small numerics that several diagnostics share: nearest rows in blocks, precision of sums, rank correlation."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tbmetrics.records import FloatArray

BLOCK_BYTES = 32 * 2**20


def sum_dtype(device: torch.device) -> torch.dtype:
    """What sums are kept in: float64, where the device has it."""
    return torch.float32 if device.type == "mps" else torch.float64


def to_numpy(values: Tensor) -> FloatArray:
    """On the host as float64."""
    found: FloatArray = values.detach().cpu().numpy().astype(np.float64)
    return found


def indices_of(labels: Tensor, num_classes: int) -> tuple[Tensor, Tensor]:
    """Class indices that are safe to index with, and which of them count: one out of range counts as unknown.

    Works on the device without waiting for it.

    Args:
        labels: (N,) integers.
        num_classes: C.
    """
    known = (labels >= 0) & (labels < num_classes)
    return torch.where(known, labels, 0).long(), known


class Nearest(NamedTuple):
    """For every row its largest similarity to another row, and which row that is; (rows,) each."""

    value: Tensor
    row: Tensor


def nearest_by_cosine(rows: Tensor) -> Nearest:
    """The other row with the largest cosine, a block of rows at a time.

    Args:
        rows: (R, D) float; a row of zeros, or with NaN, has no neighbour: its value is NaN.
    """
    norms = torch.linalg.vector_norm(rows, dim=1, keepdim=True)
    defined = (norms[:, 0] > 0) & norms[:, 0].isfinite()
    unit = torch.where(defined[:, None], rows / norms, 0)
    values, indices = [], []
    for chosen in torch.arange(len(rows), device=rows.device).split(_rows_at_once(len(rows))):
        cosines = (unit[chosen] @ unit.T).masked_fill_(~defined, -torch.inf)
        cosines[torch.arange(len(chosen), device=rows.device), chosen] = -torch.inf
        best = cosines.max(dim=1)
        values.append(best.values)
        indices.append(best.indices)
    value = torch.cat(values)
    return Nearest(torch.where(defined & (value > -2), value.clamp(-1, 1), torch.nan), torch.cat(indices))


def nearest_by_distance(rows: Tensor, noise: Tensor, candidates: Tensor) -> Nearest:
    """The other row with the smallest squared distance less its sampling noise, a block of rows at a time.

    Args:
        rows: (R, D) float.
        noise: (R,), what sampling adds to a squared distance from each row: its variance divided by its samples.
        candidates: (R,) bool, the rows that may be a neighbour.
    """
    squares = rows.square().sum(1)
    values, indices = [], []
    for chosen in torch.arange(len(rows), device=rows.device).split(_rows_at_once(len(rows))):
        distances = (squares[chosen, None] + squares).sub_(rows[chosen] @ rows.T, alpha=2).clamp_(min=0)
        distances -= noise[chosen, None] + noise
        distances.masked_fill_(~candidates, torch.inf)
        distances[torch.arange(len(chosen), device=rows.device), chosen] = torch.inf
        best = distances.nan_to_num_(nan=torch.inf, posinf=torch.inf).min(dim=1)
        values.append(best.values)
        indices.append(best.indices)
    value = torch.cat(values)
    return Nearest(torch.where(value.isfinite(), value, torch.nan), torch.cat(indices))


def _rows_at_once(rows: int) -> int:
    return max(1, BLOCK_BYTES // (4 * max(rows, 1)))


class RankCorrelation(NamedTuple):
    """Spearman's rank correlation, the one-sided chance of as large a one (permutations), and the number of pairs."""

    rho: float
    p_value: float
    pairs: int


def rank_correlation(x: FloatArray, y: FloatArray, permutations: int = 999, seed: int = 0) -> RankCorrelation:
    """Spearman's correlation over the pairs without NaN; NaN below three pairs or where one side is constant."""
    defined = np.isfinite(x) & np.isfinite(y)
    a, b = (_centred_ranks(side[defined]) for side in (x, y))
    scale = float(np.sqrt((a**2).sum() * (b**2).sum()))
    if a.size < 3 or scale == 0:
        return RankCorrelation(float("nan"), float("nan"), int(a.size))
    rho = float(a @ b) / scale
    rng = np.random.default_rng(seed)
    as_large = sum(float(a @ rng.permutation(b)) / scale >= rho - 1e-12 for _ in range(permutations))
    return RankCorrelation(rho, (1 + as_large) / (1 + permutations), int(a.size))


def _centred_ranks(values: FloatArray) -> FloatArray:
    """Ranks, ties sharing their mean, less the mean of all."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    ranks: FloatArray = (last - (counts - 1) / 2)[inverse].astype(np.float64)
    return ranks - ranks.mean() if ranks.size else ranks


def mean_of(values: FloatArray, members: NDArray[np.int64]) -> float:
    """Mean of the defined values of `members`; NaN where there is none."""
    chosen = values[members]
    chosen = chosen[np.isfinite(chosen)]
    return float(chosen.mean()) if chosen.size else float("nan")


def median_of(values: FloatArray, members: NDArray[np.int64]) -> float:
    """Median of the defined values of `members`; NaN where there is none."""
    chosen = values[members]
    chosen = chosen[np.isfinite(chosen)]
    return float(np.median(chosen)) if chosen.size else float("nan")
