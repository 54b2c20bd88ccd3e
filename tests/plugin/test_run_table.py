"""The route of the leaderboard: the table of the command line, with the hyperparameters of the logs."""

import json
from urllib.parse import quote

import numpy as np
import pytest
import torch

from tbmetrics import ClassGroups, TBMetrics, read_run, table
from tbmetrics.comparing.runs import compare
from tbmetrics.comparing.validations import by_family, validation
from tests.plugin.in_process import PREFIX, answered, application, client_of
from tests.plugin.logs import get_json, tensorboard_server, wait_for_steps
from tests.plugin.tab import all_drawn, card, expect, open_frame, screenshot, shown

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
def client(logdir):
    return client_of(application(logdir)[0])


@pytest.fixture(scope="module")
def ask(client):
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


def test_two_runs_are_compared_by_family(logdir, client):
    query = "attribute=x&metric=recall&run_a=a/s0&step_a=1&run_b=b/s0&step_b=1"
    answer = json.loads(answered(client, "GET", f"{PREFIX}/compare?{query}&by=family").body)
    a, b = (
        by_family(history, validation(history, "x", "recall", 1))
        for history in (read_run(logdir / run, run=run) for run in ("a/s0", "b/s0"))
    )
    expected = compare(a, b)
    assert list(answer["groups"]) == ["even", "odd", "other", "all"]
    for name, group in expected.groups.items():
        got = answer["groups"][name]
        assert got["verdict"] == group.verdict
        for number in ("mean_a", "mean_b", "lower_a", "upper_a", "difference", "lower", "upper"):
            assert got[number] == pytest.approx(getattr(group, number), abs=1e-6)
    refused = answered(client, "GET", f"{PREFIX}/compare?{query}&by=size")
    assert (refused.status, "by='size' is unknown" in refused.body.decode()) == (400, True)


def test_a_damaged_run_is_named_and_the_others_are_answered(tmp_path):
    for run, sizes in {"whole": [7], "two_problems": [7, 5]}.items():
        for epoch, size in enumerate(sizes):
            counts = dict(list(COUNTS.items())[:size])
            with TBMetrics(tmp_path / run, classes=ClassGroups.from_counts({"x": counts})) as tb:
                tb.start_epoch(epoch)
                tb.update(9 * torch.eye(size), torch.arange(size))
    client = client_of(application(tmp_path)[0])
    got = answered(client, "GET", f"{PREFIX}/table?attribute=x&metric=recall&run=two_problems&run=whole")
    answer = json.loads(got.body)
    assert [row["name"] for row in answer["rows"]] == ["whole"]
    assert answer["notes"][-1].startswith(
        "Left out: 'two_problems' cannot be read (tag 'longtail/x' has 7 rows for 5 classes"
    )


# ------------------------------------------------------------------------------------------------------ the card


@pytest.fixture(scope="module")
def board(logdir):
    with tensorboard_server(logdir) as url:
        wait_for_steps(url, len(RUNS), 2)
        yield url


def _expected(result, by="all"):
    signs = {"best": "★", "similar": " ≈", "untold": " ?"}
    rows = sorted(result.rows, key=lambda row: -row.cells[by].mean)
    return [[row.name, *(shown(c.mean) + signs.get(c.mark, "") for c in row.cells.values())] for row in rows]


@pytest.mark.browser
def test_the_leaderboard_shows_the_table_and_chooses_what_is_compared(page, board, logdir):
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    tab = open_frame(page, board, attribute="x", metric="recall")
    found = card(tab, "leaderboard")
    all_drawn(tab)
    expected = table(logdir, attribute="x")
    expect(found.locator(".board tbody .class-link")).to_have_text([row[0] for row in _expected(expected)])
    texts = found.locator(".board tbody tr").evaluate_all(
        "rows => rows.map(row => [...row.querySelectorAll('.board-number')].map(n => n.innerText.replace(/\\s/g, '')))"
    )
    assert texts == [[text.replace(" ", "") for text in row[1:]] for row in _expected(expected)]
    headings = found.locator(".board thead th").all_inner_texts()
    assert [h.replace("\n", " ").split(" ")[0] for h in headings][:6] == ["run", *expected.columns]
    assert [h.strip() for h in headings[6:]] == ["seed", "strength"]

    found.get_by_role("button", name="b/s2").click()
    expect(tab.get_by_label("Run A")).to_have_value("b/s2")
    found.get_by_role("button", name="a/s1").click(modifiers=["Shift"])
    expect(tab.get_by_label("Run B")).to_have_value("a/s1")

    found.get_by_role("button", name="tail").click()
    by_tail = [row[0] for row in _expected(expected, by="tail")]
    expect(found.locator(".board tbody .class-link")).to_have_text(by_tail)
    expect(found.locator("th[aria-sort=descending]")).to_contain_text("tail")

    found.get_by_role("button", name="Menu of the card").click()
    found.get_by_role("menuitem", name="Copy as LaTeX").click()
    expect(found.locator(".said")).to_contain_text("copied")
    assert page.evaluate("navigator.clipboard.readText()") == expected.latex()


@pytest.mark.browser
def test_steps_families_and_seeds_are_chosen_above(page, board, logdir):
    tab = open_frame(page, board, attribute="x", metric="recall")
    found = card(tab, "leaderboard")
    found.get_by_label("Step, all runs").select_option("last")
    expect(found.locator(".notes")).to_contain_text("Each run is at its last step: steps 1 to 2.")
    expect(found.locator(".board thead th", has_text="step")).to_have_count(1)
    found.get_by_label("Group by, all runs").select_option("family")
    expect(found.locator(".board thead th", has_text="even (2)")).to_have_count(1)
    screenshot(page, "leaderboard-families")
    seeded = open_frame(page, board, attribute="x", metric="recall", seeds=SEEDS)
    folded = card(seeded, "leaderboard")
    expected = table(logdir, attribute="x", seeds=SEEDS)
    expect(folded.locator(".board tbody tr")).to_have_count(2)
    expect(folded.locator(".board tbody .class-link")).to_have_text([row[0] for row in _expected(expected)])
    expect(folded.locator(".notes")).to_contain_text("Welch")


@pytest.mark.browser
def test_families_are_listed_the_worst_of_a_first(page, board):
    tab = open_frame(page, board, attribute="x", metric="recall", a="a/s0", b="b/s0", step="1")
    query = "attribute=x&metric=recall&run_a=a/s0&step_a=1&run_b=b/s0&step_b=1&by=family"
    groups = get_json(f"{board}data/plugin/longtail/compare?{query}")["groups"]
    del groups["all"]
    found = card(tab, "families")
    worst_first = sorted(groups, key=lambda name: groups[name]["mean_a"])
    expect(found.locator("tbody th")).to_have_text(worst_first)
    for i, name in enumerate(worst_first):
        cells = found.locator("tbody tr").nth(i)
        expect(cells).to_contain_text(shown(groups[name]["mean_b"]))
        expect(cells).to_contain_text(shown(groups[name]["difference"], signed=True))
        expect(cells.locator(".verdict")).to_contain_text(groups[name]["verdict_text"])
    found.locator("[data-focus=name]").click()
    expect(found.locator("tbody th")).to_have_text(sorted(groups))
