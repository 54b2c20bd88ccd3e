"""ResourceMonitor alone: whole epochs on a clock set by hand, on the CPU and on a stand-in for a CUDA device."""

import json
import random
import threading
import time
from dataclasses import replace

import matplotlib.backends.backend_agg  # noqa: F401 (images are drawn while training once it is loaded)
import pytest
import torch

from tbmetrics import InputError, ResourceMonitor, TBMetricsWarning
from tbmetrics.records.history import History
from tbmetrics.resource_usage.device import DeviceMeters
from tests.resource_usage.fakes import MIB, FakeAllocator, FakeClock, FakeCuda, FakeNvml

TAG = "resource_usage"


def _value(monitor, name, index=-1):
    return monitor.history.scalars[f"{TAG}/{name}"][index]


def _pass_epochs(monitor, clock, *, epochs=1, steps=10, batch=32, cuda=None, device_ms=0.0):
    for epoch in range(epochs):
        monitor.start_epoch(epoch)
        for step in range(steps):
            with monitor.component("data_loading"):
                clock.pass_ms(2)
            monitor.count_samples(batch, tokens=100)
            with monitor.component("forward_pass"):
                if cuda is not None:
                    cuda.allocate(batch * MIB)
                    cuda.launch(device_ms)
                clock.pass_ms(5)
            with monitor.component("backward_pass"):
                clock.pass_ms(6)
                if cuda is not None:
                    cuda.allocate(-batch * MIB)
            clock.pass_ms(1)
            monitor.after_step(epoch * steps + step + 1)
        clock.pass_ms(60)
        monitor.end_epoch()


def test_the_plain_calls_work_and_time_adds_up(tmp_path):
    clock = FakeClock()
    monitor = ResourceMonitor(save_dir=tmp_path / "figures", clock=clock)
    for epoch in range(2):
        monitor.start_epoch(epoch)
        for _ in range(4):
            monitor.start_component("forward_pass")
            clock.pass_ms(30)
            monitor.start_component("loss")
            clock.pass_ms(10)
            monitor.end_component("loss")
            monitor.end_component("forward_pass")
            clock.pass_ms(10)
        monitor.end_epoch(batch_size=16, num_samples=64)
        monitor.end_epoch(batch_size=16, num_samples=64)  # again: nothing
    assert len(monitor.epoch_data) == 2
    row = monitor.epoch_data[1]
    assert (row["epoch"], row["time"], row["batch_size"], row["num_samples"]) == (1, 0.2, 16, 64)
    assert row["throughput"] == pytest.approx(320)
    assert row["memory"] > 0
    assert isinstance(row["memory_change"], int)
    times = {name: rows[1]["time"] for name, rows in monitor.component_data.items()}
    assert times == pytest.approx({"forward_pass": 0.16, "loss": 0.04, "other": 0.04})
    self_times = [rows[1]["self_time"] for rows in monitor.component_data.values()]
    assert sum(self_times) == pytest.approx(row["time"])
    assert monitor.component_data["loss"][0]["count"] == 4

    drawn = monitor.visualize()
    written = {path.stem for path in (tmp_path / "figures").glob("*.png")}
    assert written == set(drawn) == {"component_times", "component_shares", "throughput", "memory"}
    monitor.save_metrics(tmp_path / "made" / "metrics.json")
    assert json.loads((tmp_path / "made" / "metrics.json").read_text()) == monitor.get_metrics()


def test_totals_add_up_to_the_wall_clock():
    rng = random.Random(0)
    monitor = ResourceMonitor()
    before = time.perf_counter()
    monitor.start_epoch(0)
    began = time.perf_counter()
    for _ in range(300):
        with monitor.component(rng.choice("abc")), monitor.component(rng.choice("abc")):
            sum(range(rng.randrange(60_000)))
    ended = time.perf_counter()
    monitor.end_epoch()
    after = time.perf_counter()
    total = sum(rows[0]["self_time"] for rows in monitor.component_data.values())
    assert total == pytest.approx(monitor.epoch_data[0]["time"], rel=1e-9)
    assert ended - began <= total <= after - before


def test_rates_steps_and_the_time_left():
    clock = FakeClock()
    monitor = ResourceMonitor(clock=clock, total_epochs=5)
    _pass_epochs(monitor, clock, epochs=2)
    row = monitor.epoch_data[-1]
    seconds = 10 * 0.014 + 0.06
    assert row["time"] == pytest.approx(seconds)
    assert (row["batches"], row["steps"], row["num_samples"], row["batch_size"]) == (10, 10, 320, 32)
    assert row["throughput"] == pytest.approx(320 / seconds)
    assert row["steps_per_second"] == pytest.approx(10 / seconds)
    assert row["tokens_per_second"] == pytest.approx(1000 / seconds)
    assert row["remaining_seconds"] == pytest.approx(3 * seconds)
    assert _value(monitor, "step_seconds/median") == pytest.approx(0.014)
    smoothed = monitor.history.scalars[f"{TAG}/smoothed_samples_per_second"]
    assert smoothed.steps.tolist() == list(range(2, 21))  # per step; known once the first batch is done
    assert smoothed.values == pytest.approx([32 / 0.014] * 19)
    assert row["bottleneck"] == "compute-bound"
    assert _value(monitor, "data_loading_share") == pytest.approx(0.02 / seconds)


def test_a_given_number_of_epochs_rules():
    monitor = ResourceMonitor(total_epochs=7)
    monitor.expect_epochs(3)
    assert monitor.total_epochs == 7
    monitor = ResourceMonitor()
    monitor.expect_epochs(3)
    assert monitor.total_epochs == 3


def test_the_cpu_reports_what_exists_and_nothing_else():
    clock = FakeClock()
    monitor = ResourceMonitor(clock=clock, device="cpu")
    _pass_epochs(monitor, clock)
    names = {tag.removeprefix(f"{TAG}/memory/") for tag in monitor.history.scalars if tag.startswith(f"{TAG}/memory/")}
    assert names == {"host_rss_bytes", "host_peak_rss_bytes"}
    assert not [tag for tag in monitor.history.scalars if "device" in tag or "flops" in tag]
    assert monitor.epoch_data[0]["peak_memory"] is None
    assert monitor.component_data["forward_pass"][0]["device_time"] is None


def test_a_cuda_device_gives_device_times_peaks_and_a_verdict():
    clock = FakeClock()
    cuda = FakeCuda(clock)
    monitor = ResourceMonitor(clock=clock, device=cuda.device())
    cuda.allocate(100 * MIB)
    _pass_epochs(monitor, clock, cuda=cuda, device_ms=40.0)
    row = monitor.epoch_data[0]
    assert row["bottleneck"] == "compute-bound"
    assert row["time"] == pytest.approx(0.402)  # over when the device is: ten times 40 ms after the first 2
    forward = monitor.component_data["forward_pass"][0]
    assert (forward["count"], forward["device_count"]) == (10, 10)
    assert forward["device_time"] == pytest.approx(0.4)
    assert forward["peak_memory"] == 132 * MIB
    assert (row["memory"], row["memory_change"], row["peak_memory"]) == (100 * MIB, 0, 132 * MIB)
    assert _value(monitor, "memory/peak_bytes") == 132 * MIB
    assert _value(monitor, "memory/component_peak_bytes/backward_pass") == 132 * MIB
    assert _value(monitor, "memory/fragmentation_share") == 0
    total = sum(rows[0]["self_time"] for rows in monitor.component_data.values())
    assert total == pytest.approx(row["time"])


def test_counters_of_the_allocator_are_by_epoch():
    clock = FakeClock()
    cuda = FakeCuda(clock)
    cuda.retries = 5
    monitor = ResourceMonitor(clock=clock, device=cuda.device())
    for added in (2, 0):
        monitor.start_epoch(added)
        cuda.retries += added
        clock.pass_ms(1)
        monitor.end_epoch()
        assert _value(monitor, "memory/alloc_retries", [0, -1][added == 2]) == added


@pytest.mark.slow
def test_epochs_of_different_batch_sizes_give_the_largest_that_fits():
    clock = FakeClock()
    cuda = FakeCuda(clock)
    cuda.allocate(100 * MIB)
    monitor = ResourceMonitor(clock=clock, device=cuda.device())
    for epoch, batch in enumerate((8, 16, 32)):
        monitor.start_epoch(epoch)
        cuda.allocate(batch * 10 * MIB)
        cuda.allocate(-batch * 10 * MIB)
        clock.pass_ms(1)
        monitor.end_epoch(batch_size=batch, num_samples=batch)
    assert _value(monitor, "batch_memory/fixed_bytes") == pytest.approx(100 * MIB)
    assert _value(monitor, "batch_memory/bytes_per_sample") == pytest.approx(10 * MIB)
    assert _value(monitor, "batch_memory/largest_batch") == 90
    assert "memory_by_batch_size" in monitor.visualize()


def test_probed_sizes_are_recorded_over_the_batch_size():
    monitor = ResourceMonitor(device="cpu")
    measured = monitor.probe_batch_sizes(lambda size: torch.zeros(size, 2**18), [2, 4, 8])
    series = monitor.history.scalars[f"{TAG}/memory_by_batch_size/peak_bytes"]
    assert series.steps.tolist() == [2, 4, 8]
    assert series.values.tolist() == list(measured.peak_bytes)
    assert _value(monitor, "batch_memory/largest_batch") == measured.largest_batch
    assert list(monitor.visualize()) == ["memory_by_batch_size"]


def test_flops_of_one_step_give_the_utilisation():
    clock = FakeClock()
    monitor = ResourceMonitor(clock=clock, peak_flops=1e6)
    with monitor.measure_flops() as count:
        torch.randn(10, 10) @ torch.randn(10, 10)
    assert count.flops == 2000
    _pass_epochs(monitor, clock)
    assert monitor.epoch_data[0]["mfu"] == pytest.approx(2000 * 10 / 0.2 / 1e6)
    assert _value(monitor, "model_flops_utilisation") == pytest.approx(0.1)


def test_flops_are_counted_in_one_step_where_asked_for():
    clock = FakeClock()
    monitor = ResourceMonitor(clock=clock, flops=True, peak_flops=1e6)
    monitor.start_epoch(0)
    for step in range(1, 5):
        torch.randn(10, 10) @ torch.randn(10, 10)
        clock.pass_ms(10)
        monitor.after_step(step)
    monitor.end_epoch()
    assert _value(monitor, "flops_per_second") == pytest.approx(2000 * 4 / 0.04)


def test_an_epoch_that_ends_within_the_counted_step_leaves_no_mode_behind():
    from torch.utils._python_dispatch import _get_current_dispatch_mode

    monitor = ResourceMonitor(flops=True)
    monitor.start_epoch(0)
    monitor.after_step(1)
    monitor.after_step(2)
    assert _get_current_dispatch_mode() is not None
    monitor.end_epoch()
    assert _get_current_dispatch_mode() is None
    monitor.start_epoch(1)
    monitor.after_step(3)
    monitor.stop()
    assert _get_current_dispatch_mode() is None


def test_components_do_not_cross_epochs():
    clock = FakeClock()
    monitor = ResourceMonitor(clock=clock)
    monitor.start_epoch(0)
    monitor.start_component("a")
    clock.pass_ms(10)
    with pytest.warns(TBMetricsWarning, match="'a' was still open when the epoch ended"):
        monitor.start_epoch(1)
    clock.pass_ms(5)
    monitor.end_component("a")
    monitor.end_epoch()
    assert [rows[0]["time"] for rows in monitor.component_data.values()] == [0.01, 0.0]
    assert monitor.component_data["other"][1]["time"] == 0.005


def test_records_hand_over_once():
    clock = FakeClock()
    monitor = ResourceMonitor(clock=clock)
    monitor.join(History())
    _pass_epochs(monitor, clock, steps=3)
    first = list(monitor.records(0))
    assert {timed.step for timed in first} == {0, 2, 3}
    assert list(monitor.records(0)) == []
    monitor.start_epoch(1)
    assert list(monitor.records(1))  # ends the open epoch


def test_drawing_images_stays_a_small_share_of_the_time():
    clock = FakeClock()
    monitor = ResourceMonitor(clock=clock, images=True)
    _pass_epochs(monitor, clock)
    assert not monitor.history.images  # a first drawing would be too dear so early
    clock.pass_ms(120_000)
    monitor.start_epoch(1)
    with monitor.component("forward_pass"):
        clock.pass_ms(10)
    monitor.end_epoch()
    assert set(monitor.history.images) == {f"{TAG}/component_times", f"{TAG}/component_shares"}
    assert monitor.closing() == []  # of the last epoch already


@pytest.mark.slow
def test_images_stay_few_in_a_long_run():
    clock = FakeClock()
    monitor = ResourceMonitor(clock=clock, images=True)
    for epoch in range(1000):
        monitor.start_epoch(epoch)
        with monitor.component("forward_pass"):
            clock.pass_ms(60_000)
        monitor.end_epoch()
    drawn = monitor.history.images[f"{TAG}/component_shares"].steps
    assert 20 < len(drawn) < 40
    assert drawn[0] == 1  # after two minutes
    assert drawn[-1] > 700


def test_the_last_epoch_is_drawn_when_training_is_over():
    clock = FakeClock()
    monitor = ResourceMonitor(clock=clock, images=True)
    assert monitor.closing() == []
    _pass_epochs(monitor, clock)
    (shares,) = monitor.closing()  # of one epoch, times over epochs would show nothing else
    assert shares.tag == f"{TAG}/component_shares"
    assert shares.pixels.dtype == "uint8"
    assert shares.pixels.shape[2] == 3
    assert shares.pixels.std() > 10
    assert ResourceMonitor().closing() == []


def test_a_drawing_that_failed_is_tried_again(monkeypatch):
    clock = FakeClock()
    monitor = ResourceMonitor(clock=clock, images=True)
    _pass_epochs(monitor, clock)
    with monkeypatch.context() as patch:
        patch.setattr("tbmetrics.figures.resource_usage.component_images", lambda history, step: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            monitor.closing()
    assert [image.tag for image in monitor.closing()] == [f"{TAG}/component_shares"]


def test_waiting_for_the_device_is_not_our_cost():
    clock = FakeClock()
    cuda = FakeCuda(clock)
    monitor = ResourceMonitor(clock=clock, device=cuda.device())
    for epoch in range(2):
        monitor.start_epoch(epoch)
        with monitor.component("forward_pass"):
            cuda.launch(500)
        before = clock.now
        monitor.end_epoch()
        monitor.add_overhead("resource_usage", clock.now - before + 1_000_000)  # as the session does
    assert _value(monitor, "tbmetrics_overhead/resource_usage") == pytest.approx(0.001 / 0.5, rel=0.01)


def test_the_meters_of_a_device_run_until_the_monitor_stops():
    nvml = FakeNvml()
    clock = FakeClock()
    device = replace(FakeCuda(clock).device(), meters=DeviceMeters(nvml, "handle", interval_seconds=0.001))
    monitor = ResourceMonitor(clock=clock, device=device)
    monitor.start_epoch(0)
    nvml.has_three_readings.wait()
    clock.pass_ms(1)
    monitor.end_epoch()
    monitor.stop()
    monitor.stop()
    assert _value(monitor, "device/utilisation_percent") == 80
    assert _value(monitor, "device/power_watts") >= 200
    assert f"{TAG}/device/temperature_celsius" not in monitor.history.scalars
    assert "tbmetrics-nvml" not in [thread.name for thread in threading.enumerate()]


def test_the_peak_of_a_known_device_gives_the_utilisation():
    clock = FakeClock()
    monitor = ResourceMonitor(clock=clock, device=FakeCuda(clock).device("NVIDIA A100-SXM4-80GB"))
    with monitor.measure_flops():
        torch.randn(10, 10) @ torch.randn(10, 10)
    _pass_epochs(monitor, clock)
    assert monitor.epoch_data[0]["mfu"] == pytest.approx(2000 * 10 / 0.2 / 312e12)


def test_snapshots_of_the_peak(tmp_path):
    with pytest.raises(InputError, match="snapshots=True needs a place for the files: give save_dir"):
        ResourceMonitor(snapshots=True)
    clock = FakeClock()
    cuda = FakeCuda(clock)
    monitor = ResourceMonitor(tmp_path, clock=clock, device=cuda.device(), snapshots=True)

    allocator = monitor._meter._snapshots._memory = FakeAllocator()
    _pass_epochs(monitor, clock, cuda=cuda)
    monitor.stop()
    (written,) = tmp_path.glob("*.pickle")
    assert written.name == f"memory-{32 * MIB}.pickle"
    assert allocator.calls[-1] == {"enabled": None}


@pytest.mark.parametrize(("argument", "value"), [("batch_size", -1), ("num_samples", float("nan"))])
def test_numbers_that_cannot_be(argument, value):
    monitor = ResourceMonitor()
    monitor.start_epoch(0)
    with pytest.raises(InputError, match=f"{argument} must be a number of at least 0, got"):
        monitor.end_epoch(**{argument: value})


def test_what_is_kept_does_not_grow_with_the_steps():
    clock = FakeClock()
    monitor = ResourceMonitor(clock=clock)
    monitor.join(History())
    sizes = []
    for epoch, steps in enumerate((200, 2000)):
        monitor.start_epoch(epoch)
        for step in range(steps):
            with monitor.component("forward_pass"):
                clock.pass_ms(1)
            monitor.after_step(step)
        monitor.end_epoch()
        sizes.append(len(list(monitor.records(epoch))))
    assert sizes[0] == sizes[1] < 150


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_real_device_from_end_to_end():
    model = torch.nn.Linear(1024, 1024, device="cuda")
    x = torch.randn(512, 1024, device="cuda")
    monitor = ResourceMonitor()
    monitor.start_epoch(0)
    for step in range(20):
        with monitor.component("forward_pass"):
            loss = model(x).square().mean()
        with monitor.component("backward_pass"):
            loss.backward()
        monitor.after_step(step + 1)
    monitor.end_epoch(batch_size=512, num_samples=20 * 512)
    monitor.stop()
    row = monitor.epoch_data[0]
    assert row["peak_memory"] >= 2 * 1024 * 1024 * 4
    assert monitor.component_data["forward_pass"][0]["device_time"] > 0
    assert monitor.component_data["forward_pass"][0]["peak_memory"] > 0
