"""The runner's command: one area end to end, areas that fail, the page, the baseline, and what it refuses."""

import importlib
import json
import subprocess
import sys

import pytest

from benchmarks import __main__ as runner
from benchmarks import glance
from benchmarks.measuring import ROOT, Comparison, Facts, Run
from benchmarks.tables import as_json, marks


def _run_benchmarks(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["benchmarks", *arguments])
    return runner.main()


@pytest.fixture
def files(tmp_path, monkeypatch):
    page = tmp_path / "benchmarks.md"
    page.write_text("".join(f"{first}\n{last}\n" for first, last in map(marks, (glance.PLACE, *runner.AREAS))))
    for name, path in (("PAGE", page), ("RESULTS", tmp_path / "r.json"), ("BASELINE", tmp_path / "b.json")):
        monkeypatch.setattr(runner, name, path)
    return tmp_path


@pytest.fixture
def measured(monkeypatch):
    """Stands in for measuring: what each area finds, by name; an area that is not there fails."""
    found = {}

    def of(area, size, where):
        if area not in found:
            return None
        about = {"commit": "c", "date": "d", "machine": where, "size": size, "load": [0.0, 0.0], "seconds": 1.0}
        values = {"peer": [1.0] * 9, "ours": [found[area]] * 9}
        return {**about, "results": as_json([Comparison("x", "s", "peer", values, watched=("ours",))]), "skipped": []}

    monkeypatch.setattr(runner, "measured", of)
    return found


@pytest.mark.slow
def test_the_cheapest_area_runs_end_to_end(tmp_path):
    file = tmp_path / "found.json"
    command = [sys.executable, "-m", "benchmarks", "--only", "events", "--quick", "--child", str(file)]
    subprocess.run(command, cwd=ROOT, check=True)
    (entry,) = json.loads(file.read_text())["results"]
    assert entry["kind"] == "Comparison"
    assert {len(values) for values in entry["values"].values()} == {5}
    assert set(entry["summaries"]) == set(entry["watched"])


@pytest.mark.parametrize("area", runner.AREAS)
def test_every_area_measures(area):
    assert callable(importlib.import_module(f"benchmarks.{area}").measure)


def test_results_go_into_the_page_and_areas_that_fail_leave_the_others(files, measured, monkeypatch, capsys):
    measured["events"] = 0.5
    assert _run_benchmarks(monkeypatch, "--only", "tab,events", "--write") == 1
    assert "failed: tab" in capsys.readouterr().err
    text = (files / "benchmarks.md").read_text()
    assert "| ours | 0.5 | 0.5 |" in text
    assert "| a run with steps of 5 ms, everything on ÷ bare loop | not measured | 1.05 |" in text
    assert list(json.loads((files / "r.json").read_text())) == ["events"]


def test_the_check_compares_with_what_was_kept(files, measured, monkeypatch, capsys):
    measured["events"] = 0.5
    assert _run_benchmarks(monkeypatch, "--only", "events", "--quick", "--check") == 2
    assert "No ratio of size 'quick' is kept" in capsys.readouterr().out
    assert _run_benchmarks(monkeypatch, "--only", "events", "--quick", "--keep") == 0
    assert _run_benchmarks(monkeypatch, "--only", "events", "--quick", "--check") == 0
    measured["events"] = 0.9
    assert _run_benchmarks(monkeypatch, "--only", "events", "--quick", "--check") == 1
    assert "WORSE events: x: ours: 0.5 → 0.9, a loss of +80.0%" in capsys.readouterr().out


def test_a_baseline_of_another_machine_is_told(files, measured, monkeypatch, capsys):
    measured["events"] = 0.5
    _run_benchmarks(monkeypatch, "--only", "events", "--quick", "--keep")
    monkeypatch.setattr(runner, "machine", lambda: "another")
    assert _run_benchmarks(monkeypatch, "--only", "events", "--quick", "--check") == 0
    assert "of another machine or other versions" in capsys.readouterr().out


def test_an_unknown_area_is_refused(monkeypatch, capsys):
    with pytest.raises(SystemExit):
        _run_benchmarks(monkeypatch, "--only", "evnets")
    assert "unknown: evnets; there are headline" in capsys.readouterr().err


def test_facts_are_not_compared():
    facts = as_json([Facts("x", ["a"], [["1"]])])
    assert runner.baseline.ratios("area", facts) == {}


def test_the_page_has_a_place_for_every_area():
    text = runner.PAGE.read_text(encoding="utf-8")
    for area in (glance.PLACE, *runner.AREAS):
        assert all(text.count(mark) == 1 for mark in marks(area)), area


def test_a_run_says_what_it_left_out():
    run = Run("quick")
    run.skip("the tab", "needs Chromium")
    assert run.skipped == ["the tab needs Chromium"]
