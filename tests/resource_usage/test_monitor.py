"""ResourceMonitor: totals that add up, verdicts, the session, and loops without one."""

import json
import time

import numpy as np
import pytest
import torch
from torch import nn

from tbmetrics import InputError, ResourceMonitor, TBMetrics, read_run
from tbmetrics.resource_usage.device import Device
from tbmetrics.resource_usage.device_clock import CudaClock
from tbmetrics.resource_usage.memory import CudaMemory
from tests.resource_usage.fakes import Clock, FakeCuda


@pytest.fixture
def clock():
    return Clock()


def _epoch(monitor, clock, number=0, steps=10, loading=1, forward=3, backward=4, between=2):
    monitor.start_epoch(number)
    for step in range(1, steps + 1):
        for name, milliseconds in (("data_loading", loading), ("forward_pass", forward), ("backward_pass", backward)):
            with monitor.component(name):
                clock.pass_ms(milliseconds)
            if name == "data_loading":
                monitor.count_samples(32)
        clock.pass_ms(between)
        monitor.after_step(step)
    monitor.end_epoch()


def test_components_and_other_add_up_to_the_wall_clock(clock):
    monitor = ResourceMonitor(clock=clock)
    _epoch(monitor, clock)
    seconds = {name: rows[0]["self_time"] for name, rows in monitor.component_data.items()}
    assert seconds == {"data_loading": 0.01, "forward_pass": 0.03, "backward_pass": 0.04, "other": 0.02}
    assert sum(seconds.values()) == pytest.approx(monitor.epoch_data[0]["time"])


def test_an_epochs_row_says_what_it_was(clock):
    monitor = ResourceMonitor(clock=clock, total_epochs=5)
    _epoch(monitor, clock)
    row = monitor.epoch_data[0]
    assert row["throughput"] == pytest.approx(3200)
    assert row["steps_per_second"] == pytest.approx(100)
    assert (row["steps"], row["batches"], row["num_samples"], row["batch_size"]) == (10, 10, 320, 32)
    assert row["remaining_seconds"] == pytest.approx(0.4)
    assert row["memory"] > 0
    assert row["peak_memory"] is None


@pytest.mark.parametrize(("loading", "verdict"), [(1, "compute-bound"), (9, "input-bound")])
def test_the_bottleneck_on_the_cpu(clock, loading, verdict):
    monitor = ResourceMonitor(clock=clock)
    _epoch(monitor, clock, loading=loading)
    assert monitor.epoch_data[0]["bottleneck"] == verdict
    assert verdict in monitor.history.texts["resource_usage/summary"][-1].markdown


def _gpu(clock):
    cuda = FakeCuda(clock)
    device = torch.device("cuda", 0)
    return cuda, Device("NVIDIA H100", device, CudaClock(device, cuda), CudaMemory(device, cuda))


@pytest.mark.parametrize(("work", "verdict"), [(9, "compute-bound"), (0.2, "host-bound")])
def test_the_bottleneck_with_a_device(clock, work, verdict):
    cuda, device = _gpu(clock)
    monitor = ResourceMonitor(device=device, clock=clock)
    monitor.start_epoch(0)
    for _ in range(20):
        with monitor.component("forward_pass"):
            cuda.launch(work)
            clock.pass_ms(1)
    monitor.end_epoch()
    assert monitor.epoch_data[0]["bottleneck"] == verdict
    # between the marks; a device that waits for the host is idle inside them
    assert monitor.component_data["forward_pass"][0]["device_time"] == pytest.approx(20 * max(work, 1) / 1e3, rel=0.1)


def test_device_memory_by_component_and_epoch(clock):
    cuda, device = _gpu(clock)
    monitor = ResourceMonitor(device=device, clock=clock)
    monitor.start_epoch(0)
    for step in range(1, 21):
        monitor.count_samples(8)
        with monitor.component("forward_pass"):
            cuda.allocate(500)
            clock.pass_ms(1)
            cuda.allocate(-500)
        monitor.after_step(step)
    monitor.end_epoch()
    assert monitor.epoch_data[0]["peak_memory"] == 500
    assert monitor.component_data["forward_pass"][0]["peak_memory"] == 500
    assert monitor.history.scalars["resource_usage/memory/fragmentation_share"].values.tolist() == [0.1]
    assert monitor.history.scalars["resource_usage/memory/alloc_retries"].values.tolist() == [0]  # none in this epoch


def test_batch_sizes_of_epochs_predict_the_largest_one(clock):
    cuda, device = _gpu(clock)
    monitor = ResourceMonitor(device=device, clock=clock)
    for epoch, size in enumerate((8, 16, 32)):
        monitor.start_epoch(epoch)
        monitor.count_samples(size)
        cuda.allocate(1000 + 10 * size)
        cuda.allocate(-1000 - 10 * size)
        clock.pass_ms(1)
        monitor.end_epoch()
    scalars = monitor.history.scalars
    assert scalars["resource_usage/batch_memory/bytes_per_sample"].values[-1] == pytest.approx(10)
    assert scalars["resource_usage/batch_memory/largest_batch"].values[-1] == 500


def test_a_plain_loop_with_the_batch_given_at_the_end_writes_figures_and_json(tmp_path):
    monitor = ResourceMonitor(save_dir=tmp_path / "figures")
    for epoch in (1, 2):
        monitor.start_epoch(epoch)
        monitor.start_component("forward_pass")
        time.perf_counter()
        monitor.end_component("forward_pass")
        monitor.end_epoch(batch_size=16, num_samples=160)
    drawn = monitor.visualize()
    assert {"component_times", "component_shares", "throughput", "memory"} <= set(drawn)
    assert {path.stem for path in (tmp_path / "figures").glob("*.png")} == set(drawn)
    monitor.save_metrics(tmp_path / "deep" / "resources.json")
    saved = json.loads((tmp_path / "deep" / "resources.json").read_text())
    assert [row["batch_size"] for row in saved["epoch_data"]] == [16, 16]
    assert [row["epoch"] for row in saved["component_data"]["other"]] == [1, 2]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: ResourceMonitor(snapshots=True), "give save_dir"),
        (
            lambda: ResourceMonitor(device="gpu7"),
            "device must be one of torch's, such as 'cuda:0' .* got 'gpu7'",
        ),
        (lambda: ResourceMonitor().end_epoch(batch_size=-1), "batch_size must be a number of at least 0, got -1"),
    ],
)
def test_bad_arguments_are_refused(call, message):
    with pytest.raises(InputError, match=message):
        call()


def test_a_session_records_it_all_and_counts_its_own_cost(tmp_path):
    model = nn.Linear(4, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    batches = [(torch.randn(8, 4), torch.zeros(8, dtype=torch.long))] * 12
    with TBMetrics(tmp_path, model=model, optimizer=optimizer, strict=True) as tb:
        for _ in tb.epochs(range(2)):
            for images, labels in tb.batches(batches):
                with tb.component("forward_pass"):
                    loss = nn.functional.cross_entropy(model(images), labels)
                loss.backward()
                optimizer.step()
    scalars = read_run(tmp_path).scalars
    assert scalars["resource_usage/throughput_samples_per_second"].steps.tolist() == [0, 1]
    times = [tag for tag in scalars if tag.startswith("resource_usage/component_seconds/")]
    total = np.sum([scalars[tag].values for tag in times], axis=0)
    np.testing.assert_allclose(total, scalars["resource_usage/epoch_time_seconds"].values, rtol=1e-5)
    assert 0 < scalars["resource_usage/tbmetrics_overhead"].values[-1] < 1
    assert "resource_usage/tbmetrics_overhead/training_dynamics" in scalars
    assert "resource_usage/typical_step/seconds" in scalars
