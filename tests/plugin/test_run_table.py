"""The route of the leaderboard: the table of the command line, with the hyperparameters of the logs."""

import json
from urllib.parse import quote

import numpy as np
import pytest
import torch

from tbmetrics import ClassGroups, TBMetrics, table
from tests.plugin.in_process import PREFIX, answered, application, client_of

COUNTS = {f"c{i}": count for i, count in enumerate([900, 400, 50, 30, 9, 5, 2])}
FAMILIES = {"c0": "even", "c1": "odd", "c2": "even", "c3": "odd"}
SEEDS = r"/s\d"
RUNS = ("a/s0", "a/s1", "a/s2", "b/s0", "b/s1", "b/s2")


@pytest.fixture(scope="module")
def logdir(tmp_path_factory):
    root = tmp_path_factory.mktemp("runs")
    labels = torch.arange(140) % 7
    for index, run in enumerate(RUNS):
        groups = ClassGroups.from_counts({"x": COUNTS}, families=FAMILIES)
        strength = 1.0 if run.startswith("a") else 2.5
        settings = {"strength": strength, "seed": index, "name": "<b>", "on": True}
        with TBMetrics(root / run, classes=groups, hparams=settings) as tb:
            for epoch in tb.epochs(range(2 + index % 2)):
                noise = torch.randn(140, 7, generator=torch.Generator().manual_seed(10 * index + epoch))
                tb.update(noise + strength * torch.eye(7)[labels], labels)
    return root


@pytest.fixture(scope="module")
def ask(logdir):
    client = client_of(application(logdir)[0])

    def answer(query, status=200):
        got = answered(client, "GET", f"{PREFIX}/table?attribute=x&metric=recall{query}")
        assert got.status == status, got.body
        return json.loads(got.body)

    return answer


def _seeds():
    return "".join(f"&run={quote(run)}&experiment={run[0]}" for run in RUNS)


@pytest.mark.parametrize(
    ("query", "options"),
    [
        ("", {}),
        ("&step=last", {"step": "last"}),
        ("&step=best", {"step": "best"}),
        ("&step=0&by=family", {"step": 0, "by": "family"}),
        (_seeds(), {"seeds": SEEDS}),
    ],
)
def test_the_route_answers_what_the_command_prints(logdir, ask, query, options):
    answer, expected = ask(query), table(logdir, attribute="x", **options)
    assert answer["columns"] == list(expected.columns)
    assert answer["sizes"] == [expected.sizes.get(column) for column in expected.columns]
    assert answer["notes"] == list(expected.notes)
    assert answer["texts"] == {
        "markdown": expected.markdown(),
        "latex": expected.latex(),
        "csv": expected.csv(),
    }
    for got, row in zip(answer["rows"], expected.rows, strict=True):
        assert (got["name"], got["runs"], got["steps"]) == (row.name, list(row.runs), list(row.steps))
        for cell, wanted in zip(got["cells"], row.cells.values(), strict=True):
            assert cell["mark"] == wanted.mark
            for name in ("mean", "lower", "upper", "deviation"):
                value = getattr(wanted, name)
                assert cell[name] == (None if np.isnan(value) else pytest.approx(value, abs=1e-6))


def test_rows_have_the_hyperparameters_that_all_their_runs_share(ask):
    (first, *_) = ask("")["rows"]
    assert first["hparams"] == [["name", "<b>"], ["on", True], ["seed", 0.0], ["strength", 1.0]]
    a, b = ask(_seeds())["rows"]
    assert a["hparams"] == [["name", "<b>"], ["on", True], ["strength", 1.0]]
    assert dict(b["hparams"])["strength"] == 2.5


def test_other_bounds_give_other_groups_with_their_intervals(ask):
    answer = ask("&head_min=40&tail_max=4")
    assert dict(zip(answer["columns"], answer["sizes"], strict=True))["head"] == 3
    assert all(cell["lower"] is not None for cell in answer["rows"][0]["cells"])


@pytest.mark.parametrize(
    ("query", "error"),
    [
        ("&step=9", "no run has a validation at step 9"),
        ("&step=first", "must be a whole number"),
        ("&by=size", "by='size' is unknown"),
        ("&run=nope", "run 'nope' is unknown"),
        ("&run=a/s0&experiment=a&experiment=b", "2 experiments for 1 runs"),
    ],
)
def test_what_is_not_there_is_refused(ask, query, error):
    assert error in ask(query, 400)["error"]
