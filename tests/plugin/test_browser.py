"""The Long Tail tab as people see it: Chromium in a real TensorBoard, compared with the numbers in the log."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tbmetrics.records import GROUPS, UNKNOWN
from tests.plugin.logs import Truth, append_steps, get_json, tensorboard_server, wait_for_steps, write_log
from tests.plugin.tab import (
    CONTRAST,
    HOSTILE,
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

MANY = 8142
STEPS = 5


@pytest.fixture(scope="module")
def logs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, dict[str, Truth]]]:
    """Two runs with a small, a large and a hostile attribute."""
    directory = tmp_path_factory.mktemp("logs")
    attributes = {"digit": 30, "few": ["red", "green", "blue"], "hostile": HOSTILE, "species": MANY}
    kind = {"decision": "single_label"}
    truth = write_log(directory, runs=("baseline", "focal"), attributes=attributes, steps=STEPS, **kind)
    # A third run whose classes are others in part, with other steps, and a name that is markup.
    names = [f"class {i}" for i in range(20, 36)]
    other = "other & <b>bold"
    truth |= write_log(directory, runs=(other,), attributes={"digit": names}, steps=[1, 3, 9], seed=7, **kind)
    return directory, truth


@pytest.fixture(scope="module")
def board(logs) -> Iterator[str]:
    with tensorboard_server(logs[0]) as url:
        wait_for_steps(url, 3, 3)
        yield url


# ------------------------------------------------------------------------------------------------------ numbers


def test_the_table_shows_the_numbers_of_both_runs(page, board, logs):
    a, b = (logs[1][run]["digit"] for run in ("baseline", "focal"))
    tab = open_tab(page, board, attribute="digit", sort="name-asc")
    seen = {row[0]: row[1:] for row in rows(tab)}
    assert len(seen) >= 14
    in_a, in_b = a.column("f1", STEPS - 1), b.column("f1", STEPS - 1)
    for name, (group, count, support, value_a, value_b, difference) in seen.items():
        i = a.classes.names.index(name)
        assert group == a.classes.groups[i]
        assert count == (UNDEFINED if a.classes.counts[i] < 0 else f"{a.classes.counts[i]:,}")
        assert support == f"{a.column('support', STEPS - 1)[i]:,.0f}"
        assert [value_a, value_b] == [shown(in_a[i]), shown(in_b[i])]
        assert difference == shown(float(in_b[i]) - float(in_a[i]), signed=True)
    screenshot(page, "light")


def test_the_summary_shows_group_means_and_their_difference(page, board, logs):
    a, b = (logs[1][run]["digit"] for run in ("baseline", "focal"))
    tab = open_frame(page, board, attribute="digit", metric="recall")
    compared = get_json(
        f"{board}data/plugin/longtail/compare?run_a=baseline&run_b=focal&step_a={STEPS - 1}&step_b={STEPS - 1}"
        "&attribute=digit&metric=recall"
    )["groups"]
    for group in ("head", "medium", "tail", "all", "gap"):
        tile = tab.locator(f".tile[data-group={group}]")
        for letter, truth in (("A", a), ("B", b)):  # over the classes that both define; below it over its own
            expect(tile.locator(f"[data-side={letter}]")).to_have_text(shown(compared[group][f"mean_{letter.lower()}"]))
            own = truth.group("recall", group)[-1]
            if shown(own) != shown(compared[group][f"mean_{letter.lower()}"]):
                expect(tile.locator(".own")).to_contain_text(f"{letter} {shown(own)}")
        expect(tile.locator("[data-side=difference]")).to_have_text(shown(compared[group]["difference"], signed=True))


def test_the_curves_lie_where_the_values_are(page, board, logs):
    """The end of a line, read back through the axis that is drawn, is the value in the log."""
    tab = open_frame(page, board, attribute="digit", metric="recall")
    charts = card(tab, "training").locator(".line-chart")
    for place, group in enumerate(("head", "medium", "tail", "gap")):
        drawn = drawn_values(charts.nth(place))
        assert len(drawn) == 3
        for run in logs[1]:
            expected = logs[1][run]["digit"].group("recall", group)
            assert any(len(line) == len(expected) and np.allclose(line, expected, atol=2e-3) for line in drawn), run


def test_hovering_tells_the_values_of_every_run(page, board, logs):
    tab = open_frame(page, board, attribute="digit")
    chart = card(tab, "training").locator(".line-chart").nth(2)
    all_drawn(tab)  # nothing above it moves it any more
    box = chart.bounding_box()
    page.mouse.move(box["x"] + 43, box["y"] + 80)  # the left end: step 0
    tooltip = tab.locator(".tooltip")
    expect(tooltip).to_contain_text("Tail · step 0")
    for run in ("baseline", "focal"):
        expect(tooltip).to_contain_text(shown(logs[1][run]["digit"].group("f1", "tail")[0]))
    page.mouse.move(box["x"] + 43, box["y"] - 200)
    expect(tooltip).to_be_hidden()


def test_the_confusion_shows_shares_of_each_true_group(page, board, logs):
    tab = open_frame(page, board, attribute="few")
    shares = []
    for truth in (logs[1][run]["few"] for run in ("baseline", "focal")):
        values = np.zeros((4, 5))
        place = [(*GROUPS, UNKNOWN).index(group) for group in truth.buckets.groups]
        for (i, j), n in np.ndenumerate(truth.flow[-1]):
            values[place[i], place[j] if j < len(place) else 4] += n
        shares.append(100 * values[0, :3] / values[0].sum())
    head = card(tab, "flow").locator(".matrix tbody tr").first.locator("td")
    for cell, (a, b) in enumerate(zip(*shares, strict=True)):
        texts = ["<1" if 0 < share < 1 else f"{share:.0f}" for share in (a, b)]
        expect(head.nth(cell).locator("span")).to_have_text(f"{texts[0]} → {texts[1]} %")
        difference = f"{b - a:+.0f}".replace("-", "−")
        expect(head.nth(cell).locator("strong")).to_have_text("0" if difference in ("+0", "−0") else difference)


# ---------------------------------------------------------------------------------------------------- the table


def test_sorting_is_numpys_with_undefined_last(page, board, logs):
    truth = logs[1]["baseline"]["species"]
    tab = open_frame(page, board, attribute="species", b="")
    values = truth.column("f1", STEPS - 1)
    header = tab.get_by_role("columnheader", name="F1")
    header.scroll_into_view_if_needed()
    all_drawn(tab)  # cards above grow as they are drawn, and would move the header between press and release
    for direction, sign in (("descending", -1), ("ascending", 1)):
        header.get_by_role("button").click()
        expect(header).to_have_attribute("aria-sort", direction)
        expected = np.argsort(np.where(np.isnan(values), np.inf, sign * values), kind="stable")
        assert [row[0] for row in rows(tab)[:12]] == [truth.classes.names[i] for i in expected[:12]]
    tab.locator(".table-card .table-scroll").evaluate("element => { element.scrollTop = element.scrollHeight; }")
    expect(tab.locator(".classes tbody:not(.spacer) tr").last.locator("td").nth(-2)).to_have_text(UNDEFINED)


def test_of_thousands_of_classes_only_those_in_sight_are_in_the_page(page, board, logs):
    tab = open_frame(page, board, attribute="species")
    table = tab.locator("table.classes")
    expect(table).to_have_attribute("aria-rowcount", str(MANY + 1))
    all_drawn(tab)
    assert tab.locator("table.classes tr").count() < 60
    order = np.argsort(-logs[1]["baseline"]["species"].classes.counts, kind="stable")
    tab.locator(".table-card .table-scroll").evaluate("element => { element.scrollTop = 36 * 4000; }")
    row = tab.locator("tr[aria-rowindex='4002']")
    expect(row.locator(".class-name")).to_have_text(logs[1]["baseline"]["species"].classes.names[order[4000]])
    assert tab.locator("table.classes tr").count() < 60
    screenshot(page, "8142-classes")


def test_search_and_groups_narrow_the_table(page, board, logs):
    truth = logs[1]["baseline"]["digit"].classes
    tab = open_frame(page, board, attribute="digit", b="")
    page.keyboard.press("/")
    search = tab.get_by_label("Search classes by name")
    expect(search).to_be_focused()
    page.keyboard.type("CLASS 1")
    matching = [name for name in truth.names if "class 1" in name]
    expect(tab.locator(".classes")).to_have_attribute("aria-rowcount", str(len(matching) + 1))
    tab.get_by_role("button", name="tail", exact=False).and_(tab.locator(".chip")).click()
    kept = [n for n, group in zip(truth.names, truth.groups, strict=True) if n in matching and group != "tail"]
    expect(tab.locator(".classes")).to_have_attribute("aria-rowcount", str(len(kept) + 1))
    assert sorted(row[0] for row in rows(tab)) == sorted(kept)
    search.fill("no such class")
    expect(tab.get_by_text("No class matches")).to_be_visible()


def test_runs_with_other_classes_are_joined_by_name(page, board, logs):
    a, b = logs[1]["baseline"]["digit"].classes, logs[1]["other & <b>bold"]["digit"].classes
    tab = open_frame(page, board, attribute="digit", b="other & <b>bold")
    only_a, only_b = set(a.names) - set(b.names), set(b.names) - set(a.names)
    expect(tab.locator(".table-card")).to_contain_text(f"{len(only_a)} only in A, {len(only_b)} only in B")
    tab.get_by_label("Search classes by name").fill("class 35")
    expect(tab.locator(".classes tbody:not(.spacer) tr")).to_have_count(1)
    (row,) = rows(tab)
    assert "only in B" in row[0]
    assert row[4] == UNDEFINED
    assert row[5] == shown(logs[1]["other & <b>bold"]["digit"].column("f1", 3)[15])  # the last step of both


# ------------------------------------------------------------------------------------------------------ controls


def test_the_step_moves_everything_and_survives_a_reload_of_the_page(page, board, logs):
    truth = logs[1]["baseline"]["digit"]
    tab = open_tab(page, board, attribute="digit", a="baseline", b="", shown='["baseline","focal"]')
    tile = tab.locator(".tile[data-group=tail] [data-side=A]")
    expect(tile).to_have_text(shown(truth.group("f1", "tail")[-1]))
    tab.locator("h1").click()
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowLeft")
    expect(tile).to_have_text(shown(truth.group("f1", "tail")[STEPS - 3]))
    tab.get_by_role("slider", name="Step").press("ArrowLeft")
    expect(tile).to_have_text(shown(truth.group("f1", "tail")[STEPS - 4]))
    name = truth.classes.names[int(np.argmax(truth.classes.counts))]
    expect(tab.locator(".classes tbody:not(.spacer) tr").first).to_contain_text(
        shown(truth.column("f1", STEPS - 4)[truth.classes.names.index(name)])
    )
    page.wait_for_url("**p.longtail.step=1**")
    page.reload()
    expect(page.frame_locator("iframe").locator(".tile[data-group=tail] [data-side=A]")).to_have_text(
        shown(truth.group("f1", "tail")[STEPS - 4])
    )


def test_runs_are_picked_filtered_and_compared(page, board, logs):
    tab = open_frame(page, board, attribute="digit")
    legend = tab.locator(".charts-card .legend li")
    expect(legend).to_have_count(3)
    tab.get_by_label("Filter runs by regular expression").fill("^(base|foc)")
    expect(legend).to_have_count(2)
    tab.get_by_role("checkbox", name="focal").uncheck()
    expect(legend).to_have_count(1)
    tab.get_by_label("Filter runs by regular expression").fill("(")
    expect(tab.get_by_text("Not a regular expression")).to_be_visible()
    tab.get_by_label("Run A").select_option("focal")
    tab.get_by_label("Run B").select_option("")
    tile = tab.locator(".tile[data-group=head] [data-side=A]")
    expect(tile).to_have_text(shown(logs[1]["focal"]["digit"].group("f1", "head")[-1]))
    expect(tab.get_by_role("columnheader", name="B − A")).to_have_count(0)
    expect(tab.locator(".summary-card")).to_contain_text("Choose a run B")


def test_a_run_has_its_colour_of_the_host(page, board):
    """The first of the host's runs has the first colour of its palette, and so on."""
    tab = open_tab(page, board, attribute="digit")
    host = get_json(board + "data/runs")
    for place, colour in enumerate(["rgb(66, 80, 102)", "rgb(18, 181, 203)", "rgb(229, 37, 146)"]):
        item = tab.locator(".runs li", has=tab.get_by_role("checkbox", name=host[place], exact=True))
        expect(item.locator(".run-line")).to_have_css("stroke", colour)


def test_a_class_opens_with_its_curves_and_closes_with_escape(page, board, logs):
    a, b = (logs[1][run]["digit"] for run in ("baseline", "focal"))
    tab = open_frame(page, board, attribute="digit", metric="recall")
    button = tab.locator(".class-name").first
    name = button.inner_text()
    index = a.classes.names.index(name)
    button.focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowUp")
    page.keyboard.press("Enter")
    drawer = tab.get_by_role("dialog", name=name)
    expect(drawer).to_be_visible()
    expect(tab.get_by_role("button", name="Close")).to_be_focused()
    row = drawer.locator(".metric-table tbody tr", has_text="Recall")
    for cell, truth in zip((0, 1), (a, b), strict=True):
        expect(row.locator("td").nth(cell)).to_contain_text(shown(truth.column("recall", STEPS - 1)[index]))
    expect(drawer.locator(".line-chart .run-line")).to_have_count(2)
    expect(drawer.locator(".band")).to_have_count(2)
    screenshot(page, "drawer")
    page.keyboard.press("Escape")
    expect(drawer).to_be_hidden()
    expect(button).to_be_focused()


# ------------------------------------------------------------------------------------------------------- states


def test_names_are_only_ever_text(page, board):
    tab = open_tab(page, board, attribute="hostile")
    assert {row[0] for row in rows(tab)} == set(HOSTILE)
    for name in (HOSTILE[0], HOSTILE[2], HOSTILE[4]):
        tab.locator(".class-name").filter(has_text=name).click()
        expect(tab.locator(".drawer h2")).to_have_text(name)
        page.keyboard.press("Escape")
    tab.get_by_role("combobox", name="Attribute").select_option("digit")
    expect(tab.get_by_role("checkbox", name="other & <b>bold")).to_be_visible()
    for frame in page.frames:
        assert frame.title() != "owned"
        assert frame.locator("img[src=x], bdi b, bdi script").count() == 0
    overflow = "() => document.documentElement.scrollWidth - document.documentElement.clientWidth"
    tab.get_by_role("combobox", name="Attribute").select_option("hostile")
    expect(tab.locator("h1")).to_have_text("hostile")
    assert {row[0] for row in rows(tab)} == set(HOSTILE)
    eventually(page, lambda: page.frames[-1].evaluate(overflow) == 0)
    screenshot(page, "hostile")


def test_dark_mode_follows_the_host_live(page, board):
    tab = open_tab(page, board, attribute="digit")
    expect(tab.locator("html")).to_have_attribute("data-theme", "light")
    page.evaluate("document.body.classList.add('dark-mode')")
    expect(tab.locator("html")).to_have_attribute("data-theme", "dark")
    expect(tab.locator(".card").first).to_have_css("background-color", "rgb(48, 48, 48)")
    screenshot(page, "dark")
    page.evaluate("document.body.classList.remove('dark-mode')")
    expect(tab.locator("html")).to_have_attribute("data-theme", "light")


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_text_has_the_contrast_that_wcag_asks_for(page, board, theme):
    tab = open_tab(page, board, attribute="digit")
    page.evaluate(f"document.body.classList.toggle('dark-mode', {json.dumps(theme == 'dark')})")
    expect(tab.locator("html")).to_have_attribute("data-theme", theme)
    tab.locator(".class-name").first.click()
    expect(tab.locator(".drawer .metric-table tbody tr").first).to_be_visible()
    all_drawn(tab)
    assert tab.locator("#longtail").evaluate(CONTRAST) == []


def test_a_part_that_fails_says_what_and_can_be_retried(page, board):
    page.allowed_errors.append("500")
    page.route("**/data/plugin/longtail/groups?**", lambda route: route.fulfill(status=500, body="boom"))
    tab = open_frame(page, board, attribute="digit")
    charts = tab.locator(".charts-card")
    expect(charts.get_by_role("alert")).to_contain_text("TensorBoard answered with status 500")
    expect(tab.locator(".class-name").first).to_be_visible()
    screenshot(page, "error")
    page.unroute("**/data/plugin/longtail/groups?**")
    charts.get_by_role("button", name="Retry").click()
    expect(charts.locator(".line-chart").first).to_be_visible()
    expect(charts.get_by_role("alert")).to_be_hidden()


def test_while_the_classes_of_one_run_are_missing_none_is_said_to_be_in_the_other_only(page, board):
    page.allowed_errors.append("500")
    page.route("**/data/plugin/longtail/classes?run=focal&**", lambda route: route.fulfill(status=500, body="boom"))
    tab = open_frame(page, board, attribute="few", a="baseline", b="focal")
    table = tab.locator(".table-card")
    expect(table.get_by_role("alert")).to_contain_text("focal")
    expect(table.locator(".classes tbody .tag")).to_have_count(0)
    expect(table.locator(".caption")).not_to_contain_text("only in")
    page.unroute("**/data/plugin/longtail/classes?run=focal&**")
    table.get_by_role("button", name="Retry").click()
    expect(table.get_by_role("alert")).to_be_hidden()


def test_runs_that_cannot_be_listed_are_retried(page, board):
    page.allowed_errors.append("500")
    page.route("**/data/plugin/longtail/runs", lambda route: route.fulfill(status=500, body="{}"))
    page.goto(board + "#longtail")
    tab = page.frame_locator("iframe")
    expect(tab.get_by_role("heading", name="The runs could not be read")).to_be_visible()
    page.unroute("**/data/plugin/longtail/runs")
    tab.get_by_role("button", name="Retry").click()
    expect(tab.locator(".class-name").first).to_be_visible()


def test_a_log_that_grows_is_followed_and_an_empty_one_explained(page, tmp_path):
    with tensorboard_server(tmp_path, "--path_prefix", "/some/prefix") as url:
        page.goto(url + "#longtail")
        tab = page.frame_locator("iframe")
        expect(tab.get_by_role("heading", name="No long-tail data yet")).to_be_visible()
        expect(tab.locator(".page")).to_contain_text(str(tmp_path))
        expect(tab.locator("pre")).to_contain_text("from tbmetrics import ClassGroups, TBMetrics")
        screenshot(page, "empty")
        truth = write_log(tmp_path, runs=("only",), attributes=("digit",), steps=2)["only"]["digit"]
        wait_for_steps(url, 1, 2)
        tab.get_by_role("button", name="Look again").click()
        tile = tab.locator(".tile[data-group=head] [data-side=A]")
        expect(tile).to_have_text(shown(truth.group("f1", "head")[-1]))
        expect(tab.get_by_label("Run B")).to_have_value("")
        screenshot(page, "one-run")
        # Once with the tab's own button, once with TensorBoard's.
        own, hosts = tab.get_by_role("button", name="Reload"), page.locator("app-header-reload button")
        for step, button in ((2, own), (3, hosts)):
            grown = append_steps(tmp_path, "only", truth, [step], seed=step)
            wait_for_steps(url, 1, step + 1)
            button.click()
            expect(tab.locator(".step-text")).to_have_text(f"{step} (latest)")
            expect(tile).to_have_text(shown(grown.group("f1", "head")[-1]))
        page.goto("about:blank")  # nothing is asked of a server that stops


def test_a_tab_in_sight_reloads_by_itself_and_a_hidden_one_rests(page, board):
    page.clock.install()
    tab = open_tab(page, board, attribute="few")
    requests: list[str] = []
    page.on("request", lambda request: requests.append(request.url))
    with page.expect_request("**/data/plugin/longtail/runs"):
        page.clock.run_for(31_000)
    page.locator("iframe").evaluate("frame => { frame.style.display = 'none'; }")

    def is_resting() -> bool:
        requests.clear()
        page.clock.run_for(61_000)
        with page.expect_request("**/data/environment"):  # asked for after all that the clock has set off
            page.evaluate("fetch('data/environment')")
        return not any("/longtail/" in url for url in requests)

    eventually(page, is_resting)
    with page.expect_request("**/data/plugin/longtail/runs"):
        page.locator("iframe").evaluate("frame => { frame.style.display = ''; }")
        page.clock.run_for(100)
    expect(tab.locator(".class-name").first).to_be_visible()


def test_many_runs_stay_apart(page, tmp_path):
    write_log(tmp_path, runs=[f"sweep/lr={i}" for i in range(10)], n_classes=40, steps=12)
    with tensorboard_server(tmp_path) as url:
        wait_for_steps(url, 10, 12)
        tab = open_tab(page, url)
        expect(tab.locator(".line-chart").first.locator(".run-line")).to_have_count(10)
        expect(tab.locator(".line-chart").first.locator(".band")).to_have_count(2)
        looks = tab.locator(".runs .swatch").evaluate_all(
            "list => list.map(s => s.dataset.color + s.querySelector('line').getAttribute('stroke-dasharray')"
            " + s.querySelector('path').getAttribute('d'))"
        )
        assert len(set(looks)) == 10
        screenshot(page, "10-runs")
        page.set_viewport_size({"width": 900, "height": 800})
        expect(tab.locator(".line-chart").first).to_be_visible()
        wide = "() => document.documentElement.scrollWidth <= document.documentElement.clientWidth"
        eventually(page, lambda: page.frames[-1].evaluate(wide))  # charts follow the window in the next frame
        screenshot(page, "900-px")
        page.goto("about:blank")


@pytest.mark.skipif(not os.environ.get("TBMETRICS_PICTURES"), reason="TBMETRICS_PICTURES is not set")
@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [700, 1024, 1440])
@pytest.mark.parametrize("attribute", ["few", "digit", "species"])
def test_pictures_of_the_whole_tab_to_look_at(page, board, attribute, width, theme):
    page.emulate_media(color_scheme=theme)
    page.set_viewport_size({"width": width, "height": 6000})  # every card in sight
    tab = open_frame(page, board, attribute=attribute)
    all_drawn(tab)
    screenshot(page, f"whole-{attribute}-{width}-{theme}")
