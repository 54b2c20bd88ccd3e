"""Intervals against textbook values, SciPy, and their own promise: coverage in simulation."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from tbmetrics.statistics.intervals import logit_binomial, percentile_interval, smoothed_variance, wilson


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


@given(st.integers(1, 500).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_the_smoothed_variance_is_never_nothing_and_that_of_the_share_for_many(pair):
    k, n = pair
    assert 0 < smoothed_variance(k, n) <= 0.25 / n
    assert smoothed_variance(1e9 * k, 1e9 * n) * 1e9 * n == pytest.approx(k / n * (1 - k / n), abs=1e-6)
    assert np.isnan(smoothed_variance(0, 0))


def test_undefined_replicates_are_left_out():
    assert percentile_interval(np.array([np.nan, 1.0, 1.0])) == (1.0, 1.0)
    assert np.isnan(percentile_interval(np.array([np.nan, 1.0]))).all()
