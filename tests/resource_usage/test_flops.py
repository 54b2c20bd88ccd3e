"""Operations of a step: counted by hand, one whole step, and with a compiled model; peaks by the name of the device."""

import pytest
import torch
from torch import nn

from tbmetrics.resource_usage.flops import StepFlops, count_flops, peak_flops


def _step(model, x):
    model(x).sum().backward()


def test_a_step_of_a_linear_layer_is_six_times_batch_and_weights():
    model = nn.Sequential(nn.Linear(10, 20, bias=False), nn.Linear(20, 5, bias=False))
    x = torch.randn(7, 10)
    with count_flops() as count:
        _step(model, x)
    forward, weights = 2 * 7 * (10 * 20 + 20 * 5), 2 * 7 * (10 * 20 + 20 * 5)
    inputs_of_second = 2 * 7 * 20 * 5  # the first layer's inputs need no gradient
    assert count.flops == forward + weights + inputs_of_second


def test_an_exception_passes_and_leaves_nothing_behind():
    with pytest.raises(KeyError), count_flops():
        raise KeyError
    with count_flops() as count:
        torch.randn(2, 3) @ torch.randn(3, 4)
    assert count.flops == 2 * 2 * 3 * 4


def test_one_step_is_counted_from_the_end_of_the_second_to_that_of_the_third():
    model, x = nn.Linear(10, 3, bias=False), torch.randn(4, 10)
    flops = StepFlops()
    counted = []
    for _ in range(5):
        _step(model, x)
        flops.step_ended()
        counted.append(flops.flops)
    assert counted == [0, 0, 480, 480, 480]  # forward and the weights' gradient


def test_a_step_that_is_not_over_does_not_count():
    flops = StepFlops()
    for _ in range(2):
        flops.step_ended()
    torch.randn(2, 3) @ torch.randn(3, 4)
    flops.drop()
    flops.drop()
    assert flops.flops == 0
    flops.step_ended()
    torch.randn(2, 3) @ torch.randn(3, 5)
    flops.step_ended()
    assert flops.flops == 60


@pytest.mark.slow
def test_a_compiled_model_is_counted_and_stays_compiled():
    model, x = nn.Linear(10, 3, bias=False), torch.randn(4, 10)
    ran = []

    def backend(graph, _):
        return lambda *args: ran.append(1) or graph.forward(*args)

    compiled = torch.compile(model, backend=backend)
    compiled(x)
    with count_flops() as count:
        compiled(x)
    assert (count.flops, len(ran)) == (240, 1)
    compiled(x)
    assert len(ran) == 2


@pytest.mark.parametrize(
    ("name", "peak"),
    [
        ("NVIDIA A100-SXM4-80GB", 312e12),
        ("NVIDIA H100 PCIe", 756e12),
        ("NVIDIA H100 80GB HBM3", 989e12),
        ("NVIDIA A10G", 70e12),
        ("NVIDIA A10", 125e12),
        ("Tesla T4", 65e12),
        ("NVIDIA L40S", 362e12),
        ("NVIDIA GeForce RTX 4090", None),
        ("Quadro T400", None),
    ],
)
def test_peaks_are_known_by_name(name, peak):
    assert peak_flops(name) == peak
