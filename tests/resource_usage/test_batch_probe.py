"""Memory by batch size, measured on the CPU with a model whose memory is known."""

import math

import pytest
import torch
from torch import nn

from tbmetrics import InputError, ResourceMonitor
from tbmetrics.resource_usage.batch_probe import probe_batch_sizes


def _parts():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(256, 2048), nn.BatchNorm1d(2048), nn.Dropout(0.5), nn.Linear(2048, 8))
    return model, lambda size: (torch.randn(size, 256), torch.zeros(size, dtype=torch.long)), nn.CrossEntropyLoss()


def test_memory_rises_by_the_activations_of_a_sample():
    found = probe_batch_sizes(_parts(), [256, 64, 512, 1024])
    assert found.sizes == (64, 256, 512, 1024)
    assert found.failed_size is None
    # at least the outputs of two layers of 2,048 float32, kept for the backward pass
    assert 2 * 2048 * 4 < found.line.bytes_per_sample < 12 * 2048 * 4
    assert found.largest_batch > 1024
    assert found.largest_batch_lower <= found.largest_batch <= found.largest_batch_upper


def test_the_model_and_the_random_state_are_as_before():
    model, make_batch, loss = _parts()
    loss(model(make_batch(4)[0]), make_batch(4)[1]).backward()
    state = {k: v.clone() for k, v in model.state_dict().items()}
    gradients = [p.grad for p in model.parameters()]
    random = torch.get_rng_state()
    probe_batch_sizes((model, make_batch, loss), [2, 4])
    torch.testing.assert_close(model.state_dict(), state, rtol=0, atol=0)
    assert all(p.grad is g for p, g in zip(model.parameters(), gradients, strict=True))
    assert torch.equal(torch.get_rng_state(), random)


def test_a_size_that_does_not_fit_ends_the_probe_and_bounds_the_prediction():
    def step(size):
        if size > 32:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return torch.ones(size * 1000).sum()

    found = probe_batch_sizes(step, [8, 16, 32, 64, 128])
    assert found.sizes == (8, 16, 32)
    assert found.failed_size == 64
    assert found.largest_batch <= 63


def test_nothing_fits():
    def step(size):
        raise torch.OutOfMemoryError("CUDA out of memory")

    found = probe_batch_sizes(step, [8, 16])
    assert found.sizes == ()
    assert found.failed_size == 8
    assert math.isnan(found.largest_batch)


@pytest.mark.parametrize("sizes", [[8], [8, 8], [0, 8], [8, 1.5], []])
def test_sizes_that_cannot_be_measured_are_refused(sizes):
    with pytest.raises(InputError, match="sizes must be at least two different whole numbers"):
        probe_batch_sizes(lambda size: None, sizes)


def test_a_monitor_records_the_probe_and_draws_it(tmp_path):
    monitor = ResourceMonitor(tmp_path)
    monitor.probe_batch_sizes(_parts(), [64, 128, 256])
    assert monitor.history.scalars["resource_usage/memory_by_batch_size/peak_bytes"].steps.tolist() == [64, 128, 256]
    assert monitor.history.scalars["resource_usage/batch_memory/bytes_per_sample"].values[-1] > 0
    assert "memory_by_batch_size" in monitor.visualize()
    assert (tmp_path / "memory_by_batch_size.png").exists()
