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
    outside = re.findall(r"(?:src|href|url\(|action)=?[\"'(]?(?!data:image/png;base64,|#)[a-z]+:", text)
    assert outside == []
    assert "<script" not in text
    assert text.count("<figure") == text.count("data:image/png;base64,")
    assert text.count("<figure") > 20


def test_names_are_text(page_path):
    text = page_path.read_text(encoding="utf-8")
    for name in (HOSTILE, SCRIPT, "focal <b>"):
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
        assert page.locator("h2", has_text="Head, medium and tail").is_visible()
        grounds.add(page.evaluate("getComputedStyle(document.body).backgroundColor"))
        for width in (1300, 500):
            page.set_viewport_size({"width": width, "height": 900})
            assert page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")
        assert page.faults == []
    assert len(grounds) == 2


@pytest.mark.browser
def test_it_shows_the_numbers_and_can_be_printed(browser, page_path, logdir):
    from tbmetrics import read_run
    from tbmetrics.comparing.runs import compare_runs

    page = _open(browser, page_path, "light")
    a, b = (read_run(logdir / run, run=run) for run in ("baseline", "focal <b>"))
    best = compare_runs(a, b, attribute="digit").classes[0]
    row = page.locator("#movers tr", has=page.get_by_text(best.name, exact=True)).first
    assert row.locator("td").all_inner_texts()[2:5] == [
        f"{best.a:.3f}", f"{best.b:.3f}", f"{best.difference:+.3f}"
    ]  # fmt: skip
    assert page.locator("#runs tbody tr").count() == 4
    page.emulate_media(media="print", color_scheme="dark")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert page.pdf().startswith(b"%PDF")
    assert page.faults == []
