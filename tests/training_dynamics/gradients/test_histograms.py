"""Device histograms against numpy on the same edges."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tbmetrics.training_dynamics.gradients.histograms import _LAYOUTS, SUB_BITS, measure, summarise


def _histograms(tensors):
    measured = measure(tensors)
    tags = [str(row) for row in range(len(tensors))]
    return summarise(tags, measured.dtype, measured.counts.numpy(), measured.extremes.double().numpy())


def _histogram(tensor):
    return _histograms([tensor])[0]


@pytest.mark.parametrize("dtype", list(_LAYOUTS))
@pytest.mark.parametrize("scale", [1e-6, 1.0, 300.0])
def test_counts_equal_numpys_on_the_same_edges(dtype, scale):
    values = (torch.randn(5000, generator=torch.Generator().manual_seed(0)) * scale).to(dtype)
    values[:100] = 0
    histogram = _histogram(values)
    limits, counts = histogram.limits, histogram.counts
    exact = values.double().numpy()
    positive = exact[exact > 0]
    inner = limits[limits > 0]
    expected, _ = np.histogram(positive, inner)
    first = int(np.flatnonzero(limits > 0)[0])
    # numpy's last bin is closed on the right, ours are not: no value sits on the last edge by construction
    np.testing.assert_array_equal(counts[first + 1 :], expected)
    assert counts.sum() == 5000
    assert histogram.minimum == exact.min()
    assert histogram.maximum == exact.max()
    assert histogram.total == pytest.approx(exact.sum(), abs=max(0.05 * np.abs(exact).sum(), 5000 * 2.0**-17))
    assert histogram.sum_of_squares == pytest.approx((exact**2).sum(), rel=0.05, abs=5000 * 2.0**-34)


def test_every_value_lies_in_its_bucket_for_negatives_too():
    values = -(torch.rand(1000, generator=torch.Generator().manual_seed(1)) + 0.01)
    histogram = _histogram(values)
    left = np.searchsorted(histogram.limits, values.double().numpy(), side="left")
    np.testing.assert_array_equal(np.bincount(left, minlength=len(histogram.counts)), histogram.counts)


def test_a_tensor_larger_than_the_cache_is_counted_whole():
    values = torch.rand(300_000, generator=torch.Generator().manual_seed(3)) + 0.01
    histogram = _histogram(values)
    left = np.searchsorted(histogram.limits, values.double().numpy(), side="right")  # buckets are open on the right
    np.testing.assert_array_equal(np.bincount(left, minlength=len(histogram.counts)), histogram.counts)


@pytest.mark.parametrize("dtype", list(_LAYOUTS))
def test_nan_and_infinity_are_left_out(dtype):
    values = torch.tensor([1.0, 2.0, float("nan"), float("inf"), -float("inf"), 0.0, -0.0], dtype=dtype)
    histogram = _histogram(values)
    assert histogram.counts.sum() == 4
    assert (histogram.minimum, histogram.maximum) == (histogram.limits[0], histogram.limits[-1])
    assert np.isfinite([histogram.total, histogram.sum_of_squares]).all()


def test_a_tensor_of_nan_alone_has_an_empty_histogram_beside_others():
    found = _histograms([torch.ones(3), torch.full((5,), torch.nan), torch.full((2,), -2.0)])
    assert [histogram.counts.sum() for histogram in found] == [3, 0, 2]
    assert [histogram.maximum for histogram in found] == [1, 0, -2]
    assert found[1].limits.tolist() == [0]


def test_foreign_tensors_are_refused():
    with pytest.raises(TypeError, match=r"got torch\.int64"):
        measure([torch.ones(3, dtype=torch.int64)])


@given(
    sizes=st.lists(st.sampled_from([1, 2, 48, 5000, 70_000, 140_000]), min_size=1, max_size=5),
    dtype=st.sampled_from(sorted(_LAYOUTS, key=str)),
    seed=st.integers(0, 2**31),
)
@settings(max_examples=25)
def test_tensors_measured_together_equal_numpys_counts_of_each(sizes, dtype, seed):
    generator = torch.Generator().manual_seed(seed)
    tensors = [torch.randn(size, generator=generator).add_(row) for row, size in enumerate(sizes)]
    tensors = [torch.where(tensor.abs() < 2**-10, 0, tensor).to(dtype) for tensor in tensors]  # nothing subnormal
    for row, (tensor, histogram) in enumerate(zip(tensors, _histograms(tensors), strict=True)):
        values = tensor.double().numpy()
        nonzero = values[values != 0]
        widths = 2.0 ** (np.floor(np.log2(np.abs(nonzero))) - SUB_BITS)
        near_edges = np.floor(np.abs(nonzero) / widths) * widths
        limits, counts = np.unique(np.where(nonzero > 0, near_edges + widths, -near_edges), return_counts=True)
        holds_nonzero = (histogram.counts > 0) & np.isin(histogram.limits, limits)
        assert histogram.tag == str(row)
        np.testing.assert_array_equal(histogram.limits[holds_nonzero], limits)
        np.testing.assert_array_equal(histogram.counts[holds_nonzero], counts)
        assert histogram.counts.sum() == len(values)
        assert (histogram.minimum, histogram.maximum) == (values.min(), values.max())
        assert histogram.total == pytest.approx(values.sum(), abs=np.abs(values).sum() / 8)


def test_strided_and_scalar_tensors_are_measured_whole():
    base = torch.arange(1.0, 13.0).reshape(3, 4)
    assert _histogram(base.t()).counts.sum() == 12
    assert _histogram(torch.tensor(3.0)).counts.sum() == 1


def test_a_record_holds_few_buckets_however_far_apart_the_values_are():
    values = torch.randn(100_000, generator=torch.Generator().manual_seed(2))
    assert len(_histogram(values).counts) < 220
    apart = _histogram(torch.tensor([-1e30, -1e-30, 0.0, 1e-30, 1e30]))
    assert len(apart.counts) <= 11
    assert apart.counts.sum() == 5
    assert (np.diff(apart.limits) > 0).all()
