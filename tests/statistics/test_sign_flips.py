"""The sign-flip test: against exhaustive tests, and by simulation where classes and positives are few."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import permutation_test

from tbmetrics.statistics.sign_flips import FLIPS, SignFlipTest


@given(st.lists(st.integers(-8, 8), min_size=1, max_size=9))
def test_few_classes_are_tested_exactly(differences):
    """Against all sign patterns, tried one by one; ties and zeros included."""
    d = np.array(differences) / 8
    sums = [abs((np.array(signs) * d).sum()) for signs in itertools.product((-1, 1), repeat=len(d))]
    expected = np.mean([s >= abs(d.sum()) - 1e-9 for s in sums])
    assert SignFlipTest(d).p() == pytest.approx(expected)


def test_it_is_scipys_paired_permutation_test():
    d = np.random.default_rng(1).normal(0.3, 1, 10)
    expected = permutation_test(
        (d, np.zeros(10)), lambda x, y: np.mean(x - y), permutation_type="samples", n_resamples=np.inf
    )
    assert SignFlipTest(d).p() == pytest.approx(expected.pvalue)


def test_many_classes_are_tested_at_random_close_to_scipy():
    d = np.random.default_rng(2).normal(0.12, 0.5, 60)
    expected = permutation_test(
        (d, np.zeros(60)), lambda x, y: np.mean(x - y), permutation_type="samples", n_resamples=9999, rng=3
    )
    assert SignFlipTest(d).p() == pytest.approx(expected.pvalue, abs=0.02)
    assert SignFlipTest(np.full(400, 0.1)).p() == pytest.approx(1 / (1 + FLIPS))  # never zero


@pytest.mark.parametrize(("classes", "positives"), [(6, 2), (8, 5), (30, 1), (60, 3)])
def test_equal_runs_are_told_apart_no_oftener_than_promised(classes, positives):
    """Two runs that find each positive with the same chance, the classes' chances all different."""
    rng = np.random.default_rng(classes)
    chance = rng.uniform(0.1, 0.9, classes)
    rejected = 0
    for _ in range(400):
        a, b = (rng.binomial(positives, chance) / positives for _ in range(2))
        rejected += SignFlipTest(b - a).p() < 0.05
    assert rejected / 400 <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 400)
