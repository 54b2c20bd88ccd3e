"""Two runs compared: which classes count, and one answer from the command line and the tab."""

import json
import re

import numpy as np
import pytest

from tbmetrics.cli import main
from tbmetrics.comparing.runs import compare, compare_runs
from tbmetrics.comparing.validations import Validation
from tbmetrics.comparing.wording import VERDICTS, agreement_text
from tbmetrics.events.reader import read_run
from tbmetrics.records import GROUP_ROWS
from tbmetrics.statistics.sign_flips import EXACT_FLIPS_UP_TO
from tests.plugin.in_process import PREFIX, answered, application, client_of
from tests.plugin.logs import write_log

LAST = 2
MOVER_METRIC = "f1"


def _values(values, groups=None, names=None):
    n = len(values)
    names, groups = tuple(names or map(str, range(n))), tuple(groups or ["tail"] * n)
    return Validation("x", "f1", 0, names, groups, np.array(values, dtype=np.float64))


def test_too_few_classes_cannot_agree_and_say_why():
    result = compare(_values([0.1] * 5), _values([0.9] * 5)).groups["tail"]
    assert (result.n_defined, result.n_higher) == (5, 5)
    assert result.least_p == pytest.approx(2 / 2**5)
    assert result.least_p > 0.05
    assert agreement_text(result) == "5 up, 0 down"
    assert result.verdict == "untold"
    assert EXACT_FLIPS_UP_TO >= 6


def test_equal_values_everywhere_are_no_difference():
    result = compare(_values([0.5] * 8), _values([0.5] * 8)).groups["tail"]
    assert (result.difference, result.sign_flip_p) == (0, 1)
    assert agreement_text(result) == "0 up, 0 down, 8 equal, p 1.000"


def test_undefined_classes_and_missing_names_are_left_out():
    a = _values([0.1, np.nan, 0.5, 0.6], ["head", "head", "tail", "tail"], "wxyz")
    b = _values([0.9, 0.2, 0.4, 0.3], ["head", "head", "tail", "head"], "zxyv")
    result = compare(a, b)
    assert (result.n_joined, result.n_regrouped) == (3, 1)
    assert (result.only_in_a, result.only_in_b) == (("w",), ("v",))
    assert result.groups["head"].n_defined == 0
    assert np.isnan(result.groups["head"].difference)
    assert result.groups["tail"].difference == pytest.approx(((0.4 - 0.5) + (0.9 - 0.6)) / 2)


@pytest.fixture(scope="module")
def logdir(tmp_path_factory):
    """Two runs that share some classes, put some of them into different groups, and leave different ones undefined."""
    root = tmp_path_factory.mktemp("runs")
    for seed, run in enumerate("ab"):
        names = [f"class {i}" for i in range(10 * seed, 10 * seed + 60)]
        write_log(root, runs=(run,), attributes={"x": names}, steps=LAST + 1, seed=seed)
    return root


@pytest.fixture(scope="module")
def tab(logdir):
    """Answers of the tab's routes."""
    client = client_of(application(logdir)[0])

    def answer(route, **query):
        text = "&".join(f"{name}={value}" for name, value in query.items())
        return json.loads(answered(client, "GET", f"{PREFIX}/{route}?attribute=x&metric={MOVER_METRIC}&{text}").body)

    return answer


def _compared(logdir):
    return compare_runs(*(read_run(logdir / run, run=run) for run in "ab"), attribute="x", metric=MOVER_METRIC)


def _printed(logdir, capsys, monkeypatch):
    """The rows of the table of groups that the command prints: group, A, B, classes, B − A, verdict, classes."""
    monkeypatch.setenv("COLUMNS", "200")
    assert main(["compare", "a", "b", "--logdir", str(logdir), "--metric", MOVER_METRIC]) == 0
    rows = [
        re.split(r"\s*│\s*", f"{line.strip()} ".removesuffix(" "))
        for line in capsys.readouterr().out.splitlines()
        if "│" in line
    ]
    return {row[0]: row[1:] for row in rows if row[0] in GROUP_ROWS}


def test_the_command_and_the_tab_say_the_same_of_two_runs(logdir, tab, capsys, monkeypatch):
    compared = _compared(logdir)
    answer = tab("compare", run_a="a", step_a=LAST, run_b="b", step_b=LAST)
    printed = _printed(logdir, capsys, monkeypatch)
    assert set(printed) == set(compared.groups) == set(answer["groups"]) == set(GROUP_ROWS)
    assert answer["n_joined"] == compared.n_joined == 50
    assert answer["n_regrouped"] == compared.n_regrouped > 0
    assert (tuple(answer["only_in_a"]), tuple(answer["only_in_b"])) == (compared.only_in_a, compared.only_in_b)
    assert answer["groups"]["all"]["n_defined"] == len(compared.classes) < 50
    for group, shown in answer["groups"].items():
        for key in compared.groups[group].__slots__:
            number = np.nan if shown[key] is None else shown[key]
            assert getattr(compared.groups[group], key) == (
                number if key == "verdict" else pytest.approx(number, nan_ok=True)
            )
        size = "" if group == "gap" else str(shown["n_defined"])
        a, b = (_shown(shown, f"mean_{side}", f"_{side}", ".3f") for side in "ab")
        difference = _shown(shown, "difference", "", "+.3f")
        assert printed[group] == [a, b, size, difference, shown["verdict_text"], shown["agreement"]]
    assert "Unpaired: there are no decisions on single samples of A at its step." in answer["basis"]
    assert "over the 50 classes in common" in answer["about_classes"]


@pytest.mark.parametrize("columns", [80, 140])
def test_without_an_attribute_the_command_compares_all_and_fits_the_terminal(tmp_path, capsys, monkeypatch, columns):
    write_log(tmp_path, runs=("a", "b"), attributes={"x": 40, "y": 40}, steps=1)
    monkeypatch.setenv("COLUMNS", str(columns))
    assert main(["compare", "a", "b", "--logdir", str(tmp_path), "--fail-if", "tail.f1 < 2"]) == 4
    out, error = capsys.readouterr()
    assert re.findall(r"^(\w): f1, step 0", out, re.MULTILINE) == ["x", "y"]
    assert [line.split()[1] for line in error.splitlines()] == ["x:", "y:"]
    assert max(map(len, out.splitlines())) <= columns
    rows = [line for line in out.splitlines() if re.match(r"(head|medium|tail|all|gap) +│", line)]
    assert len(rows) == 10  # none has a second line
    assert all(re.search(r"[+-]\d\.\d{3}", row) and any(word in row for word in VERDICTS.values()) for row in rows)
    assert "…" not in out


def _shown(group, value, side, form):
    lower, upper = group[f"lower{side}"], group[f"upper{side}"]
    ends = "" if lower is None else f" [{lower:{form}}, {upper:{form}}]"
    return f"{group[value]:{form}}{ends}"


def test_each_run_keeps_what_it_recorded_of_its_own_classes(logdir, tab):
    compared = _compared(logdir)
    for run in "ab":
        for group, columns in tab("groups", run=run)["groups"].items():
            recorded = [columns[MOVER_METRIC + end][LAST] for end in ("", "_lower", "_upper")]
            assert getattr(compared, run).mean(group) == pytest.approx(recorded)


def test_gates_compare_shared_classes_with_the_baseline_and_own_means_with_numbers(logdir):
    compared = _compared(logdir)
    recorded = compared.b.mean("tail").value
    assert recorded < compared.a.mean("tail").value  # each over its own classes
    assert compared.groups["tail"].difference > 0  # over those of both
    command = ["compare", "a", "b", "--logdir", str(logdir), "--metric", MOVER_METRIC, "--fail-if"]
    assert main([*command, f"tail.{MOVER_METRIC} < baseline"]) == 0
    assert main([*command, f"tail.{MOVER_METRIC} < {recorded + 1e-6:.6f}"]) == 4
    assert main([*command, f"tail.{MOVER_METRIC} significantly < baseline"]) == 4  # cannot be judged: no interval
    assert main([*command, f"tail.{MOVER_METRIC} significantly < {recorded:.6f}"]) == 0
