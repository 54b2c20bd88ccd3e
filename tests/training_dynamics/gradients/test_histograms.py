"""Device histograms against numpy on the same edges."""

import numpy as np
import pytest
import torch

from tbmetrics.training_dynamics.gradients.histograms import _LAYOUTS, measure, summarise


def _summary(tensor):
    measured = measure(tensor)
    return summarise("t", measured.dtype, measured.counts.numpy(), [float(end) for end in measured.extremes])


@pytest.mark.parametrize("dtype", list(_LAYOUTS))
@pytest.mark.parametrize("scale", [1e-6, 1.0, 300.0])
def test_counts_equal_numpys_on_the_same_edges(dtype, scale):
    values = (torch.randn(5000, generator=torch.Generator().manual_seed(0)) * scale).to(dtype)
    values[:100] = 0
    summary = _summary(values)
    limits, counts = summary.histogram.limits, summary.histogram.counts
    exact = values.double().numpy()
    positive = exact[exact > 0]
    inner = limits[limits > 0]
    expected, _ = np.histogram(positive, inner)
    first = int(np.flatnonzero(limits > 0)[0])
    # numpy's last bin is closed on the right, ours are not: no value sits on the last edge by construction
    np.testing.assert_array_equal(counts[first + 1 :], expected)
    assert counts.sum() == 5000
    assert summary.histogram.minimum == exact.min()
    assert summary.histogram.maximum == exact.max()
    assert summary.histogram.total == pytest.approx(exact.sum(), abs=max(0.05 * np.abs(exact).sum(), 5000 * 2.0**-17))
    assert summary.histogram.sum_of_squares == pytest.approx((exact**2).sum(), rel=0.05, abs=5000 * 2.0**-34)


def test_every_value_lies_in_its_bucket_for_negatives_too():
    values = -(torch.rand(1000, generator=torch.Generator().manual_seed(1)) + 0.01)
    histogram = _summary(values).histogram
    left = np.searchsorted(histogram.limits, values.double().numpy(), side="left")
    np.testing.assert_array_equal(np.bincount(left, minlength=len(histogram.counts)), histogram.counts)


def test_a_tensor_larger_than_the_cache_is_counted_whole():
    values = torch.rand(300_000, generator=torch.Generator().manual_seed(3)) + 0.01
    histogram = _summary(values).histogram
    left = np.searchsorted(histogram.limits, values.double().numpy(), side="right")  # buckets are open on the right
    np.testing.assert_array_equal(np.bincount(left, minlength=len(histogram.counts)), histogram.counts)


@pytest.mark.parametrize("dtype", list(_LAYOUTS))
def test_nan_and_infinity_are_counted_apart_and_left_out(dtype):
    values = torch.tensor([1.0, 2.0, float("nan"), float("inf"), -float("inf"), 0.0, -0.0], dtype=dtype)
    summary = _summary(values)
    assert (summary.n_nan, summary.n_inf) == (1, 2)
    assert summary.zero_share == pytest.approx(2 / 7)
    assert summary.histogram.counts.sum() == 4
    assert np.isfinite([summary.histogram.total, summary.histogram.sum_of_squares]).all()


def test_empty_and_foreign_tensors():
    assert _summary(torch.empty(0)).histogram.counts.tolist() == [0.0]
    assert np.isnan(_summary(torch.empty(0)).zero_share)
    with pytest.raises(TypeError, match=r"got torch\.int64"):
        measure(torch.ones(3, dtype=torch.int64))


def test_strided_and_scalar_tensors_are_measured_whole():
    base = torch.arange(1.0, 13.0).reshape(3, 4)
    assert _summary(base.t()).histogram.counts.sum() == 12
    assert _summary(torch.tensor(3.0)).histogram.counts.sum() == 1


def test_a_record_holds_few_buckets_however_far_apart_the_values_are():
    values = torch.randn(100_000, generator=torch.Generator().manual_seed(2))
    assert len(_summary(values).histogram.counts) < 220
    apart = _summary(torch.tensor([-1e30, -1e-30, 0.0, 1e-30, 1e30])).histogram
    assert len(apart.counts) <= 11
    assert apart.counts.sum() == 5
    assert (np.diff(apart.limits) > 0).all()
