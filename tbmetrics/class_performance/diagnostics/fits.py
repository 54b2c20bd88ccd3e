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

_STEPS = 40
_RIDGE = 1e-9
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


def fit_prior(logits: FloatArray, labels: IntArray, log_prior: FloatArray | None, weights: FloatArray) -> PriorFit:
    """Fit softmax(logits / temperature − tau · log prior) to labels by weighted likelihood.

    A twentieth of a sample counts for every class alike, so that logits that part the classes perfectly have a
    temperature, too.

    Args:
        logits: float64 (samples, C); an infinite one counts as the largest or smallest finite one of its row.
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

    def evaluate(parameters: FloatArray) -> tuple[float, tuple[FloatArray, FloatArray]]:
        p, log_total = _softmax(z, prior, parameters)
        own = parameters[0] * z_of_label + parameters[1] * prior_of_label - log_total
        mean_z, mean_prior = _dot(p, z), _product(p, prior)
        mean_square = _product(p, prior**2)
        weighted = np.multiply(p, z, out=p)
        curvature = np.empty((len(z), 2, 2))
        curvature[:, 0, 0] = _dot(weighted, z) - mean_z**2
        curvature[:, 0, 1] = curvature[:, 1, 0] = _product(weighted, prior) - mean_z * mean_prior
        curvature[:, 1, 1] = mean_square - mean_prior**2
        gradient = np.stack([z_of_label - mean_z, prior_of_label - mean_prior], axis=1)
        return float(weights @ own), (gradient, curvature)

    def step(parts: tuple[FloatArray, FloatArray], damping: float) -> FloatArray:
        gradient, curvature = (np.tensordot(weights, part, axes=1) for part in parts)
        return _solved(gradient, curvature, is_free, damping)

    best, _, (gradient, curvature) = _maximize(np.array([1.0, 0.0]), evaluate, step)
    total = _regular(np.tensordot(weights, curvature, axes=1), is_free)
    without = total - weights[:, None, None] * curvature
    without[:, 1, 1] += 0 if is_free[1] else 1
    gradient[:, ~is_free] = 0
    moved = np.linalg.solve(without + _RIDGE * total, weights[:, None, None] * gradient[:, :, None])[:, :, 0]
    others = np.stack([scale / np.maximum(best[0] - moved[:, 0], 1e-12), -(best[1] - moved[:, 1])], axis=1)
    return PriorFit(scale / best[0], -float(best[1]), others)


def calibrated_loss(logits: FloatArray, labels: IntArray, weights: FloatArray) -> FloatArray:
    """The negative log-likelihood of each sample after one temperature, (samples,)."""
    z, scale = _scaled(logits)
    parameters = np.array([scale / fit_prior(logits, labels, None, weights).temperature, 0.0])
    _, log_total = _softmax(z, np.zeros(z.shape[1]), parameters)
    return log_total - parameters[0] * _picked(z, labels)


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
    features = np.stack([z[counted], np.ones(len(prior)), prior - prior.mean()], axis=1).astype(np.float64)
    truth = (y[counted] > 0).astype(np.float64)

    def evaluate(parameters: FloatArray) -> tuple[float, tuple[FloatArray, FloatArray]]:
        margin = features @ parameters
        p = 1 / (1 + np.exp(-np.clip(margin, -500, 500)))
        weighted = features * (p * (1 - p))[:, None]
        return float(truth @ margin - np.logaddexp(0, margin).sum()), (features.T @ (truth - p), weighted.T @ features)

    def step(parts: tuple[FloatArray, FloatArray], damping: float) -> FloatArray:
        return _solved(parts[0], parts[1], np.array([True, True, bool(features[:, 2].any())]), damping)

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


def fit_noise(logits: FloatArray, labels: IntArray, log_prior: FloatArray | None, asked: float) -> NoiseFit:
    """Fit (1 − share) · softmax(logits / temperature − tau · log prior) + share / C to labels by likelihood.

    The model expects samples between classes that overlap; a wrong label it does not expect, however far from any
    boundary. (Angluin & Laird, Machine Learning 1988, for the noise; temperature and prior are free.)

    Args:
        logits: float64 (samples, C).
        labels: class indices (samples,).
        log_prior: (C,), or None.
        asked: share for which `deviance_at` is wanted.
    """
    z, _ = _scaled(logits)
    prior = np.zeros(z.shape[1]) if log_prior is None else log_prior - log_prior.mean()
    z_of_label, floor = _picked(z, labels), 1 / z.shape[1]

    def evaluate(parameters: FloatArray) -> tuple[float, tuple[FloatArray, FloatArray]]:
        share = _share(parameters)
        p, _ = _softmax(z, prior, parameters)
        clean = (1 - share) * _picked(p, labels)
        total = clean + share * floor + 1e-300
        right = clean / total
        gradient = np.stack(
            [
                right * (z_of_label - _dot(p, z)),
                right * (prior[labels] - _product(p, prior)),
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
    clean, at_asked = (climb(np.array([1.0, 0.0, logit]), fixed) for logit in (-np.inf, _logit(asked)))
    best = max((clean, climb(at_asked[0], free)), key=lambda outcome: outcome[1])
    deviance, deviance_at = (max(0.0, 2 * (best[1] - other[1])) for other in (clean, at_asked))
    return NoiseFit(_share(best[0]), deviance, deviance_at)


# ---------------------------------------------------------------------------------------------------- numerics

_Parts = tuple[FloatArray, FloatArray]


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
        if new_value >= value:
            gain, best, value, parts = new_value - value, candidate, new_value, new_parts
            damping = damping / 4 if damping > 1e-3 else 0.0
            if gain < 1e-7 * (1 + abs(value)):
                break
        else:
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


def _scaled(logits: FloatArray) -> tuple[Float32Array, float]:
    """Finite logits about the mean of their row, with a standard deviation of 1, and the factor."""
    finite = np.isfinite(logits)
    if not finite.all():
        low = np.where(finite, logits, np.inf).min(1, keepdims=True)
        high = np.where(finite, logits, -np.inf).max(1, keepdims=True)
        logits = np.where(finite, logits, np.where(logits > 0, high, low))
        logits = np.where(np.isfinite(logits), logits, 0)
    centred = logits - logits.mean(1, keepdims=True)
    scale = float(np.sqrt(np.square(centred).mean())) or 1.0
    return (centred / scale).astype(np.float32), scale


def _scaled_all(logits: FloatArray) -> tuple[FloatArray, float]:
    """Finite logits with a standard deviation of 1, and the factor."""
    finite = np.nan_to_num(logits, posinf=0.0, neginf=0.0)
    low, high = (float(f(finite)) if finite.size else 0.0 for f in (np.min, np.max))
    clipped = np.clip(logits, low, high)
    scale = float(clipped.std()) or 1.0
    return clipped / scale, scale


def _softmax(z: Float32Array, prior: FloatArray, parameters: FloatArray) -> tuple[Float32Array, FloatArray]:
    """Softmax of parameters · (z, prior) in every row, and the logarithm of its denominator."""
    p = z * np.float32(parameters[0])
    p += (parameters[1] * prior).astype(np.float32)
    largest = p.max(1, keepdims=True)
    np.exp(np.subtract(p, largest, out=p), out=p)
    total = p.sum(1, keepdims=True)
    p /= total
    return p, (largest.astype(np.float64) + np.log(total.astype(np.float64)))[:, 0]


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
