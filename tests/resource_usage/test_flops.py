"""FLOPs of a step against arithmetic by hand."""

import pytest
import torch

from tbmetrics import ResourceMonitor
from tbmetrics.resource_usage.flops import count_flops, peak_flops
from tests.resource_usage.fakes import Clock


def test_forward_and_backward_of_a_linear_layer():
    layer, images = torch.nn.Linear(64, 32, bias=False), torch.randn(16, 64)
    with count_flops() as count:
        layer(images).sum().backward()
    assert count.flops == 2 * 16 * 64 * 32 * 2  # forward, and the weight's gradient


@pytest.mark.parametrize(
    ("name", "peak"),
    [
        ("NVIDIA H100 PCIe", 756e12),
        ("NVIDIA H100 80GB HBM3", 989e12),
        ("NVIDIA A100-SXM4-80GB", 312e12),
        ("NVIDIA L40S", 362e12),
        ("Radeon", None),
    ],
)
def test_peaks_are_known_by_the_devices_name(name, peak):
    assert peak_flops(name) == peak


def test_the_utilisation_is_what_was_achieved_over_the_peak():
    clock = Clock()
    monitor = ResourceMonitor(clock=clock, peak_flops=1e9)
    layer = torch.nn.Linear(100, 100, bias=False)
    with monitor.measure_flops():
        layer(torch.randn(50, 100))
    monitor.start_epoch(0)
    for step in range(1, 11):
        clock.pass_ms(10)
        monitor.after_step(step)
    monitor.end_epoch()
    assert monitor.epoch_data[0]["mfu"] == pytest.approx(10 * 2 * 50 * 100 * 100 / 0.1 / 1e9)
