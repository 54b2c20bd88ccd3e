"""The line of memory over batch size: exact data, wild points, the coverage of its interval, and scipy."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import theilslopes

from tbmetrics.resource_usage.memory_fit import fit_memory

SIZES = [8, 16, 32, 64, 128]


def test_an_exact_line_is_found_exactly():
    line = fit_memory(SIZES, [1e9 + 3e6 * s for s in SIZES])
    assert line.fixed_bytes == pytest.approx(1e9)
    assert line.bytes_per_sample == pytest.approx(3e6)
    assert line.at(10) == pytest.approx(1e9 + 3e7)
    best, lower, upper = line.largest_batch(4e9)
    assert best == lower == upper == 1000


def test_a_wild_point_does_not_move_it():
    peaks = [1e9 + 3e6 * s for s in SIZES]
    peaks[2] *= 5
    line = fit_memory(SIZES, peaks)
    assert line.bytes_per_sample == pytest.approx(3e6, rel=0.01)
    assert line.fixed_bytes == pytest.approx(1e9, rel=0.01)


@given(st.lists(st.tuples(st.integers(1, 512), st.floats(1e6, 1e11)), min_size=3, max_size=30))
def test_slope_and_interval_are_scipys(points):
    sizes, peaks = zip(*points, strict=True)
    if len(set(sizes)) < 3 or len(set(peaks)) < len(peaks):
        return
    line = fit_memory(sizes, peaks)
    slope, _, _, _ = theilslopes(peaks, sizes)
    assert line.bytes_per_sample == pytest.approx(slope, rel=1e-9, abs=1e-3)
    assert line.bytes_per_sample_lower <= line.bytes_per_sample <= line.bytes_per_sample_upper


def test_the_interval_covers_the_true_slope():
    rng = np.random.default_rng(0)
    sizes = np.repeat([8, 16, 24, 32, 48, 64], 3)
    inside = 0
    for _ in range(400):
        line = fit_memory(sizes, 1e9 + 3e6 * sizes + rng.normal(0, 2e7, len(sizes)))
        inside += line.bytes_per_sample_lower <= 3e6 <= line.bytes_per_sample_upper
    assert 0.92 <= inside / 400 <= 0.99


def test_two_sizes_give_a_line_without_an_interval():
    line = fit_memory([8, 16, 16], [100, 180, 180])
    assert line.bytes_per_sample == 10
    assert math.isnan(line.bytes_per_sample_lower)
    best, lower, upper = line.largest_batch(1000)
    assert best == 98
    assert math.isnan(lower)
    assert math.isnan(upper)


def test_one_size_gives_no_line():
    assert fit_memory([8, 8], [1, 2]) is None
    assert fit_memory([], []) is None


def test_memory_that_does_not_grow_has_no_largest_batch():
    assert fit_memory(SIZES, [5.0] * 5).largest_batch(10)[0] == math.inf


def test_what_was_measured_to_fit_bounds_the_prediction():
    line = fit_memory([1, 2, 64], [400, 800, 900])
    best, _, _ = line.largest_batch(1000)
    assert best >= 64
