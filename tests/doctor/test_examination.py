"""The whole examination, as text, as JSON, and as an exit status."""

import json

import pytest

from tbmetrics.cli import main
from tbmetrics.doctor import FAILED, OK, WARNING, Finding, examine, installation, to_json, to_text, worst


@pytest.fixture(autouse=True)
def loopback(monkeypatch):
    monkeypatch.setenv("GLOO_SOCKET_IFNAME", "lo")


def test_all_checks_run_and_nothing_stays_behind(tmp_path):
    found = examine(tmp_path / "runs")
    names = {finding.check for finding in found}
    assert names >= {"python", "packages", "tensorboard", "plugins", "command", "device", "processes"}
    assert names >= {"log directory", "round trip"}
    assert FAILED not in {finding.status for finding in found}
    assert list(tmp_path.iterdir()) == []
    assert all(bool(finding.advice) == (finding.status != OK) for finding in found)


def test_a_check_that_breaks_is_a_finding_and_keeps_no_other_from_running(monkeypatch):
    def broken():
        yield Finding("python", OK, "so far")
        raise AttributeError("module 'numpy' has no attribute 'float'")

    monkeypatch.setattr(installation, "python", broken)
    found = examine()
    assert [f.status for f in found if f.check == "python"] == [OK, FAILED]
    assert "AttributeError: module 'numpy' has no attribute 'float'" in found[1].message
    assert found[-1].check == "round trip"


def test_the_text_has_a_line_a_finding_with_its_advice_below():
    found = [
        Finding("a", OK, "well"),
        Finding("long name", WARNING, "so so", "do this"),
        Finding("c", FAILED, "no", "x"),
    ]
    assert to_text(found).splitlines() == [
        "ok       a          well",
        "warning  long name  so so",
        "                    → do this",
        "FAILED   c          no",
        "                    → x",
        "3 checks: 1 failed, 1 with a warning",
    ]
    assert worst(found) == FAILED
    assert worst([]) == OK
    assert json.loads(to_json(found))["checks"][1]["advice"] == "do this"


def test_the_command_prints_text_or_json_and_tells_by_its_status(tmp_path, capsys):
    assert main(["doctor", str(tmp_path)]) == 0
    assert "round trip" in capsys.readouterr().out
    (tmp_path / "file").write_text("")
    assert main(["doctor", str(tmp_path / "file"), "--json"]) == 1
    told = json.loads(capsys.readouterr().out)
    assert told["status"] == FAILED
    assert any("cannot be written" in check["message"] for check in told["checks"])
