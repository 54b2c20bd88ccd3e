"""Exact average precision and best thresholds against scikit-learn, with ties, by property."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, f1_score

from tbmetrics.class_performance.curves import (
    FEW_POSITIVES,
    average_precision,
    average_precision_bounds,
    best_threshold,
    counts_at_positives,
    resampled_average_precision,
)

problems = st.integers(2, 120).flatmap(
    lambda n: st.tuples(
        st.lists(st.sampled_from([i / 4 for i in range(-8, 9)]), min_size=n, max_size=n),
        st.lists(st.booleans(), min_size=n, max_size=n),
    )
)


def _arrays(problem):
    scores, positive = problem
    return np.array(scores), np.array(positive)


@given(problems)
def test_average_precision_equals_scikit_learn(problem):
    scores, positive = _arrays(problem)
    found = average_precision(counts_at_positives(scores, positive))
    if positive.any():
        assert found == pytest.approx(average_precision_score(positive, scores), abs=1e-12)
    else:
        assert np.isnan(found)


@pytest.mark.slow
@given(problems)
def test_the_best_threshold_is_the_best(problem):
    scores, positive = _arrays(problem)
    best = best_threshold(counts_at_positives(scores, positive))
    if positive.any():
        assert best.f1 == pytest.approx(max(f1_score(positive, scores >= t) for t in np.unique(scores)))
        assert best.f1 == pytest.approx(f1_score(positive, scores >= best.score))


@given(problems, st.integers(1, 64))
def test_bounds_from_bins_hold_the_exact_value(problem, bins):
    scores, positive = _arrays(problem)
    if positive.any():
        width = 4.5 / bins
        where = np.clip(((scores[~positive] + 2) / width).astype(int), 0, bins - 1)
        negatives = np.bincount(where, minlength=bins)
        bounds = average_precision_bounds(scores[positive], negatives, -2.0, width)
        exact = average_precision(counts_at_positives(scores, positive))
        assert bounds.lower - 1e-12 <= exact <= bounds.upper + 1e-12


def test_comparing_and_sorting_agree_at_the_switch():
    generator = np.random.default_rng(0)
    scores = generator.normal(size=500).round(1)
    for positives in (FEW_POSITIVES, FEW_POSITIVES + 1):
        positive = np.arange(500) < positives
        counts = counts_at_positives(scores, positive)
        np.testing.assert_array_equal(counts.predicted, [(scores >= s).sum() for s in counts.scores])


@given(problems)
def test_resampling_with_weight_one_changes_nothing(problem):
    scores, positive = _arrays(problem)
    counts = counts_at_positives(scores, positive)
    resampled = resampled_average_precision(counts, np.ones((3, len(scores))))
    np.testing.assert_allclose(resampled, average_precision(counts), atol=1e-12)


@pytest.mark.slow
@given(problems, st.integers(0, 2**31))
def test_whole_weights_are_repeated_positives(problem, seed):
    scores, positive = _arrays(problem)
    if positive.any():
        weights = np.where(positive, np.random.default_rng(seed).integers(1, 4, len(scores)), 1)
        resampled = resampled_average_precision(counts_at_positives(scores, positive), weights[None].astype(float))
        expected = average_precision_score(np.repeat(positive, weights), np.repeat(scores, weights))
        assert resampled[0] == pytest.approx(expected, abs=1e-12)
