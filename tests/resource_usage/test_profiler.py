"""Profiles of real steps: when they are made, what is written, what is kept, and the PyTorch Profiler tab on it."""

import gzip
import importlib.util
import json
import os
import urllib.parse

import pytest
import torch

from tbmetrics import InputError, ProfilerTracker, TBMetrics, TBMetricsWarning, read_run
from tbmetrics.demo.numbers import load_splits
from tbmetrics.demo.training import LOGIT_ADJUSTED, train
from tbmetrics.records.history import History
from tbmetrics.resource_usage import profiler as profiler_module
from tests.demo.runs import part_of
from tests.plugin.logs import get_json, tensorboard_server
from tests.processes import wait_until

TAG = "resource_usage/profiler"


@pytest.fixture
def work():
    """One small training step."""
    torch.manual_seed(0)
    model = torch.nn.Linear(32, 8)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    x = torch.randn(16, 32)

    def step():
        model(x).square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


def _run_steps(tracker, work, steps, first=1):
    for step in range(first, first + steps):
        work()
        tracker.after_step(step)


def _events(path):
    with gzip.open(path, "rt", encoding="utf-8") as file:
        return json.load(file)["traceEvents"]


def _profiled_steps(path):
    names = {e["name"] for e in _events(path) if e.get("name", "").startswith("ProfilerStep")}
    return len(names)


def test_a_profile_is_made_after_the_chosen_steps(tmp_path, work):
    tracker = ProfilerTracker(tmp_path, steps=3, at=(2,))
    tracker.join(History())
    _run_steps(tracker, work, 5)
    assert tracker.traces == []  # one step warms up, three are recorded
    _run_steps(tracker, work, 1, first=6)
    (trace,) = tracker.traces
    assert trace.name.endswith(".pt.trace.json.gz")
    assert [p.name for p in tmp_path.iterdir()] == [trace.name]
    assert _profiled_steps(trace) == 3
    assert any(e.get("name") == "aten::addmm" for e in _events(trace))
    records = {timed.record.tag: timed for timed in tracker.records(0)}
    table = records.pop(f"{TAG}/top_operators")
    assert table.step == 6
    assert f"Trace: `{trace.name}`" in table.record.markdown
    assert "https://ui.perfetto.dev" in table.record.markdown
    assert "| `aten::addmm` | 3 |" in table.record.markdown
    seconds = {tag.removeprefix(f"{TAG}/step_seconds/"): s.record.value for tag, s in records.items()}
    assert {"cpu_operator", "optimizer"} <= set(seconds)
    steps = [e for e in _events(trace) if e.get("name", "").startswith("ProfilerStep") and e.get("ph") == "X"]
    mean = sum(e["dur"] for e in steps) / len(steps) / 1e6
    assert sum(seconds.values()) == pytest.approx(mean, rel=0.02)
    assert tracker.get_metrics() == {"traces": [str(trace)], "step_seconds": pytest.approx(seconds)}
    assert list(tracker.records(1)) == []
    tracker.stop()


def test_every_so_many_steps_and_only_the_last_traces_are_kept(tmp_path, work):
    (tmp_path / "other.pt.trace.json").write_text("not ours")
    tracker = ProfilerTracker(tmp_path, steps=1, every=4, keep=2)
    _run_steps(tracker, work, 18)
    assert len(tracker.traces) == 2
    assert {p.name for p in tmp_path.iterdir()} == {"other.pt.trace.json", *(p.name for p in tracker.traces)}


def test_a_trace_that_is_too_large_is_deleted_and_said(tmp_path, work):
    tracker = ProfilerTracker(tmp_path, steps=1, at=(1,), max_bytes=100)
    tracker.join(History())
    with pytest.warns(TBMetricsWarning, match=r"the trace has [\d,]+ bytes, more than max_bytes=100, and is deleted"):
        _run_steps(tracker, work, 3)
    assert list(tmp_path.iterdir()) == []
    assert tracker.traces == []
    (table,) = [s.record for s in tracker.records(0) if s.record.tag.endswith("top_operators")]
    assert table.markdown.startswith("The trace was larger than `max_bytes`")


def test_a_file_in_the_folder_asks_for_a_profile(tmp_path, work, monkeypatch):
    monkeypatch.setattr(profiler_module, "_LOOK_EVERY_SECONDS", 0.0)
    tracker = ProfilerTracker(tmp_path)
    _run_steps(tracker, work, 3)
    for text, steps in (("2\n", 2), ("", 5), ("soon", 5), ("0", 5)):
        (tmp_path / "PROFILE").write_text(text)
        _run_steps(tracker, work, steps + 2)
        assert not (tmp_path / "PROFILE").exists()
        assert _profiled_steps(tracker.traces[-1]) == steps


def test_only_rank_zero_looks_for_the_file(tmp_path, work, monkeypatch):
    monkeypatch.setattr(profiler_module, "_LOOK_EVERY_SECONDS", 0.0)
    monkeypatch.setattr("tbmetrics.tracking.ranks.Ranks.writes", False)
    (tmp_path / "PROFILE").touch()
    tracker = ProfilerTracker(tmp_path)
    _run_steps(tracker, work, 10)
    assert (tmp_path / "PROFILE").exists()
    assert tracker.traces == []


def test_the_file_is_looked_for_once_in_a_while(tmp_path, work, monkeypatch):
    tracker = ProfilerTracker(tmp_path)
    _run_steps(tracker, work, 1)
    (tmp_path / "PROFILE").touch()
    monkeypatch.setattr(profiler_module.time, "monotonic", lambda: tracker._next_look - 0.5)
    _run_steps(tracker, work, 10)
    assert (tmp_path / "PROFILE").exists()


def test_stopping_in_the_middle_keeps_what_was_recorded(tmp_path, work):
    tracker = ProfilerTracker(tmp_path, steps=100, at=(1,))
    _run_steps(tracker, work, 5)
    tracker.stop()
    tracker.stop()
    (trace,) = tracker.traces
    assert any(e.get("name") == "aten::addmm" for e in _events(trace))
    with torch.profiler.profile():  # nothing of ours is running
        work()


def test_a_profiler_of_the_users_is_left_alone(tmp_path, work):
    tracker = ProfilerTracker(tmp_path, steps=1, at=(1,))
    with (
        torch.profiler.profile() as theirs,
        pytest.warns(TBMetricsWarning, match="another profiler is running; tbmetrics' profile is left out"),
    ):
        _run_steps(tracker, work, 5)
    assert tracker.traces == []
    assert any(e.key == "aten::addmm" for e in theirs.key_averages())
    tracker.profile()
    _run_steps(tracker, work, 7, first=6)
    assert len(tracker.traces) == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"steps": 0}, "steps must be a whole number of at least 1 and at most 1000, got 0"),
        ({"steps": 1001}, "steps must be a whole number of at least 1 and at most 1000, got 1001"),
        ({"keep": 0}, "keep must be a whole number of at least 1, got 0"),
        ({"max_bytes": 0}, "max_bytes must be a whole number of at least 1, got 0"),
        ({"every": 6}, r"every must be more than steps \+ 1 \(one step warms up\), got 6 with steps=5"),
    ],
)
def test_options_out_of_range(tmp_path, options, message):
    with pytest.raises(InputError, match=message):
        ProfilerTracker(tmp_path, **options)


def test_requests_out_of_range_and_a_missing_folder(work):
    with pytest.raises(InputError, match=r"steps must be a whole number of at least 1 and at most 1000, got 0"):
        ProfilerTracker().profile(0)
    with pytest.raises(InputError, match=r"needs a folder: ProfilerTracker\(log_dir\)"):
        _run_steps(ProfilerTracker(), work, 1)


# ------------------------------------------------------------------------------------------------ in a session


def _run_session(tb, work, steps, at_step=None):
    for _ in tb.epochs(range(1)):
        for step, _ in enumerate(tb.batches([torch.zeros(4, 2)] * steps), 1):
            if step == at_step:
                tb.profile(steps=2)
            work()


def test_on_request_in_a_session(tmp_path, work):
    with TBMetrics(tmp_path, strict=True) as tb:
        _run_session(tb, work, 8, at_step=3)
        assert tb.get_metrics()["profiler"]["traces"] == [str(p) for p in tmp_path.glob("*.pt.trace.json.gz")]
    (trace,) = tmp_path.glob("*.pt.trace.json.gz")
    assert _profiled_steps(trace) == 2
    read = read_run(tmp_path)
    assert trace.name in read.texts[f"{TAG}/top_operators"][0].markdown
    assert read.texts[f"{TAG}/top_operators"].steps.tolist() == [6]
    assert f"{TAG}/step_seconds/optimizer" in read.scalars


def test_a_configured_profiler_writes_to_the_folder_of_the_session(tmp_path, work):
    with TBMetrics(tmp_path / "run", profiler=ProfilerTracker(steps=1, at=(2,))) as tb:
        _run_session(tb, work, 6)
    assert len(list((tmp_path / "run").glob("*.pt.trace.json.gz"))) == 1


def test_passed_among_the_trackers_it_is_the_one_that_is_asked(tmp_path, work):
    tracker = ProfilerTracker()
    with TBMetrics(tmp_path / "run", trackers=[tracker]) as tb:
        _run_session(tb, work, 6, at_step=1)
    assert tb.profiler is tracker
    assert [path.parent for path in tracker.traces] == [tmp_path / "run"]


def test_a_profile_does_not_count_in_the_budget(tmp_path, work):
    with TBMetrics(tmp_path) as tb:
        _run_session(tb, work, 6, at_step=1)
        assert tb._budget._spent["resource_usage"] > 0
        assert "profiler" not in tb._budget._spent
        assert tb.history.scalars["resource_usage/tbmetrics_overhead/profiler"].values[-1] > 0


def test_on_a_schedule_by_keyword(tmp_path, work):
    with TBMetrics(tmp_path, profiler=True) as tb:
        _run_session(tb, work, 17)
    (trace,) = tmp_path.glob("*.pt.trace.json.gz")
    assert _profiled_steps(trace) == 5


def test_switched_off_it_says_so(tmp_path, work):
    with TBMetrics(tmp_path, profiler=False) as tb, pytest.raises(InputError, match="leave profiler=False out"):
        tb.profile()
    TBMetrics(tmp_path, enabled=False).profile()  # a no-op, as everything is


@pytest.mark.slow
def test_the_profiler_tab_serves_a_trace_of_the_demo(tmp_path):
    if importlib.util.find_spec("torch_tb_profiler") is None:
        report = pytest.fail if os.environ.get("CI") else pytest.skip
        report("torch-tb-profiler is missing; install tbmetrics[profiler]")
    run = tmp_path / LOGIT_ADJUSTED
    run.mkdir()
    (run / "PROFILE").write_text("2")
    train(run.name, 0, run, part_of(load_splits(), 10), epochs=1)
    with tensorboard_server(tmp_path) as url:
        base = url + "data/plugin/pytorch_profiler/"
        runs = wait_until(
            lambda: get_json(base + "runs"), lambda answer: bool(answer["runs"]) and not answer["loading"]
        )
        assert runs["runs"] == [run.name]
        views = get_json(f"{base}views?run={run.name}")
        assert {"Overview", "Operator", "Trace"} <= set(views)
        (worker,) = get_json(f"{base}workers?run={run.name}&view=Overview")
        assert worker.startswith("tbmetrics_")
        (span,) = get_json(f"{base}spans?run={run.name}&worker={worker}")
        query = urllib.parse.urlencode({"run": run.name, "worker": worker, "span": span})
        overview = get_json(f"{base}overview?{query}")
        assert len(overview["steps"]["rows"]) == 2
        operators = get_json(f"{base}operation/table?{query}&group_by=Operation")
        assert "aten::addmm" in {row["name"] for row in operators["data"]}
