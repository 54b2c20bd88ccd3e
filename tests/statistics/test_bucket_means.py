"""Intervals of means over classes from sums by bucket, against the plain ones over classes."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tbmetrics.statistics.bucket_means import MeanUncertainty, column_length, has_too_few
from tbmetrics.statistics.intervals import Z95


def _problem(seed, n_classes=24, n_buckets=6):
    """Values, biases and a covariance of classes, the bucket of each, and their sums by bucket."""
    rng = np.random.default_rng(seed)
    bucket = np.concatenate([np.arange(n_buckets), rng.integers(0, n_buckets, n_classes - n_buckets)])
    factor = rng.normal(0, 0.03, (n_classes, n_classes))
    bias, covariance = rng.normal(0, 0.01, n_classes), factor @ factor.T
    by_bucket = np.eye(n_buckets)[bucket]
    sums = MeanUncertainty(by_bucket.sum(0), by_bucket.T @ bias, by_bucket.T @ covariance @ by_bucket)
    return rng.uniform(0.3, 0.7, n_classes), bias, covariance, bucket, sums


def _weights(inside):
    return inside / inside.sum()


@given(st.integers(0, 1000), st.integers(1, 5))
def test_whole_buckets_have_the_interval_of_their_classes(seed, cut):
    values, bias, covariance, bucket, sums = _problem(seed)
    head, tail = bucket < cut, bucket >= cut
    members = [np.bincount(bucket[part], minlength=6).astype(float) for part in (head, tail)]
    for weights, parts, lowest in (
        (_weights(head), members[:1], 0.0),
        (_weights(head) - _weights(tail), members, -1.0),
    ):
        mean = weights @ values
        centre, half = mean - weights @ bias, Z95 * np.sqrt(weights @ covariance @ weights)
        expected = (min(mean, max(centre - half, lowest)), max(mean, min(centre + half, 1.0)))
        assert sums.interval(mean, *parts) == pytest.approx(expected)


def test_a_part_of_a_bucket_has_its_share_of_the_variance():
    """With independent classes of equal variance, a part of a bucket has what its classes have."""
    sums = MeanUncertainty(np.array([4.0, 6.0]), np.array([0.4, 0.0]), np.diag([4 * 0.01, 6 * 0.01]))
    low, high = sums.interval(0.5, np.array([1.0, 3.0]))
    assert (low + high) / 2 == pytest.approx(0.5 - 0.1 / 4)
    assert high - low == pytest.approx(2 * Z95 * np.sqrt(0.01 / 4))
    low, high = sums.interval(0.0, np.array([1.0, 0.0]), np.array([2.0, 0.0]))  # head and tail cut the same bucket
    assert high - low == pytest.approx(2 * Z95 * np.sqrt(0.01 + 0.01 / 2))


def test_an_unknown_covariance_gives_no_interval():
    sums = MeanUncertainty(np.ones(2), np.zeros(2), np.full((2, 2), np.nan))
    assert np.isnan(sums.interval(0.5, np.ones(2))).all()
    assert np.isnan(_problem(0)[4].interval(float("nan"), np.zeros(6))).all()


@given(st.integers(0, 100))
def test_a_column_holds_all(seed):
    *_, sums = _problem(seed)
    column = sums.to_column()
    assert len(column) == column_length(6)
    again = MeanUncertainty.from_column(column, sums.n_defined)
    np.testing.assert_allclose(again.covariance, sums.covariance, rtol=1e-12, atol=1e-15)
    np.testing.assert_array_equal(again.bias, sums.bias)


@pytest.mark.parametrize(("n", "positives", "expected"), [(31, 61, True), (31, 62, False), (30, 30, False)])
def test_too_few_positives_for_many_classes(n, positives, expected):
    assert has_too_few(n, positives) is expected
