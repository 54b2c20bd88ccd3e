"""The cards about the pair of compared runs, in Chromium: what they draw, read back through their axes."""

import numpy as np
import pytest
import torch

from tbmetrics import read_run
from tests.plugin.logs import get_json, tensorboard_server, wait_until
from tests.plugin.tab import all_drawn, card, expect, open_frame, rows, screenshot, shown
from tests.plugin.test_verdicts import EACH, NAMES, _run

pytestmark = pytest.mark.browser

MANY = [f"species {i:03d}" for i in range(200)]
A, B, LAST = "same/running", "same/better", 2


@pytest.fixture(scope="module")
def board(tmp_path_factory):
    """Two runs of three validations, one of five, and two of many classes."""
    root = tmp_path_factory.mktemp("pair")
    settings = {"lr": 0.1, "loss": "ce", "epochs": 3, "amp": True}
    _run(root, A, 3, NAMES, hparams=settings)
    _run(root, B, 3, NAMES, gain=1.0, hparams=settings | {"loss": "<b>focal", "lr": 0.05, "gamma": 2})
    _run(root, "same/longer", 5, NAMES, hparams={f"option {i}": i for i in range(5)})
    for name, gain in (("many/a", 0.0), ("many/b", 0.8)):
        _run(root, name, 1, MANY, gain)
    with tensorboard_server(root) as url:
        wait_until(
            lambda: get_json(f"{url}data/plugin/longtail/runs"),
            lambda found: [len(run["attributes"][0]["steps"]) for run in found["runs"]] == [1, 1, 3, 5, 3],
        )
        yield root, url


def _classes(root, run, step=LAST):
    """Training counts, recall and its interval of each class, from the recorded table."""
    history = read_run(root / run)
    table = history.tables["longtail/species"].at(step)
    columns = [table.column(f"recall{end}").astype(float) for end in ("", "_lower", "_upper")]
    return np.array(history.class_lists["species"].counts), *columns


def _values_of(chart):
    """A function from heights in the chart to values on its axis."""
    script = """chart => [...chart.querySelectorAll('.tick:not(.x)')].map(tick => [
        Number(tick.querySelector('text').textContent.replace('−', '-')),
        Number(tick.querySelector('line').getAttribute('y1'))])"""
    ticks = np.array(chart.evaluate(script))
    return lambda heights: np.interp(heights, *ticks[ticks[:, 1].argsort()].T[::-1])


def _heights(path):
    return np.array([float(point.split()[1]) for point in path.strip("MZ").split("L")])


# --------------------------------------------------------------------------------------- every boundary of the tail


def test_every_boundary_has_its_difference_and_its_interval(page, board):
    root, url = board
    tab = open_frame(page, url, a=A, b=B, metric="recall")
    chart = card(tab, "boundary").locator("svg.plot")
    (counts, a, *_), (_, b, *_) = (_classes(root, run) for run in (A, B))
    boundaries, value = np.unique(counts), _values_of(chart)
    drawn = value(_heights(chart.locator(".run-line").get_attribute("d")))
    assert drawn == pytest.approx([(b - a)[counts <= n].mean() for n in boundaries], abs=3e-3)
    band = value(_heights(chart.locator(".band").get_attribute("d"))).reshape(2, -1)
    query = f"compare?run_a={A}&run_b={B}&step_a={LAST}&step_b={LAST}&attribute=species&metric=recall"
    for bounds, tail_max in (("", 19), ("&head_min=100&tail_max=9", 9), ("&head_min=600&tail_max=300", 300)):
        tail = get_json(f"{url}data/plugin/longtail/{query}{bounds}")["groups"]["tail"]
        place = np.searchsorted(boundaries, tail_max, side="right") - 1
        assert [band[1][::-1][place], band[0][place]] == pytest.approx([tail["lower"], tail["upper"]], abs=3e-3)
    clear = sum(low > 0 for low in band[1])
    expect(tab.locator(".boundary-card .hint")).to_contain_text(
        f"leaves out 0 at {clear} of {len(boundaries)} boundaries"
    )
    expect(tab.locator(".boundary-card .hint")).to_contain_text(
        "Paired: both runs decided the same validation samples."
    )
    rules = chart.locator(".rule-mark text").all_text_contents()
    assert rules == ["LVIS", "Thirds", "Many / few shot, DBL", "OLTR"]
    now = counts[counts <= 19].max()
    expect(chart.locator(".now-mark")).to_have_attribute("data-tail-max", str(now))
    screenshot(page, "boundary")
    box = chart.bounding_box()
    page.mouse.move(box["x"] + box["width"] - 12, box["y"] + 120)
    expect(tab.locator(".tooltip")).to_contain_text(f"Tail up to {boundaries[-1]} examples: {len(counts)} classes")
    page.mouse.click(box["x"] + box["width"] - 12, box["y"] + 120)  # all classes are tail
    expect(tab.locator(".sizes [data-size=tail]")).to_have_text(str(len(counts)))
    expect(chart.locator(".now-mark")).to_have_attribute("data-tail-max", str(boundaries[-1]))


def test_where_nothing_can_be_compared_the_boundaries_say_so_or_are_not_there(page, board):
    _, url = board
    tab = open_frame(page, url, a=A, b="same/longer", metric="recall", step="4")
    expect(card(tab, "boundary")).to_contain_text("No verdict: A is at step 2, B is at step 4.")
    expect(card(tab, "payers").locator(".move:not(.chance)")).to_have_count(0)
    tab = open_frame(page, url, a=A, b="", metric="recall")
    for name in ("boundary", "payers"):
        expect(tab.locator(f"[data-card={name}]")).to_be_hidden()
    tab = open_frame(page, url, a=A, b=B, metric="accuracy")
    expect(tab.locator("[data-card=payers]")).to_be_visible()
    expect(tab.locator("[data-card=boundary]")).to_be_hidden()


# ------------------------------------------------------------------------------------------------------ who pays


def test_each_class_goes_from_a_to_b_and_is_hollow_if_that_could_be_chance(page, board):
    root, url = board
    tab = open_frame(page, url, a=A, b=B, metric="recall")
    (_, va, la, ua), (_, vb, lb, ub) = (_classes(root, run) for run in (A, B))
    chart = card(tab, "payers").locator("svg.plot")
    value, moves = _values_of(chart), chart.locator(".move")
    expect(moves).to_have_count(len(NAMES))
    lower = vb - va - 1.08 * np.sqrt((vb - lb) ** 2 + (ua - va) ** 2)
    upper = vb - va + 1.08 * np.sqrt((ub - vb) ** 2 + (va - la) ** 2)
    is_chance, seen = (lower <= 0) & (upper >= 0), []
    script = "ms => ms.map(m => [m.dataset.move, m.className.baseVal, m.querySelector('line').getAttribute('y1')])"
    for name, classes, start in moves.evaluate_all(script):
        place = NAMES.index(name)
        assert ("chance" in classes) == is_chance[place], name
        assert value(float(start)) == pytest.approx(va[place], abs=3e-3)
        seen.append(place)
    assert is_chance[seen].tolist() == sorted(is_chance, reverse=True)  # clear ones lie on top
    text = f"Of {len(NAMES)} classes {(lower > 0).sum()} clearly up, {(upper < 0).sum()} clearly down."
    expect(tab.locator(".payers-card .hint")).to_have_text(text)
    box = chart.bounding_box()
    spot = moves.last.locator("path").bounding_box()
    page.mouse.click(spot["x"] + spot["width"] / 2, spot["y"] + spot["height"] / 2)
    expect(tab.get_by_role("dialog")).to_be_visible()
    assert box["width"] > 200
    screenshot(page, "payers")


def test_many_classes_are_bins_with_the_interval_of_their_samples(page, board):
    root, url = board
    tab = open_frame(page, url, a="many/a", b="many/b", metric="recall")
    (counts, a, *_), (_, b, *_) = (_classes(root, run, 0) for run in ("many/a", "many/b"))
    chart = card(tab, "payers").locator("svg.plot")
    value = _values_of(chart)
    script = "ms => ms.map(m => [Number(m.dataset.move), m.querySelector('line').getAttribute('y1'), m.dataset.group])"
    drawn = sorted(chart.locator(".move").evaluate_all(script))
    assert 8 < len(drawn) <= 24
    edges = [lowest for lowest, *_ in drawn] + [10_000]
    for (lowest, start, group), following in zip(drawn, edges[1:], strict=True):
        inside = (counts >= lowest) & (counts < following)
        assert value(float(start)) == pytest.approx(a[inside].mean(), abs=3e-3)
        assert group == ("head" if lowest > 100 else "tail" if counts[inside].max() < 20 else group)
    text = tab.locator(".payers-card .hint").inner_text()
    assert text.startswith(f"Of {len(drawn)} bins ")
    assert text.endswith("Paired: both runs decided the same validation samples.")
    assert (b - a).mean() > 0
    all_drawn(tab)
    assert rows(tab)


# -------------------------------------------------------------------------------------- where tail examples go


def _tail_shares(counts, epoch, gain):
    """Of the tail's examples predicted right, as another tail class, as medium and as head: what `_run` decides."""
    labels = np.tile(np.arange(len(counts)), EACH)
    logits = torch.randn(len(labels), len(counts), generator=torch.Generator().manual_seed(epoch))
    logits[torch.arange(len(labels)), torch.from_numpy(labels)] += 0.4 * (epoch + 1) + gain
    of_tail = counts[labels] < 20
    predicted = logits.argmax(dim=1).numpy()[of_tail]
    is_right, went = predicted == labels[of_tail], counts[predicted]
    parts = (is_right, (went < 20) & ~is_right, (went >= 20) & (went <= 100), went > 100)
    return [part.mean() for part in parts]


@pytest.mark.parametrize(("runs", "steps"), [((A, B), range(3)), (("many/a", "many/b"), range(1))])
def test_the_tail_is_followed_through_training(page, board, runs, steps):
    root, url = board
    tab = open_frame(page, url, a=runs[0], b=runs[1], metric="recall")
    chart = card(tab, "tailflow").locator("svg.plot")
    counts, heights = _classes(root, runs[0], steps[-1])[0], {}
    script = "paths => paths.map(p => [p.dataset.side, p.dataset.part, p.getAttribute('d')])"
    for side, part, path in chart.locator(".flow-area").evaluate_all(script):
        edges = _heights(path).reshape(2, -1)
        heights[side, part] = (edges[1][::-1] - edges[0])[: len(steps)]
    gains = (0.0, 1.0 if runs[1] == B else 0.8)
    for side, gain in zip("AB", gains, strict=True):
        shares = np.array([_tail_shares(counts, step, gain) for step in steps]).T
        drawn = np.array(
            [heights.get((side, part), np.zeros(len(steps))) for part in ("right", "tail", "medium", "head")]
        )
        assert drawn / drawn.sum(axis=0) == pytest.approx(shares, abs=2e-3), side
    labels = chart.locator(".flow-label").all_text_contents()
    assert f"{100 * shares[0, -1] + 1e-9:.0f} % right" in labels
    assert len(labels) == len(chart.locator(".flow-area").all())  # not by colour alone
    if len(steps) > 1:
        box = chart.bounding_box()
        page.mouse.move(box["x"] + 64, box["y"] + 40)
        expect(tab.locator(".tooltip")).to_contain_text("Tail · step 0")
        page.mouse.click(box["x"] + 64, box["y"] + 40)
        expect(tab.locator(".step-text")).to_have_text("0 (1 of 5)")
    screenshot(page, f"tail-flow-{len(steps)}")


# ------------------------------------------------------------------------------------------------------ settings


def test_the_settings_in_which_the_two_differ_are_listed(page, board):
    _, url = board
    tab = open_frame(page, url, a=A, b=B)
    listed = tab.locator(".pair-settings li")
    expect(listed).to_have_text(["lossAceB<b>focal", "lrA0.1B0.05", "gammaA–B2"])
    expect(tab.locator(".pair-settings summary")).to_have_text("3 settings of A and B differ")
    screenshot(page, "settings")
    tab = open_frame(page, url, a=A, b="same/longer")
    expect(tab.locator(".pair-settings summary")).to_have_text("9 settings of A and B differ")
    expect(listed.first).to_be_hidden()  # many are folded
    tab.locator(".pair-settings summary").press("Enter")
    expect(listed.first).to_be_visible()
    open_frame(page, url, a=A, b="many/a")  # without settings
    expect(tab.locator(".pair-settings")).to_be_hidden()


# -------------------------------------------------------------------------------------------- the step of the pair


def test_each_run_can_be_shown_at_its_best_step(page, board):
    root, url = board
    means = {
        run: [np.nanmean(_classes(root, run, step)[1]) for step in range(n)]
        for run, n in ((A, 3), (B, 3), ("same/longer", 5))
    }
    best = {run: int(np.argmax(values)) for run, values in means.items()}
    tab = open_frame(page, url, a=A, b="same/longer", metric="recall")
    expect(tab.locator(".step-text")).to_have_text("2 (last that A and B have)")
    tab.get_by_label("Which step").select_option("Best of each run")
    expect(tab.locator(".sidebar")).to_contain_text(
        f"A at {best[A]}, B at {best['same/longer']}: best Recall, all classes."
    )
    tile = tab.locator(".tile[data-group=all]")
    for side, run in (("A", A), ("B", "same/longer")):
        expect(tile.locator(f"[data-side={side}]")).to_have_text(shown(max(means[run])))
    assert best[A] != best["same/longer"]
    expect(tile.locator(".verdict")).to_have_text("no verdict")
    expect(tab.locator(".headline")).to_contain_text("Nothing can be said of A and B: A is at step")
    page.wait_for_url("**p.longtail.pick=best**")
    tab.get_by_label("Run B").select_option(B)  # the same step of both
    assert best[A] == best[B]
    expect(tile.locator(".verdict")).to_have_text("▲ better")
    tab.get_by_role("slider", name="Step").press("Home")
    expect(tab.get_by_label("Which step")).to_have_value("chosen")
    expect(tile.locator("[data-side=A]")).to_have_text(shown(means[A][0]))
    tab.get_by_label("Run B").select_option("same/longer")
    tab.get_by_label("Which step").select_option("Last of each run")
    expect(tile.locator("[data-side=B]")).to_have_text(shown(means["same/longer"][4]))
    expect(tile.locator("[data-side=A]")).to_have_text(shown(means[A][2]))


# ---------------------------------------------------------------------------------------- metrics of the class table


def test_the_table_shows_further_metrics_and_sorts_by_them(page, board):
    root, url = board
    tables = [read_run(root / run).tables["longtail/species"].at(LAST) for run in (A, B)]
    tab = open_frame(page, url, a=A, b=B, metric="recall")
    chooser = card(tab, "classes").locator(".chooser")
    chooser.locator("summary").press("Enter")
    chooser.get_by_label("F1").check()
    chooser.get_by_label("Precision", exact=True).check()
    expect(chooser.get_by_label("Average precision")).to_be_disabled()  # three at once are enough
    page.keyboard.press("Escape")
    expect(chooser.get_by_label("F1")).to_be_hidden()
    header = tab.locator(".classes thead th:not([hidden])")
    expect(header).to_have_count(14)
    tab.locator("[data-sort='difference:f1']").click()
    expect(tab.locator(".classes th[aria-sort=descending]")).to_have_text("B − A↓")
    all_drawn(tab)
    seen = rows(tab)
    places = [NAMES.index(row[0]) for row in seen]
    for metric, first in (("f1", 7), ("precision", 10)):
        a, b = (table.column(metric).astype(float)[places] for table in tables)
        expected = [[shown(p), shown(q), shown(q - p, signed=True)] for p, q in zip(a, b, strict=True)]
        assert [row[first : first + 3] for row in seen] == expected
    difference = tables[1].column("f1").astype(float) - tables[0].column("f1").astype(float)
    assert difference[places] == pytest.approx(np.sort(difference)[::-1][: len(places)])
    screenshot(page, "further-metrics")
    page.wait_for_url("**p.longtail.columns=**")
    tab.locator(".sidebar select").nth(1).select_option("f1")  # is no further one now, and the order starts anew
    expect(header).to_have_count(11)
    expect(tab.locator(".classes th[aria-sort=descending]")).to_have_text("Training↓")
