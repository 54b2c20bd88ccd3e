"""What the tab can do, feature by feature, in a real Chromium: each number compared with numpy on the log's own."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from scipy import stats
from tensorboard.compat.proto import event_pb2, summary_pb2

from tbmetrics.class_performance.calibration import calibration_error
from tbmetrics.classes.rules import GroupRule, tercile_groups
from tbmetrics.records import BY_PREDICTED_CLASS, CALIBRATION_BINS, GROUPS, MEAN_METRICS, UNKNOWN
from tbmetrics.statistics.intervals import wilson
from tbmetrics.statistics.lifts import lift_interval
from tests.plugin.logs import EventFile, Truth, get_json, tables, tensorboard_server, wait_for_steps, write_log
from tests.plugin.tab import (
    UNDEFINED,
    all_drawn,
    card,
    drawn_values,
    eventually,
    expect,
    open_frame,
    open_tab,
    rows,
    screenshot,
    shown,
)

pytestmark = pytest.mark.browser

RUNS = ("baseline/seed1", "baseline/seed2", "focal/seed1", "focal/seed2", "ldam")
STEPS = 4
LAST = STEPS - 1


@pytest.fixture(scope="module")
def logs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, dict[str, Truth]]]:
    """Five runs, two of them seeds of another two, with two attributes."""
    directory = tmp_path_factory.mktemp("logs")
    truth = write_log(directory, runs=RUNS, attributes={"digit": 60, "shape": 12}, steps=STEPS)
    # A scalar, so that TensorBoard has another tab.
    file = EventFile(directory / "ldam" / "events.out.tfevents.1700000009.host.9")
    value = summary_pb2.Summary.Value(tag="loss", simple_value=1.0)
    file.write(event_pb2.Event(step=1, wall_time=1.7e9, summary=summary_pb2.Summary(value=[value])))
    file.close()
    return directory, truth


@pytest.fixture(scope="module")
def board(logs) -> Iterator[str]:
    with tensorboard_server(logs[0]) as url:
        wait_for_steps(url, len(RUNS), STEPS)
        yield url


def _groups(truth: Truth, head_min: float, tail_max: float) -> np.ndarray:
    return np.array(GroupRule("test", head_min, tail_max).groups(truth.classes.counts))


def _mean(values: np.ndarray, inside: np.ndarray) -> float:
    chosen = values[inside].astype(np.float64)
    return float(np.nanmean(chosen)) if (~np.isnan(chosen)).any() else float("nan")


# --------------------------------------------------------------------------------------------- 1. regrouping live


@pytest.mark.parametrize(("rule", "bounds"), [("lvis", (100, 9)), ("terciles", None), ("custom", (300, 40))])
def test_every_mean_follows_other_thresholds(page, board, logs, rule, bounds):
    a = logs[1]["baseline/seed1"]["digit"]
    groups = np.array(tercile_groups(a.classes.counts)) if bounds is None else _groups(a, *bounds)
    custom = {"head": str(bounds[0]), "tail": str(bounds[1])} if rule == "custom" else {}
    tab = open_frame(page, board, attribute="digit", metric="recall", rule=rule, b="", **custom)
    for group in GROUPS:
        inside = groups == group
        expect(tab.locator(f".sizes [data-size={group}]")).to_have_text(str(inside.sum()))
        expected = _mean(a.column("recall", LAST), inside)
        expect(tab.locator(f".tile[data-group={group}] [data-side=A]")).to_have_text(shown(expected))
    charts = card(tab, "training").locator(".line-chart")
    for place, group in enumerate(GROUPS):
        drawn = drawn_values(charts.nth(place))
        expected = [_mean(a.column("recall", s), groups == group) for s in range(STEPS)]
        assert any(np.allclose(line, expected, atol=3e-3) for line in drawn), group
    for row in rows(tab):
        assert row[1] == groups[a.classes.names.index(row[0])]


def test_dragging_a_threshold_moves_charts_and_table_without_asking_the_server(page, board, logs):
    a = logs[1]["baseline/seed1"]["digit"]
    tab = open_frame(page, board, attribute="digit", rule="custom", head="200", tail="10")
    expect(tab.locator(".tile[data-group=tail] [data-side=A]")).not_to_have_text("…")
    all_drawn(tab)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    slider = tab.get_by_role("slider", name="Tail up to: training examples")
    slider.focus()
    for _ in range(4):
        page.keyboard.press("ArrowRight")
    expect(tab.locator("h1 + p")).not_to_contain_text("tail up to 10 ")
    all_drawn(tab)  # the last of the four is drawn
    tail_max = int(tab.get_by_role("spinbutton", name="Tail up to: number of training examples").input_value())
    assert tail_max > 10
    inside = _groups(a, 200, tail_max) == "tail"
    expect(tab.locator(".sizes [data-size=tail]")).to_have_text(str(inside.sum()))
    b = logs[1]["focal/seed1"]["digit"].column("f1", LAST)
    expected = shown(_mean(a.column("f1", LAST), inside & ~np.isnan(b)))
    expect(tab.locator(".tile[data-group=tail] [data-side=A]")).to_have_text(expected)
    assert [url for url in asked if "bucket_sums" in url or "groups" in url or "values" in url] == []
    expect(tab.locator("h1 + p")).to_contain_text(f"tail up to {tail_max} training examples")
    eventually(page, lambda: f"tail_max={tail_max}" in "".join(asked))  # the test of A against B follows once it rests
    page.wait_for_url(f"**p.longtail.tail={tail_max}**")


@pytest.mark.parametrize("moved", [False, True])
def test_a_mean_ap_tells_how_many_classes_have_few_positives(page, board, logs, moved):
    a, b = (logs[1][run]["digit"] for run in ("baseline/seed1", "focal/seed1"))
    bounds = (300, 40) if moved else (101, 19)
    rule = {"rule": "custom", "head": "300", "tail": "40"} if moved else {}
    tab = open_frame(page, board, attribute="digit", metric="ap", b="focal/seed1", **rule)
    inside = _groups(a, *bounds) == "tail"
    few = [int(((s > 0) & (s < 5)).sum()) for s in (t.column("support", LAST)[inside] for t in (a, b))]
    text = f"{few[0]} classes" if few[0] == few[1] else f"A: {few[0]}, B: {few[1]} classes"
    expect(tab.locator(".tile[data-group=tail] .few")).to_have_text(
        f"{text} with under 5 positives, whose AP is too high on average"
    )
    charts = card(tab, "training").locator("figure")
    n = int((~np.isnan(a.column("ap", LAST)[inside])).sum())
    expect(charts.nth(2).locator("h3")).to_contain_text(
        f"{n} of {inside.sum()} classes" if n < inside.sum() else f"{n} classes"
    )


def _whole_buckets(truth, inside):
    """The interval of a mean of recall over classes that fill their buckets, from the planted covariances."""
    defined = inside & ~np.isnan(truth.column("recall", LAST))
    weights = np.array([defined[truth.buckets.of_class == b].any() for b in range(len(truth.buckets))]) / defined.sum()
    metric = MEAN_METRICS.index("recall")
    mean = _mean(truth.column("recall", LAST), inside)
    centre = mean - weights @ truth.bias[LAST, metric]
    half = 1.959964 * np.sqrt(weights @ truth.covariance[LAST, metric] @ weights)
    return f"[{shown(max(0, min(mean, centre - half)))}, {shown(min(1, max(mean, centre + half)))}]"


def test_the_interval_of_new_groups_is_that_of_the_recorded_covariances(page, board, logs):
    a = logs[1]["baseline/seed1"]["digit"]
    tab = open_frame(page, board, attribute="digit", metric="recall", rule="custom", head="300", tail="40", b="")
    for group in ("head", "medium", "tail"):
        inside = _groups(a, 300, 40) == group
        row = tab.locator(f".tile[data-group={group}] .tile-row").first
        expect(row.locator(".interval")).to_have_text(_whole_buckets(a, inside))


def test_a_group_whose_classes_stay_keeps_its_interval(page, board, logs):
    a = logs[1]["baseline/seed1"]["digit"]
    texts = set()
    for head in ("300", "150"):
        tab = open_frame(page, board, attribute="digit", metric="recall", rule="custom", head=head, tail="40", b="")
        expect(tab.locator(".sizes [data-size=head]")).to_have_text(str((a.classes.counts >= int(head)).sum()))
        texts.add(tab.locator(".tile[data-group=tail] .interval").first.inner_text())
    assert len(texts) == 1


@pytest.mark.slow
def test_intervals_of_new_groups_in_older_logs_take_the_classes_as_independent(page, tmp_path):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tests.plugin.logs.tables", lambda truth, index: tables(truth, index)[:-1])
        a = write_log(tmp_path, runs=("old",), steps=2)["old"]["digit"]
    inside = _groups(a, 300, 40) == "medium"
    with tensorboard_server(tmp_path) as base:
        wait_for_steps(base, 1, 2)
        tab = open_frame(page, base, attribute="digit", metric="recall", rule="custom", head="300", tail="40", b="")
        lower, upper = (a.column(f"recall_{end}", 1)[inside] for end in ("lower", "upper"))
        defined = ~np.isnan(a.column("recall", 1)[inside])
        half = 1.96 * np.sqrt((((upper - lower)[defined].astype(np.float64) / (2 * 1.96)) ** 2).sum()) / defined.sum()
        mean = _mean(a.column("recall", 1), inside)
        text = f"[{shown(max(0, mean - half))}, {shown(min(1, mean + half))}] approximate"
        expect(tab.locator(".tile[data-group=medium] .interval").first).to_have_text(text)
        screenshot(page, "approximate")
        page.goto("about:blank")


# --------------------------------------------------------------------------------------------- 2. A against B


def _f1_ends(truth):
    """F1 and its recorded interval at the last step, (3, classes)."""
    return np.stack([truth.column(f"f1{end}", LAST).astype(float) for end in ("", "_lower", "_upper")])


def test_gains_and_losses_are_ranked_by_evidence(page, board, logs):
    a, b = (logs[1][run]["digit"] for run in ("baseline/seed1", "focal/seed1"))
    tab = open_frame(page, board, attribute="digit", b="focal/seed1")
    lists = card(tab, "movers").locator(".mover-list")
    (va, la, ua), (vb, lb, ub) = _f1_ends(a), _f1_ends(b)
    difference = vb - va
    lower = difference - 1.08 * np.sqrt((vb - lb) ** 2 + (ua - va) ** 2)
    upper = difference + 1.08 * np.sqrt((ub - vb) ** 2 + (va - la) ** 2)
    moved = [-np.where(difference > 0, lower, np.nan), np.where(difference < 0, upper, np.nan)]
    by_chance = (lower <= 0) & (upper >= 0)
    for place, worth in enumerate(moved):
        items = lists.nth(place).locator("li")
        expect(items.first).to_be_visible()
        names = items.locator(".name").all_inner_texts()
        indices = [a.classes.names.index(name) for name in names]
        ranked = worth[indices]
        assert (np.diff(ranked) >= -1e-6).all()
        assert ranked[-1] <= np.sort(worth[~np.isnan(worth)])[len(names) - 1] + 1e-6
        grey = [("chance" in (item.get_attribute("class") or "")) for item in items.all()]
        assert grey == by_chance[indices].tolist()
        marks = items.locator(".mark").all_inner_texts()  # not by colour alone
        assert marks == ["○" if is_grey else "●" for is_grey in grey]
    compared = ~np.isnan(difference)
    caption = card(tab, "movers").locator(".caption")
    expect(caption).to_contain_text(f"{(compared & ~by_chance).sum()} stand out")
    expect(caption).to_contain_text(f"of {compared.sum()} would stand out")
    screenshot(page, "movers")
    items.first.locator("button").click()
    expect(tab.get_by_role("dialog", name=names[0])).to_be_visible()


def test_differences_that_could_be_chance_are_hollow_in_the_table(page, board, logs):
    a, b = (logs[1][run]["digit"] for run in ("baseline/seed1", "focal/seed1"))
    (va, la, ua), (vb, lb, ub) = _f1_ends(a), _f1_ends(b)
    lower = vb - va - 1.08 * np.sqrt((vb - lb) ** 2 + (ua - va) ** 2)
    upper = vb - va + 1.08 * np.sqrt((ub - vb) ** 2 + (va - la) ** 2)
    tab = open_frame(page, board, attribute="digit", b="focal/seed1", sort="difference-desc")
    cells = tab.locator(".classes td.difference")
    expect(cells.first).to_be_visible()
    seen = set()
    for cell, row in zip(cells.all()[:12], rows(tab), strict=False):
        index = a.classes.names.index(row[0])
        is_chance = bool(lower[index] <= 0 <= upper[index])
        assert ("chance" in cell.get_attribute("class")) == is_chance
        assert ("could be chance" in cell.get_attribute("title")) == is_chance
        assert cell.locator("i.chance").count() == is_chance
        seen.add(is_chance)
    assert True in seen


def test_confused_pairs_are_ranked_by_their_share(page, board, logs):
    a = logs[1]["baseline/seed1"]["digit"]
    pairs = a.pairs[LAST][~np.isnan(a.pairs[LAST][:, 0])].astype(int)
    support = a.column("support", LAST).astype(float)
    n, m = pairs[:, 2], support[pairs[:, 0]]
    lower = wilson(n, m)[0]
    order = [i for i in sorted(range(len(pairs)), key=lambda i: (-lower[i], -n[i])) if n[i] > 1][:10]
    usual = a.column("false_positives", LAST) / (support.sum() - support)
    tab = open_frame(page, board, attribute="digit", b="")
    listed = card(tab, "flow").locator(".pairs tbody tr")
    expect(listed).to_have_count(10)
    for place, i in enumerate(order):
        row = listed.nth(place)
        true, went, count = pairs[i]
        assert row.locator(".name").all_inner_texts() == [a.classes.names[true], a.classes.names[went]]
        is_chance = lower[i] <= usual[went]
        expect(row.locator("td").nth(2)).to_contain_text(f"{'○' if is_chance else '●'}{count}")
        expect(row.locator("td").nth(3)).to_have_text(f"{int(100 * n[i] / m[i] + 0.5)} %")
    tab = open_frame(page, board, attribute="digit", b="focal/seed1")  # each pair with what both say of it
    counts = [
        {(p, q): n for p, q, n in t.pairs[LAST][~np.isnan(t.pairs[LAST][:, 0])].astype(int).tolist()}
        for t in (a, logs[1]["focal/seed1"]["digit"])
    ]
    listed = card(tab, "flow").locator(".pairs tbody tr")
    for row in listed.all():
        pair = tuple(a.classes.names.index(name) for name in row.locator(".name").all_inner_texts())
        both = [found.get(pair, 0) for found in counts]
        expect(row.locator("td").nth(2)).to_contain_text(f"{both[0]} → {both[1]}")
        assert max(both) > 1
    screenshot(page, "confused-pairs")


def test_rows_have_a_trend_line_of_each_run(page, board, logs):
    tab = open_frame(page, board, attribute="digit", b="focal/seed1")
    cells = tab.locator(".classes tbody:not(.spacer) td.column-trend")
    expect(cells.first.locator(".run-line")).to_have_count(2)
    expect(cells.nth(9).locator(".run-line")).to_have_count(2)
    name = tab.locator(".class-name").first.inner_text()
    values = logs[1]["baseline/seed1"]["digit"].class_values
    index = logs[1]["baseline/seed1"]["digit"].classes.names.index(name)
    f1 = values[:, index, 6]
    path = cells.first.locator(".run-line").first.get_attribute("d")
    heights = [float(point.split(" ")[1]) for point in re.split("[ML]", path)[1:]]
    assert np.corrcoef(heights, f1)[0, 1] == pytest.approx(-1, abs=0.02)  # higher values are further up


def test_the_drawer_tells_what_a_class_is_mistaken_for(page, board, logs):
    a = logs[1]["baseline/seed1"]["digit"]
    pairs = a.pairs[LAST][~np.isnan(a.pairs[LAST][:, 0])].astype(int)
    true, went, n = pairs[0]
    tab = open_frame(page, board, attribute="digit", open=a.classes.names[true])
    drawer = tab.get_by_role("dialog", name=a.classes.names[true])
    mistaken = drawer.locator(".confused[data-side=A] ol").first
    expect(mistaken.locator("li").first).to_contain_text(a.classes.names[went])
    expect(mistaken.locator("li .number").first).to_have_text(str(n))
    best = a.column("best_f1", LAST)[true], a.column("best_threshold", LAST)[true]
    expect(drawer.locator(".notes")).to_contain_text(f"best F1 {shown(best[0])} at threshold {shown(best[1])}")
    screenshot(page, "drawer-confusions")


# ------------------------------------------------------------------------------------- 3. uncertainty and seeds


def test_seeds_become_one_line_with_their_mean_and_t_interval(page, board, logs):
    tab = open_frame(page, board, attribute="digit", metric="recall")
    expect(tab.locator(".charts-card .legend li")).to_have_count(5)
    tab.get_by_role("button", name="Use “seed1”").click()
    expect(tab.locator(".charts-card .legend li")).to_have_count(3)
    expect(tab.locator(".charts-card .legend")).to_contain_text("2 seeds")
    expect(tab.get_by_label("Run B")).to_have_value("focal/seed1")  # not another seed of A
    charts = card(tab, "training").locator(".line-chart")
    for group, place in zip(GROUPS, range(3), strict=True):
        seeds = np.array([logs[1][f"focal/seed{i}"]["digit"].group("recall", group) for i in (1, 2)], dtype=float)
        drawn = drawn_values(charts.nth(place))
        assert any(np.allclose(line, seeds.mean(axis=0), atol=3e-3) for line in drawn)
        low, high = stats.t.interval(0.95, 1, seeds[:, -1].mean(), seeds[:, -1].std(ddof=1) / np.sqrt(2))
        text = f"{shown(seeds[:, -1].mean())} [{shown(max(0, low))}, {shown(min(1, high))}], 2 seeds"
        expect(tab.locator(f".tile[data-group={group}] [data-seeds=B]")).to_have_text(text)
    expect(tab.locator(".tile[data-group=tail] .seeds")).to_contain_text("too few seeds to tell")
    screenshot(page, "seeds")
    tab.get_by_label("Seeds: what differs").fill("(")
    expect(tab.get_by_text("runs are shown one by one")).to_be_visible()
    expect(tab.locator(".charts-card .legend li")).to_have_count(5)


@pytest.mark.slow
def test_three_seeds_of_each_are_tested_and_a_step_that_one_lacks_has_no_mean(page, tmp_path):
    runs = [f"{name}_s{seed}" for name in ("low", "lift") for seed in (1, 2, 3)]
    truth = {}
    for seed, run in enumerate(runs):
        n_steps = STEPS - (run == "low_s2")
        truth[run] = write_log(tmp_path, runs=(run,), steps=n_steps, n_classes=40, seed=seed)[run]["digit"]
    with tensorboard_server(tmp_path) as base:
        wait_for_steps(base, 6, STEPS - 1)
        tab = open_frame(page, base, attribute="digit", a="low_s1", b="lift_s1", seeds="_s\\d", step=str(LAST - 1))
        low, lift = (
            np.array([truth[f"{name}_s{i}"].group("f1", "tail")[LAST - 1] for i in (1, 2, 3)], dtype=float)
            for name in ("low", "lift")
        )
        error = np.sqrt((low.var(ddof=1) + lift.var(ddof=1)) / 3)
        p = 2 * stats.t.sf(abs(lift.mean() - low.mean()) / error, 2)
        said = tab.locator(".tile[data-group=tail] .seeds p").last
        expect(said).to_contain_text(f"p\u00a0=\u00a0{p:.3f} (Welch)")
        expect(said).to_contain_text("not told apart" if p >= 0.05 else "▲ better" if lift.mean() > low.mean() else "▼")
        expect(tab.locator(".charts-card .legend")).to_contain_text("3 seeds; at 1 step only 2 of 3: no mean")
        lines = drawn_values(card(tab, "training").locator(".line-chart").nth(2))
        means = np.mean([truth[f"low_s{i}"].group("f1", "tail")[:LAST] for i in (1, 2, 3)], axis=0)
        assert any(len(line) == LAST and np.allclose(line, means, atol=3e-3) for line in lines)
        screenshot(page, "seeds-lacking")
        tab = open_frame(page, base, attribute="digit", a="low_s1", b="lift_s1", seeds="_s\\d")
        expect(tab.locator(".tile[data-group=tail] [data-seeds=A]")).to_have_text(
            f"2 of 3 seeds at step {LAST}: no mean"
        )
        expect(card(tab, "tradeoff").locator(".caption")).to_contain_text(
            "1 experiment left out: a seed lacks this step"
        )
        page.goto("about:blank")  # nothing is asked of a server that is gone


def test_it_says_what_can_be_told_and_what_cannot(page, board, logs):
    query = f"run_a=baseline/seed1&run_b=ldam&step_a={LAST}&step_b={LAST}&attribute=digit&metric=f1"
    compared = get_json(f"{board}data/plugin/longtail/compare?{query}")["groups"]
    tab = open_frame(page, board, attribute="digit", b="ldam")
    for group in ("head", "tail", "all"):
        tile = tab.locator(f".tile[data-group={group}]")
        expect(tile.locator(".verdict")).to_contain_text(compared[group]["verdict_text"])
        expect(tile.locator(".agreement")).to_have_text(f"Classes: {compared[group]['agreement']}")
        if compared[group]["lower"] is not None:
            low, high = (shown(compared[group][end], signed=True) for end in ("lower", "upper"))
            expect(tile.locator(".tells")).to_have_text(f"95 %: {low} to {high}.")
    expect(tab.locator(".summary-card")).to_contain_text("Unpaired: there are no decisions on single samples of A")
    regrouped = get_json(f"{board}data/plugin/longtail/compare?{query}&head_min=300&tail_max=40")["groups"]["tail"]
    tab = open_frame(page, board, attribute="digit", b="ldam", rule="custom", head="300", tail="40")
    expect(tab.locator(".tile[data-group=tail] .verdict")).to_contain_text(regrouped["verdict_text"])


# ----------------------------------------------------------------------------------------- 4. the trade-off plane


def test_the_trade_off_has_every_run_and_the_front_that_none_beats(page, board, logs):
    tab = open_frame(page, board, attribute="digit")
    card(tab, "summary")  # what is above stays where it is
    plane = card(tab, "tradeoff")
    all_drawn(tab)
    assert sorted(plane.locator("[data-run]").evaluate_all("runs => runs.map(r => r.dataset.run)")) == sorted(RUNS)
    at = {run: [float(logs[1][run]["digit"].group("f1", g)[-1]) for g in ("head", "tail")] for run in RUNS}
    beaten = {
        p
        for p, q in itertools.permutations(RUNS, 2)
        if at[q][0] >= at[p][0] and at[q][1] >= at[p][1] and at[p] != at[q]
    }
    front = re.split("[ML]", plane.locator(".front").get_attribute("d"))[1:]
    assert len(front) == len(RUNS) - len(beaten)
    plane.locator("[data-run=ldam] .run-marker").hover()
    expect(tab.locator(".tooltip")).to_contain_text(shown(at["ldam"][1]))
    box = plane.locator("[data-run=ldam] .run-marker").bounding_box()
    page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    expect(tab.get_by_label("Run B")).to_have_value("ldam")


# ------------------------------------------------------------------------------------ 5. frequency, with brushing


def test_brushing_ranks_narrows_the_table_and_is_told(page, board, logs):
    a = logs[1]["baseline/seed1"]["digit"]
    order = np.argsort(-a.classes.counts, kind="stable")
    tab = open_frame(page, board, attribute="digit", b="")
    for name in ("summary", "tradeoff"):  # what is above stays where it is
        card(tab, name)
    frequency = card(tab, "frequency")
    all_drawn(tab)
    screenshot(page, "frequency")
    box = frequency.locator(".plot").first.bounding_box()
    page.mouse.move(box["x"] + 100, box["y"] + 60)
    page.mouse.down()
    page.mouse.move(box["x"] + 400, box["y"] + 80, steps=4)
    page.mouse.up()
    expect(frequency.get_by_role("button", name="Clear")).to_be_visible()
    all_drawn(tab)  # the last of the moves is drawn
    told = re.compile(r"Ranks (\d+) to (\d+): (\d+) classes")
    expect(frequency.locator(".chosen")).to_contain_text(told)
    first, last, n = map(int, told.match(frequency.locator(".chosen").inner_text()).groups())
    assert n == last - first + 1
    chosen = order[first - 1 : last]
    expected = shown(float(np.nanmean(a.column("f1", LAST)[chosen])))
    expect(frequency.locator(".chosen")).to_contain_text(f"mean {expected}")
    expect(tab.locator(".classes")).to_have_attribute("aria-rowcount", str(n + 1))
    assert {row[0] for row in rows(tab)} <= {a.classes.names[i] for i in chosen}
    expect(frequency.locator(".brush").first).to_be_visible()
    frequency.get_by_role("button", name="Clear").click()
    expect(tab.locator(".classes")).to_have_attribute("aria-rowcount", str(len(a.classes.names) + 1))


def test_bars_are_hatched_by_group_and_every_class_with_a_value_has_a_mark(page, board, logs):
    tab = open_frame(page, board, attribute="digit")
    frequency = card(tab, "frequency")
    all_drawn(tab)
    fills = frequency.locator(".count-bars path[fill]").evaluate_all("paths => paths.map(p => p.getAttribute('fill'))")
    assert "url(#hatch-medium)" in fills
    assert "url(#hatch-tail)" in fills
    a = logs[1]["baseline/seed1"]["digit"]
    n_marks = int((~np.isnan(a.column("f1", LAST)) & (a.classes.counts >= 0)).sum())
    assert frequency.locator(".plot .class-marks").first.get_attribute("d").count("M") == n_marks > 10
    expect(frequency.locator(".trend")).to_have_count(2)


# -------------------------------------------------------------------------------------------- 6. where examples go


def test_lifts_and_pairs_follow_the_thresholds(page, board, logs):
    a = logs[1]["baseline/seed1"]["digit"]
    tab = open_frame(page, board, attribute="digit", rule="custom", head="300", tail="40", pairs="tail", b="")
    flow = card(tab, "flow")
    expect(tab.locator("[data-card=tailflow]")).to_be_hidden()  # of several labels an example it is not known
    own = _groups(a, 300, 40)
    place = [(*GROUPS, UNKNOWN).index(own[np.flatnonzero(a.buckets.of_class == b)[0]]) for b in range(len(a.buckets))]
    member, sums, size = np.eye(4)[place], a.lift_sums[LAST].astype(np.float64), len(a.buckets)
    positives, missed, absent, false = (member.T @ sums[:, :4]).T
    observed, expected, variance = (member.T @ sums[:, 4 + i * size : 4 + (i + 1) * size] @ member for i in range(3))
    lower, upper = lift_interval(observed, expected, variance, (absent / missed)[:, None] * false)
    clear = 0
    for i in range(3):
        cells = flow.locator(".matrix[data-side=A] tbody tr").nth(i).locator("td")
        expect(cells.first).to_have_text(f"{100 * missed[i] / positives[i]:.0f} %")
        for j in range(3):
            value, is_chance = observed[i, j] / expected[i, j], lower[i, j] <= 1 <= upper[i, j]
            clear += not is_chance
            text = f"{value:.{0 if value >= 9.95 else 1}f}×"
            expect(cells.nth(1 + j)).to_have_text(text if expected[i, j] >= 1 else UNDEFINED)
            expect(cells.nth(1 + j)).to_have_class(re.compile("chance" if is_chance else r"^cell(?! chance)"))
            bounds = f"{lower[i, j]:.2f} to {upper[i, j]:.2f}"
            expect(cells.nth(1 + j)).to_have_attribute("title", re.compile(bounds))
    assert 0 < clear < 9
    expect(flow.locator(".caption")).to_contain_text("1.0× = independent")
    screenshot(page, "lifts")
    listed = flow.locator(".pairs tbody tr")
    pairs = [row for row in a.pairs[LAST].tolist() if row[2] > 1 and own[int(row[0])] == "tail"]
    support = a.column("support", LAST).astype(float)
    lower = [wilson(np.array([n]), support[[int(true)]])[0][0] for true, _, n in pairs]
    expected = [pairs[i] for i in sorted(range(len(pairs)), key=lambda i: (-lower[i], -pairs[i][2]))[:10]]
    expect(listed).to_have_count(len(expected))
    for i, (true, went, n) in enumerate(expected):
        expect(listed.nth(i).locator(".name")).to_have_text([a.classes.names[int(true)], a.classes.names[int(went)]])
        expect(listed.nth(i).locator(".number").first).to_contain_text(f"{n:.0f}")


# -------------------------------------------------------------------------------------- 7. precision-recall curves


def test_curves_of_groups_and_of_a_class_over_them(page, board, logs):
    a = logs[1]["baseline/seed1"]["digit"]
    name = a.classes.names[int(np.argmax(a.classes.counts))]
    tab = open_frame(page, board, attribute="digit", b="", open=name)
    curves = card(tab, "pr")
    for place, group in enumerate(GROUPS):
        inside = np.array(a.classes.groups) == group
        means = np.nanmean(a.curves[LAST][inside].astype(np.float64), axis=0)
        expected = np.pad(means, 1, mode="edge")
        plot = curves.locator(".plot").nth(place)
        expect(plot.locator(".run-line")).to_have_count(1 + (group == a.classes.groups[a.classes.names.index(name)]))
        lines = _plot_lines(plot)
        np.testing.assert_allclose([x for x, _ in lines[0]], [0, *np.arange(0.025, 1, 0.05), 1], atol=3e-3)
        np.testing.assert_allclose([y for _, y in lines[0]], expected, atol=3e-3)
        x, y = np.array(lines[0]).T
        assert np.trapezoid(y, x) == pytest.approx(means.mean(), abs=3e-3)
        support = a.column("support", LAST)[inside]
        n, few = (support > 0).sum(), ((support > 0) & (support < 5)).sum()
        text = f"{n} of {inside.sum()} classes" if n < inside.sum() else f"{n} classes"
        expect(curves.locator("h3").nth(place)).to_contain_text(f"{text} ({few} few)" if few else text)
    expect(curves.locator(".caption")).to_contain_text(name)
    label = curves.locator(".plot").first.get_attribute("aria-label")
    head = np.array(a.classes.groups) == "head"
    assert f"precision {shown(_mean(a.column('precision', LAST), head))}" in label


def _plot_lines(plot) -> list[list[tuple[float, float]]]:
    """The points of every line of a plot whose axes go from 0 to 1."""
    script = """plot => {
      const at = (selector, axis) => [...plot.querySelectorAll(selector)].map(tick => [
        Number(tick.querySelector('text').textContent), Number(tick.querySelector('line').getAttribute(axis))]);
      return {x: at('.tick.x', 'x1'), y: at('.tick:not(.x)', 'y1'),
        lines: [...plot.querySelectorAll('.run-line')].map(line => line.getAttribute('d'))};
    }"""
    found = plot.evaluate(script)
    (vx0, x0), (vx1, x1) = found["x"][0], found["x"][-1]
    (vy0, y0), (vy1, y1) = found["y"][0], found["y"][-1]
    points = [[tuple(map(float, p.split(" "))) for p in re.split("[ML]", line)[1:]] for line in found["lines"]]
    return [
        [(vx0 + (x - x0) / (x1 - x0) * (vx1 - vx0), vy0 + (y - y0) / (y1 - y0) * (vy1 - vy0)) for x, y in line]
        for line in points
    ]


# ------------------------------------------------------------------------------------------------ 8. calibration


def test_reliability_and_its_error_by_group(page, board, logs):
    b = logs[1]["ldam"]["digit"]
    tab = open_frame(page, board, attribute="digit", b="ldam", rule="lvis")
    calibration = card(tab, "calibration")
    own = _groups(b, 100, 9)
    of_bucket = np.array([own[np.flatnonzero(b.buckets.of_class == i)[0]] for i in range(len(b.buckets))])
    sums = b.calibration[LAST].astype(np.float64).reshape(len(b.buckets), 3, CALIBRATION_BINS)
    for place, group in enumerate(GROUPS):
        n, confidence, right = sums[of_bucket == group].sum(axis=0)
        ece = calibration_error(np.stack([n, confidence, right]))
        expect(calibration.locator(".errors").nth(place).locator("[data-side=B]")).to_have_text(shown(ece))
        bars = calibration.locator("figure").nth(place).locator(".error-bar[data-side=B]")
        expect(bars).to_have_count(int(((n > 0) & (n < 100)).sum()))
    screenshot(page, "calibration")


@pytest.mark.parametrize("by", [BY_PREDICTED_CLASS, None])
def test_calibration_of_a_single_label_log_says_whose_group_counts(page, tmp_path, monkeypatch, by):
    """Logs of before went by the true class, with the plain error."""
    monkeypatch.setattr("tests.plugin.logs.BY_PREDICTED_CLASS", by)
    truth = write_log(tmp_path, runs=("only",), steps=1, decision="single_label")["only"]["digit"]
    with tensorboard_server(tmp_path) as base:
        wait_for_steps(base, 1, 1)
        calibration = card(open_frame(page, base, attribute="digit"), "calibration")
        expected = "Examples by predicted class." if by else "Examples by true class (older log)."
        expect(calibration).to_contain_text(expected)
        inside = [i for i, group in enumerate(truth.buckets.groups) if group == "head"]
        sums = truth.calibration[0].astype(np.float64).reshape(-1, 3, CALIBRATION_BINS)[inside].sum(axis=0)
        ece = calibration_error(sums) if by else np.abs(sums[2] - sums[1]).sum() / sums[0].sum()
        expect(calibration.locator(".errors").first).to_contain_text(shown(ece))


# ---------------------------------------------------------------------------------------- 9. several attributes


# ---------------------------------------------------------------------------- 10. downloads, links, history


CARDS = (
    "leaderboard",
    "training",
    "summary",
    "tradeoff",
    "movers",
    "frequency",
    "pr",
    "calibration",
    "flow",
    "classes",
)
#: Those with charts.
DRAWN = ("training", "tradeoff", "frequency", "pr", "calibration")


@pytest.mark.parametrize("name", CARDS)
def test_every_card_can_be_taken_away(page, board, name, tmp_path):
    tab = open_frame(page, board, attribute="digit")
    found = card(tab, name)
    contents = {}
    kinds = ("SVG", "PNG", "CSV", "JSON") if name in DRAWN else ("CSV", "JSON")
    for kind in kinds:
        found.get_by_role("button", name="Menu of the card").click()
        with page.expect_download() as download:
            found.get_by_role("menuitem", name=f"Download {kind}").click()
        assert download.value.suggested_filename == f"{name}-digit-f1-step-{LAST}.{kind.lower()}"
        download.value.save_as(tmp_path / kind)
        contents[kind] = (tmp_path / kind).read_bytes()
    if name in DRAWN:
        assert contents["SVG"].startswith(b"<?xml")
        assert b"foreignObject" not in contents["SVG"]
        assert contents["PNG"].startswith(b"\x89PNG")
    table = json.loads(contents["JSON"])
    assert table["about"]["attribute"] == "digit"
    assert len(table["rows"]) == contents["CSV"].decode("utf-8-sig").count("\r\n") - 1
    assert len(table["rows"]) > 0
    assert all(len(row) == len(table["columns"]) for row in table["rows"])


def test_a_card_fills_the_window_and_a_link_leads_to_it(page, board):
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    tab = open_tab(page, board, attribute="digit")
    found = card(tab, "tradeoff")
    before = found.locator(".plot").bounding_box()["height"]
    found.get_by_role("button", name="Menu of the card").click()
    found.get_by_role("menuitem", name="Full size").click()
    expect(found).to_have_class(re.compile("full"))
    eventually(page, lambda: found.locator(".plot").bounding_box()["height"] > before)
    screenshot(page, "full-size")
    page.keyboard.press("Escape")
    expect(found).not_to_have_class(re.compile("full"))
    found.get_by_role("button", name="Menu of the card").click()
    found.get_by_role("menuitem", name="Copy link").click()
    expect(found.locator(".said")).to_contain_text("Link copied")
    link = page.evaluate("navigator.clipboard.readText()")
    other = page.context.new_page()
    other.goto(link)
    target = other.frame_locator("iframe").locator("[data-card=tradeoff]")
    expect(target).to_be_in_viewport()
    expect(other.frame_locator("iframe").locator("h1")).to_have_text("digit")
    other.close()


def test_back_and_forward_go_through_what_was_chosen(page, board):
    tab = open_tab(page, board, attribute="digit")
    expect(tab.get_by_label("Metric")).to_have_value("f1")
    tab.get_by_label("Metric").select_option("recall")
    tab.get_by_role("combobox", name="Rule of the groups").select_option("lvis")
    tab.locator(".class-name").first.click()
    expect(tab.locator(".drawer")).to_be_visible()
    page.go_back()
    expect(tab.locator(".drawer")).to_be_hidden()
    expect(tab.get_by_role("combobox", name="Rule of the groups")).to_have_value("lvis")
    page.go_back()
    expect(tab.get_by_role("combobox", name="Rule of the groups")).to_have_value("")
    page.go_back()
    expect(tab.get_by_label("Metric")).to_have_value("f1")
    page.go_forward()
    expect(tab.get_by_label("Metric")).to_have_value("recall")


def test_the_state_survives_another_tab_of_tensorboard(page, board):
    tab = open_tab(page, board, attribute="shape", metric="ap", rule="lvis")
    page.get_by_role("tab", name="Time Series").click()
    expect(page.get_by_role("tab", name="Time Series")).to_have_attribute("aria-selected", "true")
    page.get_by_role("tab", name="Long Tail").click()
    expect(tab.locator("h1")).to_have_text("shape")
    expect(tab.get_by_label("Metric")).to_have_value("ap")
    expect(tab.get_by_role("combobox", name="Rule of the groups")).to_have_value("lvis")


def test_habits_are_kept_for_the_next_window(browser, board):
    context = browser.new_context()
    first = context.new_page()
    tab = open_frame(first, board, attribute="digit")
    tab.get_by_label("Metric").select_option("ap")
    tab.get_by_role("combobox", name="Rule of the groups").select_option("terciles")
    stored = "[...Object.values(localStorage)].join()"
    eventually(first, lambda: {"ap", "terciles"} <= set(re.findall(r"\w+", first.evaluate(stored))))
    second = context.new_page()
    second.goto(f"{board}data/plugin_entry.html?name=longtail")
    expect(second.get_by_label("Metric")).to_have_value("ap")
    expect(second.get_by_role("combobox", name="Rule of the groups")).to_have_value("terciles")
    context.close()


def test_keys_reach_runs_help_and_search(page, board):
    tab = open_frame(page, board, attribute="digit")
    page.keyboard.press("a")
    expect(tab.get_by_label("Run A")).to_be_focused()
    tab.locator("h1").click()
    page.keyboard.press("b")
    expect(tab.get_by_label("Run B")).to_be_focused()
    tab.locator("h1").click()
    page.keyboard.press("?")
    expect(tab.get_by_role("dialog", name="Keys")).to_be_visible()
    page.keyboard.press("Escape")
    expect(tab.get_by_role("dialog", name="Keys")).to_be_hidden()


def test_metrics_that_are_no_sum_stay_with_the_recorded_groups(page, board, logs):
    tab = open_frame(page, board, attribute="digit", metric="ece", rule="lvis")
    expect(tab.locator(".charts-card .caption").first).to_contain_text("Recorded for the run’s own groups only")
    expect(tab.locator(".tile[data-group=head] [data-side=A]")).to_have_text(
        shown(logs[1]["baseline/seed1"]["digit"].group("ece", "head")[-1])
    )


def test_turning_back_before_an_answer_has_come_shows_what_there_was(page, board):
    tab = open_frame(page, board, attribute="digit", metric="f1")
    names = ("frequency", "movers", "tradeoff", "flow")

    def bodies() -> dict[str, str]:
        return {name: card(tab, name).locator(".body").inner_text() for name in names}

    before = bodies()
    page.route(re.compile("attribute=shape|metric=recall|columns=recall"), lambda route: None)  # never answered
    for choice, other, back in (("Attribute", "shape", "digit"), ("Metric", "recall", "f1")):
        tab.get_by_role("combobox", name=choice).select_option(other)
        for name in names:
            tab.locator(f"[data-card={name}]").scroll_into_view_if_needed()
            page.evaluate("new Promise(requestAnimationFrame)")  # those far from the window rest
        tab.get_by_role("combobox", name=choice).select_option(back)
        eventually(page, lambda: bodies() == before)
