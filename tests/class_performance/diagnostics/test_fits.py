"""Temperature, prior and wrong labels against scipy's optimiser and planted truth, in any unit of the logits."""

import numpy as np
import pytest
import torch
from scipy.optimize import minimize, minimize_scalar
from scipy.special import expit, log_softmax

from tbmetrics.class_performance.diagnostics.fits import calibrated_loss, fit_noise, fit_prior, fit_sigmoid

COUNTS = np.geomspace(500, 5, 6)
LOG_PRIOR = np.log(COUNTS / COUNTS.sum())


def _posterior(n=400, prior=1.0, noise=0.0, seed=0):
    """Logits of the exact posterior of normal classes, with the training prior, and labels, some replaced."""
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % 6
    features = rng.normal(size=(n, 6)) + 2.2 * np.eye(6)[labels]
    labels = np.where(rng.random(n) < noise, rng.integers(0, 6, n), labels)
    return 2.2 * features + prior * LOG_PRIOR, labels


@pytest.mark.parametrize("scale", [0.05, 1.0, 20.0])
def test_temperature_and_prior_are_scipys(scale):
    logits, labels = _posterior()
    weights = np.random.default_rng(1).uniform(0.5, 2, len(labels))

    def loss(parameters):
        log_p = log_softmax(parameters[0] * logits + parameters[1] * LOG_PRIOR, axis=1)
        return -(weights * log_p[np.arange(len(labels)), labels]).sum()

    beta, share = minimize(loss, [1.0, 0.0], method="Nelder-Mead", options={"xatol": 1e-6, "fatol": 1e-8}).x
    fit = fit_prior(scale * logits, labels, LOG_PRIOR, weights)
    assert fit.temperature == pytest.approx(scale / beta, rel=0.01)
    assert fit.tau == pytest.approx(-share, rel=0.01)
    assert fit.tau == pytest.approx(1, abs=0.15)


def test_fits_without_a_sample_are_those_of_the_others():
    logits, labels = _posterior(60)
    weights = np.ones(60)
    fit = fit_prior(logits, labels, LOG_PRIOR, weights)
    for i in (0, 7, 33):
        rest = np.arange(60) != i
        other = fit_prior(logits[rest], labels[rest], LOG_PRIOR, weights[rest])
        np.testing.assert_allclose(fit.others[i], [other.temperature, other.tau], rtol=0.03)


def test_logits_that_part_all_classes_or_are_masked_have_a_temperature():
    labels = np.arange(30) % 3
    logits = 5.0 * np.eye(3)[labels]
    fit = fit_prior(logits, labels, np.log([0.7, 0.2, 0.1]), np.ones(30))
    assert 0 < fit.temperature < np.inf
    assert np.isfinite(fit.tau)
    masked = np.where(np.arange(3) == (labels[:, None] + 1) % 3, -np.inf, np.random.default_rng(0).normal(size=(30, 3)))
    assert np.isfinite(fit_prior(masked, labels, None, np.ones(30)).temperature)
    assert np.isfinite(fit_prior(np.zeros((30, 3)), labels, None, np.ones(30)).temperature)


def test_the_loss_after_one_temperature_is_scipys():
    logits, labels = _posterior(prior=0.0)

    def loss(beta):
        return -log_softmax(beta * 3 * logits, axis=1)[np.arange(len(labels)), labels]

    beta = minimize_scalar(lambda b: loss(b).sum(), bounds=(0.01, 3), method="bounded").x
    np.testing.assert_allclose(
        calibrated_loss(3 * logits, labels, np.ones(len(labels))).by_sample, loss(beta), atol=0.02
    )


@pytest.mark.parametrize("scale", [0.05, 1.0, 20.0])
def test_wrong_labels_are_estimated_in_any_unit_and_none_without(scale):
    clean, noisy = (fit_noise(scale * z, y, LOG_PRIOR, 0.1) for z, y in (_posterior(), _posterior(noise=0.25)))
    assert clean.share < 0.03
    assert clean.deviance < 3.84
    assert clean.deviance_at > 10  # a tenth of wrong labels is excluded
    assert noisy.share == pytest.approx(0.25, abs=0.06)
    assert noisy.deviance > 50
    reference = fit_noise(_posterior(noise=0.25)[0], _posterior(noise=0.25)[1], LOG_PRIOR, 0.1)
    assert noisy.share == pytest.approx(reference.share, abs=1e-3)


def test_the_share_of_wrong_labels_is_the_most_likely():
    logits, labels = _posterior(noise=0.25)

    def loss(parameters):
        p = np.exp(log_softmax(parameters[0] * logits + parameters[1] * LOG_PRIOR, axis=1))
        share = expit(parameters[2])
        return -np.log((1 - share) * p[np.arange(len(labels)), labels] + share / 6).sum()

    best = minimize(loss, [1.0, -1.0, -1.0], method="Nelder-Mead", options={"maxiter": 2000}).x
    assert fit_noise(logits, labels, LOG_PRIOR, 0.1).share == pytest.approx(expit(best[2]), abs=2e-3)


@pytest.mark.parametrize("scale", [0.05, 1.0, 20.0])
def test_the_temperature_of_multi_label_logits(scale):
    rng = np.random.default_rng(0)
    share = np.array([0.3, 0.1, 0.05])
    labels = (rng.random((3000, 3)) < share).astype(np.int64)
    log_odds = np.log(share / (1 - share))
    logits = 2 * (2 * labels + rng.normal(size=labels.shape)) - 2 + log_odds  # the exact log odds
    labels[:50, 1] = -1
    temperature = fit_sigmoid(
        torch.tensor(scale * logits), torch.tensor(labels), torch.tensor(log_odds, dtype=torch.float64)
    )
    assert temperature == pytest.approx(scale, rel=0.1)
