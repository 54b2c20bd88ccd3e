"""Pictures and files of the Long Tail tab, taken in Chromium and compared with what the page shows."""

from __future__ import annotations

import base64
import io
import json
import re
from collections import Counter
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

from tests.plugin import test_browser
from tests.plugin.tab import HOSTILE, at_rest, expect, open_frame

logs, board = test_browser.logs, test_browser.board

pytestmark = pytest.mark.browser

SVG = "{http://www.w3.org/2000/svg}"
CARDS = ["charts", "summary", "tradeoff", "movers", "frequency", "pr", "calibration", "flow", "overview", "table"]
CARDS = [f"{name}-card" for name in CARDS]
MARGIN = 8
SCALE = 2
#: What a picture may hold: shapes, texts, and what they refer to within it.
ELEMENTS = {"svg", "g", "defs", "title", "desc", "text", "tspan", "rect", "path", "line", "circle", "image", "stop"}
ELEMENTS |= {"clipPath", "pattern", "linearGradient"}

PICTURE = """async (element, [base, scale]) => {
  const { pictureOf } = await import(base + 'charts/picture.js');
  const { svgText, pngBlob } = await import(base + 'charts/download.js');
  const picture = pictureOf(element, { title: 'A & <b>', caption: 'what it shows\\u0001' });
  const box = element.getBoundingClientRect();
  let png = '';
  for (const byte of new Uint8Array(await (await pngBlob(picture, scale)).arrayBuffer()))
    png += String.fromCharCode(byte);
  return { svg: svgText(picture), png: btoa(png), size: [box.left, box.top, box.right, box.bottom] };
}"""

#: The texts in sight within an element, as lists of words.
WORDS = """element => {
  const scroll = element.querySelector('.table-scroll')?.getBoundingClientRect();
  const found = [];
  const walker = document.createTreeWalker(element, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const [node, parent] = [walker.currentNode, walker.currentNode.parentElement];
    if (parent.closest('[data-no-picture]')) continue;
    if (!parent.checkVisibility({ visibilityProperty: true }) || parent.closest('.for-readers, title, desc')) continue;
    const range = document.createRange();
    range.selectNodeContents(node);
    const box = range.getBoundingClientRect();
    if (!box.width) continue;
    if (scroll && parent.closest('tbody') && (box.bottom <= scroll.top || box.top >= scroll.bottom)) continue;
    found.push(node.data);
  }
  return found;
}"""


#: Each name with what is in sight of it: all, or what fits before an ellipsis, in whatever font there is. Which of two
#: neighbours fits may hang on half a pixel.
IN_SIGHT = """names => Object.fromEntries(names.map(element => {
  const name = element.textContent;
  if (element.scrollWidth <= element.clientWidth) return [name, [name]];
  const probe = document.createElement('span');
  probe.style.cssText = 'position: absolute; visibility: hidden; white-space: nowrap';
  element.parentElement.append(probe);
  const width = text => {
    probe.textContent = text;
    return probe.getBoundingClientRect().width;
  };
  const room = element.getBoundingClientRect().width;
  const ends = [...new Intl.Segmenter().segment(name)].map(({ index }) => index);
  const cuts = ends.map(end => name.slice(0, end) + '…');
  const fits = cuts.filter((cut, i) => width(cut) <= room + 1 && width(cuts[i + 1] ?? name) >= room - 1);
  probe.remove();
  return [name, fits];
}))"""


def static(board: str) -> str:
    return f"{board}data/plugin/longtail/static/"


def picture_of(page, board: str, selector: str, scale: float = SCALE) -> dict[str, Any]:
    found = page.locator(selector).first.evaluate(PICTURE, [static(board), scale])
    return found | {"root": ElementTree.fromstring(found["svg"]), "png": base64.b64decode(found["png"])}


def texts_of(root: ElementTree.Element) -> list[str]:
    return ["".join(text.itertext()) for text in root.iter(f"{SVG}text")]


def words(texts: list[str]) -> Counter[str]:
    return Counter(word for text in texts for word in re.split(r"[ \t\r\n\f]+", text) if word)


def pixels(png: bytes) -> np.ndarray:
    from PIL import Image

    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB")).astype(np.float64)


def assert_stands_alone(svg: str, root: ElementTree.Element) -> None:
    """Nothing but shapes and texts, and no address but of itself."""
    assert {element.tag.removeprefix(SVG) for element in root.iter()} <= ELEMENTS
    ids = [element.get("id") for element in root.iter() if element.get("id")]
    assert len(ids) == len(set(ids))
    for element in root.iter():
        for name, value in element.attrib.items():
            assert not name.startswith("on")
            if name.endswith("href"):
                assert value.startswith("data:image/png;base64,")
            for reference in re.findall(r"url\(([^)]*)\)", value):
                assert reference[1:] in ids
                assert reference.startswith("#")
            assert value.startswith("data:") or not re.search("NaN|undefined", value)
    assert re.findall(r"https?://(?!www\.w3\.org/(?:2000/svg|1999/xlink)\")", svg) == []


def show(page, board: str, attribute: str, theme: str, **state: str) -> None:
    page.emulate_media(color_scheme=theme)
    page.set_viewport_size({"width": 1440, "height": 4600})  # every card in sight
    open_frame(page, board, attribute=attribute, **state)
    expect(page.locator("html")).to_have_attribute("data-theme", theme)
    for card in CARDS:
        expect(page.locator(f".{card} .body > *").first).to_be_visible()
    expect(page.locator(".skeleton")).to_have_count(0)
    expect(page.locator(".column-trend .run-line").first).to_be_visible()
    expect(page.locator("[aria-busy=true]")).to_have_count(0)
    expect(page.locator(".tile-difference p").first).to_be_visible()
    at_rest(page)


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("attribute", ["digit", "species"])
def test_every_card_becomes_a_picture_with_all_its_texts(page, board, attribute, theme):
    show(page, board, attribute, theme)
    for card in CARDS:
        found = picture_of(page, board, f".{card}")
        assert_stands_alone(found["svg"], found["root"])
        seen = words(page.locator(f".{card}").evaluate(WORDS))
        drawn = words(texts_of(found["root"]))
        shown_by_controls = {"table-card": "Search classes (press /)", "flow-card": "All mistakes"}
        extra = words([shown_by_controls.get(card, "")])
        assert sum(seen.values()) > 5
        assert drawn == seen + extra, card
        assert found["root"].find(f"{SVG}title").text == "A & <b>"
        assert found["root"].find(f"{SVG}desc").text == "what it shows"
        left, top, right, bottom = found["size"]
        width = np.ceil(right) - np.floor(left) + 2 * MARGIN
        height = np.ceil(bottom) - np.floor(top) + 2 * MARGIN
        assert (found["root"].get("width"), found["root"].get("height")) == (f"{width:.0f}", f"{height:.0f}")
        assert pixels(found["png"]).shape == (height * SCALE, width * SCALE, 3)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_a_picture_looks_like_the_card(page, board, theme):
    """Both blurred, so that a shift of half a pixel does not count; the card's own frame is not in the picture."""
    show(page, board, "digit", theme)
    for card in CARDS:
        locator = page.locator(f".{card}")
        shot = pixels(locator.screenshot(animations="disabled"))
        found = pixels(picture_of(page, board, f".{card}", scale=1)["png"])
        h, w = (min(a, b - 2 * MARGIN) - 10 for a, b in zip(shot.shape[:2], found.shape[:2], strict=True))
        ours, theirs = found[MARGIN + 5 : MARGIN + h, MARGIN + 5 : MARGIN + w], shot[5:h, 5:w]
        difference = np.abs(blurred(ours) - blurred(theirs))
        assert difference.mean() < 0.6, card
        # No part of it is missing: the worst spot is less than a marker, a bar or a word makes.
        # (Hatches may lie half a line beside the page's; the arrow of a list of choices is not drawn.)
        worst = np.abs(blurred(ours, 16) - blurred(theirs, 16)).max()
        assert worst < (20 if card in ("frequency-card", "flow-card") else 10), card
        assert theirs.std() > 5


def blurred(image: np.ndarray, size: int = 4) -> np.ndarray:
    h, w = (n // size * size for n in image.shape[:2])
    return image[:h, :w].reshape(h // size, size, w // size, size, 3).mean((1, 3))


def test_lines_keep_their_widths_and_dashes_and_bars_their_zero(page, board):
    show(page, board, "digit", "light")
    charts = picture_of(page, board, ".charts-card")["root"]
    lines = page.locator(".line-chart .run-line").evaluate_all(
        "lines => lines.map(line => [getComputedStyle(line).strokeWidth,"
        " line.getAttribute('stroke-dasharray'), line.getAttribute('d')])"
    )
    drawn = {path.get("d"): path for path in charts.iter(f"{SVG}path")}
    assert len(lines) == 12
    assert {dash for _, dash, _ in lines} - {None}
    for width, dash, shape in lines:
        assert drawn[shape].get("stroke-width") == width.removesuffix("px")
        found = [float(part) for part in re.findall(r"[\d.]+", drawn[shape].get("stroke-dasharray") or "")]
        assert found == [float(part) for part in (dash or "").split()]
        assert drawn[shape].get("stroke-linejoin") == "round"
    table = picture_of(page, board, ".table-card")["root"]
    zeros = [r for r in table.iter(f"{SVG}rect") if (r.get("width"), r.get("height")) == ("1", "12")]
    assert len(zeros) == 14
    assert {zero.get("fill") for zero in zeros} == {"#80868b"}


def test_names_do_no_harm_and_are_cut_as_on_the_page(page, board):
    show(page, board, "hostile", "light")
    found = picture_of(page, board, ".table-card")
    assert_stands_alone(found["svg"], found["root"])
    drawn = texts_of(found["root"])
    in_sight = page.locator(".class-name .name").evaluate_all(IN_SIGHT)
    assert set(in_sight) == set(HOSTILE)
    for name, texts in in_sight.items():
        assert sum(drawn.count(text) for text in texts) == 1, f"{name}: none of {texts} in {drawn}"
        assert len(name) < 100 or texts[0].endswith("…")
    hebrew = next(text for text in found["root"].iter(f"{SVG}text") if "שלום" in (text.text or ""))
    assert hebrew.get("direction") == "rtl"
    assert page.title() != "owned"
    page.locator(".class-name").first.click()
    drawer = picture_of(page, board, ".drawer")
    assert {"A", "B"} <= set(texts_of(drawer["root"]))


def test_a_scrolled_table_is_pictured_as_it_is_scrolled(page, board, logs):
    show(page, board, "species", "light")
    page.locator(".table-card .table-scroll").evaluate("element => { element.scrollTop = 36 * 4000 + 20; }")
    expect(page.locator("tr[aria-rowindex='4002']")).to_be_visible()
    root = picture_of(page, board, ".table-card")["root"]
    names = [name for name in page.locator(".classes .class-name").all_inner_texts() if name in texts_of(root)]
    assert 13 <= len(names) <= 16
    rects = list(root.iter(f"{SVG}rect"))
    assert any(rect.get("height") == "39" or rect.get("height") == "40" for rect in rects)
    order = [element.text or "" for element in root.iter(f"{SVG}text")]
    assert order.index("Support") > order.index(names[0])  # the heading lies on top of the rows


PARTS = """([base, parts]) => {
  const NS = 'http://www.w3.org/2000/svg';
  const make = ([tag, attributes, ...children], inSvg) => {
    const within = inSvg || tag === 'svg';
    const e = within ? document.createElementNS(NS, tag) : document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) e.setAttribute(name, value);
    const inner = within && tag !== 'foreignObject';
    e.append(...children.map(child => typeof child === 'string' ? child : make(child, inner)));
    return e;
  };
  const style = 'position: fixed; inset: 20px auto auto 20px; width: 400px; z-index: 99; font: 13px Arial;'
    + 'background: rgb(250, 250, 250)';
  const host = make(['div', { id: 'parts', style }, ...parts]);
  document.body.append(host);
  const canvas = host.querySelector('canvas');
  if (canvas) {
    const pixels = canvas.getContext('2d');
    pixels.fillStyle = 'rgb(10, 200, 30)';
    pixels.fillRect(0, 0, canvas.width, canvas.height);
  }
}"""


def part(page, board: str, *parts: Any) -> dict[str, Any]:
    page.goto(f"{board}data/plugin_entry.html?name=longtail")
    expect(page.locator(".layout")).to_be_visible()  # the style sheet is there
    page.evaluate(PARTS, [static(board), list(parts)])
    found = picture_of(page, board, "#parts")
    assert_stands_alone(found["svg"], found["root"])
    return found


def test_drawings_keep_their_patterns_under_names_of_their_own(page, board):
    def drawing(color: str) -> list[Any]:
        line = ["line", {"y2": "4", "style": f"stroke: {color}; stroke-width: 2"}]
        hatch = ["pattern", {"id": "hatch", "width": "4", "height": "4", "patternUnits": "userSpaceOnUse"}, line]
        bar = ["rect", {"width": "50%", "height": "20", "fill": "url(#hatch)", "onclick": "alert(1)"}]
        bad = [["script", {}, "document.title = 'owned'"], ["foreignObject", {}, ["p", {}, "html"]]]
        far = ["image", {"href": "/nowhere.png", "width": "1", "height": "1"}]
        return ["svg", {"width": "80", "height": "20", "aria-label": "Share"}, ["defs", {}, hatch], bar, *bad, far]

    elsewhere = ["rect", {"width": "9", "height": "9", "fill": "url(#hatch)", "opacity": "0.5"}]
    page.allowed_errors += ["404", "Executing inline"]  # the page itself is hostile here
    root = part(page, board, drawing("rgb(255, 0, 0)"), drawing("rgb(0, 0, 255)"), ["svg", {}, elsewhere])["root"]
    patterns = {p.get("id"): p for p in root.iter(f"{SVG}pattern")}
    assert set(patterns) == {"hatch", "hatch-2"}
    strokes = [patterns[name].find(f"{SVG}line").get("stroke") for name in ("hatch", "hatch-2")]
    assert strokes == ["#ff0000", "#0000ff"]
    bars = [rect for rect in root.iter(f"{SVG}rect") if (rect.get("fill") or "").startswith("url")]
    assert [(bar.get("fill"), bar.get("width")) for bar in bars] == [
        ("url(#hatch)", "40"),
        ("url(#hatch-2)", "40"),
        ("url(#hatch)", "9"),
    ]
    assert [title.text for title in root.iter(f"{SVG}title")] == ["A & <b>", "Share", "Share"]


def test_a_canvas_is_in_the_picture_with_all_its_pixels(page, board):
    found = part(page, board, ["canvas", {"width": "300", "height": "60", "style": "width: 100px; height: 20px"}])
    image = found["root"].find(f".//{SVG}image")
    assert (image.get("width"), image.get("height")) == ("100", "20")
    embedded = pixels(base64.b64decode(image.get("href").partition(",")[2]))
    assert embedded.shape == (60, 300, 3)
    assert pixels(found["png"])[SCALE * (MARGIN + 10), SCALE * (MARGIN + 50)].tolist() == [10, 200, 30]


def test_what_is_hidden_or_a_control_of_the_page_is_left_out(page, board):
    hidden = ["display: none", "visibility: hidden", "opacity: 0", "width: 1px; height: 1px; overflow: hidden"]
    parts = [["p", {"style": style}, f"secret {i}"] for i, style in enumerate(hidden)]
    parts += [["button", {"data-no-picture": ""}, "secret menu"], ["p", {"hidden": ""}, "secret"]]
    parts += [["p", {"style": "visibility: hidden"}, "secret", ["b", {"style": "visibility: visible"}, "shown"]]]
    parts += [["details", {}, ["summary", {}, "fold"], ["p", {}, "secret"]]]
    assert texts_of(part(page, board, *parts)["root"]) == ["shown", "fold"]


def test_texts_are_cut_wrapped_and_aligned_as_on_the_page(page, board):
    cut = "overflow: hidden; text-overflow: ellipsis; white-space: nowrap; width: 90px"
    parts = [
        ["p", {"style": "width: 60px; margin: 0"}, "several words that wrap"],
        ["p", {"style": "text-align: right; text-transform: uppercase"}, " right ", ["b", {}, " bold "], "end "],
        ["p", {"style": cut}, "a long text that does not fit here"],
        ["p", {"style": cut, "dir": "rtl"}, "שלום עולם שלום עולם שלום עולם"],
        ["p", {"style": "white-space: pre"}, "two  spaces"],
        ["p", {"style": "width: 30px"}, "\u200fab cafe\u0301 e\u0301"],
        ["p", {}, "bad \ud800 \x01\ufffe text \U0001f9a6"],
        ["p", {"style": "text-decoration: line-through"}, ["s", {}, "gone"]],
    ]
    root = part(page, board, *parts)["root"]
    drawn = {("".join(text.itertext())): text for text in root.iter(f"{SVG}text")}
    lines = list(drawn)
    assert " ".join(lines[: lines.index("RIGHT")]) == "several words that wrap"
    assert lines.index("RIGHT") > 1
    assert drawn["END"].get("text-anchor") == "end"
    assert float(drawn["END"].get("x")) == pytest.approx(MARGIN + 400, abs=0.5)
    assert drawn["BOLD"].get("font-weight") == "700"
    (latin,) = [line for line in lines if line.startswith("a long")]
    assert latin.endswith("…")
    assert 8 < len(latin) < 20
    (hebrew,) = [line for line in lines if line.startswith("שלום")]
    assert hebrew.endswith("…")
    assert (drawn[hebrew].get("direction"), drawn[hebrew].get("text-anchor")) == ("rtl", "middle")
    assert float(drawn[hebrew].get("x")) == pytest.approx(MARGIN + 45, abs=8)
    assert "two  spaces" in lines
    assert any(line.startswith("bad ") and line.endswith("text \U0001f9a6") for line in lines)
    assert {"\u200fab", "cafe\u0301", "e\u0301"} <= set(lines)  # marks and signs stay with their letters
    assert drawn["gone"].get("text-decoration") == "line-through"


def test_boxes_have_their_backgrounds_gradients_and_borders(page, board):
    box = "width: 100px; height: 20px; "
    styles = [
        "background: color-mix(in srgb, rgb(255, 0, 0) 50%, transparent)",
        "background: linear-gradient(to right, rgb(255, 0, 0), rgb(0, 0, 255))",
        "border: 2px dashed rgb(0, 128, 0); border-radius: 6px",
        "border-left: 5px solid rgb(0, 0, 128)",
        "background: oklch(62.8% 0.25768 29.234)",
        "box-shadow: inset 0 0 0 3px rgb(1, 2, 3)",
    ]
    found = part(page, board, *[["div", {"style": box + style}] for style in styles])
    rects = list(found["root"].iter(f"{SVG}rect"))
    assert [rect.get("fill") for rect in rects[1:]] == ["#ff0000", "url(#gradient)", "none", "#ff0000", "none"]
    assert rects[1].get("fill-opacity") == "0.5"
    dashed, ring = rects[3], rects[5]
    assert (dashed.get("stroke"), dashed.get("stroke-dasharray")) == ("#008000", "6 4")
    assert (dashed.get("rx"), dashed.get("width")) == ("5", "98")
    assert (ring.get("stroke"), ring.get("stroke-width")) == ("#010203", "3")
    assert found["root"].find(f".//{SVG}path").get("fill") == "#000080"
    stops = [(s.get("offset"), s.get("stop-color")) for s in found["root"].iter(f"{SVG}stop")]
    assert stops == [("0", "#ff0000"), ("1", "#0000ff")]
    image = pixels(found["png"])
    middle = image[SCALE * (MARGIN + 30), SCALE * (MARGIN + 50)]
    assert np.allclose(middle, [128, 0, 128], atol=4)


def test_a_file_is_saved_under_its_name(page, board, tmp_path):
    show(page, board, "few", "light")
    script = """async base => {
      const { csvBlob, fileName, jsonBlob, save } = await import(base + 'charts/download.js');
      const table = { columns: ['class', 'f1'], rows: [['=1+1', 0.5], ['שלום', null]] };
      save(csvBlob(table), fileName(['../few', '<b>'], 'csv'));
    }"""
    with page.expect_download() as waited:
        page.evaluate(script, static(board))
    assert waited.value.suggested_filename == "few-b.csv"
    waited.value.save_as(tmp_path / "saved.csv")
    assert (tmp_path / "saved.csv").read_bytes() == "\ufeffclass,f1\r\n'=1+1,0.5\r\nשלום,\r\n".encode()
    assert page.locator("a[download]").count() == 0
    assert json.loads(
        page.evaluate(
            f"async () => (await import('{static(board)}charts/download.js')).jsonText("
            "{columns: ['a'], rows: [[NaN]]}, {step: 3})"
        )
    ) == {"about": {"step": 3}, "columns": ["a"], "rows": [[None]]}
