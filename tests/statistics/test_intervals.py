"""Intervals against textbook values, SciPy, and their own promise: coverage in simulation."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from tbmetrics.statistics.intervals import bootstrap_weights, logit_binomial, percentile_interval, wilson


@given(st.integers(1, 500).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_equals_scipy(pair):
    successes, trials = pair
    expected = binomtest(successes, trials).proportion_ci(method="wilson")
    low, high = wilson(successes, trials)
    assert (float(low), float(high)) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_no_trial_is_undefined():
    assert np.isnan(wilson(0, 0)).all()
    assert np.isnan(logit_binomial(np.nan, 0)).all()


@given(st.floats(0.0, 1.0), st.integers(1, 1000))
def test_the_logit_interval_holds_the_ap_and_stays_in_range(ap, positives):
    low, high = logit_binomial(ap, positives)
    assert 0 <= low <= ap <= high <= 1


def test_the_logit_interval_equals_its_formula():
    low, high = logit_binomial(0.6, 40)
    mean, spread = np.log(0.6 / 0.4), 1 / np.sqrt(40 * 0.6 * 0.4)
    assert float(low) == pytest.approx(1 / (1 + np.exp(-(mean - 1.959963984540054 * spread))))
    assert float(high) == pytest.approx(1 / (1 + np.exp(-(mean + 1.959963984540054 * spread))))


def test_more_positives_narrow_the_interval():
    low, high = logit_binomial([0.5] * 4, [2, 10, 100, 1000])
    assert (np.diff(high - low) < 0).all()


def test_bootstrap_weights_are_reproducible_and_average_one():
    weights = bootstrap_weights(400, 300)
    assert weights.shape == (300, 400)
    assert weights.mean() == pytest.approx(1, abs=0.02)
    np.testing.assert_array_equal(weights, bootstrap_weights(400, 300))


def test_the_bootstrap_of_a_mean_covers_it_about_as_often_as_promised():
    generator = np.random.default_rng(0)
    hits = 0
    for trial in range(200):
        sample = generator.random(80) < 0.3
        weights = bootstrap_weights(80, 200, seed=trial)
        low, high = percentile_interval((weights * sample).sum(1) / weights.sum(1))
        hits += low <= 0.3 <= high
    assert 0.88 <= hits / 200 <= 0.99


def test_undefined_replicates_are_left_out():
    assert percentile_interval(np.array([np.nan, 1.0, 1.0])) == (1.0, 1.0)
    assert np.isnan(percentile_interval(np.array([np.nan, 1.0]))).all()
