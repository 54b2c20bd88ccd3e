"""Lifts and their intervals: they contain the lift, and in simulations the truth."""

import numpy as np

from tbmetrics.statistics.lifts import lift, lift_interval


def test_the_interval_contains_the_lift_and_is_unknown_with_too_little_behind_it():
    observed, expected = (a.ravel() for a in np.meshgrid([0, 1, 7, 300.0], [0.2, 3, 80]))
    for variance in (0.0, 5.0):
        lower, upper = lift_interval(observed, expected, variance * observed, 5000.0)
        value = lift(observed, expected)
        assert (lower <= value + 1e-12).all()
        assert (upper >= value).all()
        assert (lower >= 0).all()
        assert (upper > lower).all()
    assert np.isnan(lift_interval(3.0, 1.0, 3.0, 2.0)).all()
    assert np.isnan(lift(3.0, 0.0))
    assert np.isnan(lift_interval(3.0, 0.0, 3.0, 100.0)).all()


def test_it_contains_the_truth_of_counts_that_come_in_clumps():
    generator = np.random.default_rng(0)
    for truth, expected, clump, reference in ((1, 6, 1, 400), (1, 40, 3, 900), (7.7, 5, 2, 300), (0.5, 30, 1, 90)):
        n = 4000
        clumps = generator.poisson(truth * expected / clump, n)
        seen = expected * clump * generator.poisson(reference / clump, n) / reference
        lower, upper = lift_interval(clumps * clump, seen, clumps * clump**2, reference)
        assert 0.93 < np.mean((lower <= truth) & (truth <= upper)) < 0.98, (truth, expected, clump)
