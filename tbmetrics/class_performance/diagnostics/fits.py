"""Fits by likelihood to validated logits: their temperature, the training prior in them, the share of wrong labels.

What is judged on logits is judged in units of these fits, so that logits times a factor give the same findings.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tbmetrics.class_performance.diagnostics.numbers import evenly_spread
from tbmetrics.records import Float32Array, FloatArray, IntArray

_Parts = tuple[FloatArray, FloatArray]
_STEPS = 40
_RIDGE = 1e-9
_LARGEST = 1e100  # logits whose squares add up
_SIGMOID_SCORES = 250_000  # most multi-label logits behind a temperature


class PriorFit(NamedTuple):
    """The temperature of logits, and the amount of the training prior in them.

    Attributes:
        temperature: the logits divided by it are calibrated (Guo et al., ICML 2017).
        tau: of the prior, to be taken off the calibrated logits; 0 if it is unknown or the same for all classes.
        others: temperature and tau of all samples but one, (samples, 2), to first order.
    """

    temperature: float
    tau: float
    others: FloatArray


def fit_prior(
    logits: NDArray[np.floating], labels: IntArray, log_prior: FloatArray | None, weights: FloatArray
) -> PriorFit:
    """Fit softmax(logits / temperature − tau · log prior) to labels by weighted likelihood.

    A twentieth of a sample counts for every class alike, so that logits that part the classes perfectly have a
    temperature, too.

    Args:
        logits: (samples, C); an infinite one counts as the largest or smallest finite one of its row.
        labels: class indices (samples,).
        log_prior: (C,); None = fit the temperature alone.
        weights: of the samples, (samples,), not negative, with a positive sum.
    """
    z, scale = _scaled(logits)
    prior = np.zeros(z.shape[1]) if log_prior is None else log_prior - log_prior.mean()
    smooth = 0.05 / len(labels)
    z_of_label, prior_of_label = (1 - smooth) * _picked(z, labels), (1 - smooth) * prior[labels]  # both centred
    weights = weights / weights.sum()
    is_free = np.array([True, bool(prior.any())])

    def evaluate(parameters: FloatArray) -> tuple[float, _Parts]:
        e, total, log_total = _exponentials(z, prior, parameters)
        own = parameters[0] * z_of_label + parameters[1] * prior_of_label - log_total
        mean_z, mean_prior = _dot(e, z) / total, _product(e, prior) / total
        mean_square = _product(e, prior**2) / total
        weighted = np.multiply(e, z, out=e)
        mixed = _product(weighted, prior) / total - mean_z * mean_prior
        curvature = [_dot(weighted, z) / total - mean_z**2, mixed, mixed, mean_square - mean_prior**2]
        gradient = np.stack([z_of_label - mean_z, prior_of_label - mean_prior])
        return float(weights @ own), (gradient, np.stack(curvature).reshape(2, 2, -1))

    def step(parts: _Parts, damping: float) -> FloatArray:
        gradient, curvature = (part @ weights for part in parts)
        return _solved(gradient, curvature, is_free, damping)

    best, _, (gradient, curvature) = _maximize(np.array([1.0, 0.0]), evaluate, step)
    total = _regular(curvature @ weights, is_free)
    without = (1 + _RIDGE) * total[:, :, None] - weights * curvature
    without[1, 1] += 0 if is_free[1] else 1
    gradient[~is_free] = 0
    determinant = without[0, 0] * without[1, 1] - without[0, 1] * without[1, 0]
    moved = weights / determinant * gradient * np.stack([without[1, 1], without[0, 0]])
    moved -= weights / determinant * gradient[::-1] * without[0, 1]
    others = np.stack([scale / np.maximum(best[0] - moved[0], 1e-12), -(best[1] - moved[1])], axis=1)
    return PriorFit(scale / best[0], -float(best[1]), others)


class CalibratedLoss(NamedTuple):
    """The negative log-likelihood of each sample after one temperature, (samples,).

    `sharpness` is the inverse of the temperature, for logits with a mean square of 1 about the largest of each row.
    """

    by_sample: FloatArray
    sharpness: float


def calibrated_loss(
    logits: NDArray[np.floating], labels: IntArray, weights: FloatArray, sharpness: float = 1.0
) -> CalibratedLoss:
    """Fit the temperature as `fit_prior` does without a prior.

    Args:
        logits, labels, weights: as for `fit_prior`.
        sharpness: where to start, such as that of similar logits.
    """
    values = torch.from_numpy(logits)
    below = values - values.amax(1, keepdim=True)
    scale = float(torch.linalg.vector_norm(below)) / np.sqrt(below.numel()) or 1.0
    if not np.isfinite(scale):
        return calibrated_loss(_finite(logits), labels, weights, sharpness)
    below = (below / scale).float()
    z, smooth, weights = below.numpy(), 0.05 / len(labels), weights / weights.sum()
    square, z_of_label, e = z**2, _picked(z, labels), torch.empty_like(below)
    smoothed = (1 - smooth) * z_of_label + smooth * below.mean(1).double().numpy()
    best, best_value, candidate = 0.0, -np.inf, sharpness
    for _ in range(_STEPS):
        total = _totals(torch.mul(below, candidate, out=e).exp_())
        log_total, mean = np.log(total), _dot(e.numpy(), z) / total
        value = float(weights @ (candidate * smoothed - log_total))
        if value < best_value:  # too far
            candidate = (candidate + best) / 2
            continue
        gradient = float(weights @ (smoothed - mean))
        curvature = float(weights @ (_dot(e.numpy(), square) / total - mean**2))
        step, best, best_value = gradient / (curvature + 1e-30), candidate, value
        losses = log_total - best * z_of_label
        if abs(step * gradient) < 1e-7:
            break
        candidate = best + step if best + step > 0 else best / 2
    return CalibratedLoss(losses, best)


def fit_sigmoid(logits: Tensor, labels: Tensor, log_odds: Tensor) -> float:
    """The temperature of multi-label logits: sigmoid(logits / temperature + shift − tau · log odds), by likelihood.

    Args:
        logits: (rows, C).
        labels: (rows, C) of 1, 0 and -1; -1 does not count.
        log_odds: of a positive in training, (C,).
    """
    rows = torch.from_numpy(evenly_spread(len(logits), _SIGMOID_SCORES // logits.shape[1]))
    z, y = (values[rows.to(values.device)].cpu().numpy() for values in (logits, labels))
    z, scale = _scaled_all(z)
    counted = y >= 0
    prior = np.broadcast_to(log_odds.cpu().numpy(), z.shape)[counted]
    features = torch.from_numpy(np.stack([z[counted], np.ones(len(prior)), prior - prior.mean()]).astype(np.float64))
    truth = torch.from_numpy(y[counted] > 0).double()
    is_free = np.array([True, True, bool(features[2].any())])

    def evaluate(parameters: FloatArray) -> tuple[float, _Parts]:
        margin = torch.from_numpy(parameters) @ features
        p = margin.sigmoid()
        weighted = features * (p * (1 - p))
        value = truth @ margin - torch.nn.functional.softplus(margin, threshold=40).sum()
        return float(value), ((features @ (truth - p)).numpy(), (weighted @ features.T).numpy())

    def step(parts: _Parts, damping: float) -> FloatArray:
        return _solved(parts[0], parts[1], is_free, damping)

    best, _, _ = _maximize(np.array([1.0, 0.0, 0.0]), evaluate, step)
    return float(scale / best[0])


class NoiseFit(NamedTuple):
    """The share of labels that were replaced by any class at random.

    Attributes:
        share: the most likely one.
        deviance: twice the log-likelihood by which it exceeds a share of 0.
        deviance_at: the same for the share that was asked for.
    """

    share: float
    deviance: float
    deviance_at: float


def fit_noise(logits: NDArray[np.floating], labels: IntArray, log_prior: FloatArray | None, asked: float) -> NoiseFit:
    """Fit (1 − share) · softmax(logits / temperature − tau · log prior) + share / C to labels by likelihood.

    The model expects samples between classes that overlap; a wrong label it does not expect, however far from any
    boundary. (Angluin & Laird, Machine Learning 1988, for the noise; temperature and prior are free.)

    Args:
        logits: (samples, C).
        labels: class indices (samples,).
        log_prior: (C,), or None.
        asked: share for which `deviance_at` is wanted.
    """
    z, _ = _scaled(logits)
    prior = np.zeros(z.shape[1]) if log_prior is None else log_prior - log_prior.mean()
    z_of_label, floor = _picked(z, labels), 1 / z.shape[1]

    def evaluate(parameters: FloatArray) -> tuple[float, tuple[FloatArray, FloatArray]]:
        share = _share(parameters)
        e, totals, _ = _exponentials(z, prior, parameters)
        clean = (1 - share) * _picked(e, labels) / totals
        total = clean + share * floor + 1e-300
        right = clean / total
        gradient = np.stack(
            [
                right * (z_of_label - _dot(e, z) / totals),
                right * (prior[labels] - _product(e, prior) / totals),
                (1 - right) * (1 - share) - right * share,
            ],
            axis=1,
        )
        return float(np.log(total).sum()), (gradient, right)

    def climb(start: FloatArray, is_free: NDArray[np.bool_]) -> tuple[FloatArray, float]:
        def step(parts: tuple[FloatArray, FloatArray], damping: float) -> FloatArray:
            return _solved(parts[0].sum(0), parts[0].T @ parts[0], is_free, damping)

        best, likelihood, _ = _maximize(start, evaluate, step)
        return best, likelihood

    free = np.array([True, bool(prior.any()), True])
    fixed = free & np.array([True, True, False])
    clean = climb(np.array([1.0, 0.0, -np.inf]), fixed)
    at_asked = climb(np.array([*clean[0][:2], _logit(asked)]), fixed)
    best = max((clean, climb(at_asked[0], free)), key=lambda outcome: outcome[1])
    deviance, deviance_at = (max(0.0, 2 * (best[1] - other[1])) for other in (clean, at_asked))
    return NoiseFit(_share(best[0]), deviance, deviance_at)


# ---------------------------------------------------------------------------------------------------- numerics


def _maximize(
    start: FloatArray,
    evaluate: Callable[[FloatArray], tuple[float, _Parts]],
    step: Callable[[_Parts, float], FloatArray],
) -> tuple[FloatArray, float, _Parts]:
    """Climb a likelihood by damped Newton steps; the first parameter, an inverse temperature, stays above 0."""
    best, damping = start, 0.0
    value, parts = evaluate(best)
    for _ in range(_STEPS):
        candidate = best + step(parts, damping)
        new_value, new_parts = evaluate(candidate) if candidate[0] > 0 else (-np.inf, parts)
        gain = new_value - value
        if gain >= 0:
            best, value, parts = candidate, new_value, new_parts
            damping = damping / 4 if damping > 1e-3 else 0.0
        if abs(gain) < 1e-7 * (1 + abs(value)):  # at the top rounding may say that it goes down
            break
        if not gain >= 0:
            damping = max(4 * damping, 1e-2)
            if damping > 1e6:
                break
    return best, value, parts


def _solved(gradient: FloatArray, curvature: FloatArray, is_free: NDArray[np.bool_], damping: float) -> FloatArray:
    step = np.zeros(len(gradient))
    chosen = is_free
    regular = curvature[np.ix_(chosen, chosen)]
    regular = regular + np.diag((damping + _RIDGE) * np.diag(regular) + 1e-30)
    step[chosen] = np.linalg.solve(regular, gradient[chosen])
    return step


def _regular(curvature: FloatArray, is_free: NDArray[np.bool_]) -> FloatArray:
    """The curvature with 1 for parameters that are not free."""
    fixed = ~is_free
    curvature[fixed, :] = curvature[:, fixed] = 0
    curvature[fixed, fixed] = 1
    return curvature + np.diag(np.full(len(curvature), 1e-30))


def _scaled(logits: NDArray[np.floating]) -> tuple[Float32Array, float]:
    """Finite logits about the mean of their row, with a standard deviation of 1, and the factor."""
    values = torch.from_numpy(logits)
    centred = values - values.mean(1, keepdim=True)
    size = float(torch.linalg.vector_norm(centred))
    if not np.isfinite(size):
        return _scaled(_finite(logits))
    scale = size / np.sqrt(max(1, centred.numel())) or 1.0
    return (centred / scale).float().numpy(), float(scale)


def _finite(logits: NDArray[np.floating]) -> FloatArray:
    """Infinite logits as the largest or smallest finite one of their row."""
    finite, wide = np.isfinite(logits), logits.astype(np.float64)
    low = np.where(finite, wide, np.inf).min(1, keepdims=True)
    high = np.where(finite, wide, -np.inf).max(1, keepdims=True)
    wide = np.where(finite, wide, np.where(wide > 0, high, low))
    return np.clip(np.where(np.isfinite(wide), wide, 0), -_LARGEST, _LARGEST)


def _scaled_all(logits: FloatArray) -> tuple[FloatArray, float]:
    """Finite logits with a standard deviation of 1, and the factor."""
    finite = np.nan_to_num(logits, posinf=0.0, neginf=0.0)
    low, high = (float(f(finite)) if finite.size else 0.0 for f in (np.min, np.max))
    clipped = np.clip(logits, low, high)
    scale = float(clipped.std()) or 1.0
    return clipped / scale, scale


def _exponentials(
    z: Float32Array, prior: FloatArray, parameters: FloatArray
) -> tuple[Float32Array, FloatArray, FloatArray]:
    """exp(parameters · (z, prior) - the largest of its row), the sum of every row, and the logarithm of all of it."""
    scores = torch.from_numpy(z * np.float32(parameters[0]))
    scores += torch.from_numpy((parameters[1] * prior).astype(np.float32))
    largest = scores.amax(1, keepdim=True)
    e = scores.sub_(largest).exp_()
    total = _totals(e)
    return e.numpy(), total, largest[:, 0].double().numpy() + np.log(total)


def _totals(e: Tensor) -> FloatArray:
    totals: FloatArray = e.sum(1).double().numpy()
    return totals


def _dot(a: Float32Array, b: Float32Array) -> FloatArray:
    return np.einsum("ij,ij->i", a, b).astype(np.float64)


def _product(p: Float32Array, vector: FloatArray) -> FloatArray:
    return (p @ vector.astype(np.float32)).astype(np.float64)


def _picked(values: Float32Array, labels: IntArray) -> FloatArray:
    return values[np.arange(len(labels)), labels].astype(np.float64)


def _share(parameters: FloatArray) -> float:
    return float(1 / (1 + np.exp(-np.clip(parameters[2], -700, 700)))) if parameters[2] > -np.inf else 0.0


def _logit(share: float) -> float:
    return float(np.log(share / (1 - share)))
