"""Memory by batch size: the probe on known tensors and a fake device, and the line against exact data and scipy."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import theilslopes
from torch import nn

from tbmetrics import InputError
from tbmetrics.resource_usage.batch_memory import fit_memory, probe_batch_sizes, summarise
from tests.resource_usage.fakes import MIB, FakeClock, FakeCuda


def test_on_the_cpu_the_peak_is_that_of_the_tensors_made():
    def step(size):
        zeros = torch.zeros(size, 2**18)  # 1 MiB a sample
        (zeros + 1).sum()  # and 1 MiB more at the peak

    measured = probe_batch_sizes(step, [16, 4, 8, 8, 32])
    assert measured.sizes == (4, 8, 16, 32)
    assert measured.line.bytes_per_sample == pytest.approx(2 * MIB, rel=0.15)
    assert measured.failed_size is None
    assert measured.largest_batch_lower <= measured.largest_batch <= measured.largest_batch_upper
    assert measured.largest_batch == pytest.approx(measured.capacity_bytes / (2 * MIB), rel=0.3)


def test_a_device_that_runs_out_bounds_the_prediction():
    cuda = FakeCuda(FakeClock())
    cuda.allocate(100 * MIB)

    def step(size):
        if 100 + 10 * size > 1000:
            raise torch.OutOfMemoryError
        cuda.allocate(10 * size * MIB)
        cuda.allocate(-10 * size * MIB)

    measured = probe_batch_sizes(step, [10, 20, 40, 80, 160], device=cuda.device())
    assert measured.sizes == (10, 20, 40, 80)
    assert measured.peak_bytes == (200 * MIB, 300 * MIB, 500 * MIB, 900 * MIB)
    assert measured.failed_size == 160
    assert measured.line.fixed_bytes == pytest.approx(100 * MIB)
    assert (measured.largest_batch_lower, measured.largest_batch, measured.largest_batch_upper) == (90, 90, 90)


def test_a_failed_size_is_never_predicted():
    measured = summarise([10, 20], [100, 200], 25, 1000)
    assert measured.largest_batch == 24
    assert math.isnan(measured.largest_batch_lower)


def test_nothing_fits():
    def step(size):
        raise torch.OutOfMemoryError

    measured = probe_batch_sizes(step, [1, 2], device=FakeCuda(FakeClock()).device())
    assert (measured.sizes, measured.failed_size, measured.line) == ((), 1, None)
    assert math.isnan(measured.largest_batch)


def test_the_users_own_exceptions_pass():
    def step(size):
        raise KeyError(size)

    with pytest.raises(KeyError):
        probe_batch_sizes(step, [1, 2])


def test_a_model_is_as_before():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 16), nn.BatchNorm1d(16), nn.Dropout(0.5), nn.Linear(16, 2))
    model(torch.randn(4, 8)).sum().backward()
    state = {name: value.clone() for name, value in model.state_dict().items()}
    gradients = [p.grad for p in model.parameters()]
    copies = [g.clone() for g in gradients]
    random_state = torch.get_rng_state()

    def make_batch(size):
        return torch.randn(size, 8), torch.zeros(size, dtype=torch.long)

    measured = probe_batch_sizes((model, make_batch, nn.CrossEntropyLoss()), [4, 8, 16])
    assert measured.sizes == (4, 8, 16)
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    assert [p.grad for p in model.parameters()] == gradients  # the same objects
    assert all(torch.equal(p.grad, g) for p, g in zip(model.parameters(), copies, strict=True))
    assert torch.equal(torch.get_rng_state(), random_state)


@pytest.mark.parametrize("sizes", [[4], [4, 4], [0, 4], [4, 8.0], [True, 2], []])
def test_sizes_that_cannot_be_measured(sizes):
    with pytest.raises(InputError, match="at least two different whole numbers of at least 1"):
        probe_batch_sizes(lambda size: None, sizes)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_real_device():
    from tbmetrics.resource_usage.device import open_device

    torch.zeros(1, device="cuda")

    def step(size):
        torch.zeros(size, 2**20, device="cuda")  # 4 MiB a sample

    measured = probe_batch_sizes(step, [4, 8, 16, 32], device=open_device(None))
    assert measured.line.bytes_per_sample == pytest.approx(4 * MIB, rel=0.05)
    assert measured.largest_batch == pytest.approx(measured.capacity_bytes / (4 * MIB), rel=0.1)


# ------------------------------------------------------------------------------------------------------------- the line


SIZES = [8, 16, 32, 64, 128]


def test_an_exact_line_is_measured_exactly():
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
