"""The example of exporting a plain log does what it says."""

import pytest

from examples import export as example

pytestmark = pytest.mark.slow


def test_a_plain_log_becomes_figures_tables_and_a_page(tmp_path, capsys):
    example.main(["--log-dir", str(tmp_path / "runs"), "--out", str(tmp_path / "out")])
    assert "exported again: 0 written" in capsys.readouterr().out
    written = {p.relative_to(tmp_path / "out" / "runs").as_posix() for p in (tmp_path / "out" / "runs").rglob("*.*")}
    assert {
        "other/scalars/loss.png", "other/scalars/schedule.png", "other/histograms/weights.png", "other/scalars.csv",
        "other/images/samples.png", "other/pr_curves/validation.png", "other.json",
    } <= written  # fmt: skip
    assert (tmp_path / "out" / "report.html").read_text(encoding="utf-8").count("<figure") == 5
