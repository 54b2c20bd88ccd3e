"""Pictures and tables taken away from the Long Tail tab in Chromium, compared with what the page shows."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from tests.plugin import test_browser
from tests.plugin.tab import HOSTILE, all_drawn, card, expect, open_frame

logs, board = test_browser.logs, test_browser.board

pytestmark = pytest.mark.browser

SVG = "{http://www.w3.org/2000/svg}"
SCALE = 2
#: What a picture may hold.
ELEMENTS = {"svg", "g", "defs", "pattern", "title", "text", "rect", "path", "line"}
GROUND = {"light": (255, 255, 255), "dark": (48, 48, 48)}
#: The cards with charts: how many, and what only their pictures say besides title, attribute, step and runs.
CHARTS = {
    "training": (4, ["F1 over training", "F1", "Head", "Gap", "bands: 95 % interval"]),
    "boundary": (1, ["F1: every boundary of the tail", "F1", "band: 95 %, pointwise", "F1, B − A"]),
    "payers": (1, ["F1: who gains, who pays", "F1", "Training examples", "Tail"]),
    "tradeoff": (1, ["Trade-off between head and tail", "F1", "dashed: beaten by none on both", "F1, head"]),
    "frequency": (
        2,
        ["F1 by class frequency", "F1", "lines: mean of neighbouring classes", "Tail"],
    ),
    "pr": (3, ["Precision-recall curves", "● means of the decision rule", "Medium", "Recall"]),
    "tailflow": (1, ["Where tail examples go over training", "50 %", "Step"]),
    "calibration": (3, ["Calibration by group", "bars: share of the examples in each bin", "Confidence"]),
}
TABLES = ["summary", "movers", "flow", "classes"]


def menu_item(page, found, name: str) -> None:
    found.get_by_role("button", name="Menu of the card").press("Enter")  # a class that is open lies over the button
    found.get_by_role("menuitem", name=name).press("Enter")


def downloaded(page, found, kind: str, folder: Path) -> bytes:
    with page.expect_download() as download:
        menu_item(page, found, f"Download {kind}")
    download.value.save_as(folder / kind)
    return (folder / kind).read_bytes()


def pixels(png: bytes) -> np.ndarray:
    from PIL import Image

    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB")).astype(np.float64)


def texts_of(root: ElementTree.Element) -> list[str]:
    return ["".join(text.itertext()) for text in root.iter(f"{SVG}text")]


def assert_stands_alone(svg: str, root: ElementTree.Element) -> None:
    """Shapes and texts only, every style resolved, and no address but of itself."""
    assert {element.tag.removeprefix(SVG) for element in root.iter()} <= ELEMENTS
    ids = [element.get("id") for element in root.iter() if element.get("id")]
    assert len(ids) == len(set(ids))
    for element in root.iter():
        for name, value in element.attrib.items():
            assert not re.match(r"on|class|style|data-|.*href", name)
            assert not re.search(r"var\(|NaN|undefined", value)
            assert all(reference in ids for reference in re.findall(r"url\(#?([^)]*)\)", value))
    assert re.findall(r"https?://(?!www\.w3\.org/2000/svg\")", svg) == []


@pytest.mark.parametrize("name", CHARTS)
def test_charts_are_taken_away_as_a_picture_that_stands_alone(page, board, name, tmp_path):
    tab = open_frame(page, board, attribute="digit", a="focal", b="other & <b>bold", step="3")
    found = card(tab, name)
    for theme in ("light", "dark"):
        page.emulate_media(color_scheme=theme)
        all_drawn(tab)
        assert_pictures_stand_alone(page, found, name, theme, tmp_path)


def assert_pictures_stand_alone(page, found, name: str, theme: str, tmp_path: Path) -> None:
    svg = downloaded(page, found, "SVG", tmp_path).decode("utf-8")
    root = ElementTree.fromstring(svg)
    assert_stands_alone(svg, root)
    n_charts, words = CHARTS[name]
    texts = texts_of(root)
    assert {"attribute digit", "step 3", "A", "B", *words} <= set(texts)
    assert any(text.startswith("groups: head > 100") for text in texts)
    assert {text.removesuffix(" (step 3)") for text in texts} >= {"focal", "other & <b>bold"}
    assert root.find(f"{SVG}title").text == words[0]

    png = pixels(downloaded(page, found, "PNG", tmp_path))
    assert png.shape == (int(root.get("height")) * SCALE, int(root.get("width")) * SCALE, 3)
    assert tuple(png[0, 0]) == tuple(png[-1, -1]) == GROUND[theme]
    charts = [drawing for drawing in root.findall(f"{SVG}svg") if float(drawing.get("height")) > 50]
    assert len(charts) == n_charts
    for drawing, shown in zip(charts, found.locator(".line-chart, .plot").all(), strict=True):
        assert_looks_like(png, drawing, pixels(shown.screenshot(animations="disabled")))


def assert_looks_like(png: np.ndarray, drawing: ElementTree.Element, shown: np.ndarray) -> None:
    """Both blurred, so that a shift of a pixel does not count."""
    left, top = (round(float(drawing.get(name)) * SCALE) for name in ("x", "y"))
    height, width = (n // 8 * 8 for n in shown.shape[:2])
    ours = blurred(png[top : top + height * SCALE, left : left + width * SCALE], 8 * SCALE)
    theirs = blurred(shown[:height, :width], 8)
    assert theirs.std() > 3
    assert np.abs(ours - theirs).mean() < 3
    assert np.abs(ours - theirs).max() < 60  # no line, marker or word is missing


def blurred(image: np.ndarray, size: int) -> np.ndarray:
    height, width = image.shape[0] // size, image.shape[1] // size
    return image.reshape(height, size, width, size, 3).mean((1, 3))


def test_names_in_a_picture_are_text_and_cut_where_they_do_not_fit(page, board, tmp_path):
    tab = open_frame(page, board, attribute="hostile", open=HOSTILE[4])
    found = card(tab, "pr")
    expect(found.locator(".caption")).to_contain_text("Dotted")
    all_drawn(tab)
    svg = downloaded(page, found, "SVG", tmp_path).decode("utf-8")
    root = ElementTree.fromstring(svg)
    assert_stands_alone(svg, root)
    (dotted,) = [text for text in texts_of(root) if text.startswith("dotted")]
    assert "…" in dotted
    assert dotted.endswith("◆ its best F1")
    assert page.title() != "owned"


@pytest.mark.parametrize("name", TABLES)
def test_cards_without_charts_offer_tables_only(page, board, name):
    found = card(open_frame(page, board, attribute="digit"), name)
    found.get_by_role("button", name="Menu of the card").click()
    items = [
        text for text in found.get_by_role("menuitem").all_inner_texts() if "Download" in text or "Copy as" in text
    ]
    assert items == ["Download CSV", "Download JSON", "Copy as Markdown", "Copy as LaTeX"]


def copied(page, found, kind: str) -> str:
    menu_item(page, found, f"Copy as {kind}")
    expect(found.locator(".said")).to_contain_text("Table copied")
    return page.evaluate("navigator.clipboard.readText()")


@pytest.mark.parametrize("name", [*CHARTS, *TABLES])
def test_every_table_is_copied_as_markdown_and_latex(page, board, name, tmp_path):
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    tab = open_frame(page, board, attribute="digit")
    found = card(tab, name)
    all_drawn(tab)
    table = json.loads(downloaded(page, found, "JSON", tmp_path))
    facts, _, head, rule, *rows = copied(page, found, "Markdown").splitlines()
    assert "attribute digit, " in facts
    assert "A: baseline, B: focal" in facts
    assert head.strip("| ").split(" | ") == [column.replace("_", " ") for column in table["columns"]]
    assert len(rows) == len(table["rows"]) > 0
    assert {row.count(" | ") for row in [head, rule, *rows]} == {len(table["columns"]) - 1}
    latex = copied(page, found, "LaTeX").splitlines()
    body = latex[latex.index("\\midrule") + 1 : latex.index("\\bottomrule")]
    assert len(body) == len(rows)
    assert {row.count(" & ") for row in body} == {len(table["columns"]) - 1}
    assert [row.count("| –") for row in rows] == [row.count(None) for row in table["rows"]]


def test_copies_of_hostile_names_are_text_and_what_cannot_be_copied_is_shown(page, board):
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    found = card(open_frame(page, board, attribute="hostile"), "classes")
    markdown, latex = copied(page, found, "Markdown"), copied(page, found, "LaTeX")
    assert "\\<img src=x onerror=\"document.title='owned'\"\\>" in markdown
    assert "\\symbol{34}quoted\\symbol{34} \\& 'single' \\% \\# ? +" in latex
    page.evaluate("() => { navigator.clipboard.writeText = () => Promise.reject(new Error('no')); }")
    menu_item(page, found, "Copy as Markdown")
    expect(found.get_by_label("Table of this card")).to_have_value(markdown)
    expect(found.get_by_label("Table of this card")).to_be_focused()


def test_a_file_is_saved_under_its_name(page, board, tmp_path):
    found = card(open_frame(page, board, attribute="few", sort="name-asc"), "classes")
    lines = downloaded(page, found, "CSV", tmp_path).decode("utf-8").split("\r\n")
    assert lines[0] == "\ufeffclass,group,training_count,rank,support,a,b,difference"
    assert [line.split(",")[0] for line in lines[1:]] == ["blue", "green", "red", ""]
    assert page.locator("a[download]").count() == 0
    module = f"{board}data/plugin/longtail/static/model/table-text.js"
    script = "async ([module, name, values]) => (await import(module))[name](...values)"
    assert page.evaluate(script, [module, "fileName", [["../few", "<b>"], "csv"]]) == "few-b.csv"
    table = {"columns": ["class", "f1"], "rows": [["=1+1", 0.5], ["שלום", None]]}
    assert page.evaluate(script, [module, "csvText", [table]]) == "\ufeffclass,f1\r\n'=1+1,0.5\r\nשלום,\r\n"
