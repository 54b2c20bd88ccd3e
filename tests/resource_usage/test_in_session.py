"""Resource usage in a session: what `batches`, `epochs` and `component` measure by themselves, and what is written."""

import time

import numpy as np
import pytest
import torch

from tbmetrics import ResourceMonitor, TBMetrics, Tracker, read_run
from tbmetrics.figures.resource_data import read_typical_step
from tbmetrics.figures.resource_usage import figures
from tests.resource_usage.fakes import FakeClock

TAG = "resource_usage"


def _session(path, clock, **options):
    return TBMetrics(path, resources=ResourceMonitor(clock=clock, device="cpu", **options), strict=True)


def _slow_loader(clock, batches, milliseconds):
    for _ in range(batches):
        clock.pass_ms(milliseconds)
        yield {"ids": torch.zeros(8, 5)}
    clock.pass_ms(milliseconds)


def test_batches_measure_the_wait_for_data_and_name_the_bottleneck(tmp_path):
    clock = FakeClock()
    with _session(tmp_path, clock) as tb:
        for epoch in tb.epochs(range(3)):
            for _ in tb.batches(_slow_loader(clock, 9, 5 if epoch else 1), tokens=lambda batch: batch["ids"].numel()):
                with tb.component("forward_pass"):
                    clock.pass_ms(5)
        rows = tb.get_metrics()[TAG]["epoch_data"]
        waits = tb.get_metrics()[TAG]["component_data"]["data_loading"]
    assert [row["bottleneck"] for row in rows] == ["compute-bound", "input-bound", "input-bound"]
    assert [(wait["time"], wait["count"]) for wait in waits] == [(0.01, 10), (0.05, 10), (0.05, 10)]
    assert rows[1]["data_loading_share"] == pytest.approx(50 / 95)
    assert (rows[1]["num_samples"], rows[1]["batches"], rows[1]["steps"]) == (72, 9, 9)
    assert rows[1]["tokens_per_second"] == pytest.approx(9 * 40 / 0.095)
    assert [row["remaining_seconds"] for row in rows] == pytest.approx([2 * 0.055, 0.075, 0.0])
    read = read_run(tmp_path)
    assert read.scalars[f"{TAG}/data_loading_share"].values == pytest.approx([10 / 55, 50 / 95, 50 / 95])
    assert "**input-bound.**" in read.texts[f"{TAG}/summary"][-1].markdown


def test_what_is_read_back_draws_what_was_measured(tmp_path):
    clock = FakeClock()
    with _session(tmp_path, clock) as tb:
        for _ in tb.epochs(range(2)):
            for _ in tb.batches(_slow_loader(clock, 6, 2)):
                with tb.component("forward_pass"):
                    clock.pass_ms(3)
                    with tb.component("a/b"):
                        clock.pass_ms(4)
        written = tb.resources.history
    read = read_run(tmp_path)
    assert read.problems == []
    names = [name for name, _ in figures(written)]
    assert names == [name for name, _ in figures(read)]
    assert {"component_times", "typical_step"} <= set(names)
    seconds, spans = read_typical_step(read, None)
    assert seconds == pytest.approx(0.009)
    assert [span.name for span in spans] == ["data_loading", "forward_pass", "a/b"]
    np.testing.assert_allclose([s[1:] for s in spans], [(0, 0.002), (0.002, 0.009), (0.005, 0.009)], atol=1e-9)
    assert read_typical_step(written, None) == (seconds, spans)


def test_the_default_monitor_writes_its_images_at_the_end(tmp_path):
    with TBMetrics(tmp_path / "run") as tb:
        for _ in tb.epochs(range(2)):
            for _ in tb.batches([torch.zeros(2, 2)] * 3):
                pass
        assert not tb.history.images
    read = read_run(tmp_path / "run")
    for name in ("component_times", "component_shares"):
        assert read.images[f"{TAG}/{name}"].steps.tolist() == [1]
        assert read.images[f"{TAG}/{name}"][0].pixels.std() > 10


class _Nested(Tracker):
    """A tracker that calls another one's hook from within its own."""

    name = "outer"

    def __init__(self, clock, inner):
        self.clock, self.inner = clock, inner

    def after_step(self, step):
        self.clock.pass_ms(10)
        self.inner.guard(self.clock.pass_ms, 30)
        self.clock.pass_ms(20)


def test_own_cost_is_by_tracker_and_each_moment_counts_once(tmp_path, monkeypatch):
    clock = FakeClock()
    monkeypatch.setattr("tbmetrics.session.tracker_calls.time.perf_counter_ns", clock)
    inner = Tracker()
    inner.name = "inner"
    monitor = ResourceMonitor(clock=clock, device="cpu")
    with TBMetrics(tmp_path, resources=monitor, trackers=[_Nested(clock, inner), inner]) as tb:
        for _ in tb.epochs(range(1)):
            for _ in tb.batches(range(10)):
                clock.pass_ms(140)
    shares = {tag.rsplit("/", 1)[1]: s.values[-1] for tag, s in tb.history.scalars.items() if "overhead/" in tag}
    assert shares["outer"] == pytest.approx(0.03 / 0.2)
    assert shares["inner"] == pytest.approx(0.03 / 0.2)
    assert tb.history.scalars[f"{TAG}/tbmetrics_overhead"].values[-1] == pytest.approx(sum(shares.values()))


def test_own_cost_is_within_the_time_that_passed(tmp_path):
    began = time.perf_counter()
    with TBMetrics(tmp_path) as tb:
        for _ in tb.epochs(range(2)):
            for _ in tb.batches(range(50)):
                with tb.component("forward_pass"):
                    sum(range(20_000))
    share = tb.history.scalars[f"{TAG}/tbmetrics_overhead"].values[-1]
    assert 0 < share < 1
    assert tb.resources.epoch_data[-1]["time"] < time.perf_counter() - began


def test_a_broken_monitor_does_not_stop_training(tmp_path, caplog):
    tb = TBMetrics(tmp_path)

    def broken(name):
        raise RuntimeError("no clock")

    tb.resources.start_component = broken
    with tb:
        for _ in tb.epochs(range(1)):
            seen = list(tb.batches(range(5)))
            with tb.component("forward_pass"):
                pass
    assert seen == list(range(5))
    assert any("no clock" in message for message in caplog.messages)


def test_a_session_without_resources_times_nothing(tmp_path):
    with TBMetrics(tmp_path, resources=False) as tb:
        for _ in tb.epochs(range(1)):
            for _ in tb.batches(range(3)):
                with tb.component("forward_pass"):
                    pass
        assert TAG not in tb.get_metrics()
    assert not [tag for tag in read_run(tmp_path).scalars if tag.startswith(TAG)]
