"""The line of memory over batch size, against scipy's Theil–Sen."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import theilslopes

from tbmetrics.resource_usage.memory_fit import fit_memory

SIZES = [8, 16, 32, 64, 128]


def test_an_exact_line_is_found_and_predicts():
    line = fit_memory(SIZES, [1000 + 7 * size for size in SIZES])
    assert (line.fixed_bytes, line.bytes_per_sample) == (1000, 7)
    assert line.at(100) == 1700
    assert line.largest_batch(1000 + 7 * 200) == (200, 200, 200)


def test_a_wild_point_does_not_move_it():
    peaks = [1000 + 7 * size for size in SIZES]
    peaks[2] = 10**9
    line = fit_memory(SIZES, peaks)
    assert line.bytes_per_sample == pytest.approx(7)


@given(st.lists(st.tuples(st.integers(1, 512), st.integers(0, 10**9)), min_size=2, max_size=20))
def test_the_slope_is_scipys(points):
    sizes, peaks = zip(*points, strict=True)
    line = fit_memory(sizes, peaks)
    if len(set(sizes)) < 2:
        assert line is None
        return
    with np.errstate(invalid="ignore"):  # scipy's interval, not its slope
        expected = theilslopes(peaks, sizes)
    assert line.bytes_per_sample == pytest.approx(expected.slope, rel=1e-9, abs=1e-6)
    if len(set(sizes)) > 2:
        assert line.bytes_per_sample_lower <= line.bytes_per_sample <= line.bytes_per_sample_upper


def test_the_interval_covers_the_truth_about_as_often_as_it_says():
    random = np.random.default_rng(0)
    sizes = np.repeat([8, 16, 32, 64], 5)
    covered = 0
    for _ in range(300):
        line = fit_memory(sizes, 1000 + 7 * sizes + random.normal(0, 20, sizes.size))
        covered += line.bytes_per_sample_lower <= 7 <= line.bytes_per_sample_upper
    assert covered / 300 > 0.93


def test_two_sizes_have_no_interval_and_a_falling_line_no_limit():
    line = fit_memory([8, 16], [100, 200])
    assert np.isnan([line.bytes_per_sample_lower, line.bytes_per_sample_upper]).all()
    assert fit_memory([8, 16], [200, 100]).largest_batch(1000)[0] == np.inf


def test_what_was_measured_to_fit_is_the_least_that_is_predicted():
    line = fit_memory([8, 16, 32], [100, 900, 950])
    assert min(line.largest_batch(1000)) >= 32
