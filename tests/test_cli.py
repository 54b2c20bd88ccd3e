"""The command line: what it prints, what it writes, and its exit status."""

import os
import re
import signal
import socket
import subprocess
import sys

import numpy as np
import pytest
import torch

from tbmetrics import ClassGroups, TBMetrics, read_run
from tbmetrics.cli import main
from tbmetrics.events.places import how_to_look
from tests.plugin.logs import get_json
from tests.processes import wait_until


@pytest.fixture(scope="module")
def logdir(tmp_path_factory):
    root = tmp_path_factory.mktemp("runs")
    groups = ClassGroups.from_counts({"digit": {"[bold]a": 900, "b": 50, "c": 3, "d": 2}})
    for run, strength in (("weak", 0.2), ("strong", 3.0)):
        generator = torch.Generator().manual_seed(0)
        with TBMetrics(root / run, classes=groups) as tb:
            labels = torch.arange(80) % 4
            tb.update(torch.randn(80, 4, generator=generator) + strength * torch.eye(4)[labels], labels)
    return root


def test_export_writes_and_says_how_much(logdir, tmp_path, capsys):
    assert main(["export", str(logdir), "--out", str(tmp_path), "--formats", "json,csv", "--jobs", "1"]) == 0
    said = capsys.readouterr()
    assert re.fullmatch(r"(\d+) files in .*: \1 new, 0 removed\n", said.out)
    assert said.err == ""  # no bar where there is no terminal
    assert (tmp_path / "strong" / "class_performance.json").exists()
    assert main(["export", str(logdir), "--out", str(tmp_path), "--formats", "json", "--quiet"]) == 0
    assert capsys.readouterr().out == ""


def test_a_terminal_shows_a_bar_that_is_gone_afterwards(logdir, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    assert main(["export", str(logdir), "--out", str(tmp_path), "--formats", "json", "--jobs", "1"]) == 0
    drawn = capsys.readouterr().err
    assert "━" in drawn
    assert "done" in drawn


def test_compare_shows_groups_and_movers(logdir, capsys):
    assert main(["compare", "weak", "strong", "--logdir", str(logdir), "--metric", "recall"]) == 0
    out = capsys.readouterr().out
    assert "digit: recall" in out
    for word in ("head", "medium", "tail", "gap", "gains of B", "[bold]a"):
        assert word in out
    assert "losses of B" not in out


def test_an_encoding_without_our_signs_is_printed_to_all_the_same(logdir):
    command = [sys.executable, "-m", "tbmetrics", "compare", "weak", "strong", "--logdir", logdir]
    environment = {**os.environ, "PYTHONIOENCODING": "cp1252"}  # what Windows gives a pipe
    done = subprocess.run(command, capture_output=True, env=environment, check=True)
    assert b"B - A" in done.stdout
    assert b"digit: f1" in done.stdout


def test_nothing_to_show_is_status_3_and_one_line(tmp_path, capsys):
    assert main(["export", str(tmp_path), "--out", str(tmp_path / "out")]) == 3
    error = capsys.readouterr().err
    assert error.startswith("tbmetrics: nothing to show in")
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["export", "/nowhere", "--out", "x"], "'/nowhere' does not exist"),
        (["compare", "weak", "nowhere"], "does not exist"),
        (["compare", "weak", "strong", "--step", "9"], "no validation at step 9; the nearest are [0]"),
        (["compare", "weak", "strong", "--attribute", "x"], "no common attribute 'x': there are 'digit'"),
    ],
)
def test_bad_input_is_status_2(logdir, monkeypatch, arguments, message, capsys):
    monkeypatch.chdir(logdir)
    assert main(arguments) == 2
    assert message in capsys.readouterr().err


def test_a_damaged_log_is_status_1(logdir, tmp_path, capsys):
    run = tmp_path / "runs" / "weak"
    run.mkdir(parents=True)
    (source,) = (logdir / "weak").iterdir()
    (run / source.name).write_bytes(source.read_bytes() + b"garbage in place of the next record")
    assert main(["export", str(tmp_path / "runs"), "--out", str(tmp_path / "out"), "--formats", "json"]) == 1
    assert "damaged bytes" in capsys.readouterr().err


@pytest.mark.slow
def test_the_module_is_the_command_and_wrong_usage_is_status_2():
    version = subprocess.run([sys.executable, "-m", "tbmetrics", "--version"], capture_output=True, text=True)
    assert version.stdout.startswith("tbmetrics 0.")
    usage = subprocess.run([sys.executable, "-m", "tbmetrics", "explode"], capture_output=True, text=True)
    assert usage.returncode == 2
    assert "invalid choice" in usage.stderr


@pytest.mark.parametrize(
    ("condition", "status", "said"),
    [
        ("all.f1 < baseline", 0, ""),
        ("all.f1 <= baseline", 4, "all.f1 <= baseline holds"),
        ("all.recall < 2", 4, "all.recall < 2 holds"),
        ("unknown.f1 < 1", 4, "cannot judge"),
        ("tail.f1 is low", 2, "expected GROUP.METRIC"),
    ],
)
def test_a_condition_decides_the_status_of_a_comparison(logdir, condition, status, said, capsys):
    run = str(next(p for p in logdir.iterdir() if p.is_dir()))
    assert main(["compare", run, run, "--fail-if", condition]) == status
    assert said in capsys.readouterr().err


def test_evaluate_prints_the_groups_and_writes_a_run(tmp_path, capsys):
    labels = np.arange(60) % 3
    np.savez(tmp_path / "val.npz", logits=2.0 * np.eye(3)[labels], labels=labels)
    (tmp_path / "counts.json").write_text('{"cat": 900, "dog": 60, "ocelot": 4}', encoding="utf-8")
    arguments = ["evaluate", str(tmp_path / "val.npz"), "--counts", str(tmp_path / "counts.json")]
    assert main([*arguments, "--out", str(tmp_path / "run")]) == 0
    printed = capsys.readouterr().out
    assert re.search(r"tail +│ +1 │ +1\.000 │ +1\.000 │ +1\.000 │ +1\.000", printed)
    assert f"tensorboard --logdir {tmp_path / 'run'}" in printed
    assert read_run(tmp_path / "run").class_lists["class"].names == ("cat", "dog", "ocelot")
    assert main([*arguments, "--out", str(tmp_path / "other"), "--steps", "1", "2"]) == 2
    assert "steps must be one for each of 1 files, got 2" in capsys.readouterr().err


def test_table_prints_marks_and_notes(logdir, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "160")
    assert main(["table", str(logdir), "--attribute", "digit"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert re.match(r"run +┃ +head \(1\) ┃ +medium \(1\) ┃ +tail \(2\) ┃ +all \(4\) ┃ +gap", lines[0])
    assert lines[2].startswith("strong │")
    assert lines[2].count("★") == 4
    assert any("recall of 'digit'" in line for line in lines)


def test_a_file_gets_the_format_of_its_suffix(logdir, tmp_path, capsys):
    for name, start in (
        ("t.tex", "% recall"),
        ("t.md", "| run |"),
        ("t.csv", "run,evaluation,n_runs,step,head"),
        ("t.txt", "run"),
    ):
        assert main(["table", str(logdir), "--out", str(tmp_path / name)]) == 0
        assert (tmp_path / name).read_text(encoding="utf-8").startswith(start)
    assert main(["table", str(logdir), "--out", str(tmp_path / "t.md"), "--format", "csv", "--step", "0"]) == 0
    assert (tmp_path / "t.md").read_text(encoding="utf-8").startswith("run,")
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("options", "status", "message"),
    [
        (["--step", "9"], 2, "no run has a validation at step 9; the nearest are [0]"),
        (["--step", "first"], 2, "step must be a number, 'last' or 'best', got 'first'"),
        (["--attribute", "x"], 2, "the runs have no 'x': there are 'digit'"),
        (["--runs", "nothing"], 3, "no run matches 'nothing'; there are 'strong', 'weak'"),
        (["--seeds", "["], 2, "seeds must be a regular expression"),
        (["--out", "/nowhere/t.md"], 2, "cannot be written"),
    ],
)
def test_a_table_that_cannot_be_made_is_one_line(logdir, capsys, options, status, message):
    assert main(["table", str(logdir), *options]) == status
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


@pytest.mark.slow
def test_board_serves_the_tab_until_it_is_interrupted(logdir):
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background is started with it ignored
    shown = ["--attribute", "the digit", "--a", "weak", "--b", "strong"]
    command = [sys.executable, "-m", "tbmetrics", "board", str(logdir), "--port", "0", "--no-browser", *shown]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as board:
        state = r"#longtail&p\.longtail\.attribute=the%20digit&p\.longtail\.a=weak&p\.longtail\.b=strong"
        line = board.stdout.readline()
        address = re.fullmatch(rf"(http://localhost:\d+/){state}   \(Ctrl\+C ends it\)\n", line)[1]
        runs = wait_until(lambda: get_json(f"{address}data/plugin/longtail/runs")["runs"], lambda runs: len(runs) == 2)
        board.send_signal(signal.SIGINT)
        try:
            assert board.wait(30) == 0
        finally:
            board.kill()
    assert {run["run"] for run in runs} == {"weak", "strong"}


@pytest.mark.slow
def test_board_says_that_a_port_is_taken(logdir):
    with socket.create_server(("localhost", 0)) as taken:
        port = str(taken.getsockname()[1])
        command = [sys.executable, "-m", "tbmetrics", "board", str(logdir), "--no-browser", "--port", port]
        done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2
    assert f"tbmetrics: TensorBoard did not start: TensorBoard could not bind to port {port}" in done.stderr


def test_board_refuses_a_directory_that_is_not_there(tmp_path, capsys):
    assert main(["board", str(tmp_path / "nothere"), "--no-browser"]) == 2
    assert "there is no directory" in capsys.readouterr().err


@pytest.mark.parametrize(("platform", "place"), [("linux", "'my runs'"), ("win32", '"my runs"')])
def test_what_to_type_is_quoted_for_the_shell_of_the_system(platform, place, monkeypatch):
    monkeypatch.setattr(sys, "platform", platform)
    assert f"tbmetrics board {place} " in how_to_look("my runs")


def test_the_end_of_a_run_says_once_how_to_look_at_it(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for run in ("a", "b"):
        with TBMetrics(f"my runs/{run}", classes={"digit": [900, 5]}) as tb:
            tb.update(torch.eye(2), torch.arange(2), evaluation="test")
    assert capsys.readouterr().err.count("See it: tbmetrics board 'my runs'") == 1
