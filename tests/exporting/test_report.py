"""The page: opens from disk in a browser, sends no requests, shows the numbers, and shows names as text."""

import re

import pytest

from tbmetrics.exporting import export
from tbmetrics.exporting.html_parts import escape, number
from tbmetrics.exporting.report import mean_with_interval
from tests.browser import new_context
from tests.exporting.logs import HOSTILE, grow, train, write_plain
from tests.plugin.logs import write_log

pytestmark = pytest.mark.slow

#: How many lines the names of groups take.
_LINES_OF_GROUPS = """[...new Set([...document.querySelectorAll('td:has(> .swatch)')].map((cell) => {
  const range = document.createRange();
  range.selectNodeContents(cell.lastChild);
  return new Set([...range.getClientRects()].map((box) => Math.round(box.top))).size;
}))]"""
SCRIPT = "</title></script><script>document.title='owned'</script>"


@pytest.fixture(scope="module")
def logdir(tmp_path_factory):
    root = tmp_path_factory.mktemp("runs")
    attributes = {"digit": 12, SCRIPT: [HOSTILE, SCRIPT, "שלום \u202e reversed", "x" * 300]}
    write_log(root, runs=("baseline", "focal <b>"), attributes=attributes, steps=3)
    train(root / "trained")
    grow(root / "trained", SCRIPT)
    write_plain(root / "plain")
    return root


@pytest.fixture(scope="module")
def page_path(logdir, tmp_path_factory):
    out = tmp_path_factory.mktemp("out")
    report = export(logdir, out, formats=["html"], dpi=40)
    assert report.problems == {}
    return out / "report.html"


def test_the_file_holds_everything_and_mentions_no_other(page_path):
    text = page_path.read_text(encoding="utf-8")
    outside = re.findall(r"(?:src|href|url\(|action)=?[\"'(]?(?!data:image/(?:png|webp);base64,|#)[a-z]+:", text)
    assert outside == []
    assert "<script" not in text
    assert text.count("<figure") == len(re.findall("data:image/(png|webp);base64,", text))
    assert text.count("<figure") > 5


def test_names_are_text(page_path):
    text = page_path.read_text(encoding="utf-8")
    assert HOSTILE not in text
    for name in (SCRIPT, "focal <b>"):
        assert escape(name) in text
        assert name not in text


@pytest.mark.parametrize(
    ("value", "signed", "shown"),
    [
        (None, False, "–"),
        (float("nan"), True, "–"),
        (0.12345, False, "0.123"),
        (-0.5, True, "−0.500"),
        (1, True, "+1.000"),
    ],
)
def test_numbers_are_shown_with_their_sign_and_undefined_as_a_dash(value, signed, shown):
    assert number(value, signed=signed) == shown


def test_a_mean_says_how_many_classes_it_covers_if_not_all():
    values = {"n_classes": 6.0, "precision": 0.5, "precision_lower": 0.2, "precision_upper": 0.7}
    values |= {"precision_n_classes": 4.0, "recall": 0.25, "recall_n_classes": 6.0}
    values |= {"ap": 0.4, "ap_n_classes": 5.0, "ap_n_few_positives": 3.0}
    cells = {metric: mean_with_interval(values, metric, signed=False) for metric in ("precision", "recall", "ap")}
    assert cells == {
        "precision": "0.500 <small>0.20 to 0.70</small> <small>(4 of 6 classes)</small>",
        "recall": "0.250",
        "ap": "0.400 <small>(5 of 6 classes, 3 with few positives)</small>",
    }


def _open(browser, path, scheme):
    page = new_context(browser, viewport={"width": 1300, "height": 900}, color_scheme=scheme).new_page()
    page.faults = []
    page.on("console", lambda message: page.faults.append(message.text))
    page.on("pageerror", lambda error: page.faults.append(str(error)))
    page.on("request", lambda r: page.faults.append(r.url) if not r.url.startswith(("data:", "file:")) else None)
    page.goto(path.as_uri())
    return page


@pytest.mark.browser
def test_it_opens_from_disk_in_light_and_dark_without_a_fault(browser, page_path):
    grounds = set()
    for scheme in ("light", "dark"):
        page = _open(browser, page_path, scheme)
        assert page.title() == "Training runs"
        broken = page.evaluate("[...document.images].filter(i => !(i.complete && i.naturalWidth)).length")
        assert broken == 0
        for link in page.locator("nav a").all():
            assert page.locator(link.get_attribute("href")).count() == 1
        assert page.locator("h2", has_text="Head, medium and tail").is_hidden()  # the tab shows it
        grounds.add(page.evaluate("getComputedStyle(document.body).backgroundColor"))
        for width in (1300, 500):
            page.set_viewport_size({"width": width, "height": 900})
            assert page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")
        assert page.faults == []
    assert len(grounds) == 2


@pytest.mark.browser
def test_it_shows_the_numbers_and_can_be_printed(browser, page_path, logdir):
    from tbmetrics import read_run

    page = _open(browser, page_path, "light")
    assert page.locator("#runs tbody tr").count() == 4
    page.emulate_media(media="print", color_scheme="dark")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    table = read_run(logdir / "baseline").tables["longtail/digit/groups"][-1]
    f1 = table.column("f1")[table.rows.index("tail")]
    heading = page.locator("#groups h3", has_text="digit").first
    tail = heading.locator("xpath=following::tr[td[2][contains(., 'tail')]][1]")
    assert tail.locator("td").nth(3).inner_text().startswith(f"{f1:.3f}")
    assert page.evaluate(_LINES_OF_GROUPS) == [1]
    assert page.pdf().startswith(b"%PDF")
    assert page.faults == []
