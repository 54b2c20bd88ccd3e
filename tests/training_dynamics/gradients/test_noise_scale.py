"""The gradient noise scale against gradients whose noise is known."""

import math

import numpy as np
import pytest

from tbmetrics.training_dynamics.gradients.noise_scale import NoiseScale


@pytest.mark.parametrize("divided", [True, False])
def test_the_estimate_finds_the_noise_that_was_put_in(divided):
    random = np.random.default_rng(0)
    signal = random.normal(size=200)
    signal /= np.linalg.norm(signal)
    deviation, passes = 0.2, 4
    estimate = NoiseScale(decay=0.99)
    for _ in range(2000):
        gradients = signal + deviation * random.normal(size=(passes, 200))
        gradients = gradients / passes if divided else gradients
        estimate.add(float((gradients[0] ** 2).sum()), float((gradients.sum(axis=0) ** 2).sum()), passes)
    assert estimate.value == pytest.approx(200 * deviation**2, rel=0.15)


def test_without_noise_it_is_zero_and_without_samples_undefined():
    estimate = NoiseScale()
    assert math.isnan(estimate.value)
    estimate.add(1.0, 16.0, 4)
    assert estimate.value == pytest.approx(0, abs=1e-12)


def test_noise_that_hides_the_signal_is_said_to_be_undefined():
    estimate = NoiseScale()
    estimate.add(1.0, 2.0, 4)
    assert math.isnan(estimate.value)
