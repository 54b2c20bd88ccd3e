"""Profiles at set times, on demand and by a file; traces that other tools read."""

import gzip
import json
import time
from urllib.parse import quote

import pytest
import torch
from torch import nn

from tbmetrics import InputError, TBMetrics, TBMetricsWarning, read_run
from tbmetrics.resource_usage.profiler import ProfilerTracker
from tests.plugin.logs import get_json, tensorboard_server


def _train(tb, steps=8, on_step=lambda step: None):
    model = nn.Linear(32, 32)
    for step in range(1, steps + 1):
        model(torch.randn(4, 32)).sum().backward()
        tb.step()
        on_step(step)


def _traces(folder):
    return sorted(folder.glob("*.pt.trace.json.gz"))


def _session(folder, **options):
    return TBMetrics(folder, resources=False, strict=True, **options)


def test_a_profile_at_a_set_step_is_a_trace_a_table_and_scalars(tmp_path):
    with _session(tmp_path, profiler=ProfilerTracker(tmp_path, steps=2, at=(2,))) as tb:
        for _ in tb.epochs(range(1)):
            _train(tb)
    (trace,) = _traces(tmp_path)
    events = json.loads(gzip.decompress(trace.read_bytes()))["traceEvents"]
    assert sum(str(e.get("name", "")).startswith("ProfilerStep") for e in events) >= 2
    history = read_run(tmp_path)
    table = history.texts["resource_usage/profiler/top_operators"][-1].markdown
    assert "`aten::addmm`" in table
    assert trace.name in table
    assert "ui.perfetto.dev" in table
    assert "tbmetrics[profiler]" in table
    seconds = {t.rpartition("/")[2]: s.values[-1] for t, s in history.scalars.items() if "/step_seconds/" in t}
    assert set(seconds) >= {"cpu_operator", "other"}


def test_on_demand(tmp_path):
    with _session(tmp_path) as tb:
        tb.start_epoch(0)
        _train(tb, on_step=lambda step: tb.profile(steps=2) if step == 3 else None)
        assert _traces(tmp_path)
        assert tb.get_metrics()["profiler"]["traces"] == [str(_traces(tmp_path)[0])]


def test_a_file_in_the_runs_folder_asks_for_one(tmp_path, monkeypatch):
    monkeypatch.setattr("tbmetrics.resource_usage.profiler._LOOK_EVERY_SECONDS", 0)
    with _session(tmp_path) as tb:
        tb.start_epoch(0)
        (tmp_path / "PROFILE").write_text("3")
        _train(tb)
    assert len(_traces(tmp_path)) == 1
    assert not (tmp_path / "PROFILE").exists()


def test_without_being_asked_nothing_is_profiled(tmp_path):
    with _session(tmp_path) as tb:
        tb.start_epoch(0)
        _train(tb, 30)
    assert _traces(tmp_path) == []


def test_it_can_be_off_and_then_says_so(tmp_path):
    with _session(tmp_path, profiler=False) as tb, pytest.raises(InputError, match="leave profiler=False out"):
        tb.profile()


def test_a_profile_cut_short_is_still_written(tmp_path):
    with _session(tmp_path, profiler=ProfilerTracker(tmp_path, steps=50, at=(2,))) as tb:
        tb.start_epoch(0)
        _train(tb, 6)
    assert len(_traces(tmp_path)) == 1


def test_only_the_last_traces_are_kept(tmp_path):
    with _session(tmp_path, profiler=ProfilerTracker(tmp_path, steps=1, at=(), every=4, keep=2)) as tb:
        tb.start_epoch(0)
        _train(tb, 24)
    assert len(_traces(tmp_path)) == 2


def test_a_trace_that_is_too_large_is_deleted_and_said(tmp_path):
    tracker = ProfilerTracker(tmp_path, steps=1, at=(1,), max_bytes=10)
    tb = _session(tmp_path, profiler=tracker)
    tb.start_epoch(0)
    with pytest.warns(TBMetricsWarning, match=r"more than max_bytes=10, and is deleted; profile fewer steps"):
        _train(tb, 5)
    tb.finalize()
    assert _traces(tmp_path) == []
    assert list(tmp_path.glob(".*trace*")) == []


def test_a_profiler_of_the_users_own_is_left_alone(tmp_path):
    with torch.profiler.profile(), _session(tmp_path) as tb:
        tb.start_epoch(0)
        with pytest.warns(TBMetricsWarning, match="another profiler is running"):
            _train(tb, on_step=lambda step: tb.profile() if step == 2 else None)
    assert _traces(tmp_path) == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"steps": 0}, "steps must be at least 1 and at most 1000, got 0"),
        ({"keep": 0}, "keep must be at least 1, got 0"),
        ({"every": 5}, r"every must be more than steps \+ 1"),
    ],
)
def test_bad_options_are_refused(tmp_path, options, message):
    with pytest.raises(InputError, match=message):
        ProfilerTracker(tmp_path, **options)


def test_tensorboards_profiler_tab_serves_the_trace(tmp_path):
    pytest.importorskip("torch_tb_profiler", reason="needs the extra: pip install 'tbmetrics[profiler]'")
    with _session(tmp_path / "run", profiler=ProfilerTracker(tmp_path / "run", steps=2, at=(1,))) as tb:
        tb.start_epoch(0)
        _train(tb)
    with tensorboard_server(tmp_path) as url:
        plugin = f"{url}data/plugin/pytorch_profiler"
        for _ in range(100):
            if found := get_json(f"{plugin}/runs")["runs"]:
                break
            time.sleep(0.2)
        (run,) = found
        views = get_json(f"{plugin}/views?run={quote(run)}")
        (worker,) = get_json(f"{plugin}/workers?run={quote(run)}&view=Overview")
    assert {"Overview", "Operator", "Trace"} <= set(views)
    assert worker.startswith("tbmetrics_")
