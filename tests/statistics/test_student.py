"""Student's t against SciPy, and the tab's own code is the same test."""

import math

import numpy as np
import pytest
from scipy import stats

from tbmetrics.statistics.student import mean_interval, student_quantile, student_tails, welch


@pytest.mark.parametrize("freedom", [1, 2, 3, 4, 7, 30])
def test_tails_and_quantiles_are_scipys(freedom):
    for t in (0.0, 0.3, 1.0, 2.5, 12.0):
        assert student_tails(t, freedom) == pytest.approx(2 * stats.t.sf(t, freedom), abs=1e-12)
        assert student_tails(-t, freedom) == student_tails(t, freedom)
    for share in (0.5, 0.05, 0.001):
        assert student_quantile(share, freedom) == pytest.approx(stats.t.ppf(1 - share / 2, freedom))


def test_the_interval_of_a_mean_is_scipys():
    values = [0.41, 0.47, 0.39, 0.5]
    expected = stats.t.interval(0.95, 3, np.mean(values), stats.sem(values))
    assert mean_interval(values) == pytest.approx(expected)
    assert all(math.isnan(end) for end in mean_interval([0.4]))


def test_two_means_of_equal_sizes_and_spreads_differ_as_welch_says_with_fewer_degrees_of_freedom():
    a, b = [0.1, 0.2, 0.3], [0.5, 0.7, 0.6, 0.65]
    result = welch(a, b)
    statistic = stats.ttest_ind(b, a, equal_var=False).statistic
    assert result.difference == pytest.approx(np.mean(b) - np.mean(a))
    assert result.p == pytest.approx(2 * stats.t.sf(statistic, 2))
    assert (result.lower + result.upper) / 2 == pytest.approx(result.difference)
    assert (result.lower > 0) == (result.p < 0.05)


def test_too_few_cannot_be_told_and_equal_values_do_not_differ():
    assert math.isnan(welch([0.1, 0.2], [0.5, 0.6, 0.7]).p)
    assert welch([0.5] * 3, [0.5] * 3) == (0, 0, 0, 1)
    assert welch([0.5] * 3, [0.6] * 3).p == 0
