"""`tbmetrics demo` trains all runs and says what they show."""

import pytest

from tbmetrics import read_run
from tbmetrics.cli import main
from tbmetrics.demo import command
from tbmetrics.demo.numbers import load_splits
from tbmetrics.records import class_table_tag
from tests.demo.runs import part_of

pytestmark = pytest.mark.slow


def test_the_command_trains_every_run_anew_and_prints_the_table(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(command, "load_splits", lambda: part_of(load_splits(), 20))
    for _ in range(2):
        assert main(["demo", "--log-dir", str(tmp_path), "--epochs", "1", "--seeds", "1", "--jobs", "1"]) == 0
    printed = capsys.readouterr().out
    assert "cross_entropy" in printed
    assert "logit_adjusted" in printed
    assert "On the test set, seed 0, with A = cross_entropy and B = logit_adjusted:" in printed
    assert f"tbmetrics board {tmp_path}" in printed
    for method in ("cross_entropy", "logit_adjusted"):
        assert read_run(tmp_path / method / "seed0").tables[class_table_tag("number")].steps.tolist() == [0]
        assert len(list((tmp_path / method).rglob("events.out.tfevents.*"))) == 2  # validation and test
