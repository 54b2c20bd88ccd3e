"""The tiles of A and B: the verdict on runs whose samples are known, none on unlike ones, and the command's numbers."""

import math

import numpy as np
import pytest
import torch

from tbmetrics import ClassGroups, TBMetrics, read_run
from tbmetrics.cli import main
from tbmetrics.comparing import compare_runs
from tests.plugin.logs import get_json, tensorboard_server, wait_until
from tests.plugin.tab import card, expect, open_frame, screenshot, shown

NAMES = [f"species {i:02d}" for i in range(60)]
EACH = 10


def _run(root, name, epochs, classes, gain=0.0, hparams=None, evaluation=""):
    """Recall grows with the epochs; runs of equal `gain` differ by nothing but their names."""
    counts = {c: max(2, int(900 * 0.9**i)) for i, c in enumerate(classes)}
    labels = torch.arange(len(classes)).repeat(EACH)
    with TBMetrics(root / name, classes=ClassGroups.from_counts({"species": counts}), hparams=hparams) as tb:
        for epoch in tb.epochs(range(epochs)):
            logits = torch.randn(len(labels), len(classes), generator=torch.Generator().manual_seed(epoch))
            logits[torch.arange(len(labels)), labels] += 0.4 * (epoch + 1) + gain
            tb.update({"species": logits}, {"species": labels})
            if evaluation:
                tb.update({"species": logits}, {"species": labels}, evaluation=evaluation)


@pytest.fixture(scope="module")
def board(tmp_path_factory):
    """The same model at two moments; one that is better; runs with other class lists."""
    root = tmp_path_factory.mktemp("unlike")
    _run(root, "same/finished", 10, NAMES)
    _run(root, "same/running", 3, NAMES)
    _run(root, "same/better", 3, NAMES, gain=1.0, evaluation="test")
    _run(root, "lists/a", 5, NAMES[:45])
    _run(root, "lists/b", 5, NAMES[15:])
    with tensorboard_server(root) as url:
        wait_until(lambda: get_json(f"{url}data/plugin/longtail/runs"), _is_complete)
        yield root, url


def _is_complete(found):
    return sorted(len(run["attributes"][0]["steps"]) for run in found["runs"]) == [3, 3, 3, 5, 5, 10]


def _recall(run, step):
    """Recall of each class by name, from the recorded counts."""
    table = run.tables["longtail/species"].at(step)
    values = table.column("true_positives").astype(float) / table.column("support")
    return dict(zip(run.class_lists["species"].names, values, strict=True))


def _tile(tab, group):
    return tab.locator(f".tile[data-group={group}]")


def test_unlike_steps_have_no_verdict_and_the_same_step_no_difference(page, board, capsys):
    root, url = board
    tab = open_frame(page, url, a="same/finished", b="same/running", metric="recall")
    expect(tab.locator(".step-text")).to_have_text("2 (last that A and B have)")
    expect(_tile(tab, "tail").locator(".verdict")).to_have_text("no clear difference")
    expect(_tile(tab, "tail").locator("[data-side=difference]")).to_have_text("0.000")
    expect(tab.locator(".summary-card")).to_contain_text("Paired: both runs decided the same validation samples.")
    tab.get_by_role("slider", name="Step").press("End")
    expect(tab.locator(".step-text")).to_have_text("9 (latest)")
    for group in ("head", "medium", "tail", "all", "gap"):
        expect(_tile(tab, group).locator(".verdict")).to_have_text("no verdict")
        expect(_tile(tab, group).locator(".tells")).to_contain_text("A is at step 9, B is at step 2")
        expect(_tile(tab, group).locator(".better, .worse, .agreement")).to_have_count(0)
    screenshot(page, "unlike-steps")
    assert main(["compare", "same/finished", "same/running", "--logdir", str(root), "--metric", "recall"]) == 0
    out = capsys.readouterr().out
    assert "recall, step 2" in out
    assert "better" not in out
    assert "worse" not in out


def test_a_validation_and_a_test_set_have_no_verdict(page, board):
    _root, url = board
    because = 'A is of the evaluation "validation", B of "test"'
    tab = open_frame(page, url, a="same/running", b="same/better/test", metric="recall")
    for group in ("head", "tail", "all", "gap"):
        expect(_tile(tab, group).locator(".verdict")).to_have_text("no verdict")
        expect(_tile(tab, group).locator(".tells")).to_have_text(f"No verdict: {because}.")
    expect(tab.locator(".headline")).to_have_text(f"Nothing can be said of A and B: {because}.")
    expect(card(tab, "boundary")).to_contain_text(f"No verdict: {because}.")
    expect(card(tab, "payers")).to_contain_text(f"No verdict: {because}.")
    expect(card(tab, "payers").locator(".move:not(.chance)")).to_have_count(0)


def test_a_better_run_is_called_so_with_the_interval_of_the_paired_difference(page, board, capsys, monkeypatch):
    root, url = board
    tab = open_frame(page, url, a="same/running", b="same/better", metric="recall")
    a, b = (read_run(root / name) for name in ("same/running", "same/better"))
    difference = np.array(list(_recall(b, 2).values())) - np.array(list(_recall(a, 2).values()))
    tile = _tile(tab, "all")
    expect(tile.locator("[data-side=difference]")).to_have_text(shown(difference.mean(), signed=True))
    expect(tile.locator("[data-side=difference]")).to_have_class("value better")
    expect(tile.locator(".verdict")).to_have_text("▲ better")
    # Every sample that A hits B hits too, so that the variance is that of the share of the others.
    share = difference.mean()
    half = 1.05 * 1.96 * math.sqrt(sum(d * (1 - d) / EACH for d in difference)) / len(difference)
    group = compare_runs(a, b, metric="recall").groups["all"]
    assert group.upper - share == pytest.approx(half, rel=0.15)
    expect(tile.locator(".tells")).to_have_text(
        f"95 %: {shown(group.lower, signed=True)} to {shown(group.upper, signed=True)}."
    )
    up = int((difference > 0).sum())
    expect(tile.locator(".agreement")).to_contain_text(f"{up} up, 0 down")
    monkeypatch.setenv("COLUMNS", "200")
    command = ["compare", "same/running", "same/better", "--logdir", str(root), "--metric", "recall"]
    assert main([*command, "--fail-if", "all.recall significantly < baseline"]) == 0
    out = capsys.readouterr().out
    assert f"{share:+.3f} [{group.lower:+.3f}, {group.upper:+.3f}] │ better" in out
    assert "McNemar p" in out
    assert main([*command, "--fail-if", "all.recall significantly > baseline + 0.1"]) == 4
    assert "95 % of B − A" in capsys.readouterr().err


def test_with_other_class_lists_all_is_over_the_classes_in_common(page, board):
    root, url = board
    tab = open_frame(page, url, a="lists/a", b="lists/b", metric="recall")
    a, b = (_recall(read_run(root / name), 4) for name in ("lists/a", "lists/b"))
    common = [name for name in a if name in b]
    assert len(common) == 30
    means = [np.mean([run[name] for name in common]) for run in (a, b)]
    tile = _tile(tab, "all")
    expect(tile.locator("[data-side=A]")).to_have_text(shown(means[0]))
    expect(tile.locator("[data-side=B]")).to_have_text(shown(means[1]))
    expect(tile.locator("[data-side=difference]")).to_have_text(shown(means[1] - means[0], signed=True))
    counts = [sum(b[n] > a[n] for n in common), sum(b[n] < a[n] for n in common)]
    equal = 30 - sum(counts)
    expect(tile.locator(".agreement")).to_contain_text(
        f"{counts[0]} up, {counts[1]} down" + (f", {equal} equal" if equal else "")
    )
    expect(tile.locator(".own")).to_contain_text(f"A {shown(np.mean(list(a.values())))}")
    expect(tile).to_contain_text("30 of 45 classes")
    expect(tab.locator(".summary-card")).to_contain_text("over the 30 classes in common; only in A 15, only in B 15")
    expect(tab.locator(".summary-card")).to_contain_text("Unpaired: the class lists differ.")


def test_thresholds_moved_in_the_tab_have_the_interval_of_the_same_decisions(page, board):
    _root, url = board
    query = "compare?run_a=same/running&run_b=same/better&step_a=2&step_b=2&attribute=species&metric=f1"
    recorded, moved = (
        get_json(f"{url}data/plugin/longtail/{query}{bounds}")["groups"] for bounds in ("", "&head_min=300&tail_max=40")
    )
    for key in ("difference", "lower", "upper"):
        assert moved["all"][key] == pytest.approx(recorded["all"][key])
    tab = open_frame(page, url, a="same/running", b="same/better", rule="custom", head="300", tail="40")
    low, high = (shown(moved["tail"][end], signed=True) for end in ("lower", "upper"))
    expect(_tile(tab, "tail").locator(".tells")).to_have_text(f"95 %: {low} to {high}.")
    expect(_tile(tab, "tail").locator(".verdict")).to_have_text("▲ better")
