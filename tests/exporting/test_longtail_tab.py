"""The tab in the page: opens from disk, sends no requests, and shows what TensorBoard's would."""

from __future__ import annotations

import base64
import gzip
import html
import json
import re
import struct

import numpy as np
import pytest

from tbmetrics.classes.rules import GroupRule
from tbmetrics.events.reader import read_run
from tbmetrics.exporting import export
from tbmetrics.exporting.history_provider import HistoryProvider
from tbmetrics.exporting.longtail_tab import payload
from tbmetrics.records import HParams, class_table_tag
from tests.browser import chromium, new_context
from tests.plugin.logs import write_log
from tests.plugin.tab import HOSTILE, all_drawn, shown

pytestmark = pytest.mark.slow

STEPS = 4
RUNS = ("baseline", "focal & <b>")


@pytest.fixture(scope="module")
def logs(tmp_path_factory):
    root = tmp_path_factory.mktemp("runs")
    return root, write_log(root, runs=RUNS, attributes={"digit": 50, "hostile": HOSTILE}, steps=STEPS)


@pytest.fixture(scope="module")
def page_path(logs, tmp_path_factory):
    out = tmp_path_factory.mktemp("out")
    assert export(logs[0], out, formats=["html"], dpi=40).problems == {}
    return out / "report.html"


def _embedded_data(path):
    document = html.unescape(re.search(r'srcdoc="([^"]*)"', path.read_text(encoding="utf-8"))[1])
    text = re.search(r'id="data">([^<]*)<', document)[1]
    content = gzip.decompress(base64.b64decode(text))
    (length,) = struct.unpack("<I", content[:4])
    return json.loads(content[4 : 4 + length]), np.frombuffer(content[4 + length :], "<f4")


def test_the_page_holds_the_tables_as_they_are(page_path, logs):
    about, numbers = _embedded_data(page_path)
    for table in about["tables"]:
        truth = logs[1][table["run"]][table["attribute"]]
        expected = {"classes": truth.class_values, "curves": truth.curves, "confusions": truth.pairs}[table["kind"]]
        values = numbers[table["first"] : table["first"] + expected.size].reshape(expected.shape)
        np.testing.assert_array_equal(values, expected.astype(np.float32))
        assert table["steps"] == list(range(STEPS))
    assert len(about["tables"]) == 2 * 2 * 3


def test_the_same_log_gives_the_same_bytes(logs):
    histories = {run: read_run(logs[0] / run, run=run) for run in RUNS}
    assert payload(histories) == payload({run: read_run(logs[0] / run, run=run) for run in RUNS})


def test_the_page_holds_the_settings_of_runs(logs):
    history = read_run(logs[0] / RUNS[0], run="a")
    settings = {"lr": 0.5, "name": "<b>", "on": True, "batch": 64.0}
    history.hparams = HParams(settings, {})
    data, _ = payload({"a": history, "b": read_run(logs[0] / RUNS[0], run="b")})
    content = gzip.decompress(data)
    answers = json.loads(content[4 : 4 + struct.unpack("<I", content[:4])[0]])["answers"]
    assert [answers[f"settings?run={run}"] for run in "ab"] == [{"settings": settings}, {"settings": {}}]
    table = next(answer for address, answer in answers.items() if address.startswith("table?attribute=digit"))
    assert {row["name"]: dict(row["hparams"]) for row in table["rows"]} == {"a": settings, "b": {}}


@pytest.mark.parametrize(("numbers", "steps"), [(1, [3]), (3 * 4500, [0, 2, 3]), (10**9, [0, 1, 2, 3])])
def test_what_is_too_much_is_thinned_but_for_the_last(logs, numbers, steps):
    history = read_run(logs[0] / "baseline", run="baseline")
    history.class_lists.pop("hostile")
    per_step = sum(t[-1].values.size for t in history.tables.values() if t[-1].attribute == "digit")
    provider = HistoryProvider({"baseline": history}, most=numbers * per_step // 4500 if numbers > 1 else 1)
    tag = class_table_tag("digit")
    wanted = type("Filter", (), {"runs": ["baseline"], "tags": [tag]})
    assert [d.step for d in provider.read_tensors(run_tag_filter=wanted)["baseline"][tag]] == steps
    assert provider.left_out == STEPS - len(steps)


@pytest.mark.browser
def test_from_disk_thresholds_classes_and_steps_work(page_path, logs):
    sync_api = pytest.importorskip("playwright.sync_api")
    expect = sync_api.expect
    faults: list[str] = []
    a = logs[1]["baseline"]["digit"]
    with chromium() as browser:
        page = new_context(browser, viewport={"width": 1500, "height": 1000}).new_page()
        page.on("console", lambda message: faults.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("request", lambda r: None if r.url.startswith(("file:", "data:", "blob:")) else faults.append(r.url))
        page.goto(f"file://{page_path}")
        page.locator("iframe.live").scroll_into_view_if_needed()
        tab = page.frame_locator("iframe.live")
        expect(tab.locator("h1")).to_have_text("digit")
        f1, other = (logs[1][run]["digit"].column("f1", STEPS - 1).astype(float) for run in RUNS[:2])
        f1[np.isnan(other)] = np.nan  # over the classes that both runs define
        head = tab.locator(".tile[data-group=head]")
        members = np.array(a.classes.groups) == "head"
        expect(head.locator("[data-side=A]")).to_have_text(shown(float(np.nanmean(f1[members]))))
        expect(head.locator(".verdict")).to_be_visible()
        tab.get_by_role("combobox", name="Rule of the groups").select_option("lvis")
        slider = tab.get_by_role("slider", name="Tail up to: training examples")
        slider.focus()
        for _ in range(3):
            page.keyboard.press("ArrowRight")
        expect(tab.locator("h1 + p")).not_to_contain_text("tail up to 9 ")
        all_drawn(page.frames[-1])  # the last of the three is drawn
        tail_max = int(tab.get_by_role("spinbutton", name="Tail up to: number of training examples").input_value())
        inside = np.array(GroupRule("t", 100, tail_max).groups(a.classes.counts)) == "tail"
        expected = float(np.nanmean(f1[inside]))
        expect(tab.locator(".tile[data-group=tail] [data-side=A]")).to_have_text(shown(expected))
        expect(tab.locator(".tile[data-group=tail] .verdict")).to_have_text("told in TensorBoard only")
        for name in ("tradeoff", "movers", "frequency", "pr", "calibration", "flow"):
            card = tab.locator(f"[data-card={name}]")
            card.scroll_into_view_if_needed()
            expect(card.locator(".body > *").first).to_be_visible()
            expect(card.locator(".skeleton")).to_have_count(0)
        tab.locator(".class-name").first.click()
        expect(tab.locator(".drawer .metric-table tbody tr").first).to_be_visible()
        page.keyboard.press("Escape")
        tab.get_by_role("slider", name="Step").press("ArrowLeft")
        expect(tab.locator(".step-text")).to_contain_text("3 of 4")
        tab.get_by_role("combobox", name="Attribute").select_option("hostile")
        expect(tab.locator(".class-name").first).to_be_visible()
        expect(tab.locator(".notice:visible")).to_have_count(0)
        card = tab.locator("[data-card=training]")
        with page.expect_download() as download:
            card.get_by_role("button", name="Menu of the card").click()
            card.get_by_role("menuitem", name="Download PNG").click()
        assert download.value.suggested_filename.endswith(".png")
        card.get_by_role("button", name="Menu of the card").click()
        card.get_by_role("menuitem", name="Copy as LaTeX").click()
        expect(card.locator(".said")).to_contain_text(re.compile("Table copied|Copy this table"))
        assert page.title() != "owned"
    assert faults == []
