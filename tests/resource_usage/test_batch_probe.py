"""The probe: known sizes of tensors, a fake device that runs out of memory, a model left as it was."""

import math

import pytest
import torch
from torch import nn

from tbmetrics import InputError
from tbmetrics.resource_usage.batch_probe import probe_batch_sizes, summarise
from tests.resource_usage.fakes import MIB, FakeClock, FakeCuda


def test_on_the_cpu_the_peak_is_that_of_the_tensors_made():
    def step(size):
        kept = torch.zeros(size, 2**18)  # 1 MiB a sample
        (kept + 1).sum()  # and 1 MiB more at the peak

    found = probe_batch_sizes(step, [16, 4, 8, 8, 32])
    assert found.sizes == (4, 8, 16, 32)
    assert found.line.bytes_per_sample == pytest.approx(2 * MIB, rel=0.15)
    assert found.failed_size is None
    assert found.largest_batch_lower <= found.largest_batch <= found.largest_batch_upper
    assert found.largest_batch == pytest.approx(found.capacity_bytes / (2 * MIB), rel=0.3)


def test_a_device_that_runs_out_bounds_the_prediction():
    cuda = FakeCuda(FakeClock())
    cuda.allocate(100 * MIB)

    def step(size):
        if 100 + 10 * size > 1000:
            raise torch.OutOfMemoryError
        cuda.allocate(10 * size * MIB)
        cuda.allocate(-10 * size * MIB)

    found = probe_batch_sizes(step, [10, 20, 40, 80, 160], device=cuda.device())
    assert found.sizes == (10, 20, 40, 80)
    assert found.peak_bytes == (200 * MIB, 300 * MIB, 500 * MIB, 900 * MIB)
    assert found.failed_size == 160
    assert found.line.fixed_bytes == pytest.approx(100 * MIB)
    assert (found.largest_batch_lower, found.largest_batch, found.largest_batch_upper) == (90, 90, 90)


def test_a_failed_size_is_never_predicted():
    found = summarise([10, 20], [100, 200], 25, 1000)
    assert found.largest_batch == 24
    assert math.isnan(found.largest_batch_lower)


def test_nothing_fits():
    def step(size):
        raise torch.OutOfMemoryError

    found = probe_batch_sizes(step, [1, 2], device=FakeCuda(FakeClock()).device())
    assert (found.sizes, found.failed_size, found.line) == ((), 1, None)
    assert math.isnan(found.largest_batch)


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

    found = probe_batch_sizes((model, make_batch, nn.CrossEntropyLoss()), [4, 8, 16])
    assert found.sizes == (4, 8, 16)
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

    found = probe_batch_sizes(step, [4, 8, 16, 32], device=open_device(None))
    assert found.line.bytes_per_sample == pytest.approx(4 * MIB, rel=0.05)
    assert found.largest_batch == pytest.approx(found.capacity_bytes / (4 * MIB), rel=0.1)
